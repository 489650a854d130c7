//! Inputs made by hand: one for each kind of message, and for what is not quite one.

use super::check::{ICMP, ICMPV6, IGMP, IPV6, TCP, UDP};
use super::hub::{MACS, SERVER};
use super::make::{arp, echo, frame, frame4, frame6, icmp, ipv4, quoted, tcp, udp};
use super::record::*;
use super::stranger::{OVER_IPV6, PAGED, PLAIN, STAMPED};
use super::{ASKED, CLIENTS, ECHO, GROUP, OURS, OURS6, PAGE_ECHO, SOCKET, THEIRS, THEIRS6, UNREAD};

/// A record as bytes.
fn one(flags: u8, append: u8, frame: &[u8]) -> Vec<u8> {
    Record { flags, append, frame }.bytes()
}

/// The same, with right checksums and nothing to append.
fn sound(flags: u8, frame: &[u8]) -> Vec<u8> {
    one(SUMS | flags, NOTHING, frame)
}

/// Frames that are none, and ARP.
pub fn arp_seeds() -> Vec<Vec<u8>> {
    let usual = arp(true, MACS[2], THEIRS, OURS);
    let changed = |at: usize, value: u8| {
        let mut frame = usual.clone();
        frame[at] = value;
        one(0, NOTHING, &frame)
    };
    let told = |mac: [u8; 6], source: [u8; 4]| one(0, NOTHING, &arp(false, mac, source.into(), OURS));
    let mut strangers: Vec<u8> = Vec::new();
    for number in 4..200 {
        strangers.extend(one(0, NOTHING, &arp(true, MACS[2], [10, 0, 0, number].into(), OURS)));
    }
    vec![
        one(0, NOTHING, &usual),
        one(0, NOTHING, &usual[..20]),
        one(PIECES, NOTHING, &[&usual[..], &[0; 18]].concat()),
        told(MACS[2], THEIRS.octets()),
        // Another Ethernet address, none, that of a group, our own; twice in a time in which an address is defended once.
        told([2, 0, 0, 0, 0, 9], THEIRS.octets()),
        told([0; 6], THEIRS.octets()),
        told([3, 0, 0, 0, 0, 9], THEIRS.octets()),
        told(MACS[SERVER], THEIRS.octets()),
        [told(MACS[2], OURS.octets()), told(MACS[2], OURS.octets())].concat(),
        // A probe, somebody from elsewhere, all hosts, the client.
        one(0, NOTHING, &arp(true, MACS[2], [0; 4].into(), OURS)),
        one(0, NOTHING, &arp(true, MACS[2], [192, 0, 2, 1].into(), OURS)),
        told(MACS[2], [10, 0, 0, 255]),
        told(MACS[2], CLIENTS.octets()),
        one(0, NOTHING, &arp(true, MACS[2], THEIRS, CLIENTS)),
        // Another kind of network, protocol, length, operation.
        [changed(15, 6), changed(16, 9), changed(18, 8), changed(21, 3)].concat(),
        strangers,
        // A sender that is a group, a frame for somebody else, one of another protocol, those that are too short.
        changed(6, 3),
        changed(5, 9),
        one(0, NOTHING, &frame(MACS[SERVER], 0x88cc, &[1; 40])),
        one(0, NOTHING, &frame(MACS[SERVER], 46, &[1; 46])),
        [14, 13, 9, 0, 15, 21, 25, 33, 37, 41].map(|length| one(0, NOTHING, &usual[..length])).concat(),
        one(LONG, NOTHING, &frame([1, 0, 0x5e, 1, 2, 3], 0x0800, &[])),
    ]
}

