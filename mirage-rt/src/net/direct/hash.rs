//! Tables whose keys come from the network: hashes with a key that is new at each boot, so that nobody can choose packets
//! that all fall into one bucket.

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

/// A key for hashing.
#[derive(Clone, Copy)]
pub struct Keyed {
    key: [u64; 2],
}

impl Keyed {
    pub const fn new(key: [u64; 2]) -> Keyed {
        Keyed { key }
    }

    /// A hash of `bytes` for a table.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        for (place, byte) in last.iter_mut().zip(rest) {
            *place = *byte;
        }
        let words = words.iter().chain(core::iter::once(&last));
        words.fold(self.key[0] ^ bytes.len() as u64, |hash, word| self.step(hash, u64::from_le_bytes(*word)))
    }

    /// A hash of `words` for a table: products folded to half, as foldhash and wyhash have them. It is enough against those
    /// who see neither the key nor a hash; what others see, or what must not be guessed, is [`signed`](Keyed::signed).
    #[inline]
    pub fn hash_words<const N: usize>(&self, words: [u64; N]) -> u64 {
        words.into_iter().fold(self.key[0], |hash, word| self.step(hash, word))
    }

    #[inline(always)]
    fn step(&self, hash: u64, word: u64) -> u64 {
        let product = u128::from(hash ^ word) * u128::from(self.key[1] | 1);
        (product >> 64) as u64 ^ product as u64
    }

    /// A hash of `bytes` that nobody can foresee who does not know the key: SipHash.
    #[inline(never)]
    pub fn signed(&self, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.key[0], self.key[1]).hash(bytes)
    }
}

/// Finds numbers by the hash of what they stand for: usually the places of entries in a list. It does not know the entries,
/// so that one piece of code serves tables of all kinds.
#[derive(Default)]
pub struct Index {
    table: HashTable<Place>,
}

#[derive(Clone, Copy)]
struct Place {
    hash: u32,
    number: u32,
}

impl Index {
    /// The number that was inserted with `hash` and for which `is_it` holds.
    #[inline]
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = hash as u32;
        self.table.find(spread(hash), |place| place.hash == hash && is_it(place.number)).map(|place| place.number)
    }

    /// Adds a number that is not there yet.
    #[inline(never)]
    pub fn insert(&mut self, hash: u64, number: u32) {
        let hash = hash as u32;
        self.table.insert_unique(spread(hash), Place { hash, number }, |place| spread(place.hash));
    }

    /// Takes a number out that was inserted with `hash`.
    #[inline(never)]
    pub fn remove(&mut self, hash: u64, number: u32) {
        if let Ok(entry) = self.table.find_entry(spread(hash as u32), |place| place.number == number) {
            entry.remove();
        }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

/// The table takes a bucket from the low bits and a mark from the high ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_what_they_stand_for() {
        let keyed = Keyed::new([1, 2]);
        let key = |number: u32| (number * 7).to_le_bytes();
        let mut index = Index::default();
        for number in 0..1000 {
            index.insert(keyed.hash(&key(number)), number);
        }
        for number in (0..1000).step_by(2) {
            index.remove(keyed.hash(&key(number)), number);
        }
        for number in 0..1000 {
            let found = index.find(keyed.hash(&key(number)), |found| found == number);
            assert_eq!(found, (number % 2 == 1).then_some(number));
        }
        assert_eq!(index.len(), 500);
    }
}
