//! Addresses, routes and MTUs that change while connections are open.

use alloc::rc::Rc;
use alloc::string::ToString;
use core::cell::Cell;
use core::net::IpAddr;

use super::raw::{Raw, STACK};
use super::*;
use crate::net::switch::Direction;
use crate::net::{
    Addressing, ConfigError, ConfigureError, ConnectError, ReadError, ReceiveError, SendError, StaticRoute, WriteError,
};
use crate::time::{Duration, sleep, timeout};

/// Addressing as host `number`.
fn addressing(number: u8) -> Addressing {
    Addressing::new(Cidr::new(ip(number), 24).ok(), None)
}

/// Counts frames of the first port with the source `address`, in an IP header or an ARP packet.
fn watch(switch: &Switch, address: Ipv4Addr) -> Rc<Cell<usize>> {
    let seen = Rc::new(Cell::new(0));
    let count = Rc::clone(&seen);
    switch.set_filter(Some(Rc::new(move |frame| {
        let at = if frame[12..14] == [8, 6] { 28 } else { 26 };
        if frame[6..12] == STACK && frame[at..at + 4] == address.octets() {
            count.set(count.get() + 1);
        }
        true
    })));
    seen
}

fn an_address_that_is_gone_ends_its_connections_and_nothing_else() {
    testing::run(120, async {
        let switch = Switch::new(120, Impairments::NONE);
        let (server, client) = (host(&switch, 1), host(&switch, 2));
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let (socket, bound) = (server.udp().bind(7).await, server.udp().bind(at(1, 8)).await);
        let (socket, bound) = (socket.expect("the port is free"), bound.expect("the port is free"));
        let stream = client.tcp().connect(at(1, 80)).await.expect("it listens");
        let (accepted, _) = listener.accept().await.expect("a connection waits");
        let waits = client.tcp().connect(at(1, 80)).await.expect("it listens");
        // Bytes that the peer will never have acknowledged, and such for a neighbour that is not there.
        let nobody = spawn({
            let server = server.clone();
            async move { server.tcp().connect(at(77, 80)).await.map(drop) }
        });
        stream.write_all(b"early").await.expect("there is room");
        sleep(Duration::from_millis(10)).await;
        switch.unplug(1);
        accepted.write_all(&pattern(1, 4000)).await.expect("there is room");
        socket.send_to(b"held", at(78, 7)).await.expect("it is held");
        sleep(Duration::from_millis(10)).await;
        let old = watch(&switch, ip(1));
        let before = server.addresses();
        assert_eq!(before, [IpAddr::V4(ip(1))]);
        let told = spawn({
            let server = server.clone();
            async move { server.addresses_changed(&before).await }
        });
        server.configure(addressing(9)).expect("a good address");
        assert_eq!(told.await.expect("it ends"), [IpAddr::V4(ip(9))]);
        assert_eq!(server.addresses(), [IpAddr::V4(ip(9))]);
        switch.plug(1);
        // What came before is still read.
        let mut buffer = [0; 8];
        assert_eq!(accepted.read(&mut buffer).await.expect("it is there"), 5);
        assert!(matches!(accepted.read(&mut buffer).await, Err(ReadError::AddressGone)));
        assert!(matches!(accepted.write(b"x").await, Err(WriteError::AddressGone)));
        let refused = nobody.await.expect("it ends").expect_err("the address is gone");
        assert!(matches!(refused, ConnectError::AddressGone), "{refused}");
        assert!(refused.to_string().contains("connect again"), "{refused}");
        // Listeners and sockets go on; what waited to be accepted does not.
        let again = client.tcp().connect(at(9, 80)).await.expect("it listens");
        let (accepted, peer) = listener.accept().await.expect("a connection waits");
        assert_eq!((peer, accepted.local_addr()), (again.local_addr(), at(9, 80)));
        socket.send_to(b"x", at(2, 7)).await.expect("it goes on");
        assert!(matches!(bound.send_to(b"x", at(2, 7)).await, Err(SendError::Unreachable(_))));
        sleep(Duration::from_secs(400)).await;
        assert_eq!(old.get(), 0, "frames with the old address left");
        drop(waits);
        // It comes back, and so does what is bound to it.
        server.configure(addressing(1)).expect("a good address");
        bound.send_to(b"x", at(2, 7)).await.expect("its address is back");
    });
}

fn without_an_address_nothing_is_answered_and_everybody_can_be_asked() {
    testing::run(121, async {
        let switch = Switch::new(121, Impairments::NONE);
        let network =
            Network::unaddressed(switch.port(), switch.pool(), Config::new()).expect("the configuration is good");
        let mut raw = Raw::new(&switch, 3);
        assert!(network.addresses().is_empty());
        let mut listener = network.tcp().bind(80).await.expect("the port is free");
        let socket = network.udp().bind(68).await.expect("the port is free");
        raw.send_udp(at(3, 67), SocketAddr::from((Ipv4Addr::UNSPECIFIED, 68)), b"to nobody");
        raw.send_udp(at(3, 67), at(1, 68), b"to another");
        raw.send_udp(at(3, 67), SocketAddr::from((Ipv4Addr::BROADCAST, 68)), b"to all");
        let mut buffer = [0; 16];
        let (length, from) = socket.receive_from(&mut buffer).await.expect("it is for all");
        assert_eq!((&buffer[..length], from), (&b"to all"[..], at(3, 67)));
        let unreachable = network.tcp().connect(at(3, 80)).await;
        assert!(matches!(unreachable, Err(ConnectError::Unreachable(_))));
        assert!(matches!(socket.send_to(b"x", at(3, 67)).await, Err(SendError::Unreachable(_))));
        assert_eq!(raw.packets().await.len(), 0);
        socket.send_to(b"who?", SocketAddr::from((Ipv4Addr::BROADCAST, 67))).await.expect("everybody can be asked");
        let [packet] = &raw.packets().await[..] else { panic!("one packet") };
        assert_eq!((&packet[12..16], &packet[16..20]), (&[0; 4][..], &[255; 4][..]));
        // With an address all of it works, and without one again nothing does.
        network.configure(addressing(1)).expect("a good address");
        let client = host(&switch, 2);
        let stream = client.tcp().connect(at(1, 80)).await.expect("it listens");
        let (accepted, _) = listener.accept().await.expect("a connection waits");
        network.configure(Addressing::default()).expect("none is good, too");
        assert!(matches!(accepted.read(&mut buffer).await, Err(ReadError::AddressGone)));
        assert!(network.addresses().is_empty());
        let frames = switch.port_statistics(0, Direction::Transmit).frames;
        stream.write_all(b"anybody?").await.expect("there is room");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(switch.port_statistics(0, Direction::Transmit).frames, frames);
    });
}

