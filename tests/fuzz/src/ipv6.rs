//! Extension headers of IPv6 and messages of neighbour discovery: targets and seeds.

use std::net::Ipv6Addr;

use mirage_rt::net::ipv6::ndp::{self, Choice, Message};
use mirage_rt::net::ipv6::packet::{self, FRAGMENT_HEADER, HEADER, MOST_HEADERS, Refusal, protocol};

const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A packet and its extension headers.
pub fn packets(input: &[u8]) {
    match packet::read(input) {
        Ok(found) => {
            assert!(input.starts_with(found.bytes) && found.bytes.len() >= HEADER);
            assert!(found.offset >= HEADER && found.offset <= found.bytes.len());
            assert!(found.offset - HEADER <= MOST_HEADERS * 2048);
            assert_eq!(found.payload().len(), found.bytes.len() - found.offset);
            assert_eq!(
                found.bytes.get(found.fragment.map_or(found.field, |_| found.offset - FRAGMENT_HEADER)),
                Some(&found.protocol)
            );
            // Written again it is the same, but for what routers use.
            let mut head = [0; HEADER];
            let length = found.bytes.len() - HEADER;
            packet::emit_header(&mut head, found.source, found.destination, found.bytes[6], length, found.hop_limit);
            assert_eq!(head[4..], found.bytes[4..HEADER]);
            if let Some(fragment) = found.fragment {
                assert!(fragment.offset + found.payload().len() <= usize::from(u16::MAX));
                assert!(!fragment.more || found.payload().len() % 8 == 0);
                assert!(fragment.more || fragment.offset > 0);
                assert_eq!(found.bytes.get(fragment.field), Some(&protocol::FRAGMENT));
            }
        }
        Err(Refusal::Problem { pointer, code, .. }) => assert!(pointer < input.len() && code <= packet::UNKNOWN_OPTION),
        Err(Refusal::Drop) => {}
    }
}

/// A message: the first byte of the input is the hop limit, and whether the message comes from a link-local address, from
/// another or from none, and to whom it goes.
pub fn discovery(input: &[u8]) {
    let Some((first, message)) = input.split_first() else { return };
    let hop_limit = if first & 1 == 0 { ndp::HOP_LIMIT } else { 64 };
    let source = [LOCAL, HOST, Ipv6Addr::UNSPECIFIED, LOCAL][usize::from(first >> 1 & 3)];
    let destination = [HOST, ndp::ALL_NODES, ndp::solicited_node(HOST), LOCAL][usize::from(first >> 3 & 3)];
    let Some(found) = ndp::read(source, destination, hop_limit, message) else { return };
    assert_eq!(hop_limit, ndp::HOP_LIMIT);
    match found {
        Message::Solicitation { target, source: mac } => {
            let own = ndp::solicitation(target, mac);
            assert_eq!(ndp::read(source, destination, hop_limit, &own), Some(found));
        }
        Message::Advertisement { target, mac: Some(mac), router: false, solicited, overriding } => {
            let own = ndp::advertisement(target, mac, solicited, overriding);
            assert_eq!(ndp::read(source, destination, hop_limit, &own), Some(found));
        }
        Message::Advertisement { target, .. } => assert!(!target.is_multicast()),
        Message::Router { options, .. } => {
            assert_eq!(source, LOCAL);
            assert!(options.count() <= message.len() / 8);
            for option in options {
                match option {
                    Choice::Prefix(prefix) => {
                        assert!(prefix.length <= 128);
                        let address = ndp::address_of(prefix.prefix, MAC);
                        assert_eq!(address.to_bits() >> 64, prefix.prefix.to_bits() >> 64);
                    }
                    Choice::Servers(_, servers) => assert!((1..=127).contains(&servers.addresses().count())),
                    _ => {}
                }
            }
        }
    }
    // What a host asks of routers means nothing to another.
    assert_eq!(ndp::read(LOCAL, ndp::ALL_NODES, ndp::HOP_LIMIT, &ndp::router_solicitation(Some(MAC))), None);
}

