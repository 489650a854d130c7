//! The ring of requests and responses that frontends share with their backends (`xen/io/ring.h`).
//!
//! A page holds four indices and a power of two of slots; a larger ring goes on in further pages. Each slot carries a request
//! one way and later a response the other way. The indices count up for ever and wrap at 2^32; a slot's number is the
//! index modulo the size.
//! How a request and a response look is a [`Protocol`]'s affair; this file only moves them, very carefully:
//!
//! - our own indices are private copies; what stands in the page is only ever written by us or checked by us;
//! - a backend may not produce more responses than there are requests; one that does is reported, not followed;
//! - a slot is copied exactly once, after the index that covers it was read with acquire order.

use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use crate::grants::Grant;
use crate::hypervisor::PAGE_SIZE;
use crate::shared::{SharedBytes, SharedPage, fence};
use crate::untrusted::Untrusted;

/// Offsets of the shared indices (`struct sring`).
pub(crate) const REQUEST_PRODUCER: usize = 0;
pub(crate) const REQUEST_EVENT: usize = 4;
pub(crate) const RESPONSE_PRODUCER: usize = 8;
pub(crate) const RESPONSE_EVENT: usize = 12;
/// Where the slots start.
pub(crate) const SLOTS: usize = 64;

/// How the slots of a ring are written and read.
pub trait Protocol {
    /// Bytes of a slot: the larger of request and response, a multiple of 4; of 16 for rings of more than one page.
    const SLOT: usize;
    /// What a frontend sends.
    type Request;
    /// What a backend answers.
    type Response;

    /// Writes a request into its slot.
    fn write_request(slot: Slot<'_>, request: &Self::Request);
    /// Copies a response out of its slot, once.
    fn read_response(slot: Slot<'_>) -> Self::Response;
    /// Copies a request out of its slot, once: the backend's half.
    fn read_request(slot: Slot<'_>) -> Self::Request;
    /// Writes a response into its slot: the backend's half.
    fn write_response(slot: Slot<'_>, response: &Self::Response);
}

/// Number of slots of a one-page ring: the largest power of two that fits.
pub const fn slots<P: Protocol>() -> u32 {
    slots_in::<P>(1)
}

/// Number of slots of a ring of so many pages.
pub const fn slots_in<P: Protocol>(pages: usize) -> u32 {
    let fit = ((pages * PAGE_SIZE - SLOTS) / P::SLOT) as u32;
    1 << fit.ilog2()
}

/// The memory a ring lies in.
pub trait RingMemory {
    /// The first page, with the indices.
    fn bytes(&self) -> SharedBytes<'_>;

    /// How many pages there are.
    fn pages(&self) -> usize {
        1
    }

    /// One of the pages; they need not be neighbours in memory.
    fn page(&self, _number: usize) -> SharedBytes<'_> {
        self.bytes()
    }
}

impl RingMemory for Grant {
    fn bytes(&self) -> SharedBytes<'_> {
        Grant::bytes(self)
    }
}

impl RingMemory for SharedPage {
    fn bytes(&self) -> SharedBytes<'_> {
        SharedPage::bytes(self)
    }
}

/// A ring of several pages, at least one.
impl<M: RingMemory> RingMemory for Vec<M> {
    fn bytes(&self) -> SharedBytes<'_> {
        self[0].bytes()
    }

    fn pages(&self) -> usize {
        self.len()
    }

    fn page(&self, number: usize) -> SharedBytes<'_> {
        self[number].bytes()
    }
}

/// The memory of a slot. In a ring of several pages, it may lie partly at the end of one and partly at the start of the
/// next; they meet at a multiple of 16 bytes.
///
/// Offsets and lengths are as for [`SharedBytes`]; no single access may lie in both pages.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    first: SharedBytes<'a>,
    rest: Option<SharedBytes<'a>>,
}

