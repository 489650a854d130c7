//! A router between two switches, and hosts on them, in virtual time.

mod raw;

use alloc::vec;
use core::net::Ipv4Addr;

use super::*;
use crate::keys::Cidr;
use crate::net::switch::{Impairments, Switch};
use crate::net::{Config, TcpStream};
use crate::runtime::spawn;
use crate::testing;
use crate::time::{Duration, sleep, timeout};
use crate::types::network::{NetworkDevice, NetworkInfo};
use raw::Raw;

const INNER: [u8; 3] = [10, 0, 0];
const OUTER: [u8; 3] = [192, 0, 2];

fn address([a, b, c]: [u8; 3], number: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, number)
}

fn network(device: impl NetworkDevice + 'static, switch: &Switch, net: [u8; 3], number: u8) -> Network {
    // The router is number 1 of each.
    let gateway = (number != 1).then_some(address(net, 1));
    let config = Config { ipv4: Cidr::new(address(net, number), 24).ok(), gateway, ..Config::new() };
    Network::direct(device, switch.pool(), config).expect("a host's address")
}

fn host(switch: &Switch, net: [u8; 3], number: u8) -> Network {
    network(switch.port(), switch, net, number)
}

/// Two switches, the router at port 0 of each, and a host at number 2 of each.
struct Fixture {
    inside: Switch,
    outside: Switch,
    router: Option<Router>,
    inner: Network,
    outer: Network,
}

impl Fixture {
    fn new(seed: u64, filter: impl FnMut(&Packet<'_>) -> Verdict + 'static) -> Fixture {
        Fixture::with_devices(seed, &|_| {}, &|_| {}, filter)
    }

    /// With the router's devices as these functions say.
    fn with_devices(
        seed: u64,
        inner: &dyn Fn(&mut NetworkInfo),
        outer: &dyn Fn(&mut NetworkInfo),
        filter: impl FnMut(&Packet<'_>) -> Verdict + 'static,
    ) -> Fixture {
        let (inside, outside) = (Switch::new(seed, Impairments::NONE), Switch::new(seed + 1, Impairments::NONE));
        let lan = network(inside.port().with_info(inner).with_long_packets(), &inside, INNER, 1);
        let wan = network(outside.port().with_info(outer), &outside, OUTER, 1);
        let router = Router::start(&[lan, wan], filter).expect("they have devices");
        let (inner, outer) = (host(&inside, INNER, 2), host(&outside, OUTER, 2));
        Fixture { inside, outside, router: Some(router), inner, outer }
    }

    fn statistics(&self) -> Statistics {
        self.router.as_ref().expect("it is there").statistics()
    }
}

/// Runs `test` with our own TCP machine, which learns of the MTU of paths; an hour at most.
fn run(seed: u64, test: impl Future<Output = ()>) {
    crate::net::direct::choose_own_tcp();
    testing::run(seed, async { timeout(Duration::from_secs(3600), test).await }).expect("it ends");
}

fn pass(_: &Packet<'_>) -> Verdict {
    Verdict::Pass
}

/// Sends `length` bytes from `from` to `to` at `at`, and back what arrives; the address that they come from.
async fn exchange(from: &Network, to: &Network, at: impl Into<SocketAddr>, length: usize) -> IpAddr {
    let at = at.into();
    let mut listener = to.tcp().bind(at.port()).await.expect("the port is free");
    let echoing = spawn(async move {
        let (stream, peer) = listener.accept().await.expect("a client comes");
        let mut buffer = vec![0; 8192];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..length]).await.expect("the client reads");
        }
        peer.ip()
    });
    let stream = from.tcp().connect(at).await.expect("it listens");
    let sent: Vec<u8> = (0..length).map(|at| (at * 7 / 3) as u8).collect();
    let (writer, bytes) = (stream.clone(), sent.clone());
    let writing = spawn(async move {
        writer.write_all(&bytes).await.expect("the server reads");
        writer.shutdown().expect("it is open");
    });
    assert!(read_to_end(&stream).await == sent);
    writing.await.expect("it ends");
    echoing.await.expect("it ends")
}

