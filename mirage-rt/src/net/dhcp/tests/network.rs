//! Networks that get their addresses from a server on the switch.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::net::{Ipv4Addr, SocketAddr};

use super::server::{Answer, Log, serve};
use super::*;
use crate::keys::Cidr;
use crate::net::ReadError;
use crate::net::switch::{Direction, Impairments, Switch};
use crate::runtime::spawn;
use crate::testing;
use crate::time::{Duration, Instant, sleep};

/// A server that gives 10.0.0.9 for 100 s while `gives` says so.
fn server(switch: &Switch, gives: &Rc<Cell<bool>>) -> Log {
    let gives = Rc::clone(gives);
    serve(switch, move |asked| {
        let kind = if asked.wants { Kind::Ack } else { Kind::Offer };
        let answer = Answer::new(kind, asked.id, asked.mac, ip(9), ip(1)).usual(100);
        gives.get().then(|| answer.option(6, &[10, 0, 0, 53]).option(15, b"lan.example"))
    })
}

/// Another host that sends back what it gets at port 7.
async fn echo(switch: &Switch) -> Network {
    let config = Config { ipv4: Cidr::new(ip(2), 24).ok(), ..Config::new() };
    let network = Network::direct(switch.port(), switch.pool(), config).expect("a good configuration");
    let mut listener = network.tcp().bind(7).await.expect("the port is free");
    drop(spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(spawn(async move {
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    let _ = stream.write_all(&buffer[..length]).await;
                }
            }));
        }
    }));
    network
}

#[test]
fn an_address_is_got_used_and_kept() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let log = server(&switch, &Rc::new(Cell::new(true)));
        let _peer = echo(&switch).await;
        let dhcp = Dhcp::connect(switch.port(), switch.pool(), Config::new()).await.expect("a server gives one");
        let lease = dhcp.lease();
        assert_eq!((lease.address, lease.gateway), (Cidr::new(ip(9), 24).expect("a network"), Some(ip(1))));
        let names = dhcp.names();
        assert_eq!(names.servers, [SocketAddr::from((ip(53), 53))]);
        assert_eq!(names.search, ["lan.example".parse().expect("a name")]);
        let error = dhcp.network().names().lookup("www").await.expect_err("there is no such server");
        assert!(matches!(error, names::LookupError::NoAnswer { server, .. } if server.ip() == ip(53)), "{error}");
        let stream = dhcp.network().tcp().connect((ip(2), 7)).await.expect("it listens");
        // Twelve times the lease's length: it is renewed at each half.
        for _ in 0..24 {
            sleep(Duration::from_secs(50)).await;
            stream.write_all(b"still here").await.expect("the peer lives");
            let mut buffer = [0; 64];
            assert_eq!(stream.read(&mut buffer).await.expect("the peer answers"), 10);
        }
        assert!(!dhcp.is_lost());
        assert!(dhcp.lease().ends.is_some_and(|ends| ends > now() + Duration::from_secs(40)));
        let log = log.borrow();
        let renewals: Vec<_> = log.iter().skip(2).collect();
        assert!((20..=25).contains(&renewals.len()), "{}", renewals.len());
        assert!(renewals.iter().all(|(_, from, to, asked)| (*from, *to, asked.client) == (ip(9), ip(1), ip(9))));
    });
}

#[test]
fn a_lease_that_ends_takes_the_address_with_it_and_another_one_is_got() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let gives = Rc::new(Cell::new(true));
        let log = server(&switch, &gives);
        let peer = echo(&switch).await;
        let dhcp = Dhcp::connect(switch.port(), switch.pool(), Config::new()).await.expect("a server gives one");
        let mut listener = dhcp.network().tcp().bind(80).await.expect("the port is free");
        let stream = dhcp.network().tcp().connect((ip(2), 7)).await.expect("it listens");
        gives.set(false);
        let error = stream.read(&mut [0; 8]).await.expect_err("the address goes");
        assert!(matches!(error, ReadError::AddressGone), "{error}");
        assert!(dhcp.is_lost() && dhcp.network().addresses().is_empty());
        let counted = dhcp.network().snapshot().expect("a network of its own").interface.events;
        assert_eq!(counted[..5], [1, 0, 1, 0, 0]);
        assert_eq!((now() - Instant::ZERO).as_secs(), 100);
        // Its own server first, then any: at the half and at seven eighths (88 s), as long as there is more time than a minute;
        // then from the beginning, at once.
        sleep(Duration::from_secs(1)).await;
        let asked: Vec<_> =
            log.borrow().iter().skip(2).map(|(at, _, to, _)| (at.as_nanos() / 1_000_000_000, *to)).collect();
        assert_eq!(asked, [(50, ip(1)), (88, Ipv4Addr::BROADCAST), (100, Ipv4Addr::BROADCAST)]);
        sleep(Duration::from_secs(1000)).await;
        // Now and then it is asked for, and nothing else leaves, from no address: not even answers to ARP.
        let count = log.borrow().len();
        assert!((15..30).contains(&count), "{count}");
        assert!(log.borrow().iter().skip(4).all(|(_, from, _, asked)| from.is_unspecified() && !asked.wants));
        let sent = switch.port_statistics(2, Direction::Transmit).frames;
        assert!(peer.tcp().connect((ip(9), 80)).await.is_err());
        let asked = (log.borrow().len() - count) as u64;
        assert_eq!(switch.port_statistics(2, Direction::Transmit).frames, sent + asked);
        gives.set(true);
        assert_eq!(dhcp.network().addresses_changed(&[]).await, [ip(9)]);
        assert!(!dhcp.is_lost());
        let _client = peer.tcp().connect((ip(9), 80)).await.expect("the listener has gone on");
        listener.accept().await.expect("a connection waits");
    });
}

