//! What routers say: prefixes, lifetimes, name servers, and that they are there.

use core::net::{IpAddr, SocketAddr};

use super::*;
use crate::net::ipv6::ndp::{self, ALL_NODES, Mac, address_of};

/// What a router says, piece by piece.
pub struct Advertisement(Vec<u8>);

impl Advertisement {
    pub fn new(lifetime: u16) -> Advertisement {
        let [high, low] = lifetime.to_be_bytes();
        Advertisement(Vec::from([134, 0, 0, 0, 64, 0, high, low, 0, 0, 0, 0, 0, 0, 0, 0]))
    }

    fn source(mut self, mac: Mac) -> Self {
        self.0.extend_from_slice(&[1, 1]);
        self.0.extend_from_slice(&mac);
        self
    }

    pub fn prefix(mut self, prefix: Ipv6Addr, length: u8, flags: u8, valid: u32, preferred: u32) -> Self {
        self.0.extend_from_slice(&[3, 4, length, flags]);
        self.0.extend_from_slice(&valid.to_be_bytes());
        self.0.extend_from_slice(&preferred.to_be_bytes());
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&prefix.octets());
        self
    }

    fn mtu(mut self, mtu: u32) -> Self {
        self.0.extend_from_slice(&[5, 1, 0, 0]);
        self.0.extend_from_slice(&mtu.to_be_bytes());
        self
    }

    pub fn servers(mut self, lifetime: u32, servers: &[Ipv6Addr]) -> Self {
        self.0.extend_from_slice(&[25, 1 + 2 * servers.len() as u8, 0, 0]);
        self.0.extend_from_slice(&lifetime.to_be_bytes());
        servers.iter().for_each(|server| self.0.extend_from_slice(&server.octets()));
        self
    }

    /// From the router `peer`, whose port is `number`.
    pub fn send(&self, peer: &mut Peer, number: u8) {
        peer.send_discovery(local(number), ALL_NODES, &self.0);
    }
}

pub const NETWORK: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 0);
const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);
/// On the link, and for addresses.
pub const BOTH: u8 = 0xc0;

/// Where a packet to `destination` goes to first: seen by whom the stack asks for.
async fn first_hop(network: &Network, peer: &mut Peer, destination: Ipv6Addr) -> Option<Ipv6Addr> {
    let socket = network.udp().bind(0).await.expect("a port is free");
    peer.seen().await;
    socket.send_to(b"x", SocketAddr::from((destination, 9))).await.ok()?;
    let seen = peer.seen().await;
    seen.iter().find_map(|seen| match seen.message() {
        Some(ndp::Message::Solicitation { target, .. }) => Some(target),
        _ => (seen.packet().destination == destination).then_some(local(seen.to_mac[5])),
    })
}

#[test]
fn routers_are_asked_three_times() {
    testing::run(10, async {
        let switch = Switch::new(10, Impairments::NONE);
        let _network = host(&switch, automatic());
        let mut peer = Peer::new(&switch);
        sleep(seconds(60)).await;
        let asked: Vec<_> = peer.seen().await.into_iter().filter(|seen| seen.packet().payload()[0] == 133).collect();
        assert_eq!(asked.len(), 3, "{asked:?}");
        assert!(asked.iter().all(|seen| seen.packet().destination == ndp::ALL_ROUTERS && seen.bytes[7] == 255));
        // At first without an address, then with it.
        assert_eq!(asked[0].packet().source, Ipv6Addr::UNSPECIFIED);
        assert_eq!(asked[2].packet().source, local(1));
    });
}

