//! Random numbers: seeded by the processor, stretched by ChaCha20's core.
//!
//! Only programs that declare random numbers or a network have the generator in their image, see [`connect`]; and those whose
//! libraries call the C library for it. Nothing is seeded before something needs a random number, so a program that needs none
//! runs on a processor that has none.

use core::cell::Cell;

use chacha20::{R20, hchacha};
use mirage_rt::boot::Connectors;
use mirage_rt::cell::RefCell;
use mirage_rt::types::random::RandomError;

use crate::attachment::Attachment;
use crate::cpu;
use crate::single::Single;

/// Bytes after which the generator is seeded anew.
const RESEED_AFTER: usize = 1 << 20;

/// How often an instruction is asked before it counts as broken; the vendors say 10 for RDRAND.
const ATTEMPTS: usize = 100;

static ENTROPY: Single<Entropy> = Single::empty();

type Seed = [u8; 32];

type Fill = fn(&mut [u8]) -> Result<(), RandomError>;

/// The generator of the machine.
struct Entropy {
    /// [`fill`], if it was declared.
    declared: Cell<Option<Fill>>,
    generator: RefCell<Option<Generator>>,
}

/// HChaCha20, the function inside of XChaCha20, makes blocks of a key and their numbers. Each filling ends with a new key,
/// so what was given out before cannot be found in memory later.
struct Generator {
    key: Seed,
    left: usize,
}

impl Generator {
    #[inline(never)]
    fn block(&self, number: u64) -> Seed {
        let mut input = [0; 16];
        input[..8].copy_from_slice(&number.to_le_bytes());
        hchacha::<R20>(&self.key.into(), &input.into()).into()
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for (number, part) in (1..).zip(buffer.chunks_mut(size_of::<Seed>())) {
            let block = self.block(number);
            part.iter_mut().zip(&block).for_each(|(byte, random)| *byte = *random);
        }
        self.key = self.block(0);
    }
}

/// Prepares the generator, which costs nothing.
///
/// # Safety
///
/// Boot calls it, once, on a machine with one processor.
pub(crate) unsafe fn prepare() {
    // SAFETY: promised by the caller.
    unsafe { ENTROPY.set(Entropy { declared: Cell::new(None), generator: RefCell::new(None) }) };
}

/// Gives a program random numbers: [`Runtime::fill_random`](mirage_rt::Runtime::fill_random). A program that declares neither them
/// nor a network is linked without this.
pub fn connect(_: &Attachment, _: &mut Connectors) {
    if let Some(entropy) = ENTROPY.get() {
        entropy.declared.set(Some(fill));
    }
}

/// As [`fill`], for programs that declare it.
pub(crate) fn fill_declared(buffer: &mut [u8]) -> Result<(), RandomError> {
    match ENTROPY.get().and_then(|entropy| entropy.declared.get()) {
        Some(fill) => fill(buffer),
        None => Err(RandomError::Undeclared),
    }
}

/// Fills `buffer` with numbers fit for keys.
///
/// # Errors
///
/// [`RandomError::NoHardwareSource`] where the processor has no working source; nothing in `buffer` may be used then.
pub fn fill(buffer: &mut [u8]) -> Result<(), RandomError> {
    let entropy = ENTROPY.get().ok_or(RandomError::NoHardwareSource)?;
    let mut generator = entropy.generator.borrow_mut();
    for part in buffer.chunks_mut(RESEED_AFTER) {
        let generator = match &mut *generator {
            Some(generator) if generator.left >= part.len() => generator,
            old => {
                // What the old generator knew is mixed in: a source that has become weak does no harm.
                let mut seed = hardware_seed().ok_or(RandomError::NoHardwareSource)?;
                if let Some(old) = old {
                    seed.iter_mut().zip(&old.block(0)).for_each(|(byte, before)| *byte ^= before);
                }
                old.insert(Generator { key: seed, left: RESEED_AFTER })
            }
        };
        generator.fill(part);
        generator.left -= part.len();
    }
    Ok(())
}