/// A server that refuses the address and gives another one, with another gateway and routes.
#[test]
fn another_address_is_taken_while_the_program_goes_on() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let moved = Rc::new(Cell::new(false));
        let asks = Rc::clone(&moved);
        let _log = serve(&switch, move |asked| {
            let yours = if asks.get() { ip(19) } else { ip(9) };
            let answer = |kind| Answer::new(kind, asked.id, asked.mac, yours, ip(1)).usual(100);
            let other = asked.client != yours && !asked.client.is_unspecified();
            Some(match (other, asked.wants) {
                (true, _) => answer(Kind::Nak),
                (false, true) if asks.get() => {
                    answer(Kind::Ack).option(26, &[4, 0]).option(121, &[8, 172, 10, 0, 0, 2, 0, 10, 0, 0, 1])
                }
                (false, wants) => answer(if wants { Kind::Ack } else { Kind::Offer }),
            })
        });
        let _peer = echo(&switch).await;
        let dhcp = Dhcp::connect(switch.port(), switch.pool(), Config::new()).await.expect("a server gives one");
        let network = dhcp.network();
        let stream = network.tcp().connect((ip(2), 7)).await.expect("it listens");
        let before = network.addresses();
        moved.set(true);
        let mut addresses = network.addresses_changed(&before).await;
        if addresses.is_empty() {
            addresses = network.addresses_changed(&[]).await;
        }
        assert_eq!(addresses, [ip(19)]);
        assert_eq!((now() - Instant::ZERO).as_secs(), 50, "at the half");
        assert!(matches!(stream.read(&mut [0; 8]).await, Err(ReadError::AddressGone)));
        let lease = dhcp.lease();
        let route = StaticRoute { to: Cidr::of(Ipv4Addr::new(172, 0, 0, 0), 8), via: ip(2) };
        assert_eq!((lease.gateway, lease.mtu, &lease.routes[..]), (Some(ip(1)), Some(1024), &[route][..]));
        assert_eq!(network.link().mtu, Some(1024));
        network.tcp().connect((ip(2), 7)).await.expect("it listens");
    });
}

/// What the program fixes counts more than what the server says; a gateway that does not fit is told of.
#[test]
fn fixed_parts_win() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let _log = server(&switch, &Rc::new(Cell::new(true)));
        let unaddressed =
            || Network::unaddressed(switch.port(), switch.pool(), Config::new()).expect("a good configuration");
        let fixed = Addressing { mtu: Some(700), ..Addressing::default() };
        let dhcp = Dhcp::start(&unaddressed(), fixed).await.expect("a server gives one");
        assert_eq!(dhcp.network().link().mtu, Some(700));
        let fixed = Addressing { gateway: Some(Ipv4Addr::new(10, 9, 0, 1)), ..Addressing::default() };
        let error = Dhcp::start(&unaddressed(), fixed).await.expect_err("the gateway is far away");
        assert!(matches!(error, DhcpError::Configure(ConfigureError::Config(_))), "{error}");
        assert!(error.to_string().contains("10.9.0.1 cannot be reached from 10.0.0.9"), "{error}");
    });
}

#[test]
fn a_server_that_comes_late_is_found_and_losses_are_made_up_for() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let gives = Rc::new(Cell::new(false));
        let log = server(&switch, &gives);
        let late = Rc::clone(&gives);
        drop(spawn(async move {
            sleep(Duration::from_secs(20)).await;
            late.set(true);
        }));
        let dhcp = Dhcp::connect(switch.port(), switch.pool(), Config::new()).await.expect("a server gives one");
        assert_eq!(dhcp.lease().address.address(), ip(9));
        assert!((20..32).contains(&(now() - Instant::ZERO).as_secs()), "{:?}", now());
        assert!(log.borrow().iter().all(|(_, from, to, _)| from.is_unspecified() && *to == Ipv4Addr::BROADCAST));
    });
    for seed in 1..20 {
        testing::run(seed, async move {
            let switch = Switch::new(seed, Impairments::NONE.with_loss(0.3).with_duplication(0.2));
            let _log = server(&switch, &Rc::new(Cell::new(true)));
            let dhcp = Dhcp::connect(switch.port(), switch.pool(), Config::new()).await.expect("a server gives one");
            assert_eq!(dhcp.lease().address.address(), ip(9));
        });
    }
}

#[test]
fn a_broken_device_is_an_error_and_one_that_is_away_is_waited_for() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let _log = server(&switch, &Rc::new(Cell::new(true)));
        let port = switch.port();
        let index = port.index();
        switch.unplug(index);
        let plugger = switch.clone();
        drop(spawn(async move {
            sleep(Duration::from_secs(3)).await;
            plugger.plug(index);
        }));
        let dhcp = Dhcp::connect(port, switch.pool(), Config::new()).await.expect("the device comes");
        assert_eq!((now() - Instant::ZERO).as_secs(), 3);
        assert_eq!(dhcp.lease().address.address(), ip(9));
        let port = switch.port();
        switch.break_port(port.index());
        let broken = Dhcp::connect(port, switch.pool(), Config::new()).await.expect_err("it is broken");
        assert!(matches!(broken, DhcpError::Broken), "{broken}");
    });
}
