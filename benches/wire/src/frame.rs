//! Ethernet frames with TCP over IPv4 and IPv6.

use crate::{CLIENT, CLIENT_IPV6, CLIENT_MAC, Family, PORT, SERVER, SERVER_IPV6, SERVER_MAC};

/// Bytes of an Ethernet header, and of one with that of IPv4 or IPv6 behind it.
const ETHERNET: usize = 14;
const BELOW: usize = 34;
const BELOW_IPV6: usize = 54;
/// The protocol's number.
const TCP: u8 = 6;

/// A segment of the client's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment<'a> {
    /// Over which protocol it goes.
    pub family: Family,
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
        let length = header + self.data.len();
        let mut frame = below(self.family, TCP, length);
        let below = frame.len();
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
        let sum = !transport(&frame, below, TCP);
        frame[below + 16..below + 18].copy_from_slice(&sum.to_be_bytes());
        frame
    }
}

/// The headers below a packet of the client's that has `length` bytes of `protocol`.
fn below(family: Family, protocol: u8, length: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(BELOW_IPV6 + length);
    frame.extend(SERVER_MAC);
    frame.extend(CLIENT_MAC);
    match family {
        Family::Ipv4 => {
            let [high, low] = ((20 + length) as u16).to_be_bytes();
            frame.extend([8, 0, 0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
            frame.extend(CLIENT.octets());
            frame.extend(SERVER.octets());
            let sum = !fold(add(0, &frame[ETHERNET..BELOW]));
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        Family::Ipv6 => {
            let [high, low] = (length as u16).to_be_bytes();
            // As many hops as neighbours must have.
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, high, low, protocol, 255]);
            frame.extend(CLIENT_IPV6.octets());
            frame.extend(SERVER_IPV6.octets());
        }
    }
    frame
}

/// The client asks for the server's Ethernet address, and names its own: from then on the server knows it.
pub fn question(family: Family) -> Vec<u8> {
    let mut frame = match family {
        Family::Ipv4 => {
            let mut frame = Vec::from([0xff; 6]);
            frame.extend(CLIENT_MAC);
            frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            frame.extend(CLIENT_MAC);
            frame.extend(CLIENT.octets());
            frame.extend([0; 6]);
            frame.extend(SERVER.octets());
            return frame;
        }
        Family::Ipv6 => below(family, 58, 32),
    };
    frame.extend([135, 0, 0, 0, 0, 0, 0, 0]);
    frame.extend(SERVER_IPV6.octets());
    frame.extend([1, 1]);
    frame.extend(CLIENT_MAC);
    let sum = !transport(&frame, BELOW_IPV6, 58);
    frame[BELOW_IPV6 + 2..BELOW_IPV6 + 4].copy_from_slice(&sum.to_be_bytes());
    frame
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
        let half = |at: usize| usize::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
        let (below, end) = match (half(12), frame[23], frame[20]) {
            (0x0800, TCP, _) => {
                assert_eq!(fold(add(0, &frame[ETHERNET..BELOW])), 0xffff, "the sum of the IP header is wrong");
                (BELOW, ETHERNET + half(16))
            }
            (0x86dd, _, TCP) => (BELOW_IPV6, BELOW_IPV6 + half(18)),
            _ => return None,
        };
        let segment = &frame[below..end];
        assert!(!check || transport(&frame[..end], below, TCP) == 0xffff, "the sum of the segment is wrong");
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

/// The sum of what stands behind the headers of a frame, with the pseudo header; all ones when its checksum is right.
fn transport(frame: &[u8], below: usize, protocol: u8) -> u16 {
    let addresses = if below == BELOW { BELOW - 8 } else { BELOW_IPV6 - 32 };
    fold(add(u64::from(protocol) + (frame.len() - below) as u64, &frame[addresses..]))
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
