//! What a device does before a packet goes on a wire: it completes the checksum, and cuts what is longer than the link allows.

use alloc::vec::Vec;

use smoltcp::wire::{IpProtocol, Ipv4Packet, TcpPacket, TcpSeqNumber, checksum};

use super::link::Frame;
use crate::packet::Checksum;

/// Bytes of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
/// Where the checksum stands in the header of a datagram.
const UDP_CHECKSUM: u16 = 6;

/// The frames that `frame`, one of TCP over IPv4, is cut into: each has at most `mss` bytes of data, and its checksums.
///
/// # Panics
///
/// When the frame is none that a device could cut: it is a tool for tests.
pub(super) fn cut(frame: &[u8], mss: u16) -> Vec<Vec<u8>> {
    let packet = Ipv4Packet::new_checked(&frame[ETHERNET..]).expect("an IPv4 packet");
    assert!(packet.verify_checksum() && packet.next_header() == IpProtocol::Tcp, "a sound packet of TCP");
    assert_eq!(usize::from(packet.total_len()), frame.len() - ETHERNET, "the length is the packet's");
    let ip = usize::from(packet.header_len());
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    let tcp = TcpPacket::new_checked(packet.payload()).expect("a segment");
    let data_at = ETHERNET + ip + usize::from(tcp.header_len());
    let length = packet.payload().len() as u32;
    let blank = checksum::pseudo_header_v4(&source, &destination, IpProtocol::Tcp, length);
    assert_eq!(tcp.checksum(), blank, "the sum of the pseudo header stands in the field");
    let (seq, fin, psh) = (tcp.seq_number(), tcp.fin(), tcp.psh());
    let parts: Vec<&[u8]> = frame[data_at..].chunks(usize::from(mss)).collect();
    let mut frames = Vec::with_capacity(parts.len());
    for (number, part) in parts.iter().enumerate() {
        let mut bytes = [&frame[..data_at], part].concat();
        let length = bytes.len() - ETHERNET;
        let mut packet = Ipv4Packet::new_unchecked(&mut bytes[ETHERNET..]);
        packet.set_total_len(length as u16);
        packet.fill_checksum();
        let last = number + 1 == parts.len();
        let mut tcp = TcpPacket::new_unchecked(packet.payload_mut());
        tcp.set_seq_number(TcpSeqNumber(seq.0.wrapping_add((number * usize::from(mss)) as i32)));
        tcp.set_fin(fin && last);
        tcp.set_psh(psh && last);
        tcp.fill_checksum(&source.into(), &destination.into());
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
