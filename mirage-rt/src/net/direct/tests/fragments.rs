//! Datagrams in fragments, out and in; and fragments that strangers make up.

use core::net::IpAddr;

use smoltcp::wire::IpProtocol;

use super::raw::{Raw, icmp_packet, stack, too_big};
use super::*;
use crate::net::direct::header;
use crate::net::fragments::{MOST_BYTES, MOST_PACKETS};
use crate::net::{SendError, UdpSocket};
use crate::time::{Duration, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
/// Bytes of the header that says over IPv6 where a fragment belongs.
fn extension() -> usize {
    if is_ipv6() { 8 } else { 0 }
}

async fn received(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = vec![0; 70_000];
    let (length, from) = timeout(SECOND, socket.receive_from(&mut buffer)).await.ok()?.ok()?;
    buffer.truncate(length);
    Some((buffer, from))
}

/// The datagram of `length` bytes that [`pattern`] makes, to port 9 of the stack, as a packet of host 2.
fn datagram(length: usize) -> Vec<u8> {
    let mut packet = vec![0; header::length(at(1, 0).ip()) + 8 + length];
    let body = header::emit(&mut packet, at(2, 0).ip(), at(1, 0).ip(), IpProtocol::Udp).expect("of one family");
    for (half, value) in body.chunks_mut(2).zip([7_u16, 9, 8 + length as u16, 0]) {
        half.copy_from_slice(&value.to_be_bytes());
    }
    body[8..].copy_from_slice(&pattern(3, length));
    header::fill_transport(&mut packet, false);
    packet
}

/// `packet` in fragments of `size` bytes, with the number `number`.
fn cut(packet: &[u8], size: usize, number: u16) -> Vec<Vec<u8>> {
    let head = header::length_in(packet);
    let pieces = packet[head..].chunks(size);
    let count = pieces.len();
    pieces.enumerate().map(|(index, piece)| fragment(packet, piece, index * size, index + 1 < count, number)).collect()
}

/// A fragment of the packet with the header of `packet`.
fn fragment(packet: &[u8], piece: &[u8], place: usize, more: bool, number: u16) -> Vec<u8> {
    let head = header::length_in(packet);
    let mut cut = packet[..head].to_vec();
    if is_ipv6() {
        cut.extend_from_slice(&[cut[6], 0, (place >> 8) as u8, place as u8 | u8::from(more), 0, 0]);
        cut.extend_from_slice(&number.to_be_bytes());
        cut[6] = 44;
    } else {
        cut[4..6].copy_from_slice(&number.to_be_bytes());
        let field = (place / 8) as u16 | (u16::from(more) << 13);
        cut[6..8].copy_from_slice(&field.to_be_bytes());
    }
    cut.extend_from_slice(piece);
    header::set_length(&mut cut);
    cut
}

fn datagrams_of_any_length_come_as_they_were() {
    for impairments in [Impairments::NONE, Impairments::NONE.with_duplication(0.3).with_reordering(0.3, SECOND / 1000)]
    {
        testing::run(130, async move {
            let switch = Switch::new(130, impairments);
            let (one, other) = (host(&switch, 1), host(&switch, 2));
            sleep(SECOND).await;
            let (from, to) =
                (one.udp().bind(7).await.expect("it is free"), other.udp().bind(9).await.expect("it is free"));
            // The neighbour is known from then on.
            from.send_to(b"x", at(2, 9)).await.expect("there is a way");
            assert!(received(&to).await.is_some());
            while received(&to).await.is_some() {}
            for length in [most_datagram(), most_datagram() + 1, 2 * most_datagram() + 17, 9000, 65_507] {
                from.send_to(&pattern(length, length), at(2, 9)).await.expect("there is a way");
                let (bytes, peer) = received(&to).await.expect("it comes");
                assert!(bytes == pattern(length, length), "{} of {length} bytes, or others", bytes.len());
                assert_eq!(peer, at(1, 7));
                while received(&to).await.is_some() {}
            }
            let long = from.send_to(&pattern(0, 65_508), at(2, 9)).await;
            assert!(matches!(long, Err(SendError::TooLong { most: 65_507 })), "{long:?}");
        });
    }
}

fn fragments_are_those_of_the_standard_and_their_numbers_random() {
    testing::run(131, async {
        let switch = Switch::new(131, Impairments::NONE);
        let network = host(&switch, 1);
        let mut peer = Raw::new(&switch, 2);
        sleep(SECOND).await;
        let socket = network.udp().bind(7).await.expect("the port is free");
        let mut numbers = Vec::new();
        for round in 0..4 {
            socket.send_to(&pattern(round, 3000), at(2, 9)).await.expect("there is a way");
            let packets = peer.packets().await;
            let head = header::length(at(1, 0).ip());
            let sizes: Vec<_> = packets.iter().map(Vec::len).collect();
            let most = (1500 - head - extension()) & !7;
            let expected = [most, most, 3008 - 2 * most].map(|size| head + extension() + size);
            assert_eq!(sizes, expected);
            for (index, packet) in packets.iter().enumerate() {
                let place = if is_ipv6() { [packet[42], packet[43]] } else { [packet[6], packet[7]] };
                let (place, more) = match (u16::from_be_bytes(place), is_ipv6()) {
                    (place, true) => (usize::from(place & !7), place & 1 == 1),
                    (place, false) => (8 * usize::from(place & 0x1fff), place & 0x2000 != 0),
                };
                assert_eq!((place, more), (index * most, index < 2));
                numbers.push(if is_ipv6() { packet[44..48].to_vec() } else { packet[4..6].to_vec() });
            }
        }
        // Each datagram has one of its own.
        numbers.dedup();
        assert_eq!(numbers.len(), 4);
        let steps: Vec<_> = numbers
            .windows(2)
            .map(|pair| {
                let [one, other] = [&pair[0], &pair[1]].map(|number| i64::from(number[number.len() - 1]));
                other - one
            })
            .collect();
        assert!(steps.iter().any(|step| *step != steps[0]), "{numbers:?}");
    });
}

fn datagrams_are_cut_to_what_a_router_says() {
    // Over IPv4 routers cut them.
    if !is_ipv6() {
        return;
    }
    testing::run(138, async {
        let switch = Switch::new(138, Impairments::NONE);
        let network = host(&switch, 1);
        let mut peer = Raw::new(&switch, 2);
        sleep(SECOND).await;
        let socket = network.udp().bind(7).await.expect("the port is free");
        let head = header::length(at(1, 0).ip());
        let whole = head + 8 + 1400;
        let sizes = async |peer: &mut Raw| {
            sleep(SECOND / 100).await;
            socket.send_to(&pattern(1, 1400), at(2, 9)).await.expect("there is a way");
            let packets = peer.packets().await;
            (packets.iter().map(Vec::len).collect::<Vec<_>>(), packets)
        };
        let (first, packets) = sizes(&mut peer).await;
        assert_eq!(first, [whole]);
        // A packet of nobody here.
        let mut other = packets[0].clone();
        other[head + 1] ^= 1;
        peer.send_ip(&too_big(2, 1300, &other));
        assert_eq!(sizes(&mut peer).await.0, [whole]);
        peer.send_ip(&too_big(2, 1300, &packets[0]));
        let piece = (1300 - head - extension()) & !7;
        let last = head + extension() + 1408 - piece;
        assert_eq!(sizes(&mut peer).await.0, [head + extension() + piece, last]);
        // No way takes less than this.
        peer.send_ip(&too_big(2, 100, &packets[0]));
        assert_eq!(sizes(&mut peer).await.0, [1280, 2 * (head + extension()) + 1408 - 1280]);
        // And none is believed for ever to take no more.
        sleep(600 * SECOND).await;
        assert_eq!(sizes(&mut peer).await.0, [whole]);
    });
}

fn fragments_that_contradict_each_other_bring_nothing() {
    testing::run(132, async {
        let switch = Switch::new(132, Impairments::NONE);
        let (_direct, network) = stack(&switch);
        let mut peer = Raw::new(&switch, 2);
        sleep(SECOND).await;
        let socket = network.udp().bind(9).await.expect("the port is free");
        let whole = datagram(1000);
        let parts = cut(&whole, 400, 1);
        parts.iter().rev().for_each(|part| peer.send_ip(part));
        assert_eq!(received(&socket).await, Some((pattern(3, 1000), at(2, 7))));
        // One that reaches into another.
        let body = &whole[header::length_in(&whole)..];
        for wrong in [
            fragment(&whole, &body[392..800], 392, true, 2),
            fragment(&whole, &[0; 400], 400, true, 2),
            fragment(&whole, &body[..8], 0, true, 2),
            fragment(&whole, &body[..8], 1200, false, 2),
        ] {
            let parts = cut(&whole, 400, 2);
            peer.send_ip(&parts[0]);
            peer.send_ip(&parts[1]);
            peer.send_ip(&wrong);
            peer.send_ip(&parts[2]);
            assert_eq!(received(&socket).await, None);
            sleep(Duration::from_secs(31)).await;
        }
        // Parts of different packets, from different hosts.
        let (first, second) = (cut(&whole, 400, 3), cut(&whole, 400, 4));
        peer.send_ip(&first[0]);
        peer.send_ip(&second[1]);
        peer.send_ip(&first[2]);
        assert_eq!(received(&socket).await, None);
        // A wrong checksum over the whole.
        let mut broken = datagram(1000);
        let last = broken.len() - 1;
        broken[last] ^= 1;
        cut(&broken, 400, 5).iter().for_each(|part| peer.send_ip(part));
        assert_eq!(received(&socket).await, None);
    });
}

fn who_sent_the_first_fragment_is_told_that_others_did_not_come() {
    testing::run(133, async {
        let switch = Switch::new(133, Impairments::NONE);
        let (_direct, network) = stack(&switch);
        let mut peer = Raw::new(&switch, 2);
        sleep(SECOND).await;
        let _socket = network.udp().bind(9).await.expect("the port is free");
        let parts = cut(&datagram(1000), 400, 1);
        peer.send_ip(&parts[0]);
        peer.send_ip(&cut(&datagram(1000), 400, 2)[1]);
        peer.packets().await;
        sleep(Duration::from_secs(29)).await;
        assert_eq!(peer.packets().await.len(), 0);
        sleep(Duration::from_secs(2)).await;
        let packets = peer.packets().await;
        let [told] = packets.as_slice() else { panic!("one packet, not {packets:?}") };
        let message = header::payload(told);
        assert_eq!(message[..2], if is_ipv6() { [3, 1] } else { [11, 1] });
        assert!(parts[0].starts_with(&message[8..]) && message.len() >= 8 + 28, "{message:?}");
    });
}

fn a_flood_of_fragments_has_a_bound() {
    testing::run(134, async {
        let switch = Switch::new(134, Impairments::NONE);
        let (direct, network) = stack(&switch);
        let other = host(&switch, 2);
        let mut stranger = Raw::new(&switch, 3);
        sleep(SECOND).await;
        let socket = network.udp().bind(9).await.expect("the port is free");
        let sender = other.udp().bind(7).await.expect("the port is free");
        sender.send_to(b"x", at(1, 9)).await.expect("there is a way");
        assert!(received(&socket).await.is_some());
        let whole = datagram(1400);
        let body = &whole[header::length_in(&whole)..];
        for number in 0..3000_u16 {
            let place = usize::from(number) * 8 % 60_000;
            stranger.send_ip(&fragment(&whole, &body[..1400], place, true, number / 3));
            stranger.send_ip(&fragment(&whole, &body[..8], place, number % 2 == 0, number));
            if number.is_multiple_of(50) {
                sleep(Duration::from_millis(1)).await;
                let stack = direct.shared.stack.borrow();
                assert!(stack.reassembly.bytes() <= MOST_BYTES && stack.reassembly.len() <= MOST_PACKETS);
            }
        }
        sender.send_to(&pattern(1, 20_000), at(1, 9)).await.expect("there is a way");
        assert_eq!(received(&socket).await, Some((pattern(1, 20_000), at(2, 7))));
        // What comes of nothing is told a bounded number of times, and forgotten.
        sleep(Duration::from_secs(31)).await;
        assert!(stranger.packets().await.len() <= MOST_PACKETS);
        assert!(direct.shared.stack.borrow().reassembly.is_empty());
    });
}

/// An echo message with `length` bytes that [`pattern`] makes, as a packet of host `from` to host `to`.
fn echo(ends: [u8; 2], kind: u8, length: usize) -> Vec<u8> {
    icmp_packet(ends, &[&[kind, 0, 0, 0, 1, 2, 3, 4][..], &pattern(5, length)].concat())
}

/// What fragments carry together; each has to fit a packet of 1500 bytes, and they must be of one packet.
fn joined(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut whole = Vec::new();
    for (index, packet) in packets.iter().enumerate() {
        let (place, more) = match is_ipv6() {
            true => (u16::from_be_bytes([packet[42], packet[43]]) & !7, packet[43] & 1 == 1),
            false => (u16::from_be_bytes([packet[6] & 0x1f, packet[7]]) * 8, packet[6] & 0x20 != 0),
        };
        assert_eq!((usize::from(place), more), (whole.len(), index + 1 < packets.len()), "{index}");
        assert!(packet.len() <= 1500);
        let (first, number) = (&packets[0], if is_ipv6() { 44..48 } else { 4..6 });
        assert_eq!(packet[number.clone()], first[number]);
        whole.extend_from_slice(&header::payload(packet)[extension()..]);
    }
    whole
}

fn pings_are_answered_with_all_that_they_bring() {
    testing::run(135, async {
        let switch = Switch::new(135, Impairments::NONE);
        let (_direct, _network) = stack(&switch);
        let mut peer = Raw::new(&switch, 2);
        sleep(SECOND).await;
        let (request, reply) = if is_ipv6() { (128, 129) } else { (8, 0) };
        let most = most_datagram();
        // Those of the answer that fit one packet, those that do not any more, and the longest one.
        let in_each = (1500 - header::length(at(1, 0).ip()) - extension()) & !7;
        for length in [1000, most, most + 1, 4000, 20_000, 65_507] {
            let count = if length > most { (8 + length).div_ceil(in_each) } else { 1 };
            let (packet, answer) = (echo([2, 1], request, length), echo([1, 2], reply, length));
            for is_reversed in [false, true] {
                let mut parts = cut(&packet, 1400, 1);
                if is_reversed {
                    parts.reverse();
                }
                parts.iter().for_each(|part| peer.send_ip(part));
                let packets = peer.packets().await;
                assert_eq!(packets.len(), count, "{length}");
                let whole = if count == 1 { header::payload(&packets[0]).to_vec() } else { joined(&packets) };
                assert!(whole == header::payload(&answer), "{} of {length} bytes, or others", whole.len());
            }
        }
        assert!(matches!(at(1, 0).ip(), IpAddr::V4(_)) != is_ipv6());
    });
}

#[cfg(feature = "ipv6")]
fn neighbour_discovery_is_never_in_fragments() {
    use crate::net::ipv6::{ndp, packet};
    if !is_ipv6() {
        return;
    }
    testing::run(136, async {
        let switch = Switch::new(136, Impairments::NONE);
        let (_direct, _network) = stack(&switch);
        let mut peer = Raw::new(&switch, 2);
        sleep(SECOND).await;
        peer.packets().await;
        let message = ndp::solicitation(ip6(1), Some(peer.mac()));
        let mut whole = vec![0; packet::HEADER];
        let head = whole.first_chunk_mut().expect("a header");
        packet::emit_header(head, ip6(2), ip6(1), packet::protocol::ICMP, message.len(), ndp::HOP_LIMIT);
        whole.extend_from_slice(&message);
        header::fill_icmp(&mut whole);
        let before = switch.frames();
        cut(&whole, 16, 1).iter().for_each(|part| peer.send_ip(part));
        peer.packets().await;
        // Nothing but the fragments themselves.
        assert_eq!(switch.frames() - before, 2);
        peer.send_ip(&whole);
        peer.packets().await;
        assert_eq!(switch.frames() - before, 4, "that is how it is asked");
    });
}

worlds! {
    datagrams_of_any_length_come_as_they_were,
    fragments_are_those_of_the_standard_and_their_numbers_random,
    datagrams_are_cut_to_what_a_router_says,
    fragments_that_contradict_each_other_bring_nothing,
    who_sent_the_first_fragment_is_told_that_others_did_not_come,
    a_flood_of_fragments_has_a_bound,
    pings_are_answered_with_all_that_they_bring,
    #[cfg(feature = "ipv6")] neighbour_discovery_is_never_in_fragments,
}
