//! What a device does before a packet goes on a wire: it completes the checksum, and cuts what is longer than the link allows.

use alloc::vec::Vec;

use smoltcp::wire::{IpProtocol, checksum};

use super::link::Frame;
use crate::net::direct::header;
use crate::net::segments;
use crate::packet::{Checksum, Gso};

/// Bytes of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
/// Where the checksum stands in the header of a datagram.
const UDP_CHECKSUM: u16 = 6;

/// The frames that `frame`, one of TCP, is cut into: each has at most `mss` bytes of data, and its checksums.
///
/// # Panics
///
/// When the frame is none that a device could cut: it is a tool for tests.
pub(super) fn cut(frame: &[u8], mss: u16) -> Vec<Vec<u8>> {
    let packet = &frame[ETHERNET..];
    assert_eq!(header::protocol(packet), Some(IpProtocol::Tcp), "a packet of TCP");
    let mut right = packet.to_vec();
    header::set_length(&mut right);
    header::fill_transport(&mut right, true);
    assert!(right == packet, "its length is right, and the sum of the pseudo header stands in the checksum's field");
    let packets = segments::cut(packet, mss).expect("a segment");
    packets.into_iter().map(|packet| [&frame[..ETHERNET], &packet].concat()).collect()
}

/// Bytes of the longest IP packet that becomes of a frame, in one that is still to be cut or was put together, too.
pub(super) fn longest(frame: &Frame) -> usize {
    let packet = frame.bytes.get(ETHERNET..).unwrap_or_default();
    let (Gso::Ipv4 { mss } | Gso::Ipv6 { mss }) = frame.gso else { return packet.len() };
    let ip_header = header::length_in(packet);
    let tcp_header = packet.get(ip_header + 12).map_or(0, |offset| 4 * usize::from(offset >> 4));
    packet.len().min(ip_header + tcp_header + usize::from(mss))
}

/// Completes a checksum that was left to a device.
pub(super) fn complete_checksum(frame: &mut Frame) {
    if let Checksum::Partial { start, offset } = frame.checksum {
        let (start, at) = (usize::from(start), usize::from(start) + usize::from(offset));
        let sum = match !checksum::data(frame.bytes.get(start..).unwrap_or_default()) {
            // A datagram with 0 there would say that it has no checksum (RFC 768).
            0 if offset == UDP_CHECKSUM => !0,
            sum => sum,
        };
        if let Some(field) = frame.bytes.get_mut(at..at + 2) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
    }
    frame.checksum = Checksum::None;
}
