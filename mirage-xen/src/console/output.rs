//! Output that waits for room: a backlog in front of the ring, and what is said when that was too small.

use alloc::vec::Vec;
use mirage_rt::console::pieces;

use super::ring::Ring;
use crate::lists::forget_first;

/// Bytes of output that wait behind a full ring at most. They are allocated when the ring is full for the first time.
pub const BACKLOG: usize = 16 * 1024;

/// Room that ends a loss: whoever reads slowly then gets a stretch of output, and not a notice for each line.
const RESUME: usize = BACKLOG / 4;

/// Bytes of the longest notice of a loss.
const NOTICE: usize = 80;

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
        self.drain(ring);
        for &byte in bytes {
            if byte == b'\n' {
                self.put(ring, b'\r', peer);
            }
            self.put(ring, byte, peer);
        }
    }

    /// Moves what waits into the ring, as far as there is room; whether any was moved.
    pub(crate) fn drain(&mut self, ring: &Ring<'_>) -> bool {
        let written = ring.put(&self.backlog).unwrap_or(0);
        let rest = self.backlog.len() - written;
        forget_first(&mut self.backlog, written);
        // Said where it is missing, once there is room.
        let said =
            self.unsaid > 0 && (self.room() >= RESUME || rest == 0 && ring.room().is_ok_and(|room| room >= NOTICE));
        if said {
            let lost = core::mem::take(&mut self.unsaid);
            pieces(format_args!("\n[{lost} bytes of console output were lost]\n"), &mut |piece| {
                self.write(ring, piece.as_bytes(), &Never)
            });
        }
        said || written > 0
    }

    /// Waits until the other side has read everything, or waiting is over.
    pub(crate) fn flush(&mut self, ring: &Ring<'_>, peer: &dyn Peer) {
        self.drain(ring);
        while (self.is_waiting() || !ring.is_read()) && peer.wait() {
            self.drain(ring);
        }
    }

    // By bytes: the console is slow, and whole lines are thrice the code.
    #[inline(never)]
    fn put(&mut self, ring: &Ring<'_>, byte: u8, peer: &dyn Peer) {
        loop {
            if !self.is_waiting() && ring.put(&[byte]) == Ok(1) {
                return;
            }
            // Who has lost output has waited already.
            if self.unsaid > 0 || !peer.wait() {
                break;
            }
            self.drain(ring);
        }
        if self.unsaid == 0 && self.room() > 0 {
            self.backlog.push(byte);
        } else {
            self.unsaid = self.unsaid.saturating_add(1);
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Room in the backlog; without memory for one there is none.
    fn room(&mut self) -> usize {
        if self.backlog.capacity() < self.limit && self.backlog.try_reserve_exact(self.limit).is_err() {
            return 0;
        }
        self.limit - self.backlog.len()
    }
}