/// Lets the next numbers come from a new seed: this domain may be one of several copies now, and each needs its own.
pub(crate) fn reseed() {
    if let Some(entropy) = ENTROPY.get()
        && let Some(generator) = &mut *entropy.generator.borrow_mut()
    {
        generator.left = 0;
    }
}

/// A seed from RDSEED, RDRAND or both; `None` without a source that works.
fn hardware_seed() -> Option<Seed> {
    let (has_rdrand, has_rdseed) = cpu::has_random();
    let mut seed = [0; 4];
    // SAFETY: CPUID says that the processor has the instruction.
    let one = has_rdseed && mix(&mut seed, words(&mut || unsafe { cpu::rdseed() }));
    // SAFETY: as above.
    let other = has_rdrand && mix(&mut seed, words(&mut || unsafe { cpu::rdrand() }));
    (one || other).then(|| bytes(seed))
}

/// Mixes what a source gave into the seed; false when it gave nothing.
#[inline(never)]
fn mix(seed: &mut [u64; 4], words: Option<[u64; 4]>) -> bool {
    let Some(words) = words else { return false };
    seed.iter_mut().zip(words).for_each(|(mixed, word)| *mixed ^= word);
    true
}

fn bytes(words: [u64; 4]) -> Seed {
    let mut seed = Seed::default();
    seed.chunks_exact_mut(8).zip(words).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
    seed
}

/// Four numbers of a source. A broken one repeats itself: some processors return all ones after a sleep.
#[inline(never)]
fn words(next: &mut dyn FnMut() -> Option<u64>) -> Option<[u64; 4]> {
    let mut words = [0; 4];
    for index in 0..words.len() {
        let word = (0..ATTEMPTS).find_map(|_| next())?;
        if words[..index].contains(&word) || word == u64::MAX {
            return None;
        }
        words[index] = word;
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_repeats_itself_is_refused() {
        let mut count = 0;
        assert_eq!(
            words(&mut || {
                count += 1;
                Some(count)
            }),
            Some([1, 2, 3, 4])
        );
        assert_eq!(words(&mut || Some(7)), None);
        assert_eq!(words(&mut || Some(u64::MAX)), None);
        assert_eq!(words(&mut || None), None);
    }

    #[test]
    fn a_source_may_need_several_attempts() {
        let mut count = 0;
        assert!(
            words(&mut || {
                count += 1;
                (count % 50 == 0).then_some(count)
            })
            .is_some()
        );
    }

    #[test]
    fn one_good_source_is_enough() {
        let (one, mut seed) = ([1, 2, 3, 4], [0; 4]);
        assert!(!mix(&mut seed, None) && seed == [0; 4]);
        assert!(mix(&mut seed, Some(one)) && seed == one);
        assert!(!mix(&mut seed, None) && seed == one);
        assert!(mix(&mut seed, Some([4, 3, 2, 1])) && seed == [5, 1, 1, 5]);
        assert_eq!(bytes(seed)[..9], [5, 0, 0, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_key_gives_blocks_that_differ_and_another_key() {
        let first = Generator { key: [7; 32], left: 0 };
        let mut generator = Generator { key: [7; 32], left: 0 };
        let mut numbers = [0; 80];
        generator.fill(&mut numbers);
        assert_eq!([&numbers[..32], &numbers[32..64]], [first.block(1), first.block(2)]);
        assert_eq!(numbers[64..], first.block(3)[..16]);
        assert_ne!(numbers[..32], numbers[32..64]);
        assert_eq!(generator.key, first.block(0));
        let mut more = [0; 80];
        generator.fill(&mut more);
        assert_ne!(numbers, more);
    }

    #[test]
    fn nothing_is_random_before_boot() {
        assert_eq!(fill(&mut [0; 8]), Err(RandomError::NoHardwareSource));
        assert_eq!(fill_declared(&mut [0; 8]), Err(RandomError::Undeclared));
    }
}
