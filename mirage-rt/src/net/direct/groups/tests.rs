//! Groups on a switch: who hears what, and what routers and switches are told.

use core::net::{Ipv6Addr, SocketAddr};

use super::*;
use crate::keys::Cidr;
use crate::net::direct::ethernet::{self, EtherType};
use crate::net::direct::ipv4;
use crate::net::groups::igmp::{ALL_HOSTS, ALL_ROUTERS, REPORTS};
use crate::net::switch::{Impairments, Port, Switch};
use crate::net::{Config, Network, UdpSocket};
use crate::packet::PacketMut;
use crate::testing;
use crate::time::{sleep, timeout};
use crate::types::network::NetworkDevice;
use smoltcp::wire::IpProtocol;

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

fn host(switch: &Switch, number: u8) -> Network {
    let mut config = Config { ipv4: Cidr::new([10, 0, 0, number].into(), 24).ok(), ..Config::new() };
    #[cfg(feature = "ipv6")]
    {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into());
        let network = crate::keys::Cidr6::new(address, 64).expect("a prefix");
        let mut ipv6 = crate::net::ipv6::Ipv6Config::fixed(network, None);
        ipv6.duplicate_probes = 0;
        config.ipv6 = Some(ipv6);
    }
    config.receive_buffer = 8192;
    Network::direct(switch.port(), switch.pool(), config).expect("the configuration is good")
}

/// What comes to `socket` within a second.
async fn received(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 100];
    let (length, from) = timeout(Duration::from_secs(1), socket.receive_from(&mut buffer)).await.ok()?.ok()?;
    Some((buffer[..length].to_vec(), from))
}

/// Sees all frames, and sends some.
struct Router {
    switch: Switch,
    port: Port,
}

/// A packet that was seen.
#[derive(Debug)]
struct Seen {
    to_mac: Mac,
    packet: Vec<u8>,
}

impl Router {
    fn new(switch: &Switch) -> Router {
        Router { switch: switch.clone(), port: switch.port() }
    }

    /// The packets since the last call for which `is_it`.
    fn seen(&mut self, is_it: impl Fn(&[u8]) -> bool) -> Vec<Seen> {
        let mut seen = Vec::new();
        let mut context = core::task::Context::from_waker(core::task::Waker::noop());
        while let core::task::Poll::Ready(Ok(frame)) = self.port.poll_receive(&mut context) {
            let bytes: Vec<u8> = frame.parts().flatten().copied().collect();
            if bytes.len() > 34 && is_it(&bytes[14..]) {
                seen.push(Seen { to_mac: bytes[..6].try_into().expect("six"), packet: bytes[14..].to_vec() });
            }
        }
        seen
    }

    /// The messages of IGMP since the last call: where to, and what; their packets are as they should be.
    fn igmp(&mut self) -> Vec<(Ipv4Addr, Vec<u8>)> {
        let seen = self.seen(|packet| packet[0] >> 4 == 4 && packet[9] == 2);
        let message = |seen: Seen| {
            let packet = Ipv4::parse(&seen.packet).expect("it is sound");
            assert_eq!((packet.header_length, &seen.packet[20..24]), (24, &[0x94, 4, 0, 0][..]));
            assert_eq!((seen.packet[8], seen.to_mac), (1, mac_of(packet.destination.into())));
            (packet.destination, packet.payload().to_vec())
        };
        seen.into_iter().map(message).collect()
    }

    fn send(&mut self, to: Mac, ethertype: EtherType, packet: &[u8]) {
        let mut frame = Vec::from([0; ethernet::HEADER]);
        ethernet::emit(frame.first_chunk_mut().expect("a header"), to, self.port.info().mac, ethertype);
        frame.extend_from_slice(packet);
        let frame = PacketMut::copy_of(&self.switch.pool(), &frame).expect("pages are left");
        self.port.transmit(frame).expect("the port takes it");
        self.port.flush();
    }

