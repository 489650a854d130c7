//! Echo requests by the host's ICMP sockets, and between them and a stack of our own on a tap device, in a namespace that permits it.

#![forbid(unsafe_code)]

mod namespace;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use mirage_rt::net::{Config, Network, PingError, ReceiveError};
use mirage_rt::page::HeapPool;
use mirage_rt::platform::Platform;
use mirage_rt::{Duration, Runtime, timeout};
use mirage_unix::{HostSockets, Tap, UnixPlatform};

/// Far longer than an answer takes.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn hosts_answer() {
    namespace::run(&["inner::by_sockets", "inner::over_a_tap_device"]);
}

/// Runs `test` with the host's sockets.
fn run<F: Future<Output = ()>>(address: Ipv4Addr, test: impl FnOnce(Rc<UnixPlatform>, Network) -> F) {
    let platform = UnixPlatform::new().expect("a test may open descriptors");
    let network = Network::host(Rc::new(HostSockets::new(&platform, address)));
    Runtime::new(Rc::clone(&platform) as Rc<dyn Platform>).run(test(platform, network));
}

/// Lets the group of this process open ICMP sockets, in its namespace.
fn permit() {
    if let Err(error) = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0") {
        println!("NOT PERMITTED: ping_group_range: {error}");
        std::process::exit(1);
    }
}

async fn answers(network: &Network, to: impl Into<IpAddr>, length: usize) {
    let (to, payload) = (to.into(), vec![length as u8; length]);
    let took = network.icmp().ping(to, &payload, LONG).await;
    took.unwrap_or_else(|error| panic!("{length} bytes to {to}: {error}"));
}

mod inner {
    use super::*;

    #[test]
    #[ignore = "run by hosts_answer"]
    fn by_sockets() {
        namespace::ip("link set lo up");
        run(Ipv4Addr::LOCALHOST, |_, network| async move {
            let icmp = network.icmp();
            let refused =
                icmp.ping(Ipv4Addr::LOCALHOST, b"x", LONG).await.expect_err("a new namespace permits it to nobody");
            assert!(matches!(refused, PingError::NotPermitted), "{refused}");
            permit();
            for length in [0, 1, 56, 1400, 20_000] {
                answers(&network, Ipv4Addr::LOCALHOST, length).await;
                answers(&network, Ipv6Addr::LOCALHOST, length).await;
            }
            // Many at a time: each gets its own answer.
            let many = [1, 2, 3, 4].map(|length| {
                let network = network.clone();
                mirage_rt::spawn(async move { answers(&network, Ipv4Addr::new(127, 0, 0, length as u8), length).await })
            });
            for one in many {
                one.await.expect("the task ran to its end");
            }
            let error = icmp.ping(Ipv4Addr::LOCALHOST, &[0; 70_000], LONG).await.expect_err("no packet is so long");
            assert!(matches!(error, PingError::TooLong { most: 65_507 }), "{error}");
            // 192.0.2.0/24 is for documentation only (RFC 5737).
            let error = icmp.ping(Ipv4Addr::new(192, 0, 2, 1), b"x", LONG).await.expect_err("no route leads there");
            assert!(matches!(error, PingError::Unreachable(_)), "{error}");
        });
    }

    #[test]
    #[ignore = "run by hosts_answer"]
    fn over_a_tap_device() {
        namespace::ip("tuntap add tap0 mode tap");
        namespace::ip("address add 10.77.0.1/24 dev tap0");
        namespace::ip("link set tap0 up");
        permit();
        // What the host tells itself takes this way.
        namespace::ip("link set lo up");
        // How long it waits for each of three answers.
        std::fs::write("/proc/sys/net/ipv4/neigh/tap0/retrans_time_ms", "50").expect("the namespace is ours");
        let (host, ours) = (Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2));
        run(host, |platform, network| async move {
            let tap = Tap::open(&platform, "tap0").expect("the interface was made for this");
            let config = Config::from_keys("10.77.0.2/24".parse().ok(), None);
            let direct = Network::direct(tap, HeapPool::with_pages(256), config).expect("a host's address");
            // Up to what fits a packet. The host drops what it sends before it has noticed that somebody is at the device: ours
            // asks for its address until it answers.
            for length in [0, 56, 1472] {
                answers(&direct, host, length).await;
                answers(&network, ours, length).await;
            }
            // Where nobody is, the host tells itself that there is no way.
            let nobody = Ipv4Addr::new(10, 77, 0, 9);
            let error = network.icmp().ping(nobody, b"x", LONG).await.expect_err("nobody answers");
            assert!(matches!(error, PingError::Unreachable(_)), "{error}");
            let socket = network.udp().bind(0).await.expect("a port is free");
            socket.tell_unreachable(true).expect("it can");
            socket.send_to(b"x", (nobody, 7)).await.expect("there is a way");
            let told = timeout(LONG, socket.receive_from(&mut [0; 8])).await.expect("the host gives up");
            assert!(matches!(told, Err(ReceiveError::Unreachable(peer)) if peer == (nobody, 7).into()), "{told:?}");
        });
    }
}