async fn read_to_end(stream: &TcpStream) -> Vec<u8> {
    let (mut received, mut buffer) = (Vec::new(), vec![0; 8192]);
    loop {
        match stream.read(&mut buffer).await.expect("the connection lives") {
            0 => return received,
            length => received.extend_from_slice(&buffer[..length]),
        }
    }
}

#[test]
fn hosts_reach_each_other_through_the_router() {
    run(1, async {
        let hosts = Fixture::new(1, pass);
        let seen = Rc::new(Cell::new(0));
        let count = Rc::clone(&seen);
        hosts.outside.set_filter(Some(Rc::new(move |frame| {
            if frame[12..14] == [8, 0] && frame[26..30] == [10, 0, 0, 2] {
                assert_eq!(frame[6..12], [2, 0, 0, 0, 0, 1], "from the router's device");
                assert_eq!(frame[22], 63, "one hop less");
                count.set(count.get() + 1);
            }
            true
        })));
        let from = exchange(&hosts.inner, &hosts.outer, (address(OUTER, 2), 80), 100_000).await;
        assert_eq!(from, IpAddr::V4(address(INNER, 2)));
        exchange(&hosts.outer, &hosts.inner, (address(INNER, 2), 80), 100_000).await;
        assert!(seen.get() > 140);
        let (one, other) = (hosts.inner.udp().bind(7).await, hosts.outer.udp().bind(7).await);
        let (one, other) = (one.expect("the port is free"), other.expect("the port is free"));
        one.send_to(b"there", (address(OUTER, 2), 7)).await.expect("a route leads there");
        let mut buffer = [0; 8];
        let (length, from) = other.receive_from(&mut buffer).await.expect("it comes");
        other.send_to(&buffer[..length], from).await.expect("a route leads back");
        assert_eq!(one.receive_from(&mut buffer).await.expect("it comes").0, 5);
        let statistics = hosts.statistics();
        assert_eq!(Statistics { forwarded: 0, ..statistics }, Statistics::default());
        assert!(statistics.forwarded > 280, "{statistics:?}");
    });
}

#[test]
fn the_router_s_own_connections_go_on_and_it_ends_when_it_is_dropped() {
    run(2, async {
        let mut hosts = Fixture::new(2, pass);
        let lan = hosts.router.as_ref().map(|router| router.shared.networks.clone()).expect("it is there").remove(0);
        exchange(&hosts.inner, &lan, (address(INNER, 1), 80), 1000).await;
        let again = Router::start(&[lan], pass).expect_err("it forwards already");
        assert_eq!(again, RouterError::Busy);
        // Its other address is nobody's inside.
        let far = timeout(Duration::from_secs(5), hosts.inner.tcp().connect((address(OUTER, 1), 80))).await;
        assert!(matches!(far, Ok(Err(_))), "it is told at once");
        assert_eq!(hosts.statistics().unreachable, 1);
        hosts.router = None;
        let gone = timeout(Duration::from_secs(5), hosts.inner.tcp().connect((address(OUTER, 2), 80))).await;
        assert!(gone.is_err());
    });
}

#[test]
fn a_filter_makes_a_firewall() {
    run(3, async {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&seen);
        let hosts = Fixture::new(3, move |packet| {
            log.borrow_mut().push((packet.from, packet.to, packet.protocol, packet.ports()));
            match (packet.from, packet.ports()) {
                (0, Some([_, 80])) | (1, Some([80, _])) => Verdict::Pass,
                (0, Some([_, 81])) => Verdict::Reject,
                _ => Verdict::Drop,
            }
        });
        exchange(&hosts.inner, &hosts.outer, (address(OUTER, 2), 80), 1000).await;
        {
            let seen = seen.borrow();
            assert!(seen.iter().all(|(from, to, protocol, _)| from != to && *protocol == 6));
            assert!(matches!(seen.first(), Some((0, 1, 6, Some([_, 80])))));
        }
        let rejected = timeout(Duration::from_secs(10), hosts.inner.tcp().connect((address(OUTER, 2), 81))).await;
        assert!(matches!(rejected, Ok(Err(_))), "it is told");
        let dropped = timeout(Duration::from_secs(10), hosts.inner.tcp().connect((address(OUTER, 2), 82))).await;
        assert!(dropped.is_err(), "it is told nothing");
        let inwards = timeout(Duration::from_secs(10), hosts.outer.tcp().connect((address(INNER, 2), 80))).await;
        assert!(inwards.is_err(), "it is told nothing");
        assert!(hosts.statistics().filtered >= 3);
    });
}

