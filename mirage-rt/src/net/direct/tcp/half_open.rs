//! Half-open connections: a SYN came, our SYN went out, the peer's answer has not come yet. They need no buffers, and their
//! number is bounded: a flood of SYNs pushes out those that wait for long, and is answered with [cookies](super::cookies)
//! when there are none.

use alloc::vec::Vec;

use super::machine::Handshake;
use super::segment::{Bare, Control, FourTuple, Segment, SynOptions};
use super::timestamps::Timestamp;
use crate::net::direct::hash::Index;
use crate::net::direct::ip::{IpOut, Paths};
use crate::time::{Duration, Instant};

/// Entries at most.
const MOST: usize = 256;
/// How long the peer has for its first answer; twice as long each time after that.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Our SYN is sent so often.
const TRIES: u8 = 5;
/// An entry is given up for a new one only after our SYN was sent so often: three seconds.
const PATIENCE: u8 = 3;
/// How often the entries are looked through while there are some.
const TICK: Duration = Duration::from_millis(250);

struct Entry {
    handshake: Handshake,
    listener: u32,
    due: Instant,
    tries: u8,
}

impl Entry {
    /// Sends our SYN once more.
    fn repeat(&mut self, now: Instant, offer: &Offer, out: &mut dyn IpOut) {
        self.handshake.sent = now;
        self.handshake.repeated = true;
        send_syn(&self.handshake, self.handshake.stamp(), offer, out);
    }
}

/// The entries.
pub struct HalfOpen {
    index: Index,
    entries: Vec<Option<Entry>>,
    /// Where the next entry goes: entries are made in a circle, so that the one in the way is about the oldest.
    hand: usize,
    tick: Instant,
}

/// What our SYNs offer.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub paths: Paths,
    pub window: u16,
    pub window_shift: u8,
}

/// What became of a segment for a half-open connection.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// The handshake is done; the entry stays until [`HalfOpen::remove`].
    Complete(Handshake, u32),
    /// The answer was not for our SYN: reset.
    Wrong,
    /// Nothing is to be done.
    Ignore,
}

impl HalfOpen {
    pub fn new() -> HalfOpen {
        HalfOpen { index: Index::default(), entries: Vec::new(), hand: 0, tick: Instant::ZERO }
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        *self = HalfOpen::new();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no place for another one: all those looked at have not waited for long.
    pub fn is_full(&self) -> bool {
        let is_young = |index: usize| self.entries[index].as_ref().is_some_and(|entry| entry.tries < PATIENCE);
        self.entries.len() == MOST && self.near_hand().all(is_young)
    }

    /// Adds the connection of a SYN that came to `listener`, and sends our own.
    pub fn insert(&mut self, handshake: &Handshake, listener: u32, offer: &Offer, out: &mut dyn IpOut) {
        let now = handshake.sent;
        if self.index.is_empty() {
            self.tick = now + TICK;
        }
        send_syn(handshake, handshake.stamp(), offer, out);
        let index = self.place();
        self.index.insert(handshake.tuple.hash(), index as u32);
        self.entries[index] = Some(Entry { handshake: *handshake, listener, due: now + FIRST_WAIT, tries: 1 });
    }

    /// A segment came; `None` when it belongs to no entry.
    ///
    /// `options` are those of a SYN.
    pub fn on_segment(
        &mut self,
        now: Instant,
        segment: &Segment,
        options: &SynOptions,
        offer: &Offer,
        out: &mut dyn IpOut,
    ) -> Option<Found> {
        let index = self.find(&segment.tuple)?;
        let entry = self.entries.get_mut(index)?.as_mut()?;
        let expected = entry.handshake.peer_isn.add(1);
        if segment.rst {
            if segment.seq == expected {
                self.remove(&segment.tuple);
            }
            return Some(Found::Ignore);
        }
        if segment.syn {
            if segment.ack.is_some() {
                return Some(Found::Wrong);
            }
            if segment.seq == entry.handshake.peer_isn {
                // The peer has not heard us; by now its clock says something else.
                if let (Some(known), Some(stamp)) = (&mut entry.handshake.options.stamp, options.stamp) {
                    *known = stamp;
                }
                // Something on the way may not let the flags pass, so it tries without (RFC 3168, 6.1.1.1).
                entry.handshake.options.ecn &= options.ecn;
                entry.repeat(now, offer, out);
                return Some(Found::Ignore);
            }
            // Another attempt in the place of this one: as if this one had never been.
            self.remove(&segment.tuple);
            return None;
        }
        Some(match segment.ack {
            Some(ack) if ack == entry.handshake.isn.add(1) => {
                let offset = segment.seq.since(expected);
                if offset >= 0 && offset < i32::from(offer.window.max(1)) {
                    Found::Complete(entry.handshake, entry.listener)
                } else {
                    Found::Ignore
                }
            }
            Some(_) => Found::Wrong,
            None => Found::Ignore,
        })
    }

    /// Forgets the connection.
    pub fn remove(&mut self, tuple: &FourTuple) {
        if let Some(index) = self.find(tuple) {
            self.remove_at(index);
        }
    }

    fn remove_at(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index).and_then(Option::take) {
            self.index.remove(entry.handshake.tuple.hash(), index as u32);
        }
    }

