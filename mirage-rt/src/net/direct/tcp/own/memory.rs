//! The budget of all connections, and who gets how much of it.
//!
//! What counts is the memory that buffers have, and a fixed sum for each connection; what a buffer may hold, and the peer was
//! told, is a promise that costs nothing until bytes come. So a thousand connections with little to do need little, and
//! one of them can have much. Nobody gets more than half of what is free, some stays for new
//! bytes of others; when there is none, what has come is dropped, as if the network had lost it, and who writes waits.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::connection::{Connection, Link};
use super::ring::LEAST;
use super::sequence::before;
use crate::net::direct::tcp::segment::Seq;
use crate::page::PAGE_SIZE;
use crate::time::{Duration, Instant};

/// Sizes of memory that is kept for the next buffer: this many powers of two from the least.
const SIZES: usize = 12;
/// Bytes of memory without a buffer that are kept at most: a large one, and some of those that are not.
const SPARE: usize = 1 << 20;
/// Bytes that everybody gets while there are any.
const SMALL: usize = 2048;
/// Bytes of a connection besides its buffers, roughly: its state, its handle, and what it has under way.
const CONNECTION: usize = 1024;
/// A buffer may hold no more than this part of what is free.
const PART: usize = 8;
/// Buffers that were not used for so long are as small again as at first.
pub const IDLE: u64 = 10_000_000_000;
/// A window that was used up within this time was too small, however short the round trip was measured to be. Who only receives has
/// measured it once, in the handshake; where some packets overtake others, that one may have been much shorter than most.
const SOON: Duration = Duration::from_millis(50);
/// Buffers of more bytes are for long ways only: on a short one they would be a queue, and out of the processor's caches.
const LARGE: usize = 256 << 10;
/// As much as a device may take at once, and as much again that is written meanwhile, is no queue.
const LARGE_SEND: usize = 2 * LARGE;

/// Memory for buffers. Those of ten thousand connections of which ten have something to do share that of ten, and none of
/// it has to be asked for, or cleared, each time.
pub struct Memory {
    spare: [Vec<Box<[u8]>>; SIZES],
    /// Bytes of it.
    kept: usize,
    /// Bytes that connections and their buffers have.
    used: usize,
    budget: usize,
}

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What has come. It leaves an eighth of the budget alone, or everybody might wait for everybody to take what was sent.
    Receive,
    Send,
}

impl Memory {
    /// Nothing yet, and never more than `budget` bytes.
    pub fn new(budget: usize) -> Memory {
        Memory { spare: Default::default(), kept: 0, used: 0, budget }
    }

    fn free(&self) -> usize {
        self.budget.saturating_sub(self.used)
    }

    /// Bytes that a buffer may hold at most now.
    #[inline]
    pub fn part(&self) -> u32 {
        u32::try_from(self.free() / PART).unwrap_or(u32::MAX)
    }

    /// Whether there is memory for another connection: room for a little of what it says and hears is part of it.
    pub fn has_room(&self) -> bool {
        self.free() >= CONNECTION + (self.budget / 4).max(2 * SMALL)
    }

    /// Whether somebody who has waited for memory may try again.
    pub fn has_some(&self) -> bool {
        self.free() >= SMALL
    }

    /// There is one connection more.
    pub fn open(&mut self) {
        self.used += CONNECTION;
    }

    /// And one less, which had these buffers.
    pub fn close(&mut self, buffers: [Box<[u8]>; 2]) {
        self.used = self.used.saturating_sub(CONNECTION);
        for buffer in buffers {
            self.put(buffer);
        }
    }

    /// Whether so many pages with what has come may be kept.
    pub fn has_pages(&self, count: usize) -> bool {
        self.free() >= count * PAGE_SIZE + self.budget / 8
    }

    /// So many pages more are kept.
    pub fn charge_pages(&mut self, count: usize) {
        self.used += count * PAGE_SIZE;
    }

    /// And so many less.
    pub fn release_pages(&mut self, count: usize) {
        self.used = self.used.saturating_sub(count * PAGE_SIZE);
    }

