//! Echo, errors, and packets that are not for us.

use super::*;
use crate::net::direct::header;
use crate::net::direct::ipv6::tests::peer::plain;
use crate::net::ipv6::ndp::{self, ALL_NODES, Message, group_mac};
use crate::net::ipv6::packet::protocol;

fn echo(length: usize) -> Vec<u8> {
    let mut message = Vec::from([128, 0, 0, 0, 0x12, 0x34, 0, 7]);
    message.extend((0..length).map(|at| at as u8));
    message
}

/// Introduces the peer as host 2, so that it is not asked for.
async fn introduce(peer: &mut Peer) {
    let question = ndp::solicitation(ip(1), Some(peer.mac()));
    peer.send_discovery(ip(2), ndp::solicited_node(ip(1)), &question);
    peer.seen().await;
}

/// What came, questions for the peer left out.
async fn answers(peer: &mut Peer) -> Vec<peer::Seen> {
    peer.seen().await.into_iter().filter(|seen| seen.message().is_none()).collect()
}

fn is_sound(seen: &peer::Seen) -> bool {
    let mut filled = seen.bytes.clone();
    header::fill_icmp(&mut filled);
    filled == seen.bytes
}

#[test]
fn ping_is_answered_with_what_it_carries() {
    testing::run(30, async {
        let switch = Switch::new(30, Impairments::NONE);
        let (_direct, _network) = stack(&switch, fixed(1)).await;
        let mut peer = Peer::new(&switch);
        introduce(&mut peer).await;
        for length in [0, 1, 56, 1452] {
            peer.send_icmp(ip(2), ip(1), 64, &echo(length));
            let seen = answers(&mut peer).await;
            let [answer] = seen.as_slice() else { panic!("one answer, not {seen:?}") };
            let packet = answer.packet();
            assert_eq!((packet.source, packet.destination, packet.payload()[0]), (ip(1), ip(2), 129));
            assert!(packet.payload()[4..] == echo(length)[4..] && is_sound(answer));
        }
        // With extension headers, which are not sent back.
        let mut whole = plain(ip(2), ip(1), protocol::ICMP, 64, &echo(8));
        header::fill_icmp(&mut whole);
        let options = [protocol::ICMP, 0, 1, 4, 0, 0, 0, 0];
        let payload = [&options[..], &whole[40..]].concat();
        peer.send_packet(&plain(ip(2), ip(1), protocol::DESTINATION, 64, &payload));
        let seen = answers(&mut peer).await;
        assert!(matches!(seen.as_slice(), [answer] if answer.packet().payload()[4..] == echo(8)[4..]), "{seen:?}");
        // A group does not answer all at once.
        peer.send_icmp(ip(2), ALL_NODES, 64, &echo(8));
        assert_eq!(answers(&mut peer).await.len(), 0);
        // Nor does anybody to a wrong checksum.
        peer.send_packet(&plain(ip(2), ip(1), protocol::ICMP, 64, &echo(8)));
        assert_eq!(answers(&mut peer).await.len(), 0);
    });
}

