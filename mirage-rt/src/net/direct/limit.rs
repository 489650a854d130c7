//! Answers that strangers can provoke are limited in number.
//!
//! A limit that all connections share tells whoever counts his own answers how many others were given, and so whether a guess
//! at somebody else's connection was right (CVE-2016-5696, and CVE-2020-25705 with errors of ICMP). So nobody can foresee how many
//! there are in a second, and what is answered for a connection is limited for that connection first.

use super::hash::Keyed;
use crate::time::{Duration, Instant};

/// Nanoseconds in which a connection is answered once (as Linux's `tcp_invalid_ratelimit`).
const PAUSE: u64 = 500_000_000;

/// What is limited: each draws its own numbers.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Reset,
    Challenge,
    /// Those of the machine.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    OwnChallenge,
    Error,
    #[cfg(feature = "ipv6")]
    Error6,
}

/// Allows so many answers in each second, more or less: from half of them to one and a half.
pub struct Limit {
    key: Keyed,
    answer: Answer,
    usual: u32,
    left: u32,
    until: Instant,
}

impl Limit {
    /// The key must be random.
    pub const fn per_second(usual: u32, answer: Answer, key: Keyed) -> Limit {
        Limit { key, answer, usual, left: 0, until: Instant::ZERO }
    }

    /// Whether one more answer may be given.
    #[inline(never)]
    pub fn allow(&mut self, now: Instant) -> bool {
        if now >= self.until {
            self.until = now + Duration::from_secs(1);
            // The time of nearly three years leaves room for the kind.
            let drawn = now.as_nanos() ^ (self.answer as u64) << 56;
            let drawn = self.key.signed(&drawn.to_le_bytes()) as u32;
            self.left = self.usual / 2 + drawn % (self.usual + 1);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// Allows one answer in each half of a second, for one of many connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seldom {
    /// The number of the latest, from 1 on: one that comes again after nine hours is half a second without an answer.
    latest: u16,
}

impl Seldom {
    /// Whether an answer may be given.
    pub fn allow(&mut self, now: Instant) -> bool {
        let number = (now.as_nanos() / PAUSE) as u16;
        core::mem::replace(&mut self.latest, number.wrapping_add(1)) != number.wrapping_add(1)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// How many answers a limit of 100 allows in each of some seconds.
    fn allowed(answer: Answer, key: [u64; 2]) -> Vec<u32> {
        let mut limit = Limit::per_second(100, answer, Keyed::new(key));
        let second = |number| Instant::ZERO + Duration::from_secs(number);
        (0..200).map(|number| (0..1000).filter(|_| limit.allow(second(number))).count() as u32).collect()
    }

    #[test]
    fn nobody_can_foresee_how_many_answers_there_are() {
        let each = allowed(Answer::Challenge, [1, 2]);
        assert!(each.iter().all(|count| (50..=150).contains(count)), "{each:?}");
        let usual = each.iter().sum::<u32>() / 200;
        assert!((90..110).contains(&usual), "{usual}");
        let repeated = each.windows(2).filter(|two| two[0] == two[1]).count();
        assert!(repeated < 10, "{each:?}");
        // Neither from another limit nor from another host.
        for other in [allowed(Answer::Error, [1, 2]), allowed(Answer::Challenge, [1, 3])] {
            let same = each.iter().zip(&other).filter(|(count, other)| count == other).count();
            assert!(same < 10, "{same}");
        }
    }

    #[test]
    fn a_connection_is_answered_once_in_half_a_second() {
        let mut seldom = Seldom::default();
        let mut answered = 0;
        for number in 0..10_000 {
            answered += u32::from(seldom.allow(Instant::ZERO + Duration::from_millis(number)));
        }
        assert_eq!(answered, 20);
    }
}
