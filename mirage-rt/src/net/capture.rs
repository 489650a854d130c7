//! Packet capture: a device that writes down every frame that passes it, in the classic pcap format, for tcpdump, Wireshark
//! and their like.
//!
//! [`Capture`] wraps any network device and is one itself. Frames go to a [`Sink`]: a [`Memory`] of bounded size, or on Unix
//! a file (`mirage_unix::CaptureFile`; of a program on a tap device, the environment variable `MIRAGE_CAPTURE` makes one for
//! each network), or to who reads them over TCP, a [`Live`]: networks that build.rs declares with `.capture()` have one, when the
//! key `capture` names a port.
//!
#![cfg_attr(feature = "test-utils", doc = "```")]
#![cfg_attr(not(feature = "test-utils"), doc = "```ignore")]
//! use mirage_rt::net::capture::{Capture, Memory};
//! use mirage_rt::net::switch::{Impairments, Switch};
//! use mirage_rt::net::{Config, Network};
//! use mirage_rt::{sleep, Duration, testing};
//!
//! testing::run(1, async {
//!     let switch = Switch::new(1, Impairments::NONE);
//!     let trace = Memory::new(1 << 20);
//!     let device = Capture::new(switch.port(), trace.clone()).expect("there is room for the header");
//!     let config = Config::from_keys("10.0.0.1/24".parse().ok(), None);
//!     let network = Network::direct(device, switch.pool(), config).expect("a host's address");
//!     sleep(Duration::from_millis(1)).await;
//!     // The network has announced itself: the file's header, and an ARP packet of 42 bytes behind its own.
//!     assert_eq!(trace.take().len(), 24 + 16 + 42);
//! });
//! ```
//!
//! Frames are written as they pass, so those of which a device completes the checksum, or which it cuts into segments,
//! stand there before that was done: their checksums look wrong, and they may be longer than the MTU.
//!
//! The format is that of draft-ietf-opsawg-pcap-03, little-endian, with timestamps in nanoseconds of the wall clock, or of
//! the monotonic clock where there is no other.

mod live;
#[cfg(test)]
mod tests;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::task::{Context, Poll};

pub use live::Live;

use super::log_targets;
use crate::packet::PacketMut;
use crate::runtime::Runtime;
use crate::types::network::{GroupError, NetworkDevice, NetworkError, NetworkInfo, TransmitError};

/// The most bytes of a frame that are written: more than any packet has.
pub const MAX_SNAP_LENGTH: u32 = 262_144;

/// Bytes of the file's header.
const FILE_HEADER: usize = 24;
/// Bytes in front of each frame.
const RECORD_HEADER: usize = 16;
/// Timestamps are in nanoseconds.
const MAGIC: u32 = 0xa1b2_3c4d;
/// Ethernet.
const LINK_TYPE: u32 = 1;

/// Where a capture goes.
pub trait Sink {
    /// Takes the file's header, or a frame with its record header: all of it or nothing.
    ///
    /// # Errors
    ///
    /// [`SinkFailed`] when nothing will be taken any more: the capture ends, and the device goes on. A sink that has no
    /// room for this record, but may have for others, drops it without an error.
    fn write(&mut self, record: &[u8]) -> Result<(), SinkFailed>;

    /// Whoever reads the capture is to see all records up to now: called when a burst is over.
    ///
    /// # Errors
    ///
    /// As [`write`](Sink::write).
    fn flush(&mut self) -> Result<(), SinkFailed> {
        Ok(())
    }

    /// Whether records are of any use now: while not, none are made.
    fn is_wanted(&self) -> bool {
        true
    }
}

/// A sink takes nothing more. Why, it has said itself, in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkFailed;

impl fmt::Display for SinkFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the packet capture could not be written: see whether there is room where it goes")
    }
}

impl core::error::Error for SinkFailed {}

/// A network device that writes down what passes it.
#[derive(Debug)]
pub struct Capture<D, S> {
    device: D,
    /// `None` when it has failed.
    sink: Option<S>,
    snap_length: u32,
    /// A record that is being made.
    record: Vec<u8>,
    /// There are records since the last flush.
    dirty: bool,
}

impl<D: NetworkDevice, S: Sink> Capture<D, S> {
    /// Writes all that passes `device` to `sink`, whole.
    ///
    /// # Errors
    ///
    /// [`SinkFailed`] when the sink did not even take the file's header.
    pub fn new(device: D, sink: S) -> Result<Capture<D, S>, SinkFailed> {
        Capture::with_snap_length(device, sink, MAX_SNAP_LENGTH)
    }

    /// As [`new`](Capture::new), but of each frame `snap_length` bytes at most: 1 to [`MAX_SNAP_LENGTH`], else the nearest.
    ///
    /// # Errors
    ///
    /// As [`new`](Capture::new).
    pub fn with_snap_length(device: D, mut sink: S, snap_length: u32) -> Result<Capture<D, S>, SinkFailed> {
        let snap_length = snap_length.clamp(1, MAX_SNAP_LENGTH);
        sink.write(&file_header(snap_length))?;
        sink.flush()?;
        Ok(Capture::begun(device, sink, snap_length))
    }

