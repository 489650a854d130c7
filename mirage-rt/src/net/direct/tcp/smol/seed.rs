//! How smoltcp is made to take the initial sequence numbers that it is given.

use crate::net::direct::tcp::segment::Seq;

/// The steps of smoltcp's generator (PCG): `state * MULTIPLIER + INCREMENT`.
const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;

/// The number by which one step is undone: `MULTIPLIER * INVERSE` is 1 (Newton's method doubles the right bits each time).
const INVERSE: u64 = {
    let mut inverse = MULTIPLIER;
    let mut step = 0;
    while step < 5 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(MULTIPLIER.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
};

/// The seed with which a smoltcp interface takes `isn` for its first connection.
///
/// smoltcp draws initial sequence numbers from a small generator seeded by its user, too predictable to be shared by
/// connections, and it takes one number out before (for the IPv4 identification, repeated when it is 0). So each
/// connection is opened on an interface of its own whose generator was run backwards from the number wanted. Whoever opens
/// it must check the result: should another smoltcp draw differently, connections fail to open and nothing worse.
pub fn seed(isn: Seq) -> u64 {
    let mut low = 0;
    loop {
        // The top three bits 111 make the generator output bits 22 to 53.
        let second = 0b111 << 61 | u64::from(isn.0) << 22 | low;
        let first = back(second);
        let drawn = (first >> (29 - (first >> 61))) as u32;
        if (drawn ^ (drawn >> 16)) as u16 != 0 {
            return back(first);
        }
        low += 1;
    }
}

fn back(state: u64) -> u64 {
    state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE)
}