/// IPv4 headers: options, fragments, addresses, protocols.
pub fn ipv4_seeds() -> Vec<Vec<u8>> {
    let datagram = udp(9, SOCKET, b"hello");
    let usual = frame4(UDP, &datagram);
    let changed = |at: usize, value: u8| {
        let mut frame = usual.clone();
        frame[at] = value;
        sound(0, &frame)
    };
    let to = |to: [u8; 4], protocol: u8, body: &[u8]| {
        sound(0, &frame([0xff; 6], 0x0800, &ipv4(to.into(), 0, protocol, &[], body)))
    };
    let part = |place: u16, body: &[u8]| sound(0, &frame(MACS[SERVER], 0x0800, &ipv4(OURS, place, UDP, &[], body)));
    let mut whole = frame4(UDP, &udp(9, SOCKET, &[7; 24]));
    super::check::fill(&mut whole);
    let (first, second) = whole[34..].split_at(16);
    let later = |body: &[u8]| one(SUMS, NOTHING, &frame(MACS[SERVER], 0x0800, &ipv4(OURS, 2, UDP, &[], body)));
    let clients = |protocol: u8, body: &[u8]| {
        let mut frame = frame4(protocol, body);
        frame[26..30].copy_from_slice(&CLIENTS.octets());
        frame
    };
    // A record route and the end of options; options that stop in the middle.
    let options = [7, 7, 4, 0, 0, 0, 0, 0];
    vec![
        sound(0, &usual),
        one(0, NOTHING, &usual),
        sound(PIECES, &usual),
        sound(VERIFIED, &usual),
        sound(0, &frame(MACS[SERVER], 0x0800, &ipv4(OURS, 0, UDP, &options, &datagram))),
        sound(0, &frame(MACS[SERVER], 0x0800, &ipv4(OURS, 0, UDP, &[0x83, 40, 4, 0], &datagram))),
        sound(0, &echo(&options, b"with options")),
        sound(0, &frame(MACS[SERVER], 0x0800, &ipv4(OURS, 0, UDP, &[1; 40], &datagram))),
        // Other versions, lengths of the header and the packet, hops.
        [changed(14, 0x65), changed(14, 0x44), changed(14, 0x4f)].concat(),
        [changed(16, 0xff), changed(17, 19), changed(17, 21), changed(22, 0)].concat(),
        sound(0, &usual[..20]),
        sound(0, &[&usual[..], &[0; 13]].concat()),
        // From nowhere, from a group, from here, from everybody; to other hosts, groups and everybody.
        [changed(26, 0), changed(26, 239), changed(26, 127), changed(29, 1), changed(29, 255)].concat(),
        [to([10, 0, 0, 9], UDP, &datagram), to([10, 0, 0, 255], UDP, &datagram), to([255; 4], UDP, &datagram)].concat(),
        [to(GROUP.octets(), UDP, &datagram), to([239, 9, 9, 9], UDP, &datagram)].concat(),
        [to([255; 4], ICMP, &icmp(8, 0, 1, b"all")), to([255; 4], TCP, &tcp(9, ECHO, 1, 0, 2, &[], b""))].concat(),
        to([10, 0, 0, 255], UDP, &udp(9, 9999, b"to nobody")).repeat(2),
        // As if the client had sent it.
        [changed(29, 2), sound(0, &clients(TCP, &tcp(9, ECHO, 1, 0, RST, &[], b"")))].concat(),
        // Protocols that are not spoken; those of groups.
        [changed(23, 47), changed(23, 255), changed(23, 0)].concat(),
        [to([224, 0, 0, 1], IGMP, &[0x11, 10, 0, 0, 0, 0, 0, 0]), to(OURS.octets(), IGMP, &[0x11; 8])].concat(),
        // Fragments: in order, the other way round, alone, on top of each other, without end.
        [part(0x2000, first), later(second)].concat(),
        [later(second), part(0x2000, first)].concat(),
        sound(LONG, &frame(MACS[SERVER], 0x0800, &ipv4(OURS, 0x2000, UDP, &[], first))),
        [part(0x2000, first), part(0x2001, first), later(second)].concat(),
        (0..150).flat_map(|number| part(0x2000 | (number * 16), &[7; 128])).collect(),
        [part(0x3fff, first), part(0x1fff, first), part(0x2000, &first[..3]), part(0x2000, &[])].concat(),
        sound(0, &frame(MACS[SERVER], 0x0800, &ipv4(OURS, 0x2000, TCP, &[], &tcp(9, ECHO, 1, 0, 2, &[], b"")))),
    ]
}