    /// Sends a message of IGMP; its checksum is filled in.
    fn send_igmp(&mut self, to: Ipv4Addr, mut message: Vec<u8>) {
        message[2..4].fill(0);
        let sum = !super::super::checksum::data(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.send_igmp_as_is(to, &message);
    }

    fn send_igmp_as_is(&mut self, to: Ipv4Addr, message: &[u8]) {
        let mut packet = Vec::from([0; ipv4::HEADER]);
        let header = packet.first_chunk_mut().expect("a header");
        ipv4::emit_header(header, [10, 0, 0, 99].into(), to, IpProtocol::Igmp, message.len());
        packet.extend_from_slice(message);
        self.send(mac_of(to.into()), EtherType::Ipv4, &packet);
    }
}

/// What is said of `group` in a report of version 3.
fn said(record: u8, group: Ipv4Addr) -> (Ipv4Addr, Vec<u8>) {
    let record = match record {
        2 => Record::Heard,
        3 => Record::Left,
        _ => Record::Joined,
    };
    (REPORTS, igmp::report(&[(record, group)]))
}

#[test]
fn datagrams_for_a_group_come_to_those_who_have_joined_it() {
    let mut groups = Vec::from([IpAddr::V4(GROUP), IpAddr::V4([224, 0, 0, 251].into())]);
    if cfg!(feature = "ipv6") {
        groups.push(IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)));
    }
    for group in groups {
        testing::run(1, async move {
            let switch = Switch::new(1, Impairments::NONE);
            let hosts = [1, 2, 3].map(|number| host(&switch, number));
            sleep(Duration::from_secs(1)).await;
            let mut sockets = Vec::new();
            for host in &hosts {
                sockets.push(host.udp().bind(5353).await.expect("the port is free"));
            }
            let other = hosts[1].udp().bind(9).await.expect("the port is free");
            sockets[1].join(group).expect("it is a group");
            sockets[1].join(group).expect("it is in it already");
            other.join(group).expect("it is a group");
            sleep(Duration::from_millis(1)).await;
            let to = SocketAddr::new(group, 5353);
            sockets[0].send_to(b"hello", to).await.expect("there is a way");
            let (bytes, from) = received(&sockets[1]).await.expect("it has joined");
            assert_eq!((&bytes[..], from.port(), from.is_ipv4()), (&b"hello"[..], 5353, group.is_ipv4()));
            assert_eq!(received(&sockets[2]).await, None);
            assert_eq!(received(&other).await, None, "it is for another port");
            // It comes back to those here that are in the group.
            assert_eq!(received(&sockets[0]).await, None);
            sockets[0].join(group).expect("it is a group");
            sockets[0].send_to(b"all", to).await.expect("there is a way");
            let (bytes, _) = received(&sockets[0]).await.expect("it has joined");
            assert_eq!((bytes, received(&sockets[0]).await), (b"all".to_vec(), None), "once");
            assert!(received(&sockets[1]).await.is_some());
            sockets[0].set_multicast_loop(false).expect("it can");
            sockets[0].send_to(b"others", to).await.expect("there is a way");
            assert_eq!(received(&sockets[0]).await, None);
            assert!(received(&sockets[1]).await.is_some());
            // Who has left hears no more, others at the same host do.
            sockets[1].leave(group).expect("it is in it");
            assert!(matches!(sockets[1].leave(group), Err(JoinError::NotJoined(_))));
            sockets[0].send_to(b"nobody", to).await.expect("there is a way");
            sockets[0].send_to(b"port", SocketAddr::new(group, 9)).await.expect("there is a way");
            assert_eq!(received(&sockets[1]).await, None);
            assert!(received(&other).await.is_some());
        });
    }
}

#[test]
fn how_far_datagrams_for_groups_go_can_be_chosen() {
    testing::run(2, async {
        let switch = Switch::new(2, Impairments::NONE);
        let network = host(&switch, 1);
        let mut router = Router::new(&switch);
        let socket = network.udp().bind(0).await.expect("a port is free");
        let is_datagram = |packet: &[u8]| Ipv4::parse(packet).is_some_and(|packet| packet.protocol == IpProtocol::Udp);
        for (chosen, expected) in [(None, 1), (Some(9), 9), (Some(255), 255)] {
            if let Some(hops) = chosen {
                socket.set_multicast_hops(hops).expect("it can");
            }
            socket.send_to(b"x", (GROUP, 9).into_addr()).await.expect("there is a way");
            sleep(Duration::from_millis(1)).await;
            let seen = router.seen(is_datagram);
            assert_eq!(seen.iter().map(|seen| seen.packet[8]).collect::<Vec<_>>(), [expected]);
            assert_eq!(seen[0].to_mac, [1, 0, 0x5e, 1, 2, 3]);
            assert!(Ipv4::parse(&seen[0].packet).is_some_and(|packet| packet.verify_transport()));
        }
        // To one host it is as ever.
        socket.send_to(b"x", ([10, 0, 0, 255], 9).into_addr()).await.expect("there is a way");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(router.seen(is_datagram)[0].packet[8], 64);
    });
}

