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

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;

    use super::*;
    use crate::time::Duration;

    fn tuple(own: u16, peer: u16) -> FourTuple {
        let end = |host, port| SocketAddr::from(([10, 0, 0, host], port));
        FourTuple::new(&Keyed::new([7, 8]), end(1, own), end(2, peer))
    }

    #[test]
    fn numbers_grow_with_time_and_differ_for_each_connection_and_host() {
        let isn = Isn::new([1, 2]);
        let later = |micros| Instant::ZERO + Duration::from_micros(micros);
        let first = isn.next(Instant::ZERO, &tuple(80, 4000));
        for (micros, ticks) in [(0, 0), (3, 0), (4, 1), (1_000_000, 250_000)] {
            assert_eq!(isn.next(later(micros), &tuple(80, 4000)).since(first), ticks);
        }
        // They come round after more than four hours, as RFC 9293, 3.4.1, has it.
        assert_eq!(isn.next(later(4 << 32), &tuple(80, 4000)), first);
        let others = [
            isn.next(Instant::ZERO, &tuple(80, 4001)),
            isn.next(Instant::ZERO, &tuple(81, 4000)),
            isn.next(Instant::ZERO, &tuple(4000, 80)),
            Isn::new([1, 3]).next(Instant::ZERO, &tuple(80, 4000)),
            Isn::new([2, 2]).next(Instant::ZERO, &tuple(80, 4000)),
        ];
        for other in others {
            // Not even near: who sees one number knows nothing of others.
            assert!(other.since(first).unsigned_abs() > 1 << 16, "{other:?} and {first:?}");
        }
    }
}