    /// Bytes that connections and their buffers have.
    #[cfg(any(test, feature = "test-utils"))]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Bytes that are kept for the next buffers, which is what there is of them.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        let kept = self.spare.iter().flatten().map(|memory| memory.len()).sum();
        assert_eq!(self.kept, kept);
        kept
    }

    /// The place for memory of `length` bytes, a power of two; `None` when it is not kept.
    fn place(&mut self, length: usize) -> Option<&mut Vec<Box<[u8]>>> {
        let number = (length.trailing_zeros() as usize).checked_sub(LEAST.trailing_zeros() as usize)?;
        self.spare.get_mut(number)
    }

    /// Memory of `length` bytes, a power of two, instead of `old` bytes that will come back.
    pub fn take(&mut self, length: usize, old: usize, purpose: Purpose) -> Option<Box<[u8]>> {
        let free = self.free() + old;
        let alone = if purpose == Purpose::Receive { self.budget / 8 } else { 0 };
        if length + alone > free || length > SMALL.max(free / 2) {
            return None;
        }
        let memory = match self.place(length).and_then(Vec::pop) {
            Some(memory) => {
                self.kept -= length;
                memory
            }
            None => {
                self.forget(length);
                let mut memory = Vec::new();
                memory.try_reserve_exact(length).ok()?;
                memory.resize(length, 0);
                memory.into_boxed_slice()
            }
        };
        self.used += length;
        Some(memory)
    }

    /// Gives back what is kept, as far as it is in the way of `length` bytes more.
    #[cold]
    #[inline(never)]
    fn forget(&mut self, length: usize) {
        while self.used + self.kept + length > self.budget
            && let Some(memory) = self.spare.iter_mut().rev().find_map(Vec::pop)
        {
            self.kept -= memory.len();
        }
    }

    /// Memory of a buffer comes back.
    pub fn put(&mut self, memory: Box<[u8]>) {
        let length = memory.len();
        self.used = self.used.saturating_sub(length);
        let kept = self.kept + length;
        if length > 0
            && kept <= SPARE.min(self.budget / 4)
            && self.used + kept <= self.budget
            && let Some(place) = self.place(length)
            && place.try_reserve(1).is_ok()
        {
            place.push(memory);
            self.kept = kept;
        }
    }
}

/// How many bytes the buffer of a direction may hold.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// What every connection may have.
    pub least: u32,
    /// What one has at first while there is enough memory.
    pub first: u32,
    /// What one gets that makes full use of it.
    pub most: u32,
}

/// Buffers get so many times as large as the least, memory permitting: 4 MiB are 40 ms of a gigabit. They are so many times as large at
/// first.
const MOST: usize = 512;
const FIRST: usize = 4;

impl Sizes {
    pub fn new(least: usize) -> Sizes {
        // No window is larger than a gigabyte (RFC 7323, 2.3), and no buffer need be.
        let times = |times: usize| least.saturating_mul(times).min(1 << 30) as u32;
        Sizes { least: times(1), first: times(FIRST), most: times(MOST) }
    }

    /// The size of a buffer that nothing is known of, while one may hold `part` bytes.
    pub fn first(&self, part: u32) -> u32 {
        self.first.min(part).max(self.least)
    }

    /// That of one which was too small with `limit` bytes.
    fn next(&self, limit: u32, part: u32) -> u32 {
        limit.saturating_mul(2).min(self.most).min(part).max(self.least)
    }
}

/// Whether the application waits for memory to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hunger {
    #[default]
    None,
    /// There was none just now; and the time after which to look again is not set yet.
    New,
    Waiting,
}

/// How the peer uses its window: what it was told at a moment, and whether it took that up at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Use {
    /// When that was, and where that window ended.
    since: Instant,
    end: Seq,
}

impl Connection {
    /// From now on it counts how the window is used.
    pub fn start_use(&mut self, now: Instant) {
        self.usage = Use { since: now, end: self.expected.add(self.receive.limit() as u32) };
    }

    /// Data has come, and all up to `expected` is there.
    #[inline]
    pub fn note_use(&mut self, now: Instant, link: &Link) {
        if !before(self.expected, self.usage.end) {
            self.fit_receive(now, link);
        }
    }

