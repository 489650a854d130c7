//! The page that a console shares with its backend (`struct xencons_interface` of `io/console.h`): two rings of bytes.
//!
//! The indices count up for ever and wrap at 2^32; a byte's place is its index modulo the size. Each side waits for the
//! event of the other and looks again after it, so an index that is seen late costs time and no bytes.

use core::fmt;
use core::mem::offset_of;
use core::sync::atomic::Ordering;

use crate::abi::xencons_interface;
use crate::shared::{SharedBytes, fence};
use crate::untrusted::Untrusted;

/// Places of what the page has: bytes for us, bytes of ours, and the indices.
const INPUT: usize = offset_of!(xencons_interface, in_);
const OUTPUT: usize = offset_of!(xencons_interface, out);
const INPUT_CONSUMER: usize = offset_of!(xencons_interface, in_cons);
const INPUT_PRODUCER: usize = offset_of!(xencons_interface, in_prod);
const OUTPUT_CONSUMER: usize = offset_of!(xencons_interface, out_cons);
const OUTPUT_PRODUCER: usize = offset_of!(xencons_interface, out_prod);

/// Bytes that wait for us at most.
pub const INPUT_SIZE: usize = OUTPUT - INPUT;
/// Bytes of ours that wait for the backend at most.
pub const OUTPUT_SIZE: usize = INPUT_CONSUMER - OUTPUT;

/// One direction: where its bytes and indices are.
#[derive(Clone, Copy)]
struct Direction {
    data: usize,
    size: usize,
    producer: usize,
    consumer: usize,
}

const TO_US: Direction =
    Direction { data: INPUT, size: INPUT_SIZE, producer: INPUT_PRODUCER, consumer: INPUT_CONSUMER };
const TO_BACKEND: Direction =
    Direction { data: OUTPUT, size: OUTPUT_SIZE, producer: OUTPUT_PRODUCER, consumer: OUTPUT_CONSUMER };

/// How the other side has broken the protocol: an index that is further from ours than the ring is long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// It claims to have written more than fits.
    Producer,
    /// It claims to have read what was not written.
    Consumer,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Producer => "the backend claims to have written more than the ring holds",
            Self::Consumer => "the backend claims to have read what was not written",
        })
    }
}

impl core::error::Error for Broken {}

/// One side's view of the page. Copying it copies the view.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    page: SharedBytes<'a>,
    backend: bool,
}

impl<'a> Ring<'a> {
    /// Our view of `page`.
    pub const fn new(page: SharedBytes<'a>) -> Self {
        Self { page, backend: false }
    }

    /// The backend's view of it, for tests.
    #[cfg(any(test, feature = "test-utils"))]
    pub const fn of_backend(page: SharedBytes<'a>) -> Self {
        Self { page, backend: true }
    }

    /// Sets all indices to `index`, as they are after that many bytes. For a page that no other domain uses yet.
    pub fn start_at(&self, index: u32) {
        for place in [INPUT_CONSUMER, INPUT_PRODUCER, OUTPUT_CONSUMER, OUTPUT_PRODUCER] {
            self.page.store_u32(place, index, Ordering::Relaxed);
        }
    }

    const fn sent(&self) -> Direction {
        if self.backend { TO_US } else { TO_BACKEND }
    }

    const fn received(&self) -> Direction {
        if self.backend { TO_BACKEND } else { TO_US }
    }

    /// Bytes that can be written now.
    ///
    /// # Errors
    ///
    /// [`Broken::Consumer`].
    pub fn room(&self) -> Result<usize, Broken> {
        let direction = self.sent();
        let producer = self.page.load_u32(direction.producer, Ordering::Relaxed);
        // Acquire: what the consumer has read is overwritten only after it said so.
        let consumer = Untrusted::new(self.page.load_u32(direction.consumer, Ordering::Acquire));
        let waiting = consumer.map(|consumer| producer.wrapping_sub(consumer) as usize);
        waiting.at_most(direction.size).map(|waiting| direction.size - waiting).ok_or(Broken::Consumer)
    }

    /// Whether the other side has read all that was written.
    pub fn is_read(&self) -> bool {
        self.room() == Ok(self.sent().size)
    }

    /// Copies what has room and returns how much that was. The other side learns of it by an event, after this.
    ///
    /// # Errors
    ///
    /// [`Broken::Consumer`]; nothing was copied.
    pub fn put(&self, bytes: &[u8]) -> Result<usize, Broken> {
        let direction = self.sent();
        let producer = self.page.load_u32(direction.producer, Ordering::Relaxed);
        let count = self.room()?.min(bytes.len());
        let start = producer as usize % direction.size;
        let first = count.min(direction.size - start);
        self.page.copy_in(direction.data + start, &bytes[..first]);
        self.page.copy_in(direction.data, &bytes[first..count]);
        // Release: the bytes are there before the index that covers them.
        self.page.store_u32(direction.producer, producer.wrapping_add(count as u32), Ordering::Release);
        Ok(count)
    }

    /// Copies what has come, as far as `buffer` has room, and returns how much that was. The other side learns of the room
    /// by an event, after this.
    ///
    /// # Errors
    ///
    /// [`Broken::Producer`]; nothing was copied.
    pub fn take(&self, buffer: &mut [u8]) -> Result<usize, Broken> {
        let direction = self.received();
        let consumer = self.page.load_u32(direction.consumer, Ordering::Relaxed);
        // Acquire: the bytes are read after the index that covers them.
        let producer = Untrusted::new(self.page.load_u32(direction.producer, Ordering::Acquire));
        let waiting = producer.map(|producer| producer.wrapping_sub(consumer) as usize);
        let count = waiting.at_most(direction.size).ok_or(Broken::Producer)?.min(buffer.len());
        let start = consumer as usize % direction.size;
        let (first, second) = buffer[..count].split_at_mut(count.min(direction.size - start));
        self.page.copy_out(direction.data + start, first);
        self.page.copy_out(direction.data, second);
        // Release: the bytes are copied before the other side may overwrite them.
        self.page.store_u32(direction.consumer, consumer.wrapping_add(count as u32), Ordering::Release);
        // The index must be visible before the event, and before we look for more.
        fence(Ordering::SeqCst);
        Ok(count)
    }
}