trait IntoAddr {
    fn into_addr(self) -> SocketAddr;
}

impl<A: Into<IpAddr>> IntoAddr for (A, u16) {
    fn into_addr(self) -> SocketAddr {
        SocketAddr::new(self.0.into(), self.1)
    }
}

#[test]
fn routers_are_told_of_groups_twice_and_when_they_ask() {
    testing::run(3, async {
        let switch = Switch::new(3, Impairments::NONE);
        let network = host(&switch, 1);
        let mut router = Router::new(&switch);
        let socket = network.udp().bind(9).await.expect("the port is free");
        sleep(Duration::from_secs(1)).await;
        assert_eq!(router.igmp(), []);
        socket.join(GROUP).expect("it is a group");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(router.igmp(), [said(4, GROUP)]);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(router.igmp(), [said(4, GROUP)]);
        // That all hosts are in theirs is known.
        socket.join(ALL_HOSTS).expect("it is a group");
        sleep(Duration::from_secs(10)).await;
        assert_eq!(router.igmp(), []);
        let second = network.udp().bind(10).await.expect("the port is free");
        let other = Ipv4Addr::new(239, 9, 9, 9);
        second.join(GROUP).expect("it is a group");
        second.join(other).expect("it is a group");
        sleep(Duration::from_secs(10)).await;
        assert_eq!(router.igmp(), [said(4, other), said(4, other)], "the host was in the first one already");
        // A query for all, and for one.
        router.send_igmp(ALL_HOSTS, Vec::from([0x11, 50, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]));
        sleep(Duration::from_secs(6)).await;
        let all = [(Record::Heard, GROUP), (Record::Heard, other)];
        assert_eq!(router.igmp(), [(REPORTS, igmp::report(&all))]);
        router.send_igmp(other, Vec::from([0x11, 10, 0, 0, 239, 9, 9, 9, 2, 125, 0, 0]));
        sleep(Duration::from_secs(2)).await;
        assert_eq!(router.igmp(), [said(2, other)]);
        // Closing a socket leaves its groups, when nobody else is in them.
        drop(second);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(router.igmp(), [said(3, other), said(3, other)]);
        socket.leave(GROUP).expect("it is in it");
        sleep(Duration::from_secs(5)).await;
        assert_eq!(router.igmp(), [said(3, GROUP), said(3, GROUP)]);
        router.send_igmp(ALL_HOSTS, Vec::from([0x11, 50, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]));
        sleep(Duration::from_secs(6)).await;
        assert_eq!(router.igmp(), [], "there is none left but that of all hosts");
    });
}

#[test]
fn older_routers_are_told_in_their_words_for_a_while() {
    testing::run(4, async {
        let switch = Switch::new(4, Impairments::NONE);
        let network = host(&switch, 1);
        let mut router = Router::new(&switch);
        let socket = network.udp().bind(9).await.expect("the port is free");
        socket.join(GROUP).expect("it is a group");
        sleep(Duration::from_secs(5)).await;
        router.igmp();
        let report = igmp::old(Version::Old, Record::Heard, GROUP).expect("it is said");
        let general = || Vec::from([0x11, 100, 0, 0, 0, 0, 0, 0]);
        router.send_igmp(ALL_HOSTS, general());
        sleep(Duration::from_secs(11)).await;
        assert_eq!(router.igmp(), core::slice::from_ref(&report));
        // Somebody else has said it already.
        router.send_igmp(GROUP, Vec::from([0x11, 100, 0, 0, 239, 1, 2, 3]));
        sleep(Duration::from_millis(1)).await;
        router.send_igmp(GROUP, report.1.clone());
        sleep(Duration::from_secs(11)).await;
        assert_eq!(router.igmp(), []);
        socket.leave(GROUP).expect("it is in it");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(router.igmp(), [igmp::old(Version::Old, Record::Left, GROUP).expect("it is said")]);
        assert_eq!(Version::Old, network_version(&network));
        // The oldest: nobody is told that somebody has left.
        router.send_igmp(ALL_HOSTS, Vec::from([0x11, 0, 0, 0, 0, 0, 0, 0]));
        sleep(Duration::from_secs(20)).await;
        router.igmp();
        socket.join(GROUP).expect("it is a group");
        sleep(Duration::from_secs(20)).await;
        let report = igmp::old(Version::Oldest, Record::Joined, GROUP).expect("it is said");
        assert_eq!(router.igmp(), [report.clone(), report]);
        socket.leave(GROUP).expect("it is in it");
        sleep(Duration::from_secs(20)).await;
        assert_eq!(router.igmp(), []);
        // It was not heard for long enough.
        sleep(Duration::from_secs(260)).await;
        socket.join(GROUP).expect("it is a group");
        sleep(Duration::from_secs(5)).await;
        assert_eq!(router.igmp(), [said(4, GROUP), said(4, GROUP)]);
        assert!(ALL_ROUTERS.is_multicast());
    });
}