/// Messages of ICMP: requests, answers, and errors about what the stack has sent.
pub fn icmp_seeds() -> Vec<Vec<u8>> {
    let message =
        |kind: u8, code: u8, word: u32, append: u8| one(SUMS, append, &frame4(ICMP, &icmp(kind, code, word, &[])));
    let about = |body: &[u8]| sound(0, &frame4(ICMP, &icmp(3, 3, 0, body)));
    let mut seeds = vec![
        sound(0, &echo(&[], b"are you there?")),
        sound(SPOILED, &echo(&[], b"a wrong checksum")),
        sound(PIECES, &echo(&[], &[7; 1400])),
        sound(0, &echo(&[], b"")),
        message(8, 1, 1, NOTHING),
        // The answer that is waited for, and others.
        one(SUMS, ECHOED, &frame4(ICMP, &[0, 0, 0, 0])),
        message(0, 0, 1, NOTHING),
        message(0, 0, 1, ECHOED),
        // A redirect, a quench, a timestamp, an address mask, a router's; of no kind that there is.
        [message(5, 1, 0x0a00_0009, A_SEGMENT), message(4, 0, 0, A_SEGMENT), message(13, 0, 1, NOTHING)].concat(),
        [message(17, 0, 1, NOTHING), message(9, 0, 1, NOTHING), message(99, 7, 1, NOTHING)].concat(),
        sound(0, &frame4(ICMP, &[3, 3, 0])),
        sound(0, &frame4(ICMP, &[])),
        // About what the stack has not sent, and about what is no packet.
        about(&quoted()),
        about(&ipv4(OURS, 0, TCP, &[], &tcp(1, 2, 3, 4, 16, &[], b""))[..28]),
        [about(&[]), about(&[0x45; 19]), about(&[0x4f; 30]), about(&[0x65; 40]), about(&[0x44; 40])].concat(),
        about(&ipv4(THEIRS, 1, UDP, &[], &udp(9, 9, b"x"))),
        // Segments of which not all is quoted that is needed.
        [20, 22, 26].map(|length| about(&ipv4(OURS, 0, TCP, &[], &[0; 8])[..length])).concat(),
        about(&ipv4(OURS, 0, 47, &[], &[0; 8])),
        about(&[&[0x46][..], &ipv4(OURS, 0, UDP, &[], &[])[1..]].concat()),
    ];
    for append in [A_SEGMENT, A_DATAGRAM, AN_ECHO] {
        for code in [0, 1, 2, 3, 13] {
            seeds.push(message(3, code, 0, append));
        }
        seeds.push(message(11, 0, 0, append));
    }
    // What is too long: for a way that is shorter, much shorter, longer, and of which an old router says nothing.
    for mtu in [1000, 68, 1, 9000, 0] {
        seeds.push(message(3, 4, mtu, A_SEGMENT));
    }
    seeds.extend(icmp6_seeds());
    seeds
}

/// Messages over IPv6.
fn icmp6_seeds() -> Vec<Vec<u8>> {
    let message =
        |kind: u8, code: u8, append: u8, body: &[u8]| one(SUMS, append, &frame6(ICMPV6, &icmp(kind, code, 1280, body)));
    let about = |body: &[u8]| message(1, 4, NOTHING, body);
    // What the stack may have sent, with a header of fragments; of the first and of a later one.
    let datagram = udp(SOCKET, SOCKET, b"x");
    let quote = |protocol: u8, body: &[u8]| {
        let mut header = [0; IPV6];
        mirage_rt::net::ipv6::packet::emit_header(&mut header, OURS6, THEIRS6, protocol, body.len(), 64);
        [&header[..], body].concat()
    };
    let fragment = |place: u8| quote(44, &[&[UDP, 0, 0, place, 0, 0, 0, 7][..], &datagram].concat());
    let mut seeds = vec![
        message(128, 0, NOTHING, b"are you there?"),
        one(SUMS, ECHOED6, &frame6(ICMPV6, &[129, 0, 0, 0])),
        message(129, 0, NOTHING, b"no"),
        [about(&fragment(1)), about(&fragment(8)), about(&fragment(1)[..46]), about(&quote(47, b"12345678"))].concat(),
        [about(&[]), about(&[0x60; 39]), about(&[0x45; 48]), sound(0, &frame6(ICMPV6, &[1, 4, 0]))].concat(),
        message(2, 0, NOTHING, &quote(TCP, &[0; 20])),
        message(1, 4, NOTHING, &quote(TCP, &[0; 20])),
    ];
    for append in [A_DATAGRAM6, AN_ECHO6] {
        seeds.extend([(1, 0), (1, 4), (4, 1), (4, 0), (3, 0)].map(|(kind, code)| message(kind, code, append, &[])));
    }
    seeds
}

