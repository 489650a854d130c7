//! Every input of the corpus, through its parser; and a few thousand changed ones.

use std::fs;
use std::time::Duration;

use mirage_fuzz::driver::{corpus, corpus_folder, run, soak};
use mirage_fuzz::seeds::seeds;
use mirage_fuzz::targets::TARGETS;

#[test]
fn the_corpus_does_no_harm() {
    for target in TARGETS {
        let inputs = corpus(target).expect("it is checked in");
        assert!(inputs.len() >= 5, "{} has {} inputs", target.name, inputs.len());
        inputs.iter().for_each(|input| run(target, input));
    }
}

/// Where all changes follow from.
const SEED: u64 = 1;

#[test]
fn neither_do_changed_inputs() {
    println!("seed {SEED}");
    for target in TARGETS {
        let inputs = corpus(target).expect("it is checked in");
        println!("{}: {} runs", target.name, soak(target, &inputs, SEED, Duration::from_millis(300)));
    }
}

/// Writes the corpus anew from what was made by hand: `cargo test -p mirage-fuzz -- --ignored`.
#[test]
#[ignore = "writes the corpus"]
fn write_the_corpus() {
    for target in TARGETS {
        let folder = corpus_folder(target);
        fs::create_dir_all(&folder).expect("the folder can be made");
        for (number, seed) in seeds(target.name).iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:03}")), seed).expect("the file can be written");
        }
    }
}