fn network_version(network: &Network) -> Version {
    let crate::net::Stack::Direct(direct) = &network.stack else { panic!("it has a stack of its own") };
    let stack = direct.shared.stack.borrow();
    stack.groups.queriers[0].version(crate::runtime::now())
}

#[test]
fn groups_are_said_again_on_another_link() {
    testing::run(5, async {
        let switch = Switch::new(5, Impairments::NONE);
        let port = switch.port();
        let config = Config { ipv4: Cidr::new([10, 0, 0, 1].into(), 24).ok(), ..Config::new() };
        let network = Network::direct(port, switch.pool(), config).expect("the configuration is good");
        let mut router = Router::new(&switch);
        let socket = network.udp().bind(9).await.expect("the port is free");
        socket.join(GROUP).expect("it is a group");
        sleep(Duration::from_secs(5)).await;
        router.igmp();
        switch.unplug(0);
        sleep(Duration::from_secs(1)).await;
        switch.plug(0);
        sleep(Duration::from_secs(5)).await;
        assert!(router.igmp().contains(&said(4, GROUP)));
        network.configure(crate::net::Addressing::new(Cidr::new([10, 0, 0, 7].into(), 24).ok(), None)).expect("it can");
        sleep(Duration::from_secs(5)).await;
        assert!(router.igmp().contains(&said(4, GROUP)));
    });
}

#[test]
fn strangers_cannot_make_a_host_talk_or_grow() {
    testing::run(6, async {
        let switch = Switch::new(6, Impairments::NONE);
        let network = host(&switch, 1);
        let mut router = Router::new(&switch);
        let socket = network.udp().bind(9).await.expect("the port is free");
        for number in 0..MOST as u8 {
            let joined = socket.join(Ipv4Addr::new(239, 0, 0, number));
            if let Err(error) = joined {
                // The stack is in some itself.
                assert!(matches!(error, JoinError::TooMany) && number > 20, "{error}");
                break;
            }
        }
        assert!(matches!(socket.join(Ipv4Addr::new(239, 7, 7, 7)), Err(JoinError::TooMany)));
        assert!(matches!(socket.join(Ipv4Addr::new(10, 0, 0, 2)), Err(JoinError::NotAGroup(_))));
        sleep(Duration::from_secs(5)).await;
        router.igmp();
        // Many queries that are to be answered at once.
        for _ in 0..100 {
            for _ in 0..20 {
                router.send_igmp(ALL_HOSTS, Vec::from([0x11, 0, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]));
            }
            sleep(Duration::from_millis(10)).await;
        }
        let answers = router.igmp().len();
        assert!((5..=12).contains(&answers), "{answers} answers in a second");
        // Nonsense, changed in each place.
        let whole = igmp::report(&[(Record::Heard, GROUP)]);
        for at in 0..whole.len() {
            for value in [0, 1, 0x11, 0x12, 0x16, 0x22, 0xff] {
                let mut message = whole.clone();
                message[at] = value;
                router.send_igmp_as_is(ALL_HOSTS, &message);
                router.send_igmp(ALL_HOSTS, message.clone());
                router.send_igmp_as_is(ALL_HOSTS, &message[..at]);
            }
            sleep(Duration::from_millis(1)).await;
        }
        // What is for no group of ours, and parts of packets.
        router.send_igmp(Ipv4Addr::new(239, 7, 7, 7), Vec::from([0x11, 0, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0]));
        let mut fragment = Vec::from([0; ipv4::HEADER + 8]);
        let header = fragment.first_chunk_mut().expect("a header");
        ipv4::emit_header(header, [10, 0, 0, 99].into(), GROUP, IpProtocol::Udp, 8);
        header[6] = 0x20;
        router.send(mac_of(GROUP.into()), EtherType::Ipv4, &fragment);
        sleep(Duration::from_secs(1)).await;
        let frames = router.seen(|packet| packet[0] >> 4 == 4 && packet[9] == 1);
        assert_eq!(frames.len(), 0, "nothing for a group is answered with an error: {frames:?}");
    });
}

