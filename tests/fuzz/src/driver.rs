//! Runs of a target: over its corpus, and over what comes of that by changes at random.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::random::Random;
use crate::targets::Target;

/// Bytes of the longest input that is made.
const LONGEST: usize = 20_000;

/// Where the corpus of a target is.
pub fn corpus_folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// The inputs of a target's corpus, in the order of their names.
///
/// # Errors
///
/// When the folder can't be read.
pub fn corpus(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let mut paths: Vec<_> =
        fs::read_dir(corpus_folder(target))?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    paths.sort();
    paths.iter().map(fs::read).collect()
}

thread_local! {
    static CURRENT: RefCell<Option<(&'static str, Vec<u8>)>> = const { RefCell::new(None) };
}

/// From now on, a panic leaves the input that caused it in the file `crash-NAME` of the current folder.
pub fn keep_inputs_of_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        if let Ok(Some((name, input))) = CURRENT.try_with(RefCell::take) {
            let path = format!("crash-{name}");
            match fs::write(&path, input) {
                Ok(()) => eprintln!("the input is in {path}"),
                Err(error) => eprintln!("the input can't be written to {path}: {error}"),
            }
        }
    }));
}

/// Runs a target with one input.
pub fn run(target: &Target, input: &[u8]) {
    CURRENT.set(Some((target.name, input.to_vec())));
    (target.run)(input);
    CURRENT.set(None);
}

/// Runs a target with changed inputs for so long; how many there were.
pub fn soak(target: &Target, corpus: &[Vec<u8>], seed: u64, limit: Duration) -> u64 {
    let mut random = Random::new(seed);
    let start = Instant::now();
    let mut runs = 0;
    while start.elapsed() < limit {
        for _ in 0..64 {
            run(target, &mutated(&mut random, corpus));
            runs += 1;
        }
    }
    runs
}

/// An input made of one or two of the corpus by a few changes.
pub fn mutated(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let pick = |random: &mut Random| match corpus.len() {
        0 => Vec::new(),
        count => corpus[random.below(count as u64) as usize].clone(),
    };
    let mut input = pick(random);
    for _ in 0..=random.below(6) {
        let length = input.len() as u64;
        let at = random.below(length) as usize;
        match random.below(8) {
            0 if length > 0 => input[at] ^= 1 << random.below(8),
            1 if length > 0 => input[at] = random.one_of(&[0, 1, 0x7F, 0x80, 0xFF, b'-', b'=', b'"', b'\\', b'/', 0]),
            2 if at + 4 <= input.len() => input[at..at + 4].copy_from_slice(&random.awkward().to_le_bytes()),
            3 if at + 8 <= input.len() => {
                let number = u64::from(random.awkward()) << random.below(33);
                input[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            4 => input.truncate(at),
            5 => {
                let piece: Vec<u8> = pick(random).into_iter().skip(random.below(40) as usize).take(64).collect();
                input.splice(at..at, piece);
            }
            6 if length > 0 => {
                let end = (at + random.below(40) as usize).min(input.len());
                input.extend_from_within(at..end);
            }
            _ => input.push(random.number() as u8),
        }
        input.truncate(LONGEST);
    }
    input
}