    /// A capture whose sink has the file's header.
    fn begun(device: D, sink: S, snap_length: u32) -> Capture<D, S> {
        Capture { device, sink: Some(sink), snap_length, record: Vec::new(), dirty: false }
    }

    /// Makes the record of a frame.
    fn note(&mut self, frame: &PacketMut) {
        self.record.clear();
        let length = frame.len();
        let kept = length.min(self.snap_length as usize);
        if !self.sink.as_ref().is_some_and(Sink::is_wanted) || self.record.try_reserve(RECORD_HEADER + kept).is_err() {
            return;
        }
        let nanoseconds = Runtime::with_current(|runtime| match runtime.wall_clock() {
            Some(time) => time.as_nanos(),
            None => runtime.now().as_nanos(),
        });
        let nanoseconds = nanoseconds.unwrap_or_default();
        // Seconds are unsigned in the format, which lasts until 2106; a frame's length fits by far.
        let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
        for field in [seconds as u32, rest as u32, kept as u32, length as u32] {
            self.record.extend_from_slice(&field.to_le_bytes());
        }
        let mut left = kept;
        for part in frame.parts() {
            let part = part.get(..left.min(part.len())).unwrap_or_default();
            self.record.extend_from_slice(part);
            left -= part.len();
        }
    }

    /// Writes the record that was made.
    fn commit(&mut self) {
        if !self.record.is_empty() {
            self.dirty = true;
            let record = core::mem::take(&mut self.record);
            self.use_sink(|sink| sink.write(&record));
            self.record = record;
        }
    }

    fn flush_sink(&mut self) {
        if core::mem::take(&mut self.dirty) {
            self.use_sink(Sink::flush);
        }
    }

    fn use_sink(&mut self, act: impl FnOnce(&mut S) -> Result<(), SinkFailed>) {
        if let Some(sink) = &mut self.sink
            && act(sink).is_err()
        {
            log::error!(target: log_targets::CAPTURE, "the packet capture ends: it could not be written");
            self.sink = None;
        }
    }
}

impl<D: NetworkDevice, S: Sink> NetworkDevice for Capture<D, S> {
    fn info(&self) -> NetworkInfo {
        self.device.info()
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<PacketMut, NetworkError>> {
        let polled = self.device.poll_receive(context);
        match &polled {
            Poll::Ready(Ok(frame)) => {
                self.note(frame);
                self.commit();
            }
            // A burst is over.
            _ => self.flush_sink(),
        }
        polled
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
        self.device.poll_ready(context)
    }

    fn transmit(&mut self, packet: PacketMut) -> Result<(), TransmitError> {
        // The record is made before, as the packet is given away, and written only when the device has taken it.
        self.note(&packet);
        self.device.transmit(packet)?;
        self.commit();
        Ok(())
    }

    fn flush(&mut self) {
        self.device.flush();
        self.flush_sink();
    }

    fn join(&mut self, group: [u8; 6]) -> Result<(), GroupError> {
        self.device.join(group)
    }

    fn leave(&mut self, group: [u8; 6]) {
        self.device.leave(group);
    }
}

/// The header of a capture file.
fn file_header(snap_length: u32) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    // Major and minor version 2.4; then the time zone and the accuracy, which are always 0.
    let fields = [MAGIC, 4 << 16 | 2, 0, 0, snap_length, LINK_TYPE];
    for (place, field) in header.chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    header
}

/// A capture in memory. Clones are handles to the same one. When it is full, further frames are left out and counted.
#[derive(Clone, Debug)]
pub struct Memory {
    inner: Rc<Kept>,
}

#[derive(Debug)]
struct Kept {
    bytes: RefCell<Vec<u8>>,
    most: usize,
    missed: Cell<u64>,
}

impl Memory {
    /// Room for `most` bytes of the capture. They are taken as they are needed.
    pub fn new(most: usize) -> Memory {
        Memory { inner: Rc::new(Kept { bytes: RefCell::default(), most, missed: Cell::new(0) }) }
    }

    /// Takes what was captured out, which makes room again. What is taken first starts with the file's header: later parts
    /// go behind it.
    pub fn take(&self) -> Vec<u8> {
        self.inner.bytes.take()
    }

    /// How many records were left out for lack of room.
    pub fn missed(&self) -> u64 {
        self.inner.missed.get()
    }
}

impl Sink for Memory {
    fn write(&mut self, record: &[u8]) -> Result<(), SinkFailed> {
        let mut bytes = self.inner.bytes.borrow_mut();
        if bytes.len() + record.len() > self.inner.most || bytes.try_reserve(record.len()).is_err() {
            self.inner.missed.set(self.inner.missed.get() + 1);
        } else {
            bytes.extend_from_slice(record);
        }
        Ok(())
    }
}