/// A segment of the stranger, counted from where its connection begins.
fn segment(flags: u8, from: u16, [seq, ack]: [i32; 2], control: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    let to = if from == PAGED { PAGE_ECHO } else { ECHO };
    let bytes = tcp(from, to, seq as u32, ack as u32, control, options, data);
    let frame = if from == OVER_IPV6 { frame6 } else { frame4 };
    sound(RELATIVE | flags, &frame(TCP, &bytes))
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
const URG: u8 = 32;

/// Segments: of connections in all states, with all options, and at all places.
pub fn tcp_seeds() -> Vec<Vec<u8>> {
    let plain = |at: [i32; 2], control: u8, data: &[u8]| segment(0, PLAIN, at, control, &[], data);
    let stamp = |value: u8| [1, 1, 8, 10, 0, 0, 0, value, 0, 0, 0, 0];
    let stamped = |at, value: u8, data: &[u8]| segment(0, STAMPED, at, ACK, &stamp(value), data);
    let sack = |first: u8, last: u8| [1, 1, 5, 10, 0, 0, 0, first, 0, 0, 0, last];
    let bulk = |flags: u8, from: u16, options: &[u8]| -> Vec<u8> {
        (0..8).flat_map(|number| segment(flags, from, [number * 1400, 0], ACK, options, &[7; 1400])).collect()
    };
    let wrong = |at: usize, value: u8| {
        let mut record = plain([0, 0], ACK, b"hello");
        record[0] = RELATIVE | VERIFIED;
        super::check::fill(&mut record[4..]);
        record[4 + at] = value;
        record
    };
    let asked = |at: [i32; 2], control: u8, data: &[u8]| segment(0, ASKED, at, control, &[], data);
    let mut seeds = vec![
        plain([0, 0], ACK | PSH, b"hello"),
        plain([0, 0], ACK | PSH, &[7; 1000]),
        // What follows, what comes out of order, what came already, what is beyond the window.
        [plain([0, 0], ACK, b"one"), plain([3, 3], ACK, b"two"), plain([6, 6], ACK, b"")].concat(),
        [plain([5, 0], ACK, b"later"), plain([10, 0], ACK, b"latest"), plain([0, 0], ACK, b"first")].concat(),
        [plain([0, 0], ACK, b"hello"), plain([-3, 0], ACK, b"ab"), plain([2, 0], ACK, b"llo, you")].concat(),
        [plain([60_000, 0], ACK, b"far"), plain([-60_000, 0], ACK, b"gone"), plain([0, 0], ACK, b"here")].concat(),
        // Acknowledgements of what was not sent, and the same one many times.
        [plain([0, 5000], ACK, b""), plain([0, -5], ACK, b"x")].concat(),
        [plain([0, 0], ACK, &[7; 1400]), plain([1400, 0], ACK, b"").repeat(5), plain([1400, 700], ACK, b"")].concat(),
        // With lengths that are none: of the header, of the packet; and with a wrong checksum of IP.
        [wrong(46, 0x40), wrong(46, 0xf0), wrong(16, 0), wrong(25, 7)].concat(),
        segment(VERIFIED, PLAIN, [0, 0], ACK, &[], &[7; 1000]),
        // The end, early, twice, and of a stream that has a hole.
        [plain([0, 0], ACK | FIN, b"bye"), plain([4, 4], ACK, b""), plain([4, 4], ACK | FIN, b"")].concat(),
        [plain([10, 0], ACK | FIN, b"bye"), plain([0, 0], ACK, &[7; 10]), plain([20, 0], ACK, b"after")].concat(),
        // Resets: right, in the window, outside; SYNs into a connection; challenges.
        plain([0, 0], RST, b""),
        [plain([5, 0], RST | ACK, b""), plain([-5, 0], RST, b""), plain([0, 0], SYN, b"")].concat(),
        [plain([0, 0], SYN | FIN, b""), plain([0, 0], 0, b"no flags"), plain([0, 0], 0xff, b"all flags")].concat(),
        [plain([0, 0], URG | ACK, b"urgent"), plain([6, 0], ACK | 0xc0, b"marks")].concat(),
        // No window, and one again after a while.
        {
            let mut closed = tcp(PLAIN, ECHO, 0, 0, ACK, &[], &[7; 1400]);
            closed[14..16].fill(0);
            let closed = sound(RELATIVE | LONG, &frame4(TCP, &closed));
            [closed, plain([1400, 0], ACK, b"")].concat()
        },
        // Nothing is acknowledged, and it is sent again and again.
        segment(LONG, PLAIN, [0, 0], ACK, &[], &[7; 1000]),
        // Timestamps: forward, back, missing.
        [stamped([0, 0], 10, b"a"), stamped([1, 0], 8, b"b"), segment(0, STAMPED, [1, 0], ACK, &[], b"c")].concat(),
        // SACK blocks: of what is under way, of nothing, of what was acknowledged; options that make no sense.
        [plain([0, 0], ACK, &[7; 1400]), segment(0, PLAIN, [1400, 0], ACK, &sack(10, 20), b"").repeat(3)].concat(),
        [segment(0, PLAIN, [0, 0], ACK, &sack(20, 10), b"x"), segment(0, PLAIN, [1, 0], ACK, &sack(0, 0), b"y")]
            .concat(),
        [segment(0, PLAIN, [0, 0], ACK, &[8, 0, 1, 1], b"x"), segment(0, PLAIN, [1, 0], ACK, &[5, 99, 1, 1], b"y")]
            .concat(),
        // Bulk data: a train, one in pieces, one with timestamps, one of which pages are taken.
        bulk(0, PLAIN, &[]),
        bulk(PIECES, PAGED, &[]),
        bulk(0, STAMPED, &stamp(9)),
        bulk(VERIFIED, PAGED, &[]),
        bulk(SECOND, PLAIN, &[]),
        bulk(BURST, PLAIN, &[]),
        bulk(BURST, STAMPED, &stamp(9)),
        bulk(BURST | PIECES, PAGED, &[]),
        bulk(BURST, OVER_IPV6, &[]),
        bulk(BURST | VERIFIED, OVER_IPV6, &[]),
        // The connection that the stack asks for: accepted, with a wrong number, refused, from both sides at once.
        [asked([-1, 0], SYN | ACK, b""), asked([0, 0], ACK, b"answer"), asked([6, 1460], ACK | FIN, b"")].concat(),
        [asked([-1, 7], SYN | ACK, b""), asked([-1, 0], SYN | ACK, b"at once")].concat(),
        asked([0, 0], RST | ACK, b""),
        [asked([-1, 0], SYN, b""), asked([0, 0], ACK, b"")].concat(),
    ];
    for (from, options) in [(PLAIN, &[][..]), (STAMPED, &stamp(9)), (OVER_IPV6, &[])] {
        seeds.extend(broken_trains(from, options));
    }
    seeds.extend(handshakes());
    seeds
}

/// Trains that end: by a wrong checksum of TCP, one of IP, another segment, what has no room for its header although the device has
/// found its checksum right, and what is shorter than it says.
fn broken_trains(from: u16, options: &[u8]) -> Vec<Vec<u8>> {
    let data = [7; 1400];
    let next = |number: i32, flags: u8, control: u8, data: &[u8]| {
        segment(BURST | flags, from, [number * 1400, 0], control, options, data)
    };
    let mut without_sums = next(3, 0, ACK, &data);
    without_sums[0] &= !SUMS;
    let (at, length) = if from == OVER_IPV6 { (14 + 4, 10) } else { (14 + 2, 30) };
    let mut no_room = next(3, VERIFIED, ACK, &data);
    no_room[4 + at..4 + at + 2].copy_from_slice(&[0, length]);
    let mut cut = next(3, 0, ACK, &data);
    cut.truncate(4 + 200);
    cut[2..4].copy_from_slice(&200_u16.to_be_bytes());
    let fourth = [
        next(3, SPOILED, ACK, &data),
        without_sums,
        next(3, 0, ACK | FIN, b""),
        next(3, 0, ACK, b"short"),
        no_room,
        cut,
    ];
    let begin: Vec<u8> = (0..3).flat_map(|number| next(number, 0, ACK, &data)).collect();
    fourth.iter().map(|fourth| [&begin[..], fourth, &next(3, 0, ACK, &data)].concat()).collect()
}

/// Segments of no connection yet, and of none at all.
fn handshakes() -> Vec<Vec<u8>> {
    let own = |from: u16, to: u16, seq: u32, control: u8, options: &[u8]| {
        sound(0, &frame4(TCP, &tcp(from, to, seq, 0, control, options, b"")))
    };
    let many = |count: u16| (0..count).flat_map(|port| own(5000 + port, ECHO, 1, SYN, &[2, 4, 5, 0xb4])).collect();
    let again = |port: u16| {
        // The connection's end, and a new one between the same ports.
        [segment(0, port, [0, 0], ACK | FIN, &[], b""), segment(0, port, [1, 1], ACK, &[], b"")].concat()
    };
    let over_ipv6 = |to: u16, control: u8| sound(0, &frame6(TCP, &tcp(5000, to, 1, 0, control, &[2, 4, 5, 0xa0], b"")));
    vec![
        [own(5000, ECHO, 1, SYN, &[2, 4, 5, 0xb4, 3, 3, 14, 0]), own(5000, ECHO, 9, ACK, &[])].concat(),
        own(5000, ECHO, 1, SYN, &[2, 4, 0, 0, 3, 3, 255, 1]),
        own(5000, ECHO, 1, SYN, &[2, 4, 0xff, 0xff, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0]),
        [own(5000, ECHO, 1, SYN, &[2, 3, 1, 1]), own(5001, ECHO, 1, SYN | 0xc0, &[2, 0, 0, 0])].concat(),
        [own(5000, 9999, 1, SYN, &[]), own(5000, 9999, 1, ACK, &[]), own(5000, 9999, 1, RST, &[])].concat(),
        [own(0, ECHO, 1, SYN, &[]), own(5000, 0, 1, SYN, &[]), own(5000, ECHO, 1, FIN, &[])].concat(),
        sound(0, &frame4(TCP, &tcp(5000, ECHO, 1, 0, SYN, &[], b"early data"))),
        sound(0, &frame4(TCP, &tcp(5000, ECHO, 1, 0, SYN, &[], b"")[..19])),
        one(0, NOTHING, &frame4(TCP, &tcp(5000, ECHO, 1, 0, SYN, &[], b""))),
        many(20),
        many(300),
        [again(PLAIN), own(PLAIN, ECHO, 0x7fff_ffff, SYN, &[])].concat(),
        [over_ipv6(ECHO, SYN), over_ipv6(9999, SYN), over_ipv6(ECHO, ACK)].concat(),
    ]
}

/// Datagrams: to sockets, to nobody, without and with wrong checksums and lengths.
pub fn udp_seeds() -> Vec<Vec<u8>> {
    let usual = frame4(UDP, &udp(9, SOCKET, b"hello"));
    let length = |length: u16| {
        let mut frame = usual.clone();
        frame[38..40].copy_from_slice(&length.to_be_bytes());
        sound(0, &frame)
    };
    let to = |from: u16, to: u16, data: &[u8]| sound(0, &frame4(UDP, &udp(from, to, data)));
    let mut wrong = usual.clone();
    super::check::fill(&mut wrong);
    // It has no checksum in the usual frame.
    let without = {
        let mut frame = wrong.clone();
        frame[40..42].fill(0);
        one(0, NOTHING, &frame)
    };
    wrong[42] ^= 1;
    let group = frame([1, 0, 0x5e, 127, 2, 3], 0x0800, &ipv4(GROUP, 0, UDP, &[], &udp(9, SOCKET, b"all")));
    vec![
        sound(0, &usual),
        without,
        one(0, NOTHING, &wrong),
        one(VERIFIED, NOTHING, &wrong),
        sound(PIECES, &frame4(UDP, &udp(9, SOCKET, &[7; 1400]))),
        to(9, SOCKET, b""),
        // To nobody, so often that not all are told; from and to no port.
        to(9, 9999, b"anybody?"),
        to(9, 9999, b"anybody?").repeat(200),
        [to(0, SOCKET, b"no port"), to(9, 0, b"no port")].concat(),
        // Lengths: too short, too long, none, shorter than the packet.
        [length(7), length(0), length(14), length(0xffff), length(9), length(8)].concat(),
        sound(0, &frame4(UDP, &udp(9, SOCKET, b"")[..7])),
        sound(0, &frame4(UDP, &[])),
        // More than waits at a socket that nobody reads.
        to(9, UNREAD, &[7; 1400]).repeat(14),
        (0..300).flat_map(|_| to(9, UNREAD, &[7; 10])).collect(),
        sound(0, &group),
        sound(0, &frame6(UDP, &udp(9, SOCKET, b"over IPv6"))),
        [sound(0, &frame6(UDP, &udp(9, 9999, b"to nobody"))), one(0, NOTHING, &frame6(UDP, &udp(9, SOCKET, b"x")))]
            .concat(),
    ]
}

/// Segments for the reader by itself.
pub fn segment_seeds() -> Vec<Vec<u8>> {
    let with = |control: u8, options: &[u8], data: &[u8]| tcp(PLAIN, ECHO, 1, 2, control, options, data);
    let block = [0, 0, 0, 1, 0, 0, 0, 9];
    let blocks = |count: u8| [&[1, 1, 5, 2 + 8 * count][..], &block.repeat(count.into())].concat();
    let mut seeds = vec![
        with(ACK, &[], b""),
        with(ACK | PSH, &[], b"data"),
        with(SYN, &[2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0], b""),
        with(SYN | 0xc0, &[2, 4, 5, 0xb4, 3, 3, 255, 0], b""),
        with(SYN, &[0, 2, 4, 5, 0xb4, 1, 1, 1], b""),
        with(SYN, &[2, 4, 5], b""),
        with(SYN, &[2, 5, 5, 0xb4], b"\x09"),
        with(SYN, &[2, 0, 5, 0xb4, 2, 1, 0, 0], b""),
        with(ACK, &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2], b"usual"),
        with(ACK, &[8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1], b"not usual"),
        with(ACK, &[8, 9, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1], b"too short"),
        with(ACK, &[5, 9, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1], b"no blocks"),
        with(ACK, &[99, 4, 1, 1, 253, 2, 1, 1], b"unknown"),
        with(ACK | FIN, &[], b"end"),
        with(RST, &[], b""),
        with(RST | ACK, &[], b""),
        with(SYN | FIN, &[], b""),
        with(SYN | RST, &[], b""),
        with(FIN | RST, &[], b""),
        with(ACK, &[], b"")[..19].to_vec(),
        tcp(0, ECHO, 1, 2, ACK, &[], b""),
        tcp(PLAIN, 0, 1, 2, ACK, &[], b""),
        Vec::new(),
    ];
    for words in [4, 6, 15] {
        let mut other = with(ACK, &[], b"");
        other[12] = words << 4;
        seeds.push(other);
    }
    seeds.extend([1, 2, 3, 4].map(|count| with(ACK, &blocks(count), b"data")));
    // A block that is empty, one the other way round, two options of them.
    let odd =
        [&[5, 18, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1][..], &[5, 10], &block, &[5, 10], &block[..]].concat();
    seeds.push(with(ACK, &[&odd[..], &[0, 0]].concat(), b""));
    seeds
}
