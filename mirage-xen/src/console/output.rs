//! Output that waits for room: a backlog in front of the ring, and what is said when that was too small. A ring with nonsense
//! in it is a full one: the first console has no other use for the news.

use alloc::vec::Vec;
use mirage_rt::console::pieces;

use super::ring::Ring;

/// Bytes of output that wait behind a full ring at most. They are allocated when the ring is full for the first time.
pub const BACKLOG: usize = 16 * 1024;

/// Room that ends a loss: whoever reads slowly then gets a stretch of output, and not a notice for each line.
const RESUME: usize = BACKLOG / 4;

/// How the console reaches the other side.
pub(crate) trait Peer {
    /// Waits until the ring may have room; false when nobody waits, or no longer.
    fn wait(&self) -> bool;
}

/// A peer that is never waited for.
pub(crate) struct Never;

impl Peer for Never {
    fn wait(&self) -> bool {
        false
    }
}

/// Output on its way into a ring.
pub(crate) struct Output {
    backlog: Vec<u8>,
    limit: usize,
    /// Bytes lost since the last notice.
    unsaid: u64,
    lost: u64,
}

impl Output {
    /// Nothing to be written yet, and a backlog of at most `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { backlog: Vec::new(), limit, unsaid: 0, lost: 0 }
    }

    /// How many bytes were lost in all.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether something waits for room.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.backlog.is_empty() || self.unsaid > 0
    }

    /// Writes bytes, with a carriage return before each line feed: the ring ends in a terminal without a line discipline.
    pub(crate) fn write(&mut self, ring: &Ring<'_>, bytes: &[u8], peer: &dyn Peer) {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    self.put(ring, text, peer);
                    self.put(ring, b"\r\n", peer);
                }
                None => self.put(ring, line, peer),
            }
        }
    }

    /// Moves what waits into the ring, as far as there is room; whether any was moved.
    pub(crate) fn drain(&mut self, ring: &Ring<'_>) -> bool {
        let mut moved = false;
        // After the backlog there may be a notice, which may go into the backlog.
        loop {
            let written = ring.put(&self.backlog).unwrap_or(0);
            self.backlog.drain(..written);
            moved |= written > 0;
            if !self.say_lost(ring) {
                return moved;
            }
        }
    }

    /// Waits until the other side has read everything, or waiting is over.
    pub(crate) fn flush(&mut self, ring: &Ring<'_>, peer: &dyn Peer) {
        self.drain(ring);
        while (self.is_waiting() || !ring.is_read()) && peer.wait() {
            self.drain(ring);
        }
    }

    fn put(&mut self, ring: &Ring<'_>, bytes: &[u8], peer: &dyn Peer) {
        let mut rest = bytes;
        loop {
            self.drain(ring);
            if !self.is_waiting() {
                rest = &rest[ring.put(rest).unwrap_or(0)..];
            }
            if rest.is_empty() {
                return;
            }
            // Who has lost output has waited already.
            if self.unsaid > 0 || !peer.wait() {
                break;
            }
        }
        let kept = if self.unsaid > 0 { 0 } else { self.room().min(rest.len()) };
        self.backlog.extend_from_slice(&rest[..kept]);
        let lost = (rest.len() - kept) as u64;
        self.unsaid = self.unsaid.saturating_add(lost);
        self.lost = self.lost.saturating_add(lost);
    }

    /// Room in the backlog; without memory for one there is none.
    fn room(&mut self) -> usize {
        if self.backlog.capacity() < self.limit && self.backlog.try_reserve_exact(self.limit).is_err() {
            return 0;
        }
        self.limit - self.backlog.len()
    }

    /// Says how much is missing, where it is missing, once there is room; whether it did.
    fn say_lost(&mut self, ring: &Ring<'_>) -> bool {
        if self.unsaid == 0
            || !(self.room() >= RESUME
                || ring.room().is_ok_and(|room| room >= Notice::LONGEST) && self.backlog.is_empty())
        {
            return false;
        }
        let mut notice = Notice { text: [0; Notice::LONGEST], used: 0 };
        pieces(format_args!("\r\n[{} bytes of console output were lost]\r\n", self.unsaid), &mut |piece| {
            notice.add(piece)
        });
        self.unsaid = 0;
        let text = &notice.text[..notice.used];
        let written = if self.backlog.is_empty() { ring.put(text).unwrap_or(0) } else { 0 };
        self.backlog.extend_from_slice(&text[written..]);
        true
    }
}

/// The text of a notice.
struct Notice {
    text: [u8; Notice::LONGEST],
    used: usize,
}

impl Notice {
    const LONGEST: usize = 80;

    // Not inlined into the closure that calls it, which is compiled twice.
    #[inline(never)]
    fn add(&mut self, text: &str) {
        let end = self.used + text.len();
        if let Some(room) = self.text.get_mut(self.used..end) {
            room.copy_from_slice(text.as_bytes());
            self.used = end;
        }
    }
}