    fn find(&self, tuple: &FourTuple) -> Option<usize> {
        let is_it = |index: u32| {
            self.entries
                .get(index as usize)
                .is_some_and(|entry| entry.as_ref().is_some_and(|entry| entry.handshake.tuple == *tuple))
        };
        self.index.find(tuple.hash(), is_it).map(|index| index as usize)
    }

    /// Forgets all connections of `listener`.
    pub fn remove_listener(&mut self, listener: u32) {
        for index in 0..self.entries.len() {
            if self.entries[index].as_ref().is_some_and(|entry| entry.listener == listener) {
                self.remove_at(index);
            }
        }
    }

    /// When [`run`](HalfOpen::run) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.index.is_empty()).then_some(self.tick)
    }

    /// Sends our SYN again where the peer's answer is due, and gives up where it was sent often enough.
    pub fn run(&mut self, now: Instant, offer: &Offer, out: &mut dyn IpOut) {
        if self.index.is_empty() || now < self.tick {
            return;
        }
        self.tick = now + TICK;
        for index in 0..self.entries.len() {
            let Some(entry) = &mut self.entries[index] else { continue };
            if entry.due > now {
                continue;
            }
            if entry.tries == TRIES {
                self.remove_at(index);
                continue;
            }
            entry.due = now + FIRST_WAIT * (1 << entry.tries);
            entry.tries += 1;
            entry.repeat(now, offer, out);
        }
    }

    fn near_hand(&self) -> impl Iterator<Item = usize> + use<> {
        let hand = self.hand;
        (0..8).map(move |offset| (hand + offset) % MOST)
    }

    /// A place for an entry: a free one near the hand, else that of the one there that has waited for the longest,
    /// which is given up.
    fn place(&mut self) -> usize {
        if self.entries.len() < MOST {
            self.entries.push(None);
            return self.entries.len() - 1;
        }
        let free = self.near_hand().find(|index| self.entries[*index].is_none());
        let old = || self.near_hand().max_by_key(|index| self.entries[*index].as_ref().map(|entry| entry.tries));
        let index = free.or_else(old).unwrap_or(self.hand);
        self.hand = (index + 1) % MOST;
        self.remove_at(index);
        index
    }
}

/// Sends our SYN.
pub fn send_syn(handshake: &Handshake, stamp: Option<Timestamp>, offer: &Offer, out: &mut dyn IpOut) {
    let options = SynOptions {
        mss: Some(offer.paths.mss(handshake.tuple.remote().ip())),
        // Only what the peer offered too.
        window_shift: handshake.options.window_shift.map(|_| offer.window_shift),
        sack: handshake.options.sack,
        stamp: None,
        ecn: handshake.options.ecn,
    };
    Bare {
        control: Control::Syn,
        seq: handshake.isn,
        ack: Some(handshake.peer_isn.add(1)),
        window: offer.window,
        options,
        stamp,
    }
    .send(&handshake.tuple, out);
}