impl<'a> Slot<'a> {
    /// Slot `number` of the ring in `memory`.
    #[inline]
    pub(crate) fn of<P: Protocol>(memory: &'a impl RingMemory, number: u32) -> Self {
        let start = SLOTS + number as usize * P::SLOT;
        let (page, offset) = (start / PAGE_SIZE, start % PAGE_SIZE);
        let length = P::SLOT.min(PAGE_SIZE - offset);
        let rest = P::SLOT - length;
        Self {
            first: memory.page(page).part(offset, length),
            rest: if rest > 0 { Some(memory.page(page + 1).part(0, rest)) } else { None },
        }
    }

    /// Copies `N` bytes out of the slot, as [`SharedBytes::read_words`].
    #[inline]
    pub fn read_words<const N: usize>(&self, offset: usize) -> [u8; N] {
        let (part, offset) = self.part(offset);
        part.read_words(offset)
    }

    /// Copies `N` bytes into the slot, as [`SharedBytes::write_words`].
    #[inline]
    pub fn write_words<const N: usize>(&self, offset: usize, bytes: &[u8; N]) {
        let (part, offset) = self.part(offset);
        part.write_words(offset, bytes);
    }

    #[inline]
    fn part(&self, offset: usize) -> (SharedBytes<'a>, usize) {
        match self.rest {
            Some(rest) if offset >= self.first.len() => (rest, offset - self.first.len()),
            _ => (self.first, offset),
        }
    }
}

/// The backend's response index covers slots that hold no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProducerOverflow {
    /// Responses the backend claims.
    pub claimed: u32,
    /// Requests it could have answered.
    pub outstanding: u32,
}

impl fmt::Display for ProducerOverflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the backend claims {} responses, but only {} requests are outstanding",
            self.claimed, self.outstanding
        )
    }
}

impl core::error::Error for ProducerOverflow {}

/// The frontend's half of a ring.
pub struct FrontRing<P, M = Grant> {
    memory: M,
    /// Requests written, published or not.
    written: u32,
    /// Requests published: the backend may see those below.
    published: u32,
    /// Responses consumed.
    consumed: u32,
    /// Responses known to be there; checked when it was read.
    available: u32,
    /// How many slots there are.
    size: u32,
    protocol: PhantomData<P>,
}

impl<P: Protocol, M: RingMemory> FrontRing<P, M> {
    /// Clears `memory` and starts an empty ring in it. To be called before the backend learns of the page.
    pub fn new(memory: M) -> Self {
        Self::starting_at(memory, 0)
    }

    /// As [`new`](Self::new), with all indices at `index`, as they are after that many requests.
    pub fn starting_at(memory: M, index: u32) -> Self {
        let page = memory.bytes();
        page.clear();
        page.store_u32(REQUEST_PRODUCER, index, Ordering::Relaxed);
        page.store_u32(REQUEST_EVENT, index.wrapping_add(1), Ordering::Relaxed);
        page.store_u32(RESPONSE_PRODUCER, index, Ordering::Relaxed);
        page.store_u32(RESPONSE_EVENT, index.wrapping_add(1), Ordering::Relaxed);
        let size = slots_in::<P>(memory.pages());
        Self {
            memory,
            written: index,
            published: index,
            consumed: index,
            available: index,
            size,
            protocol: PhantomData,
        }
    }

    /// How many slots the ring has.
    #[inline]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Slots for further requests.
    #[inline]
    pub fn free(&self) -> u32 {
        self.size - self.outstanding()
    }

    /// Requests written whose response was not consumed.
    #[inline]
    pub fn outstanding(&self) -> u32 {
        self.written.wrapping_sub(self.consumed)
    }

    /// The index the next request gets; modulo the size, the number of its slot.
    #[inline]
    pub fn next_request(&self) -> u32 {
        self.written
    }

    /// The index of the next response.
    #[inline]
    pub fn next_response(&self) -> u32 {
        self.consumed
    }