#[test]
fn an_address_is_made_in_each_prefix_and_lasts_as_long() {
    testing::run(11, async {
        let switch = Switch::new(11, Impairments::NONE);
        let (_direct, network) = stack(&switch, automatic()).await;
        let mut peer = Peer::new(&switch);
        assert_eq!(network.addresses(), [local(1)]);
        let message = Advertisement::new(1800).source(mac(2)).prefix(NETWORK, 64, BOTH, 100, 50);
        // None for what is no prefix for addresses, or contradicts itself.
        let message = message.prefix(ip(0), 64, 0x80, 100, 50).prefix(FAR, 48, 0x40, 100, 50);
        message.prefix(FAR, 64, 0x40, 50, 100).prefix(local(9), 64, BOTH, 100, 50).send(&mut peer, 2);
        let address = address_of(NETWORK, mac(1));
        sleep(Duration::from_millis(500)).await;
        assert_eq!(network.addresses(), [local(1)], "somebody may have it");
        sleep(seconds(1)).await;
        assert_eq!(network.addresses(), [local(1), address]);
        assert_eq!(first_hop(&network, &mut peer, FAR).await, Some(local(2)));
        sleep(seconds(99)).await;
        assert_eq!(network.addresses(), [local(1)]);
        assert_eq!(first_hop(&network, &mut peer, FAR).await, None, "there is nothing to send from");
    });
}

#[test]
fn a_router_is_used_until_it_says_otherwise() {
    testing::run(12, async {
        let switch = Switch::new(12, Impairments::NONE);
        let (_direct, network) = stack(&switch, fixed(1)).await;
        let (mut peer, mut other) = (Peer::new(&switch), Peer::new(&switch));
        assert_eq!(first_hop(&network, &mut peer, FAR).await, None, "nobody leads there");
        Advertisement::new(30).send(&mut peer, 2);
        Advertisement::new(60).send(&mut other, 3);
        assert_eq!(first_hop(&network, &mut peer, FAR).await, Some(local(2)));
        assert_eq!(first_hop(&network, &mut peer, ip(9)).await, Some(ip(9)), "a neighbour");
        // Nobody answers for the first router: after three questions the other one is used.
        sleep(seconds(5)).await;
        assert_eq!(first_hop(&network, &mut other, FAR).await, Some(local(3)));
        Advertisement::new(0).send(&mut other, 3);
        sleep(seconds(1)).await;
        assert_eq!(first_hop(&network, &mut peer, FAR).await, Some(local(2)));
        sleep(seconds(30)).await;
        assert_eq!(first_hop(&network, &mut peer, FAR).await, None);
        // Not from somebody far away.
        let message = Advertisement::new(30);
        peer.send_icmp(local(2), ALL_NODES, 64, &message.0);
        peer.send_discovery(ip(2), ALL_NODES, &message.0);
        sleep(seconds(1)).await;
        assert_eq!(first_hop(&network, &mut peer, FAR).await, None);
    });
}

#[test]
fn a_redirect_is_ignored() {
    testing::run(13, async {
        let switch = Switch::new(13, Impairments::NONE);
        let (_direct, network) = stack(&switch, fixed(1)).await;
        let mut peer = Peer::new(&switch);
        Advertisement::new(1800).source(mac(2)).send(&mut peer, 2);
        let mut redirect = Vec::from([137, 0, 0, 0, 0, 0, 0, 0]);
        redirect.extend_from_slice(&local(9).octets());
        redirect.extend_from_slice(&FAR.octets());
        peer.send_discovery(local(2), ip(1), &redirect);
        sleep(seconds(1)).await;
        assert_eq!(first_hop(&network, &mut peer, FAR).await, Some(local(2)));
    });
}

#[test]
fn a_configured_gateway_and_network_are_not_changed_by_routers() {
    testing::run(14, async {
        let switch = Switch::new(14, Impairments::NONE);
        let network = Cidr6::new(ip(1), 64).expect("a prefix");
        let config = Config { ipv6: Some(Ipv6Config::fixed(network, Some(ip(254)))), ..Config::new() };
        let (_direct, network) = stack(&switch, config).await;
        let mut peer = Peer::new(&switch);
        Advertisement::new(1800).source(mac(2)).prefix(NETWORK, 64, BOTH, 1000, 500).send(&mut peer, 2);
        Advertisement::new(0).prefix(ip(0), 64, BOTH, 0, 0).send(&mut peer, 2);
        sleep(seconds(3)).await;
        assert_eq!(network.addresses(), [local(1), ip(1)]);
        assert_eq!(first_hop(&network, &mut peer, FAR).await, Some(ip(254)));
        assert_eq!(first_hop(&network, &mut peer, ip(9)).await, Some(ip(9)));
    });
}