#[test]
fn what_nobody_wants_is_answered_and_errors_are_not() {
    testing::run(31, async {
        let switch = Switch::new(31, Impairments::NONE);
        let (_direct, _network) = stack(&switch, fixed(1)).await;
        let mut peer = Peer::new(&switch);
        introduce(&mut peer).await;
        let mut datagram = plain(ip(2), ip(1), protocol::UDP, 64, &[0x03, 0xe8, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4]);
        header::fill_transport(&mut datagram, false);
        let of = |seen: &[peer::Seen]| match seen {
            [answer] => {
                assert!(is_sound(answer));
                let payload = answer.packet().payload().to_vec();
                Some((payload[0], payload[1], payload[7], payload[8..].to_vec()))
            }
            _ => None,
        };
        peer.send_packet(&datagram);
        assert_eq!(of(&answers(&mut peer).await), Some((1, 4, 0, datagram.clone())));
        // A datagram must have a checksum.
        let mut blank = datagram.clone();
        blank[46..48].fill(0);
        peer.send_packet(&blank);
        assert_eq!(answers(&mut peer).await.len(), 0);
        // An unknown protocol, an unknown option, a waypoint.
        let unknown = plain(ip(2), ip(1), 200, 64, b"whatever");
        peer.send_packet(&unknown);
        assert_eq!(of(&answers(&mut peer).await), Some((4, 1, 6, unknown)));
        let option = plain(ip(2), ip(1), protocol::DESTINATION, 64, &[59, 0, 0x9e, 4, 0, 0, 0, 0]);
        peer.send_packet(&option);
        assert_eq!(of(&answers(&mut peer).await), Some((4, 2, 42, option)));
        let waypoint = plain(ip(2), ip(1), protocol::ROUTING, 64, &[59, 0, 0, 1, 0, 0, 0, 0]);
        peer.send_packet(&waypoint);
        assert_eq!(of(&answers(&mut peer).await), Some((4, 0, 42, waypoint)));
        // No error is answered, and nothing that went to others or comes from a group or from us.
        for (source, destination) in [(ip(2), ip(9)), (ALL_NODES, ip(1)), (ip(1), ip(1)), (Ipv6Addr::LOCALHOST, ip(1))]
        {
            peer.send_packet(&plain(source, destination, 200, 64, b"whatever"));
        }
        let disguised = [ip(2), ip(1)].map(|_| "::ffff:10.0.0.2".parse::<Ipv6Addr>().expect("an address"));
        peer.send_packet(&plain(disguised[0], ip(1), 200, 64, b"whatever"));
        peer.send_icmp(ip(2), ip(1), 64, &[1, 4, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answers(&mut peer).await.len(), 0);
        // There is a limit.
        for _ in 0..200 {
            peer.send_packet(&datagram);
        }
        let count = answers(&mut peer).await.len();
        assert!((50..150).contains(&count), "{count} answers");
    });
}

#[test]
fn a_connection_to_where_nobody_listens_is_refused_and_one_to_nowhere_given_up() {
    testing::run(32, async {
        let switch = Switch::new(32, Impairments::NONE);
        let (_direct, network) = stack(&switch, fixed(1)).await;
        let mut peer = Peer::new(&switch);
        let to = core::net::SocketAddr::from((ip(2), 80));
        let connecting = {
            let network = network.clone();
            crate::runtime::spawn(async move { network.tcp().connect(to).await.map(drop) })
        };
        let seen = peer.seen().await;
        let question = seen.iter().find_map(|seen| Some((seen.message()?, seen.to_mac)));
        let expected = Message::Solicitation { target: ip(2), source: Some(mac(1)) };
        assert_eq!(question, Some((expected, group_mac(ndp::solicited_node(ip(2))))));
        peer.send_discovery(ip(2), ip(1), &ndp::advertisement(ip(2), mac(2), true, true));
        let seen = answers(&mut peer).await;
        let [syn] = seen.as_slice() else { panic!("one segment, not {seen:?}") };
        assert_eq!((syn.packet().protocol, syn.to_mac), (protocol::TCP, mac(2)));
        let mut error = Vec::from([1, 4, 0, 0, 0, 0, 0, 0]);
        error.extend_from_slice(&syn.bytes);
        peer.send_icmp(ip(2), ip(1), 64, &error);
        let outcome = connecting.await.expect("it ends");
        assert!(matches!(outcome, Err(crate::net::ConnectError::Refused(_))), "{outcome:?}");
        let group = network.tcp().connect(core::net::SocketAddr::from((ALL_NODES, 80))).await;
        assert!(matches!(group, Err(crate::net::ConnectError::Unreachable(_))));
    });
}

#[test]
fn segments_with_extension_headers_are_segments() {
    testing::run(33, async {
        use crate::net::direct::hash::Keyed;
        use crate::net::direct::tcp::segment::{BARE_MOST, Bare, Control, FourTuple, Seq};
        let switch = Switch::new(33, Impairments::NONE);
        let (_direct, network) = stack(&switch, fixed(1)).await;
        let _listener = network.tcp().bind(80).await.expect("the port is free");
        let mut peer = Peer::new(&switch);
        introduce(&mut peer).await;
        let [from, to] = [(ip(2), 4000), (ip(1), 80)].map(core::net::SocketAddr::from);
        let tuple = FourTuple::new(&Keyed::new([1, 2]), from, to);
        let mut bytes = [0; BARE_MOST];
        let options = crate::net::direct::tcp::segment::SynOptions { mss: Some(1300), ..Default::default() };
        let syn = Bare { control: Control::Syn, seq: Seq(7), window: 1000, options, ..Bare::default() };
        let length = syn.emit(&tuple, &mut bytes).expect("of one family");
        header::fill_transport(&mut bytes[..length], false);
        let extension = [protocol::TCP, 0, 1, 4, 0, 0, 0, 0];
        let payload = [&extension[..], &bytes[40..length]].concat();
        peer.send_packet(&plain(ip(2), ip(1), protocol::HOP_BY_HOP, 64, &payload));
        let seen = answers(&mut peer).await;
        let [answer] = seen.as_slice() else { panic!("one segment, not {seen:?}") };
        let segment = answer.packet().payload();
        // SYN and ACK, and the most that fits 1500 bytes behind the longer header.
        assert_eq!((segment[13], &segment[20..24]), (0x12, &[2, 4, 5, 0xa0][..]), "1440 bytes");
    });
}

#[test]
fn a_connection_follows_a_router_that_says_how_long_packets_may_be() {
    // smoltcp's machine does not.
    crate::net::direct::tcp::either::choose_own(true);
    testing::run(34, async {
        use crate::net::direct::hash::Keyed;
        use crate::net::direct::tcp::segment::{BARE_MOST, Bare, Control, FourTuple, Seq, SynOptions};
        let switch = Switch::new(34, Impairments::NONE);
        let (_direct, network) = stack(&switch, fixed(1)).await;
        let mut listener = network.tcp().bind(80).await.expect("the port is free");
        let mut peer = Peer::new(&switch);
        introduce(&mut peer).await;
        let [from, to] = [(ip(2), 4000), (ip(1), 80)].map(core::net::SocketAddr::from);
        let tuple = FourTuple::new(&Keyed::new([1, 2]), from, to);
        let packet = |bare: Bare| {
            let mut bytes = [0; BARE_MOST];
            let length = bare.emit(&tuple, &mut bytes).expect("of one family");
            header::fill_transport(&mut bytes[..length], false);
            bytes[..length].to_vec()
        };
        let options = SynOptions { mss: Some(1440), ..Default::default() };
        peer.send_packet(&packet(Bare {
            control: Control::Syn,
            seq: Seq(7),
            window: 9000,
            options,
            ..Bare::default()
        }));
        let seen = answers(&mut peer).await;
        let position = u32::from_be_bytes(seen[0].packet().payload()[4..8].try_into().expect("four"));
        let ack = Some(Seq(position.wrapping_add(1)));
        peer.send_packet(&packet(Bare { seq: Seq(8), ack, window: 9000, ..Bare::default() }));
        let (stream, _) = listener.accept().await.expect("it comes");
        stream.write_all(&[7; 2000]).await.expect("there is room");
        let seen = answers(&mut peer).await;
        let lengths = |seen: &[peer::Seen]| seen.iter().map(|seen| seen.bytes.len()).collect::<Vec<_>>();
        assert_eq!(lengths(&seen), [1500, 60 + 560]);
        // Somebody who did not see the packet; somebody who is not believed.
        let mut error = Vec::from([2, 0, 0, 0, 0, 0, 5, 0]);
        error.extend_from_slice(&seen[0].bytes[..1232]);
        for (at, value) in [(8 + 44, 0x55), (6, 4)] {
            let mut wrong = error.clone();
            wrong[at] = value;
            peer.send_icmp(ip(9), ip(1), 64, &wrong);
            assert_eq!(answers(&mut peer).await.len(), 0);
        }
        peer.send_icmp(ip(9), ip(1), 64, &error);
        let again = lengths(&answers(&mut peer).await);
        assert_eq!(again, [1280, 60 + 780], "what was too long is sent at once, in shorter packets");
    });
}
