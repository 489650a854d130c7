//! Connections that are over on both sides, kept for a while in case the peer has not heard it: a small bounded table, so
//! that they need no buffers.

use alloc::collections::VecDeque;

use super::segment::{Bare, FourTuple, Segment, Seq};
use crate::net::direct::hash::{Keyed, Table};
use crate::time::{Duration, Instant};

/// Entries at most; the oldest are given up for new ones.
const MOST: usize = 1024;
/// Twice the time that a segment may wander about.
const TIME: Duration = Duration::from_secs(60);

struct Entry {
    number: u32,
    next: Seq,
    expected: Seq,
    expires: Instant,
}

/// The table.
pub struct TimeWait {
    table: Table<FourTuple, Entry>,
    /// In the order of their expiry. Entries that were replaced leave their old line here until it expires.
    order: VecDeque<(FourTuple, u32)>,
    number: u32,
}

/// What to do with a segment for an old connection.
#[derive(Clone, Copy, Debug)]
pub enum Late {
    /// Send this.
    Answer(Bare),
    /// Nothing.
    Ignore,
    /// The peer opens a new connection in its place: our SYN must come from behind this position.
    Reopen(Seq),
}

impl TimeWait {
    pub fn new(key: Keyed) -> TimeWait {
        TimeWait { table: Table::with_hasher(key), order: VecDeque::new(), number: 0 }
    }

    /// Whether there is an entry for `tuple`.
    pub fn contains(&self, tuple: &FourTuple) -> bool {
        self.table.contains_key(tuple)
    }

    /// Adds a connection whose next positions are `next` (ours) and `expected` (the peer's).
    pub fn insert(&mut self, now: Instant, tuple: FourTuple, next: Seq, expected: Seq) {
        self.expire(now);
        while self.order.len() >= MOST {
            self.pop();
        }
        self.number = self.number.wrapping_add(1);
        self.table.insert(tuple, Entry { number: self.number, next, expected, expires: now + TIME });
        self.order.push_back((tuple, self.number));
    }

    /// A segment came; `None` when it belongs to no entry.
    pub fn on_segment(&mut self, now: Instant, segment: &Segment) -> Option<Late> {
        self.expire(now);
        let entry = self.table.get(&segment.tuple)?;
        Some(if segment.rst {
            // RFC 1337: a reset must not end TIME_WAIT early.
            Late::Ignore
        } else if segment.syn && segment.ack.is_none() && segment.seq.since(entry.expected) > 0 {
            let next = entry.next;
            self.table.remove(&segment.tuple);
            Late::Reopen(next)
        } else if segment.span() == 0 {
            Late::Ignore
        } else {
            Late::Answer(Bare { seq: entry.next, ack: Some(entry.expected), ..Bare::default() })
        })
    }

    fn expire(&mut self, now: Instant) {
        while let Some((tuple, number)) = self.order.front() {
            match self.table.get(tuple) {
                Some(entry) if entry.number == *number && entry.expires > now => break,
                _ => self.pop(),
            }
        }
    }

    fn pop(&mut self) {
        if let Some((tuple, number)) = self.order.pop_front()
            && self.table.get(&tuple).is_some_and(|entry| entry.number == number)
        {
            self.table.remove(&tuple);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;

    #[test]
    fn the_table_stays_bounded() {
        let mut waiting = TimeWait::new(Keyed::new([1, 2]));
        let tuple = |port| FourTuple {
            local: SocketAddr::from(([10, 0, 0, 1], 80)),
            remote: SocketAddr::from(([10, 0, 0, 2], port)),
        };
        for port in 1..=3000 {
            waiting.insert(Instant::ZERO, tuple(port), Seq(1), Seq(2));
        }
        assert_eq!((waiting.table.len(), waiting.order.len()), (MOST, MOST));
        // The same connection again and again.
        for _ in 0..3000 {
            waiting.insert(Instant::ZERO, tuple(7), Seq(1), Seq(2));
        }
        assert!(waiting.order.len() <= MOST);
        waiting.insert(Instant::ZERO + TIME, tuple(8), Seq(1), Seq(2));
        assert_eq!((waiting.table.len(), waiting.order.len()), (1, 1));
    }
}