#[test]
fn name_servers_and_the_mtu_are_taken_over() {
    testing::run(15, async {
        let switch = Switch::new(15, Impairments::NONE);
        let (direct, network) = stack(&switch, fixed(1)).await;
        let mut peer = Peer::new(&switch);
        let servers = [ip(53), FAR];
        Advertisement::new(1800).mtu(1400).servers(600, &servers).send(&mut peer, 2);
        sleep(seconds(1)).await;
        assert_eq!(network.name_servers(), servers.map(IpAddr::V6));
        assert_eq!(direct.shared.stack.borrow().ip.paths().ipv6.mtu, 1400);
        let socket = network.udp().bind(0).await.expect("a port is free");
        let long = socket.send_to(&[0; 1353], SocketAddr::from((ip(9), 9))).await;
        // What does not fit leaves in fragments, if it does at all.
        match cfg!(feature = "datagrams") {
            true => assert!(long.is_ok(), "{long:?}"),
            false => assert!(matches!(long, Err(crate::net::SendError::TooLong { most: 1352 })), "{long:?}"),
        }
        // Less than IPv6 needs, and more than the device takes.
        Advertisement::new(1800).mtu(1279).send(&mut peer, 2);
        sleep(seconds(1)).await;
        assert_eq!(direct.shared.stack.borrow().ip.paths().ipv6.mtu, 1400);
        Advertisement::new(1800).mtu(9000).send(&mut peer, 2);
        sleep(seconds(1)).await;
        assert_eq!(direct.shared.stack.borrow().ip.paths().ipv6.mtu, 1500);
        sleep(seconds(600)).await;
        assert!(network.name_servers().is_empty());
    });
}

#[test]
fn name_servers_of_routers_are_asked_unless_keys_name_others() {
    testing::run(18, async {
        let switch = Switch::new(18, Impairments::NONE);
        let network = host(&switch, automatic());
        let mut peer = Peer::new(&switch);
        sleep(seconds(2)).await;
        let servers = || alloc::format!("{:?}", network.names());
        assert!(servers().contains("servers: []"), "{}", servers());
        Advertisement::new(1800)
            .source(mac(2))
            .prefix(NETWORK, 64, BOTH, 7200, 3600)
            .servers(600, &[ip(53)])
            .send(&mut peer, 2);
        sleep(seconds(2)).await;
        assert!(servers().contains("servers: [[2001:db8::35]:53]"), "{}", servers());
        let resolver = network.names();
        let asking = crate::spawn(async move { resolver.lookup("www.example").await });
        let seen = peer.seen().await;
        // It is behind the router.
        let asked = |seen: &&peer::Seen| seen.packet().protocol == 17 && seen.packet().destination == ip(53);
        assert_eq!(seen.iter().filter(asked).count(), 1, "{seen:?}");
        drop(asking);
        // A lease's come first, those of keys alone.
        network.set_names(crate::net::names::Options::new([IpAddr::from([10, 0, 0, 53])]));
        assert!(servers().contains("servers: [10.0.0.53:53, [2001:db8::35]:53]"), "{}", servers());
        network.fix_names(&[IpAddr::from([10, 0, 0, 54])], Vec::new());
        assert!(servers().contains("servers: [10.0.0.54:53]"), "{}", servers());
        network.fix_names(&[], Vec::new());
        // They last as long as the router says.
        sleep(seconds(600)).await;
        assert!(servers().contains("servers: [10.0.0.53:53]"), "{}", servers());
    });
}
