//! Initial sequence numbers: RFC 6528.

use super::segment::{FourTuple, Seq};
use crate::net::direct::hash::Keyed;
use crate::time::Instant;

/// Makes sequence numbers that nobody can guess and that grow for each connection over time.
pub struct Isn {
    key: Keyed,
}

impl Isn {
    pub fn new(key: [u64; 2]) -> Isn {
        Isn { key: Keyed::new(key) }
    }

    /// The first position of a new connection: a clock that ticks every 4 microseconds, plus a secret hash.
    pub fn next(&self, now: Instant, tuple: &FourTuple) -> Seq {
        Seq((now.as_nanos() / 4000) as u32).add(tuple.hash_with(&self.key) as u32)
    }
}