#[test]
fn packets_that_are_too_long_are_told_or_cut() {
    run(4, async {
        let hosts = Fixture::with_devices(4, &|_| {}, &|info| info.mtu = 1000, pass);
        // Segments may not be cut: TCP learns how long they may be.
        exchange(&hosts.inner, &hosts.outer, (address(OUTER, 2), 80), 50_000).await;
        assert!(hosts.statistics().too_big > 0);
        let mut raw = Raw::new(&hosts.inside, [2, 0, 0, 0, 0, 1]);
        let receiver = hosts.outer.udp().bind(9).await.expect("the port is free");
        let payload: Vec<u8> = (0..1400_u16).map(|at| at as u8).collect();
        raw.send_datagram(address(INNER, 9), address(OUTER, 2), 64, 0x40, &payload);
        let told = raw.receive_icmp().await;
        assert_eq!((told[0], told[1], &told[4..8]), (3, 4, &[0, 0, 3, 232][..]));
        let seen = Rc::new(RefCell::new(Vec::new()));
        let places = Rc::clone(&seen);
        hosts.outside.set_filter(Some(Rc::new(move |frame| {
            if frame[12..14] == [8, 0] && frame[23] == 17 {
                assert!(frame.len() <= 1014);
                places.borrow_mut().push(u16::from_be_bytes([frame[20], frame[21]]));
            }
            true
        })));
        raw.send_datagram(address(INNER, 9), address(OUTER, 2), 64, 0, &payload);
        sleep(Duration::from_millis(10)).await;
        assert_eq!(seen.borrow()[..], [0x2000, 122]);
        if cfg!(feature = "datagrams") {
            let mut buffer = vec![0; 2000];
            let (length, _) = receiver.receive_from(&mut buffer).await.expect("it is put together");
            assert!(buffer[..length] == payload);
        }
    });
}

/// What a host was told of a way serves the connections that come after, whoever asks for them, for ten minutes.
#[test]
fn a_way_is_told_of_once() {
    run(16, async {
        let hosts = Fixture::with_devices(16, &|_| {}, &|info| info.mtu = 1000, pass);
        exchange(&hosts.inner, &hosts.outer, (address(OUTER, 2), 80), 50_000).await;
        let told = hosts.statistics().too_big;
        assert!(told > 0);
        exchange(&hosts.inner, &hosts.outer, (address(OUTER, 2), 81), 50_000).await;
        exchange(&hosts.outer, &hosts.inner, (address(INNER, 2), 82), 50_000).await;
        assert_eq!(hosts.statistics().too_big, told);
        sleep(Duration::from_secs(600)).await;
        exchange(&hosts.inner, &hosts.outer, (address(OUTER, 2), 83), 50_000).await;
        assert!(hosts.statistics().too_big > told);
    });
}

#[test]
fn packets_of_many_segments_stay_whole_or_are_cut_here() {
    fn offloads(info: &mut NetworkInfo) {
        (info.checksum_ipv4, info.gso_ipv4) = (true, 65_550);
    }
    for (seed, outer) in
        [(10, &offloads as &dyn Fn(&mut NetworkInfo)), (12, &|info| info.checksum_ipv4 = true), (14, &|_| {})]
    {
        run(seed, async move {
            let (inside, outside) = (Switch::new(seed, Impairments::NONE), Switch::new(seed + 1, Impairments::NONE));
            let lan = network(inside.port().with_info(offloads).with_long_packets(), &inside, INNER, 1);
            let wan = network(outside.port().with_info(outer), &outside, OUTER, 1);
            let router = Router::start(&[lan, wan], pass).expect("they have devices");
            let inner = network(inside.port().with_info(offloads).with_long_packets(), &inside, INNER, 2);
            let outer = network(outside.port().with_info(offloads).with_long_packets(), &outside, OUTER, 2);
            let (longest, seen) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let (inner_seen, outer_seen) = (Rc::clone(&longest), Rc::clone(&seen));
            inside.set_filter(Some(Rc::new(move |frame| {
                inner_seen.set(frame.len().max(inner_seen.get()));
                true
            })));
            outside.set_filter(Some(Rc::new(move |frame| {
                if frame[26..30] == [10, 0, 0, 2] {
                    outer_seen.set(frame.len().max(outer_seen.get()));
                }
                true
            })));
            exchange(&inner, &outer, (address(OUTER, 2), 80), 400_000).await;
            assert!(longest.get() > 10_000, "{}", longest.get());
            assert_eq!(seen.get() > 10_000, seed == 10, "{}", seen.get());
            assert_eq!(router.statistics().invalid, 0);
        });
    }
}

