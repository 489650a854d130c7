//! Connections that are over on both sides, kept for a while in case the peer has not heard it: a small bounded table, so
//! that they need no buffers.

use alloc::collections::VecDeque;

use super::choice::EXTENDED;
use super::segment::{Bare, FourTuple, Segment, Seq, SynOptions};
use super::timestamps::{Stamps, Timestamp};
use crate::net::direct::hash::Index;
use crate::time::{Duration, Instant};

/// Entries at most; the oldest are given up for new ones.
const MOST: usize = 1024;
/// Twice the time that a segment may wander about.
const TIME: Duration = Duration::from_secs(60);

struct Entry {
    tuple: FourTuple,
    next: Seq,
    expected: Seq,
    stamps: Option<Stamps>,
    expires: Instant,
    /// A new connection took its place.
    replaced: bool,
}

impl Entry {
    /// Whether a SYN is newer than all of the old connection: by its position, or its timestamp (RFC 6191, 2).
    fn is_followed_by(&self, segment: &Segment, options: &SynOptions) -> bool {
        let is_later = |stamps: Stamps, stamp: Timestamp| Seq(stamp.value).since(Seq(stamps.recent)) > 0;
        segment.seq.since(self.expected) > 0
            || EXTENDED && self.stamps.zip(options.stamp).is_some_and(|(stamps, stamp)| is_later(stamps, stamp))
    }
}

/// The table.
pub struct TimeWait {
    /// Entries by their numbers, which count up.
    index: Index,
    /// In the order of their expiry, which is that of their numbers.
    entries: VecDeque<Entry>,
    /// The number of the first.
    first: u32,
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
    pub fn new() -> TimeWait {
        TimeWait { index: Index::default(), entries: VecDeque::new(), first: 0 }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is an entry for `tuple`.
    pub fn contains(&self, tuple: &FourTuple) -> bool {
        self.find(tuple).is_some()
    }

    /// Adds a connection whose next positions are `next` (ours) and `expected` (the peer's).
    pub fn insert(&mut self, now: Instant, tuple: FourTuple, next: Seq, expected: Seq, stamps: Option<Stamps>) {
        self.expire(now);
        if self.entries.len() == MOST {
            self.pop();
        }
        if let Some(number) = self.find(&tuple) {
            self.replace(number);
        }
        let number = self.first.wrapping_add(self.entries.len() as u32);
        self.index.insert(tuple.hash(), number);
        self.entries.push_back(Entry { tuple, next, expected, stamps, expires: now + TIME, replaced: false });
    }

    /// A segment came; `None` when it belongs to no entry. `options` are those of a SYN.
    pub fn on_segment(&mut self, now: Instant, segment: &Segment, options: &SynOptions) -> Option<Late> {
        self.expire(now);
        let number = self.find(&segment.tuple)?;
        let entry = self.entry(number)?;
        Some(if segment.rst {
            // RFC 1337: a reset must not end TIME_WAIT early.
            Late::Ignore
        } else if segment.syn && segment.ack.is_none() && entry.is_followed_by(segment, options) {
            let next = entry.next;
            self.replace(number);
            Late::Reopen(next)
        } else if segment.span() == 0 {
            Late::Ignore
        } else {
            let stamp = entry.stamps.filter(|_| EXTENDED).map(|stamps| stamps.at(now));
            Late::Answer(Bare { seq: entry.next, ack: Some(entry.expected), stamp, ..Bare::default() })
        })
    }

    fn find(&self, tuple: &FourTuple) -> Option<u32> {
        if self.entries.is_empty() {
            return None;
        }
        let is_it = |number| self.entry(number).is_some_and(|entry| entry.tuple == *tuple && !entry.replaced);
        self.index.find(tuple.hash(), is_it)
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number.wrapping_sub(self.first) as usize)
    }

    fn replace(&mut self, number: u32) {
        if let Some(entry) = self.entries.get_mut(number.wrapping_sub(self.first) as usize) {
            entry.replaced = true;
            self.index.remove(entry.tuple.hash(), number);
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.entries.front().is_some_and(|entry| entry.replaced || entry.expires <= now) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            if !entry.replaced {
                self.index.remove(entry.tuple.hash(), self.first);
            }
            self.first = self.first.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::direct::hash::Keyed;
    use core::net::SocketAddr;

    #[test]
    fn the_table_stays_bounded() {
        let mut waiting = TimeWait::new();
        let key = Keyed::new([1, 2]);
        let local = SocketAddr::from(([10, 0, 0, 1], 80));
        let tuple = |port| FourTuple::new(&key, local, SocketAddr::from(([10, 0, 0, 2], port)));
        for port in 1..=3000 {
            waiting.insert(Instant::ZERO, tuple(port), Seq(1), Seq(2), None);
        }
        assert_eq!((waiting.index.len(), waiting.entries.len()), (MOST, MOST));
        // The same connection again and again.
        for _ in 0..3000 {
            waiting.insert(Instant::ZERO, tuple(7), Seq(1), Seq(2), None);
        }
        assert!(waiting.entries.len() <= MOST);
        waiting.insert(Instant::ZERO + TIME, tuple(8), Seq(1), Seq(2), None);
        assert_eq!((waiting.index.len(), waiting.entries.len()), (1, 1));
        assert!(waiting.contains(&tuple(8)) && !waiting.contains(&tuple(7)));
    }
}
