//! A program on two switches, a network on each, in virtual time.

use alloc::vec;
use core::net::Ipv4Addr;

use super::*;
use crate::keys::Cidr;
use crate::net::switch::{Impairments, Switch};
use crate::net::{Config, StaticRoute};
use crate::runtime::{JoinHandle, spawn};
use crate::testing;
use crate::time::{Duration, sleep, timeout};

/// Host `number` of the inner network.
const fn inner(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

/// Host `number` of the outer network.
const fn outer(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, number)
}

fn host(switch: &Switch, address: Ipv4Addr, gateway: Option<Ipv4Addr>) -> Network {
    let config = Config { ipv4: Cidr::new(address, 24).ok(), gateway, ..Config::new() };
    Network::direct(switch.port(), switch.pool(), config).expect("a host's address")
}

/// Two switches, hosts on them, and a program on both.
struct Fixture {
    inside: Switch,
    outside: Switch,
    /// 10.0.0.1, at port 0 of its switch.
    lan: Network,
    /// 192.0.2.1, at port 0 of its switch, with a gateway.
    wan: Network,
    both: Network,
    /// 10.0.0.2
    neighbour: Network,
    /// 192.0.2.2, the gateway.
    stranger: Network,
}

impl Fixture {
    fn new(seed: u64) -> Fixture {
        let (inside, outside) = (Switch::new(seed, Impairments::NONE), Switch::new(seed + 1, Impairments::NONE));
        let (lan, wan) = (host(&inside, inner(1), None), host(&outside, outer(1), Some(outer(2))));
        let (neighbour, stranger) = (host(&inside, inner(2), None), host(&outside, outer(2), None));
        let both = wan.joined(&lan);
        Fixture { inside, outside, lan, wan, both, neighbour, stranger }
    }

    /// The address from which packets to `destination` would come.
    fn source(&self, destination: impl Into<IpAddr>) -> Option<IpAddr> {
        let parts = self.both.as_parts();
        let part = choose(&parts, SocketAddr::new(destination.into(), 80)).and_then(|index| parts.get(index));
        part.and_then(|part| part.addresses().first().copied())
    }
}

/// Accepts one connection and says who came.
async fn serve_one(network: &Network, port: u16) -> JoinHandle<(TcpStream, SocketAddr)> {
    let mut listener = network.tcp().bind(port).await.expect("the port is free");
    spawn(async move { listener.accept().await.expect("a client comes") })
}

#[test]
fn the_longest_prefix_wins_then_the_first_network() {
    testing::run(1, async {
        let hosts = Fixture::new(1);
        let (lan, wan) = (Some(IpAddr::V4(inner(1))), Some(IpAddr::V4(outer(1))));
        for (destination, source) in [(inner(7), lan), (outer(7), wan), ([8, 8, 8, 8].into(), wan)] {
            assert_eq!(hosts.source(destination), source, "{destination}");
        }
        let route = |to: &str, via| StaticRoute { to: to.parse().expect("a network"), via };
        let addressing = |address, gateway, routes| {
            let mut addressing = Addressing::new(Cidr::new(address, 24).ok(), gateway);
            addressing.routes = routes;
            addressing
        };
        // The inner network leads to a part of what the outer one leads to.
        let routes = vec![route("172.16.0.0/12", inner(9)), route("172.20.0.0/16", inner(9))];
        hosts.lan.configure(addressing(inner(1), Some(inner(9)), routes)).expect("they are near");
        let routes = vec![route("172.20.7.0/24", outer(9)), route("172.20.0.0/16", outer(9))];
        hosts.wan.configure(addressing(outer(1), Some(outer(2)), routes)).expect("they are near");
        for (destination, source) in [
            ([172, 16, 0, 1], lan),
            ([172, 20, 7, 1], wan),
            // Both have a route of 16 bits, and both a gateway: the outer one was named first.
            ([172, 20, 8, 1], wan),
            ([8, 8, 8, 8], wan),
        ] {
            assert_eq!(hosts.source(Ipv4Addr::from(destination)), source, "{destination:?}");
        }
        // One whose link is down only when there is no other.
        hosts.outside.unplug(0);
        sleep(Duration::from_millis(1)).await;
        assert!(!hosts.wan.link().up && hosts.both.link().up);
        assert_eq!(hosts.source(Ipv4Addr::new(8, 8, 8, 8)), lan);
        hosts.lan.configure(addressing(inner(1), None, Vec::new())).expect("an address");
        assert_eq!(hosts.source(Ipv4Addr::new(8, 8, 8, 8)), wan);
        hosts.wan.configure(addressing(outer(1), None, Vec::new())).expect("an address");
        assert_eq!(hosts.source(Ipv4Addr::new(8, 8, 8, 8)), None);
        let nowhere = hosts.both.tcp().connect(([8, 8, 8, 8], 80)).await.expect_err("no route leads there");
        assert!(matches!(nowhere, ConnectError::Unreachable(_)), "{nowhere}");
    });
}

