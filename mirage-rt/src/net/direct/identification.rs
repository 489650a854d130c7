//! Numbers of packets over IPv4 that may be cut on their way (RFC 6864): none comes again among many that follow each other,
//! as pieces of both could be taken for one packet, and none tells how many others were sent.

use super::hash::Keyed;

/// How often a number is stirred.
const ROUNDS: u32 = 8;

/// A new order of all numbers for each round of them.
pub struct Identifications {
    key: Keyed,
    /// What the order is made of.
    order: u128,
    made: u32,
}

impl Identifications {
    /// The key must be random.
    pub fn new(key: Keyed) -> Identifications {
        Identifications { key, order: 0, made: 0 }
    }

    /// The next number.
    pub fn next(&mut self) -> u16 {
        let [round_high, round_low, high, low] = self.made.to_be_bytes();
        if [high, low] == [0, 0] {
            // A key of its own: the few bits that others see of it shall say nothing of that of the tables.
            let half = |half| u128::from(self.key.signed(&[b'c', b'u', b't', half, round_high, round_low]));
            self.order = half(0) << 64 | half(1);
        }
        self.made = self.made.wrapping_add(1);
        stir(u16::from_be_bytes([high, low]), self.order)
    }
}

/// Each number becomes another, and no two the same: all steps can be undone.
fn stir(number: u16, order: u128) -> u16 {
    (0..ROUNDS).fold(number, |number, round| {
        let mixed = (number ^ (order >> (16 * round)) as u16).wrapping_mul(0x6b2d);
        mixed ^ mixed >> 7
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    fn numbers(key: [u64; 2], count: usize) -> Vec<u16> {
        let mut identifications = Identifications::new(Keyed::new(key));
        (0..count).map(|_| identifications.next()).collect()
    }

    #[test]
    fn a_number_comes_again_only_after_all_others() {
        let all = 1 << 16;
        let both = numbers([1, 2], 2 * all);
        for round in both.chunks(all) {
            let mut came = vec![false; all];
            assert!(round.iter().all(|number| !core::mem::replace(&mut came[usize::from(*number)], true)));
        }
        let same = both[..all].iter().zip(&both[all..]).filter(|(one, other)| one == other).count();
        assert!(same < 100, "{same} in the same place");
    }

    #[test]
    fn numbers_tell_nothing_of_those_before() {
        let (own, others) = (numbers([1, 2], 1000), numbers([1, 3], 1000));
        let mut steps: Vec<u16> = own.windows(2).map(|two| two[1].wrapping_sub(two[0])).collect();
        steps.sort_unstable();
        steps.dedup();
        assert!(steps.len() > 500, "{} different steps", steps.len());
        assert!(own.iter().zip(&others).filter(|(one, other)| one == other).count() < 5);
    }
}
