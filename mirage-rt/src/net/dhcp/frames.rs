//! Datagrams in frames, for the time in which there is no address and so no stack.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::wire::{IpProtocol, UDP_HEADER_LEN, UdpPacket};

use crate::net::direct::ethernet::{self, EtherType, Mac};
use crate::net::direct::header;
use crate::net::direct::ipv4::{self, Ipv4};

/// Both ends of a datagram: Ethernet address, address and port.
pub type Ends = [(Mac, SocketAddrV4); 2];

/// A frame with the datagram `payload` from the first end to the second one.
pub fn emit([(source_mac, source), (destination_mac, destination)]: Ends, payload: &[u8]) -> Vec<u8> {
    let length = UDP_HEADER_LEN + payload.len();
    let mut frame = vec![0; ethernet::HEADER + ipv4::HEADER + length];
    if let Some((header, packet)) = frame.split_first_chunk_mut::<{ ethernet::HEADER }>()
        && let Some((head, body)) = packet.split_first_chunk_mut::<{ ipv4::HEADER }>()
    {
        ethernet::emit(header, destination_mac, source_mac, EtherType::Ipv4);
        ipv4::emit_header(head, *source.ip(), *destination.ip(), IpProtocol::Udp, length);
        let mut datagram = UdpPacket::new_unchecked(body);
        datagram.set_src_port(source.port());
        datagram.set_dst_port(destination.port());
        datagram.set_len(length as u16);
        datagram.set_checksum(0);
        datagram.payload_mut().copy_from_slice(payload);
        header::fill_transport(packet, false);
    }
    frame
}

/// The ends and the payload of a datagram; `None` for everything else. With `checked`, somebody has looked at its checksum.
pub fn parse(frame: &[u8], checked: bool) -> Option<(Ends, &[u8])> {
    let (destination_mac, source_mac, EtherType::Ipv4) = ethernet::parse(frame)? else { return None };
    let packet = Ipv4::parse(frame.get(ethernet::HEADER..)?)?;
    if packet.protocol != IpProtocol::Udp || packet.fragment {
        return None;
    }
    let start = ethernet::HEADER + packet.header_length;
    let payload = frame.get(start..ethernet::HEADER + packet.packet.len())?;
    let datagram = UdpPacket::new_checked(payload).ok()?;
    // 0 says that there is none (RFC 768).
    if !checked && datagram.checksum() != 0 && !packet.verify_transport() {
        return None;
    }
    let end = |address: Ipv4Addr, port| SocketAddrV4::new(address, port);
    let source = (source_mac, end(packet.source, datagram.src_port()));
    let destination = (destination_mac, end(packet.destination, datagram.dst_port()));
    let length = usize::from(datagram.len());
    Some(([source, destination], payload.get(UDP_HEADER_LEN..length)?))
}
