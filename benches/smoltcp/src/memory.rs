//! A device in memory.

use std::collections::VecDeque;

use mirage_bench_wire::MTU;
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Frames that it takes before they are looked at.
const ROOM: usize = 256;
/// Bytes of the longest frame.
const FRAME: usize = MTU + 14;

/// Frames on their way. Their memory is there before it is needed, so that it costs nothing.
pub struct Memory {
    capabilities: DeviceCapabilities,
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    lengths: Vec<usize>,
}

impl Memory {
    /// With `offload` checksums are neither computed nor checked.
    pub fn new(offload: bool) -> Memory {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME;
        if offload {
            capabilities.checksum = ChecksumCapabilities::ignored();
            // Devices do those of segments.
            capabilities.checksum.ipv4 = Checksum::Both;
        }
        Memory {
            capabilities,
            received: VecDeque::new(),
            sent: vec![vec![0; FRAME]; ROOM],
            lengths: Vec::with_capacity(ROOM),
        }
    }

    /// A frame comes in.
    pub fn deliver(&mut self, frame: &[u8]) {
        self.received.push_back(frame.to_vec());
    }

    /// Takes out what was sent.
    pub fn sent(&mut self, see: &mut dyn FnMut(&[u8])) {
        for (frame, length) in self.sent.iter().zip(self.lengths.drain(..)) {
            see(&frame[..length]);
        }
    }
}

impl Device for Memory {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        if self.lengths.len() == ROOM {
            return None;
        }
        let frame = self.received.pop_front()?;
        Some((Received(frame), Sending(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        (self.lengths.len() < ROOM).then_some(Sending(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

/// A frame that came in.
pub struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

/// Room for a frame.
pub struct Sending<'a>(&'a mut Memory);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let frame = &mut self.0.sent[self.0.lengths.len()];
        self.0.lengths.push(length);
        write(&mut frame[..length])
    }
}
