//! The files that the builder has put into memory.

use alloc::vec::Vec;

use crate::hoard::hoard;

/// Says how long each module is and what its bytes sum up to, before and after all free memory was written to.
pub fn look() {
    let sums = || mirage_xen::boot::modules().map(|module| (module.len(), sum(module))).collect::<Vec<_>>();
    let before = sums();
    let hoard = hoard();
    let after = sums();
    mirage_rt::println!("wrote {hoard} bytes of memory");
    for (index, (module, again)) in before.iter().zip(&after).enumerate() {
        let (length, sum) = module;
        let word = if module == again { "unharmed" } else { "harmed" };
        mirage_rt::println!("module {index}: {length} bytes, sum {sum}, {word}");
    }
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
}
