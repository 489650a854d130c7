//! The headers of segments that leave.

use smoltcp::wire::IpProtocol;

use super::segment::{FourTuple, Seq, SynOptions};
use super::timestamps::Timestamp;
use crate::net::direct::header;

/// Bytes of a TCP header without options.
pub const HEADER: usize = 20;

/// Bytes of options that a header has room for (RFC 9293, 3.1).
const MOST: usize = 40;

/// Flags of a header (RFC 9293, 3.1).
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
#[cfg(any(test, not(feature = "smoltcp-tcp")))]
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;
pub const ECE: u8 = 64;
#[cfg(any(test, not(feature = "smoltcp-tcp")))]
pub const CWR: u8 = 128;

/// What a header says besides its options.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    pub seq: Seq,
    /// Heeded with the flag [`ACK`], which stands for it being there.
    pub ack: Seq,
    pub flags: u8,
    pub window: u16,
}

impl Fields {
    /// Writes the headers of a packet with `payload` bytes of data into `packet`, which has room for just them and `options`, a
    /// multiple of four bytes; the checksum is left out. `None` when the lengths do not fit.
    #[inline(never)]
    pub fn write(&self, tuple: &FourTuple, packet: &mut [u8], options: &[u8], payload: usize) -> Option<()> {
        let (local, remote) = (tuple.local(), tuple.remote());
        let segment = header::emit_before(packet, local.ip(), remote.ip(), IpProtocol::Tcp, payload)?;
        let (fixed, rest) = segment.split_first_chunk_mut::<HEADER>()?;
        fixed[..2].copy_from_slice(&local.port().to_be_bytes());
        fixed[2..4].copy_from_slice(&remote.port().to_be_bytes());
        fixed[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        fixed[12] = ((HEADER + options.len()) as u8 / 4) << 4;
        fixed[13] = self.flags;
        fixed[14..16].copy_from_slice(&self.window.to_be_bytes());
        fixed[16..].fill(0);
        if rest.len() != options.len() {
            return None;
        }
        rest.copy_from_slice(options);
        Some(())
    }
}

/// Options to be sent, a multiple of four bytes.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    bytes: [u8; MOST],
    length: usize,
}

impl Written {
    pub const fn none() -> Written {
        Written { bytes: [0; MOST], length: 0 }
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub fn length(&self) -> usize {
        self.length
    }

    /// How many more bytes there is room for.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    pub fn room(&self) -> usize {
        MOST - self.length
    }

    /// A byte that was written.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    pub fn at_mut(&mut self, at: usize) -> Option<&mut u8> {
        self.bytes.get_mut(at)
    }

    /// Takes away all but the first bytes.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    pub fn cut(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Adds bytes if there is room.
    pub fn push(&mut self, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.length..self.length + bytes.len()) {
            place.copy_from_slice(bytes);
            self.length += bytes.len();
        }
    }

    /// The options of a SYN, without the timestamp.
    pub fn syn(&mut self, options: &SynOptions) {
        if let Some(mss) = options.mss {
            let [high, low] = mss.to_be_bytes();
            self.push(&[2, 4, high, low]);
        }
        if let Some(shift) = options.window_shift {
            self.push(&[1, 3, 3, shift]);
        }
        if options.sack {
            self.push(&[1, 1, 4, 2]);
        }
    }

    pub fn timestamp(&mut self, timestamp: Timestamp) {
        self.push(&[1, 1, 8, 10]);
        self.push(&timestamp.value.to_be_bytes());
        self.push(&timestamp.echo.to_be_bytes());
    }
}