#[test]
fn connections_leave_by_the_network_that_leads_there() {
    testing::run(2, async {
        let hosts = Fixture::new(2);
        for (network, address, source) in
            [(&hosts.neighbour, inner(2), inner(1)), (&hosts.stranger, outer(2), outer(1))]
        {
            let accepted = serve_one(network, 80).await;
            let stream = hosts.both.tcp().connect((address, 80)).await.expect("it listens");
            stream.write_all(b"hello").await.expect("it lives");
            let (peer, from) = accepted.await.expect("it accepts");
            assert_eq!((from.ip(), stream.local_addr().ip()), (source.into(), source.into()));
            assert!(stream.info().is_some(), "it is a stream of the network's own");
            let mut buffer = [0; 8];
            assert_eq!(peer.read(&mut buffer).await.expect("it lives"), 5);
        }
    });
}

#[test]
fn a_listener_hears_all_networks_and_one_at_an_address_its_own() {
    testing::run(3, async {
        let hosts = Fixture::new(3);
        let mut listener = hosts.both.tcp().bind(80).await.expect("the port is free");
        assert_eq!(listener.local_addr(), SocketAddr::from(([0, 0, 0, 0], 80)));
        for _ in 0..3 {
            for (network, address) in [(&hosts.neighbour, inner(1)), (&hosts.stranger, outer(1))] {
                let stream = network.tcp().connect((address, 80)).await.expect("it listens");
                let (accepted, peer) = listener.accept().await.expect("a client came");
                assert_eq!((peer, accepted.local_addr()), (stream.local_addr(), stream.peer_addr()));
            }
        }
        let taken = hosts.lan.tcp().bind(80).await.expect_err("the port is taken");
        assert!(matches!(taken, BindError::InUse { port: 80 }), "{taken}");
        drop(listener);
        let listener = hosts.both.tcp().bind((inner(1), 80)).await.expect("the port is free again");
        assert_eq!(listener.local_addr(), SocketAddr::from((inner(1), 80)));
        assert!(hosts.stranger.tcp().connect((outer(1), 80)).await.is_err());
        assert!(hosts.neighbour.tcp().connect((inner(1), 80)).await.is_ok());
        let foreign = hosts.both.tcp().bind((inner(9), 80)).await.expect_err("that is another host's");
        assert!(matches!(foreign, BindError::NotOurs(_)), "{foreign}");
        // A port that is free on all of them.
        let any = hosts.both.tcp().bind(0).await.expect("there are some").local_addr().port();
        assert!(any >= FIRST_PORT);
    });
}

