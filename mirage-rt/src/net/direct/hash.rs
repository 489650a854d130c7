//! Hash tables whose keys come from the network: SipHash with a key that is new at each boot, so that nobody can choose
//! packets that all fall into one bucket.

use core::hash::BuildHasher;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

/// A key for hashing.
#[derive(Clone, Copy)]
pub struct Keyed {
    first: u64,
    second: u64,
}

impl Keyed {
    pub fn new(key: [u64; 2]) -> Keyed {
        Keyed { first: key[0], second: key[1] }
    }
}

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.first, self.second)
    }
}

/// A hash table with a [`Keyed`] hash.
pub type Table<K, V> = HashMap<K, V, Keyed>;