    /// A window was used up. If that took no longer than it must on such a way, and the application has kept pace, it may have
    /// been too small: the next one is larger (after M. Fisk, W. Feng, "Dynamic right-sizing", 2000).
    #[cold]
    #[inline(never)]
    fn fit_receive(&mut self, now: Instant, link: &Link) {
        let trip = self.trip.smoothed().unwrap_or_default();
        let (limit, held) = (self.receive.limit(), self.receive.length());
        let soon = if limit < LARGE { SOON.max(2 * trip) } else { 2 * trip };
        let is_soon = now - self.usage.since <= soon;
        if is_soon && held <= limit - limit / 4 {
            self.receive.set_limit(link.receive.next(limit as u32, link.part));
        } else if limit as u32 > link.part {
            // Others need it now.
            self.receive.set_limit(link.part.max(link.receive.least));
        }
        self.start_use(now);
    }

    /// The application writes more than there is room for: the buffer gets larger if the network would take more than it
    /// holds, as far as one may that holds `part` bytes.
    #[cold]
    #[inline(never)]
    pub fn fit_send(&mut self, sizes: Sizes, part: u32) {
        let limit = self.send.limit() as u32;
        // Round trips that have become much longer are spent in a queue that is ours.
        let is_queue = || self.trip.smoothed() > self.trip.least().map(|least| 2 * least);
        let is_enough = limit as usize >= LARGE_SEND && is_queue();
        if self.window.min(self.congestion.window()) > limit / 2 && !is_enough {
            self.send.set_limit(sizes.next(limit, part).max(limit));
        }
    }

    /// Whether nothing has come for so long that nothing is known any more of what the buffers are used for.
    #[inline]
    pub fn is_idle(&self, now: Instant) -> bool {
        now.nanos_since(self.heard) >= IDLE
    }

    /// After that they are as small as at first. What the peer was told of its window stays true.
    #[cold]
    #[inline(never)]
    pub fn shrink(&mut self, link: &Link) {
        self.receive.set_limit(link.receive.first(link.part).min(self.receive.limit() as u32));
        self.send.set_limit(link.send.first(link.part).min(self.send.limit() as u32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_all() {
        let mut memory = Memory::new(1 << 20);
        assert!(memory.take(1 << 20, 0, Purpose::Send).is_none());
        let half = memory.take(1 << 19, 0, Purpose::Send).expect("it is free");
        let quarter = memory.take(1 << 18, 0, Purpose::Receive).expect("it is half of the rest");
        assert!(memory.take(1 << 18, 0, Purpose::Receive).is_none());
        // Where there is little, many get a little, and those who send go on when there is no more for what comes.
        let small = |memory: &mut Memory, purpose| {
            let taken: Vec<_> = core::iter::from_fn(|| memory.take(SMALL, 0, purpose)).collect();
            taken.len()
        };
        assert_eq!(small(&mut memory, Purpose::Receive), 64);
        assert_eq!(small(&mut memory, Purpose::Send), 64);
        assert_eq!((memory.used(), memory.kept(), memory.has_some()), (1 << 20, 0, false));
        memory.put(half);
        memory.put(quarter);
        // What is kept does not count on top of the budget.
        assert_eq!((memory.used(), memory.kept()), (1 << 18, 1 << 18));
        assert!(memory.take(1 << 18, 0, Purpose::Send).is_some() && memory.has_some());
        let others: Vec<_> = core::iter::from_fn(|| memory.take(1 << 12, 0, Purpose::Send)).collect();
        assert!(!others.is_empty() && memory.used() + memory.kept() <= 1 << 20);
    }

    #[test]
    fn a_thousand_connections_have_room_by_default() {
        let mut memory = Memory::new(2 << 20);
        let mut connections = 0;
        while memory.has_room() {
            memory.open();
            connections += 1;
        }
        assert_eq!(connections, 1536);
        assert!(memory.part() >= 64 << 10, "and one of them can have much: {}", memory.part());
        for _ in 0..connections {
            memory.close(Default::default());
        }
        assert_eq!(memory.used(), 0);
    }
}
