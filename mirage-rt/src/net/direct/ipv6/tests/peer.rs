//! A host without a stack: a test sends its packets and sees what comes.

use alloc::vec;

use super::*;
use crate::net::direct::ethernet::{self, EtherType};
use crate::net::direct::header;
use crate::net::ipv6::ndp::{self, Message, group_mac};
use crate::net::ipv6::packet::{self, HEADER, protocol};
use crate::net::switch::Port;
use crate::packet::PacketMut;
use crate::types::network::NetworkDevice;

/// A host in a port of its own.
pub struct Peer {
    switch: Switch,
    port: Port,
}

/// A packet that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub to_mac: [u8; 6],
    pub bytes: Vec<u8>,
}

impl Seen {
    pub fn packet(&self) -> packet::Packet<'_> {
        packet::read(&self.bytes).expect("the stack sends sound packets")
    }

    /// The message of neighbour discovery that it is.
    pub fn message(&self) -> Option<Message<'_>> {
        let packet = self.packet();
        let is_icmp = packet.protocol == protocol::ICMP;
        is_icmp.then(|| ndp::read(packet.source, packet.destination, packet.hop_limit, packet.payload())).flatten()
    }
}

impl Peer {
    pub fn new(switch: &Switch) -> Peer {
        Peer { switch: switch.clone(), port: switch.port() }
    }

    pub fn mac(&self) -> [u8; 6] {
        self.port.info().mac
    }

    /// Sends a frame as it is.
    pub fn send_frame(&mut self, frame: &[u8]) {
        let packet = PacketMut::copy_of(&self.switch.pool(), frame).expect("pages are left");
        self.port.transmit(packet).expect("the port takes it");
        self.port.flush();
    }

    /// Sends a packet to the stack, or to the group that it is for.
    pub fn send_packet(&mut self, packet: &[u8]) {
        let destination: [u8; 16] = packet[24..40].try_into().expect("a header");
        let group = Ipv6Addr::from(destination);
        let to = if group.is_multicast() { group_mac(group) } else { mac(1) };
        let mut frame = vec![0; ethernet::HEADER];
        ethernet::emit(frame.first_chunk_mut().expect("a header"), to, self.mac(), EtherType::Ipv6);
        frame.extend_from_slice(packet);
        self.send_frame(&frame);
    }

    /// Sends an ICMP message; its checksum is filled in.
    pub fn send_icmp(&mut self, source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, message: &[u8]) {
        let mut packet = plain(source, destination, protocol::ICMP, hop_limit, message);
        header::fill_icmp(&mut packet);
        self.send_packet(&packet);
    }

    /// Sends a message of neighbour discovery.
    pub fn send_discovery(&mut self, source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) {
        self.send_icmp(source, destination, ndp::HOP_LIMIT, message);
    }

    /// The packets that came within a millisecond.
    pub async fn seen(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        for _ in 0..5 {
            let mut context = core::task::Context::from_waker(core::task::Waker::noop());
            while let core::task::Poll::Ready(Ok(frame)) = self.port.poll_receive(&mut context) {
                let bytes: Vec<u8> = frame.parts().flatten().copied().collect();
                if bytes[12..14] == [0x86, 0xdd] {
                    seen.push(Seen { to_mac: bytes[..6].try_into().expect("six"), bytes: bytes[14..].to_vec() });
                }
            }
            sleep(Duration::from_micros(200)).await;
        }
        seen
    }
}

/// A packet without extension headers.
pub fn plain(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; HEADER];
    let head = packet.first_chunk_mut().expect("a header");
    packet::emit_header(head, source, destination, protocol, payload.len(), hop_limit);
    packet.extend_from_slice(payload);
    packet
}
