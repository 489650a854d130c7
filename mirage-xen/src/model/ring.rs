//! The backend's half of a ring.

use core::marker::PhantomData;
use core::sync::atomic::Ordering;

use crate::ring::{
    Protocol, REQUEST_EVENT, REQUEST_PRODUCER, RESPONSE_EVENT, RESPONSE_PRODUCER, RingMemory, Slot, slots_in,
};
use crate::shared::{SharedBytes, fence};

use super::Mapping;

impl RingMemory for Mapping {
    fn bytes(&self) -> SharedBytes<'_> {
        Mapping::bytes(self)
    }
}

/// The backend's half of a ring: takes requests, gives responses.
pub struct BackRing<P, M = Mapping> {
    memory: M,
    consumed: u32,
    written: u32,
    published: u32,
    /// Finds no requests where the indices make no sense, instead of ending the test.
    pub lenient: bool,
    protocol: PhantomData<P>,
}

impl<P: Protocol, M: RingMemory> BackRing<P, M> {
    /// The ring in `memory`, from where the frontend stands.
    pub fn new(memory: M) -> Self {
        let index = memory.bytes().load_u32(RESPONSE_PRODUCER, Ordering::Acquire);
        Self { memory, consumed: index, written: index, published: index, lenient: false, protocol: PhantomData }
    }

    /// The memory of the ring.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// How many slots the ring has.
    pub fn size(&self) -> u32 {
        slots_in::<P>(self.memory.pages())
    }

    /// Requests that are there to be taken.
    pub fn requests(&self) -> u32 {
        let producer = self.memory.bytes().load_u32(REQUEST_PRODUCER, Ordering::Acquire);
        let waiting = producer.wrapping_sub(self.consumed);
        let sensible = waiting <= self.size();
        assert!(sensible || self.lenient, "the frontend published {waiting} requests into a ring");
        if sensible { waiting } else { 0 }
    }

    /// Takes a request and its index.
    pub fn take(&mut self) -> Option<(u32, P::Request)> {
        if self.requests() == 0 {
            return None;
        }
        let index = self.consumed;
        self.consumed = self.consumed.wrapping_add(1);
        Some((index, P::read_request(Slot::of::<P>(&self.memory, index % self.size()))))
    }

    /// Writes a response into the next slot.
    pub fn push(&mut self, response: &P::Response) {
        P::write_response(Slot::of::<P>(&self.memory, self.written % self.size()), response);
        self.written = self.written.wrapping_add(1);
    }

    /// Moves the response index on without writing a response, as a hostile backend may.
    pub fn skip(&mut self, count: u32) {
        self.written = self.written.wrapping_add(count);
    }

    /// Shows the frontend all responses; whether it wants to be notified.
    pub fn publish(&mut self) -> bool {
        let page = self.memory.bytes();
        let before = self.published;
        self.published = self.written;
        page.store_u32(RESPONSE_PRODUCER, self.written, Ordering::Release);
        fence(Ordering::SeqCst);
        let event = page.load_u32(RESPONSE_EVENT, Ordering::Relaxed);
        self.written.wrapping_sub(event) < self.written.wrapping_sub(before)
    }

    /// Asks to be notified of the next request; how many came in the meantime.
    pub fn listen(&mut self) -> u32 {
        self.memory.bytes().store_u32(REQUEST_EVENT, self.consumed.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.requests()
    }
}