/// Packets with all kinds of extension headers.
pub fn packet_seeds() -> Vec<Vec<u8>> {
    let packet = |next: u8, to: Ipv6Addr, body: &[u8]| {
        let mut header = [0; HEADER];
        packet::emit_header(&mut header, HOST, to, next, body.len(), 64);
        [&header, body].concat()
    };
    let to_host = |next: u8, body: &[u8]| packet(next, LOCAL, body);
    let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let fragment = |next: u8, place: u16| [&[next, 0][..], &place.to_be_bytes(), &[0, 0, 0, 7]].concat();
    let mut seeds = vec![
        to_host(protocol::TCP, b"segment"),
        to_host(protocol::NONE, b""),
        to_host(
            protocol::HOP_BY_HOP,
            &[&options(protocol::DESTINATION)[..], &options(protocol::UDP), b"datagram"].concat(),
        ),
        to_host(protocol::ROUTING, &[&[protocol::TCP, 0, 0, 0, 0, 0, 0, 0][..], b"segment"].concat()),
        to_host(protocol::ROUTING, &[protocol::TCP, 0, 0, 1, 0, 0, 0, 0]),
        to_host(protocol::DESTINATION, &options(protocol::DESTINATION).repeat(MOST_HEADERS + 1)),
        to_host(protocol::DESTINATION, &options(protocol::HOP_BY_HOP)),
        to_host(protocol::DESTINATION, &[protocol::TCP, 1, 0, 0, 0x05, 2, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0]),
        to_host(protocol::DESTINATION, &[protocol::TCP, 0, 1, 5, 0, 0, 0, 0]),
        to_host(protocol::DESTINATION, &[protocol::TCP, 1, 0, 0, 0, 0, 0, 0]),
        to_host(protocol::DESTINATION, &[protocol::TCP, 0, 0, 0, 0, 0, 0, 0x1e]),
        to_host(protocol::DESTINATION, &[protocol::TCP]),
        to_host(protocol::HOP_BY_HOP, &[]),
    ];
    for kind in [0x1e_u8, 0x5e, 0x9e, 0xde] {
        let body = [protocol::TCP, 0, kind, 4, 0, 0, 0, 0];
        seeds.extend([to_host(protocol::DESTINATION, &body), packet(protocol::DESTINATION, ndp::ALL_NODES, &body)]);
    }
    for (place, length) in [(1_u16, 8), (16, 3), (0, 5), (1, 3), (0xfff8, 8), (0xfff8, 7)] {
        let body = [&fragment(protocol::UDP, place)[..], &[7; 8][..length]].concat();
        seeds.push(to_host(protocol::FRAGMENT, &body));
    }
    seeds.push(to_host(protocol::FRAGMENT, &fragment(protocol::UDP, 1)[..7]));
    seeds.push([&options(protocol::HOP_BY_HOP)[..], &[0; 40]].concat());
    let whole = to_host(protocol::TCP, b"segment");
    seeds.extend([whole[..HEADER].to_vec(), whole[..30].to_vec(), [&whole[..], b"padding"].concat(), Vec::new()]);
    seeds
}

/// Messages of all kinds, valid and not.
pub fn discovery_seeds() -> Vec<Vec<u8>> {
    let with = |first: u8, message: &[u8]| [&[first], message].concat();
    let router = |options: &[&[u8]]| {
        let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend(options.concat());
        message
    };
    let prefix = |length: u8| {
        let mut option = vec![3, 4, length, 0xc0, 0, 0, 14, 16, 0, 0, 7, 8, 0, 0, 0, 0];
        option.extend(HOST.octets());
        option
    };
    let servers = |units: u8| {
        let mut option = vec![25, units, 0, 0, 0, 0, 2, 88];
        option.resize(8 * usize::from(units), 0x20);
        option
    };
    let link: [u8; 8] = [1, 1, 2, 0, 0, 0, 0, 2];
    let mut seeds = vec![
        // To the group in which the address is asked for: with an address to come from and without.
        with(0b10000, &ndp::solicitation(HOST, Some(MAC))),
        with(0b10100, &ndp::solicitation(HOST, None)),
        with(0b10100, &ndp::solicitation(HOST, Some(MAC))),
        with(0b01100, &ndp::solicitation(HOST, None)),
        with(0b10000, &ndp::solicitation(ndp::ALL_NODES, Some(MAC))),
        with(0b00000, &ndp::advertisement(HOST, MAC, true, true)),
        with(0b01000, &ndp::advertisement(HOST, MAC, true, true)),
        with(0b01000, &ndp::advertisement(HOST, MAC, false, true)),
        with(0b00000, &ndp::advertisement(ndp::ALL_NODES, MAC, false, true)),
        with(0b00000, &ndp::advertisement(HOST, MAC, false, false)[..24]),
        with(0b00001, &ndp::advertisement(HOST, MAC, true, true)),
        with(0b01000, &ndp::router_solicitation(Some(MAC))),
        with(0b01000, &[137, 0, 0, 0, 0, 0, 0, 0]),
        with(0b01000, &[136, 1, 0, 0, 0, 0, 0, 0]),
        with(0b01000, &[136, 0, 0]),
        with(0b01000, &[135, 0, 0, 0, 0, 0, 0, 0, 1]),
        with(0b01000, &[136, 0, 0, 0, 0, 0, 0, 0, 1]),
        with(0b01000, &[134, 0, 0, 0, 0, 0, 0, 0, 1]),
        Vec::new(),
    ];
    for first in [0b01000, 0b01010] {
        seeds.push(with(
            first,
            &router(&[&link, &prefix(64), &[5, 1, 0, 0, 0, 0, 5, 220], &servers(5), &[99, 1, 0, 0, 0, 0, 0, 0]]),
        ));
    }
    for options in [
        &[&prefix(129)[..]][..],
        &[&servers(3)],
        &[&servers(4)],
        &[&servers(1)],
        &[&[5, 2, 0, 0, 0, 0, 5, 220, 0, 0, 0, 0, 0, 0, 0, 0]],
        &[&[1, 0, 0, 0, 0, 0, 0, 0]],
        &[&[1, 2, 0, 0, 0, 0, 0, 0]],
        &[&[1]],
        &[&[2, 1, 2, 0, 0, 0, 0, 2]],
        &[],
    ] {
        seeds.push(with(0b01000, &router(options)));
    }
    for kind in [135_u8, 136] {
        let mut broken = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        broken.extend(HOST.octets());
        broken.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        seeds.push(with(0, &broken));
    }
    seeds
}