#[test]
fn datagrams_go_both_ways_on_both() {
    testing::run(4, async {
        let hosts = Fixture::new(4);
        let socket = hosts.both.udp().bind(7).await.expect("the port is free");
        let mut buffer = [0; 16];
        for (network, address, own) in [(&hosts.neighbour, inner(2), inner(1)), (&hosts.stranger, outer(2), outer(1))] {
            let peer = network.udp().bind(8).await.expect("the port is free");
            peer.send_to(b"ask", (own, 7)).await.expect("it is near");
            socket.readable().await;
            let (length, from) = socket.receive_from(&mut buffer).await.expect("it comes");
            assert_eq!((length, from), (3, SocketAddr::from((address, 8))));
            socket.send_to(b"answer", from).await.expect("it is near");
            let answered = peer.receive_from(&mut buffer).await.expect("it comes");
            assert_eq!(answered, (6, SocketAddr::from((own, 7))));
        }
        let silence = timeout(Duration::from_secs(1), socket.readable()).await;
        assert!(silence.is_err());
        // A socket at an address sends by its network.
        let bound = hosts.both.udp().bind((inner(1), 9)).await.expect("the port is free");
        let lost = bound.send_to(b"x", (outer(2), 8)).await;
        assert!(lost.is_err(), "the inner network has no gateway");
        bound.send_to(b"x", (inner(2), 8)).await.expect("it is near");
    });
}

#[test]
fn it_lives_as_long_as_one_of_its_networks() {
    testing::run(5, async {
        let hosts = Fixture::new(5);
        let mut listener = hosts.both.tcp().bind(80).await.expect("the port is free");
        let socket = hosts.both.udp().bind(7).await.expect("the port is free");
        hosts.outside.break_port(0);
        sleep(Duration::from_millis(1)).await;
        let accepting = spawn(async move {
            let first = listener.accept().await.map(drop);
            (first, listener.accept().await.map(drop))
        });
        let mut buffer = [0; 4];
        assert!(timeout(Duration::from_secs(1), socket.receive_from(&mut buffer)).await.is_err());
        let peer = hosts.neighbour.udp().bind(0).await.expect("a port is free");
        assert!(timeout(Duration::from_secs(1), socket.readable()).await.is_err());
        peer.send_to(b"x", (inner(1), 7)).await.expect("it is near");
        // What has come is there, whether or not more can.
        sleep(Duration::from_millis(1)).await;
        hosts.inside.unplug(0);
        sleep(Duration::from_millis(1)).await;
        socket.readable().await;
        hosts.inside.plug(0);
        assert_eq!(socket.receive_from(&mut buffer).await.expect("it comes").0, 1);
        hosts.neighbour.tcp().connect((inner(1), 80)).await.expect("it listens");
        hosts.inside.break_port(0);
        let (first, second) = accepting.await.expect("it ends");
        assert!(first.is_ok() && matches!(second, Err(AcceptError::Down)));
        assert!(socket.receive_from(&mut buffer).await.is_err());
        assert!(!hosts.both.link().up);
    });
}

#[test]
fn changes_of_each_are_told() {
    testing::run(6, async {
        let hosts = Fixture::new(6);
        let both = hosts.both.clone();
        assert_eq!(both.addresses(), [IpAddr::V4(outer(1)), IpAddr::V4(inner(1))]);
        let before = both.addresses();
        let changed = spawn(async move { both.addresses_changed(&before).await });
        sleep(Duration::from_millis(1)).await;
        hosts.lan.configure(Addressing::new(Cidr::new(inner(9), 24).ok(), None)).expect("a host's address");
        assert_eq!(changed.await.expect("it ends"), [IpAddr::V4(outer(1)), IpAddr::V4(inner(9))]);
        let (both, link) = (hosts.both.clone(), hosts.both.link());
        assert_eq!((link.up, link.mtu), (true, Some(1500)));
        let changed = spawn(async move { both.link_changed(link).await });
        sleep(Duration::from_millis(1)).await;
        hosts.inside.set_mtu(0, 1400);
        hosts.inside.unplug(0);
        sleep(Duration::from_millis(1)).await;
        hosts.inside.plug(0);
        changed.await.expect("it ends");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(hosts.both.link().mtu, Some(1400));
        assert_eq!(hosts.both.configure(Addressing::default()), Err(ConfigureError::Joined));
        // The same network twice is one, and so are joined ones joined again.
        assert_eq!(hosts.both.joined(&hosts.both).joined(&hosts.lan).as_parts().len(), 2);
    });
}

