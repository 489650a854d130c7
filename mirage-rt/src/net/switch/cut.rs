//! What a device does with a packet that is longer than the link allows.

use alloc::vec::Vec;

use smoltcp::wire::{IpProtocol, Ipv4Packet, TcpPacket, TcpSeqNumber, checksum};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

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
