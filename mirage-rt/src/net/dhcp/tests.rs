//! The client alone, and on the switch against a server, in virtual time.

mod confirm;
mod machine;
mod network;
pub(crate) mod server;

use proptest::prelude::*;

use alloc::string::ToString;
use core::net::SocketAddrV4;

use super::message::{Kind, MOST_NAME_SERVERS, Request, read};
use super::*;
use crate::net::StaticRoute;
use crate::net::names::MOST_SEARCH;
use server::Answer;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

#[test]
fn a_request_is_as_long_as_the_oldest_servers_want_it() {
    let request = Request {
        wants: true,
        id: 0x0102_0304,
        seconds: 7,
        mac: MAC,
        client: Ipv4Addr::UNSPECIFIED,
        requested: Some(ip(9)),
        server: Some(ip(1)),
    };
    let message = request.message();
    assert_eq!(message.len(), 300);
    assert_eq!(message[..12], [1, 1, 6, 0, 1, 2, 3, 4, 0, 7, 0x80, 0]);
    assert_eq!(message[28..34], MAC);
    assert_eq!(server::Asked::read(&message), Some(server::Asked { request }));
    assert_eq!(read(&message), None, "it is no answer");
}

#[test]
fn an_answer_says_what_its_options_say() {
    let answer = Answer::new(Kind::Ack, 7, MAC, ip(9), ip(1))
        .option(1, &[255, 255, 255, 0])
        .option(3, &[10, 0, 0, 2, 10, 0, 0, 3])
        .option(6, &[10, 0, 0, 1, 10, 0, 0, 4, 10, 0, 0, 5, 10, 0, 0, 6, 10, 0, 0, 7])
        .option(15, b"lan.example\0")
        .option(26, &[5, 0xdc])
        // A list in two pieces, whose second name points into the first one.
        .option(119, b"\x03eng\x05apple\x03com\0\x09mar")
        .option(119, b"keting\xc0\x04")
        .option(121, &[0, 10, 0, 0, 2, 8, 10, 10, 0, 0, 3, 24, 172, 16, 1, 10, 0, 0, 4, 32, 1, 2, 3, 4, 0, 0, 0, 0])
        .option(51, &3600_u32.to_be_bytes())
        .option(58, &[0; 3])
        .option(59, &3000_u32.to_be_bytes());
    let reply = read(&answer.bytes()).expect("a sound answer");
    assert_eq!((reply.kind, reply.id, reply.mac, reply.yours), (Kind::Ack, 7, MAC, ip(9)));
    assert_eq!((reply.server, reply.mask), (Some(ip(1)), Some(Ipv4Addr::new(255, 255, 255, 0))));
    assert_eq!(reply.router, Some(ip(2)), "the first one");
    assert_eq!(reply.name_servers, [1, 4, 5, 6].map(ip));
    assert_eq!(reply.domain, "lan.example".parse().ok());
    let search: Vec<_> = reply.search.iter().map(ToString::to_string).collect();
    assert_eq!(search, ["eng.apple.com", "marketing.apple.com"]);
    assert_eq!(reply.mtu, Some(1500));
    let routes = [("0.0.0.0/0", 2), ("10.0.0.0/8", 3), ("172.16.1.0/24", 4)];
    let routes = routes.map(|(to, via)| StaticRoute { to: to.parse().expect("a network"), via: ip(via) });
    assert_eq!(reply.routes.as_deref(), Some(&routes[..]), "the last one leads to no router");
    assert_eq!((reply.lease, reply.renewal, reply.rebinding), (Some(3600), None, Some(3000)));
}

/// What a malformed option says counts for nothing, and no pointer leads around in a circle.
#[test]
fn malformed_lists_are_passed_over() {
    let read_with = |kind: u8, data: &[u8]| {
        read(&Answer::new(Kind::Ack, 7, MAC, ip(9), ip(1)).option(kind, data).bytes()).expect("a sound answer")
    };
    for wrong in [&b"\xc0\x00"[..], b"\x01a\xc0\x00\x01b", b"\x01a", b"\x40a\0", b"\xc0", b"\x01a\xc0\x05\0\xc0\x02"] {
        assert!(read_with(119, wrong).search.is_empty(), "{wrong:?}");
    }
    assert!(read_with(119, b"\0\0").search.is_empty());
    assert_eq!(read_with(119, &b"\x01a\0".repeat(40)).search.len(), MOST_SEARCH);
    for wrong in [&[33, 1, 2, 3, 4, 5, 10, 0, 0, 1][..], &[8, 10, 10, 0, 0], &[8]] {
        assert_eq!(read_with(121, wrong).routes, None, "{wrong:?}");
    }
    assert_eq!(read_with(121, &[0, 10, 0, 0, 1].repeat(40)).routes.map(|routes| routes.len()), Some(16));
    assert_eq!(read_with(26, &[5]).mtu, None);
}

proptest! {
    #[test]
    fn no_bytes_harm(options in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..8, 50u8..60, 117u8..123], 0..200), cut in 0usize..500) {
        let mut message = Answer::new(Kind::Offer, 7, MAC, ip(9), ip(1)).bytes();
        message.pop();
        message.extend(options);
        message.truncate(cut);
        if let Some(reply) = read(&message) {
            prop_assert!(reply.name_servers.len() <= MOST_NAME_SERVERS && reply.search.len() <= MOST_SEARCH);
            prop_assert!(reply.routes.is_none_or(|routes| routes.len() <= Addressing::MOST_ROUTES));
        }
    }

    #[test]
    fn no_frame_harms(frame in prop::collection::vec(any::<u8>(), 0..400), checked in any::<bool>()) {
        let _ = frames::parse(&frame, checked);
    }

    #[test]
    fn datagrams_come_out_of_frames_as_they_went_in(payload in prop::collection::vec(any::<u8>(), 0..400), at in any::<prop::sample::Index>()) {
        let ends = [(MAC, SocketAddrV4::new(ip(1), 67)), ([2, 0, 0, 0, 0, 1], SocketAddrV4::new(ip(9), 68))];
        let mut frame = frames::emit(ends, &payload);
        prop_assert_eq!(frames::parse(&frame, false), Some((ends, &payload[..])));
        // One wrong bit behind the Ethernet header is seen by a checksum.
        let at = 14 + at.index(frame.len() - 14);
        frame[at] ^= 4;
        prop_assert_eq!(frames::parse(&frame, false).filter(|(_, bytes)| bytes[..] == payload[..]), None);
    }
}