#[test]
fn each_network_s_servers_are_asked_for_names() {
    use crate::net::names::tests::server::serve;
    use crate::net::names::{LookupError, Options};
    testing::run(7, async {
        let hosts = Fixture::new(7);
        let nobody = hosts.both.names().lookup("nas.example").await.expect_err("there is no server");
        assert!(matches!(nobody, LookupError::NoServers), "{nobody}");
        let knows = |name: &'static str, address: Ipv4Addr| {
            move |asked: &crate::net::names::tests::server::Asked| {
                let answer = asked.answer();
                vec![if asked.name == name { answer.a(name, 60, address.octets()) } else { answer.code(3) }.bytes()]
            }
        };
        let inside = serve(&hosts.neighbour, knows("nas.example", inner(7))).await;
        let outside = serve(&hosts.stranger, knows("www.example", outer(7))).await;
        hosts.lan.set_names(Options::new([inner(2)]));
        hosts.wan.set_names(Options::new([outer(2)]));
        let names = hosts.both.names();
        assert_eq!(names.lookup("nas.example").await.expect("it is there"), [IpAddr::V4(inner(7))]);
        assert_eq!(names.lookup("www.example").await.expect("it is there"), [IpAddr::V4(outer(7))]);
        let none = names.lookup("other.example").await.expect_err("nobody knows it");
        assert!(matches!(none, LookupError::NoSuchName(_)), "{none}");
        assert!(inside.borrow().iter().all(|asked| asked.from.ip() == inner(1)));
        assert!(outside.borrow().iter().all(|asked| asked.from.ip() == outer(1)));
        // Servers of its own are asked instead, by the network that leads to them.
        let before = outside.borrow().len();
        hosts.both.set_names(Options::new([inner(2)]));
        assert!(names.lookup("www.example").await.is_err());
        assert_eq!(outside.borrow().len(), before);
        let accepted = serve_one(&host(&hosts.inside, inner(7), None), 80).await;
        hosts.both.tcp().connect_to("nas.example:80").await.expect("it listens");
        assert_eq!(accepted.await.expect("it accepts").1.ip(), IpAddr::V4(inner(1)));
    });
}

#[cfg(feature = "datagrams")]
#[test]
fn hosts_of_both_are_asked_whether_they_are_there() {
    testing::run(8, async {
        let hosts = Fixture::new(8);
        for address in [inner(2), outer(2)] {
            hosts.both.icmp().ping(address, b"there?", Duration::from_secs(1)).await.expect("it answers");
        }
        let group = Ipv4Addr::new(239, 1, 2, 3);
        let socket = hosts.both.udp().bind(7).await.expect("the port is free");
        socket.join(group).expect("both have groups");
        let mut buffer = [0; 4];
        for network in [&hosts.neighbour, &hosts.stranger] {
            let peer = network.udp().bind(0).await.expect("a port is free");
            peer.send_to(b"x", (group, 7)).await.expect("it is a group");
            assert_eq!(socket.receive_from(&mut buffer).await.expect("it comes").0, 1);
        }
        socket.leave(group).expect("it is in it");
        assert!(socket.leave(group).is_err());
    });
}

#[cfg(feature = "ipv6")]
mod ipv6 {
    use core::net::Ipv6Addr;

    use super::*;
    use crate::keys::Cidr6;
    use crate::net::StaticRoute6;
    use crate::net::ipv6::Ipv6Config;

    fn host(switch: &Switch, address: &str) -> Network {
        let mut ipv6 = Ipv6Config::fixed(address.parse().expect("a network"), None);
        ipv6.duplicate_probes = 0;
        let config = Config { ipv6: Some(ipv6), ..Config::new() };
        Network::direct(switch.port(), switch.pool(), config).expect("a host's address")
    }

