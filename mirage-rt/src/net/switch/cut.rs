//! What a device does before a packet goes on a wire: it completes the checksum, and cuts what is longer than the link allows.

use alloc::vec::Vec;

use smoltcp::wire::{IpProtocol, TcpPacket, TcpSeqNumber, checksum};

use super::link::Frame;
use crate::net::direct::header;
use crate::packet::Checksum;

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
    let tcp_at = ETHERNET + header::length_in(packet);
    let tcp = TcpPacket::new_checked(&frame[tcp_at..]).expect("a segment");
    let data_at = tcp_at + usize::from(tcp.header_len());
    let (seq, fin, psh) = (tcp.seq_number(), tcp.fin(), tcp.psh());
    let parts: Vec<&[u8]> = frame[data_at..].chunks(usize::from(mss)).collect();
    let mut frames = Vec::with_capacity(parts.len());
    for (number, part) in parts.iter().enumerate() {
        let mut bytes = [&frame[..data_at], part].concat();
        let last = number + 1 == parts.len();
        let mut tcp = TcpPacket::new_unchecked(&mut bytes[tcp_at..]);
        tcp.set_seq_number(TcpSeqNumber(seq.0.wrapping_add((number * usize::from(mss)) as i32)));
        tcp.set_fin(fin && last);
        tcp.set_psh(psh && last);
        header::set_length(&mut bytes[ETHERNET..]);
        header::fill_transport(&mut bytes[ETHERNET..], false);
        frames.push(bytes);
    }
    frames
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