#[test]
fn a_packet_without_hops_goes_no_further() {
    run(5, async {
        let hosts = Fixture::new(5, pass);
        let mut raw = Raw::new(&hosts.inside, [2, 0, 0, 0, 0, 1]);
        for hops in [0, 1] {
            raw.send_datagram(address(INNER, 9), address(OUTER, 2), hops, 0, b"payload");
            let told = raw.receive_icmp().await;
            assert_eq!((told[0], told[1]), (11, 0));
            assert_eq!(told[8 + 8], hops, "the packet as it came");
            assert_eq!(told[8 + 12..8 + 20], [10, 0, 0, 9, 192, 0, 2, 2]);
            assert!(told.ends_with(b"payload"));
        }
        raw.send_datagram(address(INNER, 9), Ipv4Addr::new(8, 8, 8, 8), 64, 0, b"payload");
        let told = raw.receive_icmp().await;
        assert_eq!((told[0], told[1]), (3, 0));
        let statistics = hosts.statistics();
        assert_eq!((statistics.expired, statistics.unreachable, statistics.forwarded), (2, 1, 0));
    });
}

#[test]
fn what_is_never_forwarded_is_not() {
    run(6, async {
        let hosts = Fixture::new(6, pass);
        let mut raw = Raw::new(&hosts.inside, [2, 0, 0, 0, 0, 1]);
        let (own, far) = (address(INNER, 9), address(OUTER, 2));
        let link_local = Ipv4Addr::new(169, 254, 1, 1);
        for (from, to) in [
            (link_local, far),
            (own, link_local),
            (own, Ipv4Addr::new(240, 0, 0, 1)),
            (own, Ipv4Addr::new(0, 1, 2, 3)),
            (own, Ipv4Addr::LOCALHOST),
            (Ipv4Addr::LOCALHOST, far),
            (Ipv4Addr::UNSPECIFIED, far),
            (Ipv4Addr::new(224, 0, 0, 1), far),
            (Ipv4Addr::BROADCAST, far),
            // The router's own addresses.
            (address(INNER, 1), far),
            (address(OUTER, 1), far),
            // All hosts of the network behind it.
            (own, address(OUTER, 255)),
        ] {
            let before = hosts.statistics();
            raw.send_datagram(from, to, 64, 0, b"payload");
            sleep(Duration::from_millis(1)).await;
            let after = hosts.statistics();
            assert_eq!((after.invalid, after.forwarded), (before.invalid + 1, 0), "{from} to {to}");
        }
        // A source route, and a frame to all stations.
        let before = hosts.statistics();
        raw.send_options(own, far, &[7, 4, 4, 0, 131, 4, 4, 0]);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(hosts.statistics().invalid, before.invalid + 1);
        raw.to = [0xff; 6];
        raw.send_datagram(own, far, 64, 0, b"payload");
        raw.to = [2, 0, 0, 0, 0, 9];
        raw.send_datagram(own, far, 64, 0, b"payload");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(hosts.statistics(), Statistics { invalid: before.invalid + 1, ..before });
        // Other options are nobody's business.
        raw.to = [2, 0, 0, 0, 0, 1];
        raw.send_options(own, far, &[7, 4, 4, 0]);
        sleep(Duration::from_millis(1)).await;
        // And the answer that nobody is at the port.
        assert_eq!(hosts.statistics().forwarded, 2);
    });
}