fn routes_lead_to_their_routers_and_the_longest_prefix_wins() {
    testing::run(122, async {
        let switch = Switch::new(122, Impairments::NONE);
        let network = host(&switch, 1);
        let mut routers: Vec<_> = (251..=253).map(|number| Raw::new(&switch, number)).collect();
        let route = |to: &str, via| StaticRoute { to: to.parse().expect("a network"), via: ip(via) };
        let routes = Vec::from([route("10.1.0.0/16", 252), route("10.1.2.0/24", 253)]);
        let all = Addressing { gateway: Some(ip(251)), routes, ..addressing(1) };
        network.configure(all.clone()).expect("good routes");
        let socket = network.udp().bind(7).await.expect("the port is free");
        for (far, router) in [([10, 1, 9, 9], 1), ([10, 1, 2, 9], 2), ([10, 2, 0, 1], 0)] {
            socket.send_to(b"x", SocketAddr::from((far, 7))).await.expect("there is a route");
            let counts = [routers[0].packets().await, routers[1].packets().await, routers[2].packets().await];
            let counts: Vec<_> = counts.iter().map(Vec::len).collect();
            assert_eq!(counts, (0..3).map(|index| usize::from(index == router)).collect::<Vec<_>>(), "{far:?}");
        }
        let error = |change: &dyn Fn(&mut Addressing)| {
            let mut wrong = all.clone();
            change(&mut wrong);
            network.configure(wrong).expect_err("this is of no use")
        };
        let far = StaticRoute { to: Cidr::of(ip(0), 8), via: Ipv4Addr::new(10, 1, 0, 1) };
        let unreachable = error(&|wrong| wrong.routes = Vec::from([far]));
        assert_eq!(unreachable, ConfigureError::Route { route: far, address: ip(1) });
        assert!(unreachable.to_string().contains("10.1.0.1 of the route to 10.0.0.0/8"), "{unreachable}");
        assert_eq!(error(&|wrong| wrong.ipv4 = None), ConfigureError::NoAddress);
        assert_eq!(error(&|wrong| wrong.mtu = Some(500)), ConfigureError::Config(ConfigError::Mtu(500)));
        assert_eq!(error(&|wrong| wrong.routes = Vec::from([far; 17])), ConfigureError::TooManyRoutes);
        assert_eq!(network.addresses(), [IpAddr::V4(ip(1))]);
    });
}

fn an_open_connection_goes_on_with_another_mtu_and_another_gateway() {
    testing::run(123, async {
        let switch = Switch::new(123, Impairments::NONE);
        let (server, client) = (host(&switch, 1), host(&switch, 2));
        let _echoing = echo_server(&server, 80).await;
        let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        let at_first = server.link();
        let longest = Rc::new(Cell::new(0));
        let seen = Rc::clone(&longest);
        switch.set_filter(Some(Rc::new(move |frame| {
            if frame[6..12] == STACK {
                seen.set(frame.len().max(seen.get()));
            }
            true
        })));
        let narrow = Addressing { mtu: Some(1000), gateway: Some(ip(3)), ..addressing(1) };
        server.configure(narrow.clone()).expect("a good configuration");
        assert_eq!(server.link_changed(at_first).await.mtu, Some(1000));
        exchange(stream, pattern(9, 50_000)).await;
        assert_eq!(longest.get(), 1014);
        // A device that comes back does not widen it; the configuration can.
        switch.unplug(0);
        sleep(Duration::from_secs(1)).await;
        switch.plug(0);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(server.link().mtu, Some(1000));
        server.configure(Addressing { mtu: Some(9000), ..narrow }).expect("a good configuration");
        assert_eq!(server.link().mtu, Some(1500), "the device allows no more");
        let nothing = timeout(Duration::from_secs(1), server.addresses_changed(&server.addresses())).await;
        assert!(nothing.is_err());
        let socket = server.udp().bind(9).await.expect("the port is free");
        let received = timeout(Duration::from_secs(1), socket.receive_from(&mut [0; 8])).await;
        assert!(!matches!(received, Ok(Err(ReceiveError::Down))));
    });
}

machines! {
    an_address_that_is_gone_ends_its_connections_and_nothing_else,
    without_an_address_nothing_is_answered_and_everybody_can_be_asked,
    routes_lead_to_their_routers_and_the_longest_prefix_wins,
    an_open_connection_goes_on_with_another_mtu_and_another_gateway,
}