    /// Writes a request; `false`, and nothing is written, when there is no free slot. The backend sees it after
    /// [`publish`](Self::publish).
    #[inline]
    pub fn push(&mut self, request: &P::Request) -> bool {
        if self.free() == 0 {
            return false;
        }
        P::write_request(Slot::of::<P>(&self.memory, self.written & (self.size - 1)), request);
        self.written = self.written.wrapping_add(1);
        true
    }

    /// Forgets requests written since the next one had the index `mark`. Those published stay.
    pub fn rewind(&mut self, mark: u32) {
        let unpublished = self.written.wrapping_sub(self.published);
        if self.written.wrapping_sub(mark) <= unpublished {
            self.written = mark;
        }
    }

    /// Requests written that the backend does not see yet.
    #[inline]
    pub fn unpublished(&self) -> u32 {
        self.written.wrapping_sub(self.published)
    }

    /// Shows the backend all requests written; whether it wants to be notified of them.
    #[must_use = "the backend may wait for the notification"]
    pub fn publish(&mut self) -> bool {
        if self.written == self.published {
            return false;
        }
        let page = self.memory.bytes();
        let before = self.published;
        self.published = self.written;
        // Release: the slots are written before the index that covers them.
        page.store_u32(REQUEST_PRODUCER, self.written, Ordering::Release);
        // The index must be visible before we look whether the backend went to sleep, as it looks in the other order.
        fence(Ordering::SeqCst);
        let event = page.load_u32(REQUEST_EVENT, Ordering::Relaxed);
        // Whether the event index lies among those published now.
        self.written.wrapping_sub(event) < self.written.wrapping_sub(before)
    }

    /// Looks how many responses are there to be taken.
    ///
    /// # Errors
    ///
    /// [`ProducerOverflow`] when that is more than requests are published. The ring can't be used any more.
    #[inline]
    pub fn available(&mut self) -> Result<u32, ProducerOverflow> {
        if self.available == self.consumed {
            // Acquire: the slots are read after the index that covers them.
            let producer = Untrusted::new(self.memory.bytes().load_u32(RESPONSE_PRODUCER, Ordering::Acquire));
            let outstanding = self.published.wrapping_sub(self.consumed);
            let claimed = producer.map(|index| index.wrapping_sub(self.consumed));
            match claimed.at_most(outstanding) {
                Some(count) => self.available = self.consumed.wrapping_add(count),
                None => return Err(ProducerOverflow { claimed: claimed.for_any_value(), outstanding }),
            }
        }
        Ok(self.available.wrapping_sub(self.consumed))
    }

    /// Takes the next response, if [`available`](Self::available) found one: a copy that nobody else can change.
    #[inline]
    pub fn take(&mut self) -> Option<Untrusted<P::Response>> {
        if self.available == self.consumed {
            return None;
        }
        let response = P::read_response(Slot::of::<P>(&self.memory, self.consumed & (self.size - 1)));
        self.consumed = self.consumed.wrapping_add(1);
        Some(Untrusted::new(response))
    }

    /// Asks for a notification after `distance` further responses (at least 1), and looks once more, because some may
    /// have come before the backend saw that: how many there are to be taken. Sleep only when it is none.
    ///
    /// # Errors
    ///
    /// As [`available`](Self::available).
    pub fn listen(&mut self, distance: u32) -> Result<u32, ProducerOverflow> {
        let event = self.consumed.wrapping_add(distance.max(1));
        self.memory.bytes().store_u32(RESPONSE_EVENT, event, Ordering::Relaxed);
        // The wish must be visible before we look, as the backend looks for it after it has produced.
        fence(Ordering::SeqCst);
        self.available()
    }

    /// The ring's memory.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Gives up the ring: its memory, to end the backend's access.
    pub fn into_memory(self) -> M {
        self.memory
    }
}

impl<P, M> fmt::Debug for FrontRing<P, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ring: written {}, published {}, consumed {}", self.written, self.published, self.consumed)
    }
}

#[cfg(test)]
mod tests;
