//! Ethernet frames with TCP over IPv4.

use std::net::Ipv4Addr;

use crate::{CLIENT, CLIENT_MAC, PORT, SERVER, SERVER_MAC};

/// Bytes of an Ethernet and an IPv4 header.
const BELOW: usize = 34;

/// A segment of the client's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment<'a> {
    /// The client's port.
    pub port: u16,
    /// Its position.
    pub seq: u32,
    /// What it acknowledges.
    pub ack: Option<u32>,
    /// It opens the connection.
    pub syn: bool,
    /// The window, not shifted.
    pub window: u16,
    /// Options, a multiple of four bytes.
    pub options: &'a [u8],
    /// Data.
    pub data: &'a [u8],
}

impl Segment<'_> {
    /// The frame, with its checksums.
    pub fn frame(&self) -> Vec<u8> {
        let header = 20 + self.options.len();
        let mut frame = Vec::with_capacity(BELOW + header + self.data.len());
        frame.extend(SERVER_MAC);
        frame.extend(CLIENT_MAC);
        frame.extend([8, 0]);
        let total = (20 + header + self.data.len()) as u16;
        let [high, low] = total.to_be_bytes();
        frame.extend([0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(CLIENT.octets());
        frame.extend(SERVER.octets());
        let sum = !fold(add(0, &frame[14..34]));
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        frame.extend(PORT.to_be_bytes());
        frame.extend(self.seq.to_be_bytes());
        frame.extend(self.ack.unwrap_or(0).to_be_bytes());
        let push = !self.data.is_empty();
        frame.push((header as u8 / 4) << 4);
        frame.push(u8::from(self.syn) << 1 | u8::from(push) << 3 | u8::from(self.ack.is_some()) << 4);
        frame.extend(self.window.to_be_bytes());
        frame.extend([0, 0, 0, 0]);
        frame.extend(self.options);
        frame.extend(self.data);
        let sum = !transport(CLIENT, SERVER, &frame[BELOW..]);
        frame[BELOW + 16..BELOW + 18].copy_from_slice(&sum.to_be_bytes());
        frame
    }
}

/// A segment of the server's.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The client's port.
    pub port: u16,
    /// Its position.
    pub seq: u32,
    /// What it acknowledges.
    pub ack: u32,
    /// It opens the connection.
    pub syn: bool,
    /// Data.
    pub data: &'a [u8],
}

impl<'a> Received<'a> {
    /// Reads a frame; `None` when it is none of TCP. Its transport checksum must be right if `check` is set.
    ///
    /// # Panics
    ///
    /// When the frame is not sound.
    pub fn parse(frame: &'a [u8], check: bool) -> Option<Received<'a>> {
        if frame[12..14] != [8, 0] || frame[23] != 6 {
            return None;
        }
        let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        assert_eq!(fold(add(0, &frame[14..34])), 0xffff, "the sum of the IP header is wrong");
        let segment = &frame[BELOW..14 + total];
        assert!(!check || transport(SERVER, CLIENT, segment) == 0xffff, "the sum of the segment is wrong");
        let word = |at: usize| u32::from_be_bytes([segment[at], segment[at + 1], segment[at + 2], segment[at + 3]]);
        assert_eq!(segment[13] & 0x05, 0, "the connection is closed or reset");
        Some(Received {
            port: u16::from_be_bytes([segment[2], segment[3]]),
            seq: word(4),
            ack: word(8),
            syn: segment[13] & 2 != 0,
            data: &segment[4 * usize::from(segment[12] >> 4)..],
        })
    }
}

/// The sum of a segment with its pseudo header; all ones when its checksum is right.
fn transport(source: Ipv4Addr, destination: Ipv4Addr, segment: &[u8]) -> u16 {
    let sum = add(add(6 + segment.len() as u64, &source.octets()), &destination.octets());
    fold(add(sum, segment))
}

/// Adds the bytes as numbers of two (RFC 1071).
fn add(sum: u64, bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    sum + bytes.chunks(2).map(word).sum::<u64>()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
