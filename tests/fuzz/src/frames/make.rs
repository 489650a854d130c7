//! Frames made by hand, from the stranger to the stack.

use std::net::Ipv4Addr;

use super::check::{ICMP, IPV6, UDP};
use super::hub::{MACS, SERVER};
use super::{OURS, OURS6, THEIRS, THEIRS6};

/// A frame of any kind.
pub fn frame(to: [u8; 6], kind: u16, body: &[u8]) -> Vec<u8> {
    [&to, &MACS[2], &kind.to_be_bytes()[..], body].concat()
}

/// A question or answer of ARP, from `mac`.
pub fn arp(request: bool, mac: [u8; 6], source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let (to, asked) = if request { ([0xff; 6], [0; 6]) } else { (MACS[SERVER], MACS[SERVER]) };
    let kind = [0, 1, 8, 0, 6, 4, 0, if request { 1 } else { 2 }];
    frame(to, 0x0806, &[&kind[..], &mac, &source.octets(), &asked, &target.octets()].concat())
}

/// A packet over IPv4 to `to`, with options of IP and a place in a packet that comes in fragments.
pub fn ipv4(to: Ipv4Addr, place: u16, protocol: u8, options: &[u8], body: &[u8]) -> Vec<u8> {
    let words = 0x45 + (options.len() / 4) as u8;
    let [high, low] = (20 + options.len() as u16 + body.len() as u16).to_be_bytes();
    let [place, placed] = place.to_be_bytes();
    let fixed = [words, 0, high, low, 0, 7, place, placed, 64, protocol, 0, 0];
    [&fixed[..], &THEIRS.octets(), &to.octets(), options, body].concat()
}

/// A frame over IPv4 to the stack, without anything special.
pub fn frame4(protocol: u8, body: &[u8]) -> Vec<u8> {
    frame(MACS[SERVER], 0x0800, &ipv4(OURS, 0, protocol, &[], body))
}

/// The same over IPv6; the hop limit is that of neighbours.
pub fn frame6(protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut header = [0; IPV6];
    mirage_rt::net::ipv6::packet::emit_header(&mut header, THEIRS6, OURS6, protocol, body.len(), 255);
    frame(MACS[SERVER], 0x86dd, &[&header[..], body].concat())
}

/// A segment with a window of 2000; the length of the options is a multiple of four.
pub fn tcp(from: u16, to: u16, seq: u32, ack: u32, flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    let [f0, f1] = from.to_be_bytes();
    let [t0, t1] = to.to_be_bytes();
    let rest = [(20 + options.len() as u8) << 2, flags, 7, 0xd0, 0, 0, 0, 0];
    [&[f0, f1, t0, t1][..], &seq.to_be_bytes(), &ack.to_be_bytes(), &rest, options, data].concat()
}

/// A datagram.
pub fn udp(from: u16, to: u16, data: &[u8]) -> Vec<u8> {
    [&[from, to, 8 + data.len() as u16, 0].map(u16::to_be_bytes).concat()[..], data].concat()
}

/// A message of ICMP with the word behind its checksum.
pub fn icmp(kind: u8, code: u8, word: u32, body: &[u8]) -> Vec<u8> {
    [&[kind, code, 0, 0][..], &word.to_be_bytes(), body].concat()
}

/// A datagram of somebody, to be quoted.
pub fn quoted() -> Vec<u8> {
    ipv4(THEIRS, 0, UDP, &[], &udp(9, 9, b"x"))
}

/// An echo request.
pub fn echo(options: &[u8], body: &[u8]) -> Vec<u8> {
    frame(MACS[SERVER], 0x0800, &ipv4(OURS, 0, ICMP, options, &icmp(8, 0, 0x0007_0001, body)))
}
