//! What servers have said, for as long as they said that it holds.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::message::Question;
use crate::time::{Duration, Instant};

/// The longest time for which anything is kept, whatever a server says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The same for what is not there.
const LONGEST_NEGATIVE: Duration = Duration::from_secs(300);

/// What is known of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The name's addresses: at least one.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// The name has no addresses of the kind.
    NoAddress,
}

struct Entry {
    question: Question,
    known: Known,
    until: Instant,
    /// Grows with each use.
    used: u64,
}

/// A bounded number of answers. Those that were not used for the longest time make room for new ones.
pub struct Cache {
    entries: Vec<Entry>,
    most: usize,
    uses: u64,
}

impl Cache {
    /// Room for `most` answers; with 0 nothing is kept.
    pub const fn new(most: usize) -> Cache {
        Cache { entries: Vec::new(), most, uses: 0 }
    }

    /// What is known at the time `now`.
    pub fn get(&mut self, question: &Question, now: Instant) -> Option<Known> {
        let entry = self.entries.iter_mut().find(|entry| entry.question == *question && entry.until > now)?;
        self.uses += 1;
        entry.used = self.uses;
        Some(entry.known.clone())
    }

    /// Keeps an answer that holds for `ttl` seconds from `now`.
    pub fn put(&mut self, question: Question, known: Known, ttl: u32, now: Instant) {
        let longest = if matches!(known, Known::Addresses(_)) { LONGEST } else { LONGEST_NEGATIVE };
        let until = now + Duration::from_secs(ttl.into()).min(longest);
        self.entries.retain(|entry| entry.until > now && entry.question != question);
        if until == now || self.most == 0 {
            return;
        }
        if self.entries.len() >= self.most {
            let oldest = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.used);
            if let Some((oldest, _)) = oldest {
                self.entries.swap_remove(oldest);
            }
        }
        // Without memory for it, the answer is asked for again.
        if self.entries.try_reserve(1).is_ok() {
            self.uses += 1;
            self.entries.push(Entry { question, known, until, used: self.uses });
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;
    use proptest::prelude::*;

    use super::super::message::Family;
    use super::*;

    fn question(number: u8) -> Question {
        Question { name: format!("host{number}.example").parse().expect("a good name"), family: Family::V4 }
    }

    fn address(number: u8) -> Known {
        Known::Addresses(vec![IpAddr::from([10, 0, 0, number])])
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn answers_are_kept_for_their_time_and_no_longer() {
        let mut cache = Cache::new(8);
        cache.put(question(1), address(1), 60, at(0));
        assert_eq!(cache.get(&question(1), at(59)), Some(address(1)));
        assert_eq!(cache.get(&Question { family: Family::V6, ..question(1) }, at(59)), None);
        assert_eq!(cache.get(&question(1), at(60)), None);
        cache.put(question(2), address(2), 0, at(0));
        assert_eq!(cache.get(&question(2), at(0)), None);
        cache.put(question(3), address(3), u32::MAX, at(0));
        assert_eq!(cache.get(&question(3), at(86_399)), Some(address(3)));
        assert_eq!(cache.get(&question(3), at(86_400)), None);
        cache.put(question(4), Known::NoSuchName, 86_400, at(0));
        assert_eq!(cache.get(&question(4), at(299)), Some(Known::NoSuchName));
        assert_eq!(cache.get(&question(4), at(300)), None);
    }

    #[test]
    fn the_least_used_makes_room() {
        let mut cache = Cache::new(2);
        cache.put(question(1), address(1), 60, at(0));
        cache.put(question(2), address(2), 60, at(0));
        assert!(cache.get(&question(1), at(1)).is_some());
        cache.put(question(3), address(3), 60, at(1));
        assert_eq!(cache.get(&question(2), at(1)), None);
        assert!(cache.get(&question(1), at(1)).is_some() && cache.get(&question(3), at(1)).is_some());
        cache.clear();
        assert_eq!(cache.get(&question(1), at(1)), None);
    }

    proptest! {
        /// Whatever is put: never more than there is room for, never an old answer or another question's.
        #[test]
        fn it_stays_small_and_right(
            most in 0usize..5,
            steps in prop::collection::vec((0u8..8, 0u32..50, 0u64..10, any::<bool>()), 0..200),
        ) {
            let mut cache = Cache::new(most);
            let mut last = [None; 8];
            let mut now = 0;
            for (number, ttl, passed, put) in steps {
                now += passed;
                if put {
                    cache.put(question(number), address(number), ttl, at(now));
                    last[usize::from(number)] = Some(now + u64::from(ttl));
                } else if let Some(known) = cache.get(&question(number), at(now)) {
                    prop_assert_eq!(known, address(number));
                    prop_assert!(last[usize::from(number)].is_some_and(|until| until > now));
                }
                prop_assert!(cache.entries.len() <= most);
            }
        }
    }
}