    fn address(text: &str) -> Ipv6Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn routes_and_scopes_choose_the_network() {
        testing::run(9, async {
            let (inside, outside) = (Switch::new(9, Impairments::NONE), Switch::new(10, Impairments::NONE));
            let (lan, wan) = (host(&inside, "2001:db8:1::1/64"), host(&outside, "2001:db8:2::1/64"));
            let (neighbour, stranger) = (host(&inside, "2001:db8:1::2/64"), host(&outside, "2001:db8:2::2/64"));
            let both = wan.joined(&lan);
            sleep(Duration::from_secs(1)).await;
            let parts = both.as_parts();
            let choose = |text: &str| super::choose(&parts, SocketAddr::new(address(text).into(), 7));
            assert_eq!(
                (choose("2001:db8:1::7"), choose("2001:db8:2::7"), choose("2001:db8:3::7")),
                (Some(1), Some(0), None)
            );
            let route =
                |to: &str, via: &str| StaticRoute6 { to: to.parse::<Cidr6>().expect("a network"), via: address(via) };
            let addressing = |routes| Addressing { ipv6_routes: routes, ..Addressing::default() };
            let wrong = route("2001:db8:3::/48", "2001:db8:9::1");
            let refused = wan.configure(addressing(vec![wrong])).expect_err("that router is nowhere");
            assert_eq!(refused, ConfigureError::Ipv6Route(wrong));
            wan.configure(addressing(vec![route("::/0", "fe80::9")])).expect("a link-local router");
            lan.configure(addressing(vec![route("2001:db8:3::/48", "2001:db8:1::2")])).expect("a neighbour");
            assert_eq!((choose("2001:db8:3::7"), choose("2001:db8:4::7")), (Some(1), Some(0)));

            // Who came from a link-local address is answered on its link.
            let socket = both.udp().bind(7).await.expect("the port is free");
            let link_local = |network: &Network| {
                let is_it = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
                network.addresses().into_iter().find(is_it).expect("each has one")
            };
            let mut buffer = [0; 16];
            for (peer, ours, scope) in [(&neighbour, &lan, 2), (&stranger, &wan, 1)] {
                let peer_socket = peer.udp().bind(8).await.expect("the port is free");
                peer_socket.send_to(b"ask", (link_local(ours), 7)).await.expect("it is near");
                let (_, from) = socket.receive_from(&mut buffer).await.expect("it comes");
                assert_eq!(from.ip(), link_local(peer));
                assert!(matches!(from, SocketAddr::V6(v6) if v6.scope_id() == scope));
                socket.send_to(b"answer", from).await.expect("it is near");
                assert_eq!(peer_socket.receive_from(&mut buffer).await.expect("it comes").0, 6);
            }
        });
    }

    #[test]
    fn a_static_route_is_taken_and_packets_go_to_its_router() {
        testing::run(11, async {
            let switch = Switch::new(11, Impairments::NONE);
            let (client, router) = (host(&switch, "2001:db8:1::1/64"), host(&switch, "2001:db8:1::2/64"));
            sleep(Duration::from_secs(1)).await;
            let routes =
                vec![StaticRoute6 { to: "2001:db8:3::/48".parse().expect("a network"), via: address("2001:db8:1::2") }];
            client.configure(Addressing { ipv6_routes: routes, ..Addressing::default() }).expect("it is near");
            let seen = Rc::new(Cell::new(0));
            let count = Rc::clone(&seen);
            switch.set_filter(Some(Rc::new(move |frame| {
                let to = address("2001:db8:3::7").octets();
                if frame[12..14] == [0x86, 0xdd] && frame[38..54] == to {
                    assert_eq!(frame[..6], [2, 0, 0, 0, 0, 2], "the router's Ethernet address");
                    count.set(count.get() + 1);
                }
                true
            })));
            let socket = client.udp().bind(0).await.expect("a port is free");
            socket.send_to(b"x", (address("2001:db8:3::7"), 9)).await.expect("there is a route");
            let nowhere = socket.send_to(b"x", (address("2001:db8:4::7"), 9)).await;
            assert!(nowhere.is_err());
            sleep(Duration::from_secs(1)).await;
            assert_eq!(seen.get(), 1);
            drop(router);
        });
    }
}