#[test]
#[cfg(feature = "ipv6")]
fn routers_of_ipv6_are_told_of_groups_and_of_those_for_our_addresses() {
    use crate::net::groups::mld;
    use crate::net::ipv6::ndp::solicited_node;
    use crate::net::ipv6::packet::{self, HEADER, protocol};
    fn messages(router: &mut Router) -> Vec<(Ipv6Addr, Ipv6Addr, Vec<u8>)> {
        let is_mld =
            |bytes: &[u8]| bytes[0] >> 4 == 6 && packet::read(bytes).is_ok_and(|packet| mld::is_mld(packet.payload()));
        let seen = router.seen(is_mld);
        let message = |seen: Seen| {
            let packet = packet::read(&seen.packet).expect("it is sound");
            assert_eq!((packet.offset, &seen.packet[40..48]), (48, &[58, 0, 5, 2, 0, 0, 1, 0][..]));
            assert_eq!((packet.hop_limit, seen.to_mac), (1, mac_of(packet.destination.into())));
            let pseudo = smoltcp::wire::checksum::pseudo_header_v6(
                &packet.source,
                &packet.destination,
                IpProtocol::Icmpv6,
                packet.payload().len() as u32,
            );
            let sum = [pseudo, smoltcp::wire::checksum::data(packet.payload())];
            assert_eq!(smoltcp::wire::checksum::combine(&sum), !0);
            let mut message = packet.payload().to_vec();
            message[2..4].fill(0);
            (packet.source, packet.destination, message)
        };
        seen.into_iter().map(message).collect()
    }
    fn ask(router: &mut Router, message: &[u8]) {
        let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 99);
        let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let mut bytes = Vec::from([0; HEADER]);
        let head = bytes.first_chunk_mut().expect("a header");
        packet::emit_header(head, source, to, protocol::ICMP, message.len(), 1);
        bytes.extend_from_slice(message);
        crate::net::direct::header::fill_icmp(&mut bytes);
        router.send(mac_of(to.into()), EtherType::Ipv6, &bytes);
    }
    testing::run(7, async {
        let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
        let switch = Switch::new(7, Impairments::NONE);
        let mut router = Router::new(&switch);
        let network = host(&switch, 9);
        sleep(Duration::from_secs(5)).await;
        let told = messages(&mut router);
        let own = network.addresses().into_iter().filter_map(v6);
        for address in own {
            let report = mld::report(&[(Record::Joined, solicited_node(address))]);
            let count = told.iter().filter(|(_, to, message)| *to == mld::REPORTS && *message == report).count();
            assert_eq!(count, 2, "{address}: {told:?}");
        }
        let socket = network.udp().bind(5353).await.expect("the port is free");
        socket.join(group).expect("it is a group");
        sleep(Duration::from_secs(5)).await;
        let report = mld::report(&[(Record::Joined, group)]);
        let told = messages(&mut router);
        let local = told[0].0;
        assert!(local.is_unicast_link_local());
        assert_eq!(told, [(local, mld::REPORTS, report.clone()), (local, mld::REPORTS, report)]);
        // A query for all: also those for our addresses.
        let mut query = Vec::from([130, 0, 0, 0, 0x10, 0, 0, 0]);
        query.extend_from_slice(&[0; 16]);
        query.extend_from_slice(&[2, 125, 0, 0]);
        ask(&mut router, &query);
        sleep(Duration::from_secs(5)).await;
        let told = messages(&mut router);
        assert_eq!((told.len(), told[0].2[0], told[0].2[7]), (1, 143, 3), "{told:?}");
        // An older one, which is told of each, and that somebody has left.
        ask(&mut router, &query[..24]);
        sleep(Duration::from_secs(5)).await;
        let told = messages(&mut router);
        assert!(
            told.len() == 3 && told.iter().all(|(_, to, message)| message[0] == 131 && message[8..] == to.octets())
        );
        socket.leave(group).expect("it is in it");
        sleep(Duration::from_secs(5)).await;
        let told = messages(&mut router);
        assert_eq!(told.iter().map(|told| told.2[0]).collect::<Vec<_>>(), [132, 132]);
        // Nonsense.
        for length in 0..query.len() {
            for kind in [130, 131, 132, 143] {
                let mut message = query[..length].to_vec();
                if let Some(first) = message.first_mut() {
                    *first = kind;
                }
                if message.len() >= 4 {
                    ask(&mut router, &message);
                }
            }
            sleep(Duration::from_millis(1)).await;
        }
        sleep(Duration::from_secs(5)).await;
    });
}