#[test]
fn noise_is_neither_forwarded_nor_a_reason_to_stop() {
    run(7, async {
        let hosts = Fixture::new(7, pass);
        let mut raw = Raw::new(&hosts.inside, [2, 0, 0, 0, 0, 1]);
        let mut state = 7_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let good = raw::datagram(address(INNER, 9), address(OUTER, 2), 64, 0, &[1; 60]);
        for _ in 0..3000 {
            let mut packet = good.clone();
            for _ in 0..random() % 4 {
                let at = random() % packet.len();
                packet[at] = random() as u8;
            }
            packet.truncate(1 + random() % packet.len());
            // With a right checksum, or it would go no further than that.
            if random() % 2 == 0 && packet.len() >= 20 {
                crate::net::direct::ipv4::fill_checksum(&mut packet);
            }
            raw.send(if random() % 3 == 0 { 0x86dd } else { 0x0800 }, &packet);
            if random() % 64 == 0 {
                sleep(Duration::from_millis(1)).await;
            }
        }
        sleep(Duration::from_secs(1)).await;
        exchange(&hosts.inner, &hosts.outer, (address(OUTER, 2), 80), 1000).await;
    });
}

#[cfg(feature = "ipv6")]
mod ipv6 {
    use core::net::Ipv6Addr;

    use super::*;
    use crate::net::ipv6::Ipv6Config;

    fn ip(net: u16, number: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, number)
    }

    fn host(device: impl NetworkDevice + 'static, switch: &Switch, net: u16, number: u16) -> Network {
        let gateway = (number != 1).then_some(ip(net, 1));
        let mut ipv6 = Ipv6Config::fixed(crate::keys::Cidr6::new(ip(net, number), 64).expect("a prefix"), gateway);
        ipv6.duplicate_probes = 0;
        Network::direct(device, switch.pool(), Config { ipv6: Some(ipv6), ..Config::new() }).expect("a host's address")
    }

    #[test]
    fn hosts_reach_each_other_over_ipv6() {
        run(20, async {
            let (inside, outside) = (Switch::new(20, Impairments::NONE), Switch::new(21, Impairments::NONE));
            let lan = host(inside.port(), &inside, 1, 1);
            let wan = host(outside.port().with_info(|info| info.mtu = 1300), &outside, 2, 1);
            let router = Router::start(&[lan.joined(&wan)], pass).expect("they have devices");
            let (inner, outer) = (host(inside.port(), &inside, 1, 2), host(outside.port(), &outside, 2, 2));
            sleep(Duration::from_secs(1)).await;
            let advertised = Rc::new(Cell::new(0));
            let count = Rc::clone(&advertised);
            inside.set_filter(Some(Rc::new(move |frame| {
                if frame[12..14] == [0x86, 0xdd] && frame[54] == 136 && frame[6..12] == [2, 0, 0, 0, 0, 1] {
                    assert_eq!(frame[58] & 0x80, 0x80, "it says that it is a router");
                    count.set(count.get() + 1);
                }
                true
            })));
            // Segments are too long for the way out, which is told.
            let from = exchange(&inner, &outer, (ip(2, 2), 80), 50_000).await;
            assert_eq!(from, IpAddr::V6(ip(1, 2)));
            exchange(&outer, &inner, (ip(1, 2), 80), 50_000).await;
            let statistics = router.statistics();
            assert!(statistics.forwarded > 100 && statistics.too_big > 0, "{statistics:?}");
            assert_eq!((statistics.invalid, statistics.unreachable, statistics.expired), (0, 0, 0));
            assert!(advertised.get() > 0);

            let mut raw = Raw::new(&inside, [2, 0, 0, 0, 0, 1]);
            let near = ip(1, 9);
            for (to, hops, told) in [(ip(2, 2), 1, [3, 0]), (ip(3, 2), 64, [1, 0]), (ip(2, 1), 64, [1, 0])] {
                raw.send_datagram6(near, to, hops, b"payload");
                let error = raw.receive_icmp6(near).await;
                assert_eq!((error[..2].to_vec(), error[8 + 7]), (told.to_vec(), hops), "to {to}");
                assert!(error.ends_with(b"payload"));
            }
            let before = router.statistics();
            let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
            for from in [link_local, Ipv6Addr::UNSPECIFIED, Ipv6Addr::LOCALHOST, ip(1, 1), ip(2, 1)] {
                raw.send_datagram6(from, ip(2, 2), 64, b"payload");
            }
            sleep(Duration::from_millis(1)).await;
            assert_eq!(router.statistics(), Statistics { invalid: before.invalid + 5, ..before });
        });
    }
}
