//! The promises of `mirage_rt::net`, kept by the host's sockets, and by a stack of our own on a tap device that talks to them.

#![forbid(unsafe_code)]

mod namespace;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use mirage_conformance::{Lack, Side};
use mirage_rt::Runtime;
use mirage_rt::net::ipv6::Ipv6Config;
use mirage_rt::net::{Config, Network};
use mirage_rt::page::HeapPool;
use mirage_rt::platform::Platform;
use mirage_unix::{HostSockets, Tap, UnixPlatform};

/// The host's sockets, bound to `address`. Who may send echo requests by them, the host decides.
fn host(platform: &Rc<UnixPlatform>, address: impl Into<IpAddr>) -> Side {
    let address = address.into();
    let lacks: &[Lack] = match (address.is_ipv6() && address.is_loopback(), may_ping()) {
        (false, true) => &[],
        (false, false) => &[Lack::EchoRequests],
        (true, true) => &[Lack::Groups],
        (true, false) => &[Lack::Groups, Lack::EchoRequests],
    };
    Side::new(Network::host(Rc::new(HostSockets::new(platform, address)))).lacking(lacks)
}

/// Which groups may open ICMP sockets, for IPv6 too.
const PING_GROUPS: &str = "/proc/sys/net/ipv4/ping_group_range";

/// Whether the group of this process may.
fn may_ping() -> bool {
    let groups = std::fs::read_to_string(PING_GROUPS).unwrap_or_default();
    let bounds: Vec<u32> = groups.split_whitespace().filter_map(|bound| bound.parse().ok()).collect();
    let group = std::fs::metadata("/proc/self").map(|own| own.gid());
    matches!((&bounds[..], group), ([first, last], Ok(group)) if (*first..=*last).contains(&group))
}

/// Lets it, in a namespace.
fn permit_pings() {
    if let Err(error) = std::fs::write(PING_GROUPS, "0 0") {
        println!("NOT PERMITTED: {PING_GROUPS}: {error}");
        std::process::exit(1);
    }
}

/// Runs all cases.
fn run(sides: impl FnOnce(&Rc<UnixPlatform>) -> (Side, Side)) {
    let platform = UnixPlatform::new().expect("a test may open descriptors");
    Runtime::new(Rc::clone(&platform) as Rc<dyn Platform>).run(async {
        let (one, other) = sides(&platform);
        mirage_conformance::run(one, other, |name| println!("{name}")).await;
    });
}

#[test]
fn sockets_with_sockets() {
    run(|platform| (host(platform, Ipv4Addr::LOCALHOST), host(platform, Ipv4Addr::new(127, 0, 0, 2))));
}

/// On the loopback interface of this machine, if that has IPv6.
#[test]
fn sockets_with_sockets_over_ipv6() {
    if let Err(error) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) {
        eprintln!("SKIPPED: no test of sockets over IPv6, which this machine does not have: {error}");
        return;
    }
    run(|platform| (host(platform, Ipv6Addr::LOCALHOST), host(platform, Ipv6Addr::LOCALHOST)));
}

#[test]
fn a_tap_device_with_sockets() {
    namespace::run(&["inner::tap", "inner::tap_over_ipv6"]);
}

/// Where the host permits echo requests to them.
#[test]
fn sockets_that_may_ping() {
    namespace::run(&["inner::sockets", "inner::sockets_over_ipv6"]);
}

/// More than the host has ports: those that have just been used must serve again.
#[test]
#[ignore = "takes a minute: cargo test --release -p mirage-unix --test conformance -- --ignored a_hundred"]
fn a_hundred_thousand_short_connections() {
    namespace::run(&["inner::short_connections"]);
}

mod inner {
    use super::*;

    /// A stack of our own at the other end of `tap0`.
    fn ours(platform: &UnixPlatform, config: Config) -> Network {
        let tap = Tap::open(platform, "tap0").expect("the interface was made for this");
        Network::direct(tap, HeapPool::with_pages(256), config).expect("a host's address")
    }

    #[test]
    #[ignore = "run by sockets_that_may_ping"]
    fn sockets() {
        namespace::ip("link set lo up");
        permit_pings();
        run(|platform| (host(platform, Ipv4Addr::LOCALHOST), host(platform, Ipv4Addr::new(127, 0, 0, 2))));
    }

    #[test]
    #[ignore = "run by sockets_that_may_ping"]
    fn sockets_over_ipv6() {
        namespace::ip("link set lo up");
        permit_pings();
        run(|platform| (host(platform, Ipv6Addr::LOCALHOST), host(platform, Ipv6Addr::LOCALHOST)));
    }

    #[test]
    #[ignore = "run by a_tap_device_with_sockets"]
    fn tap() {
        namespace::ip("tuntap add tap0 mode tap");
        namespace::ip("address add 10.77.0.1/24 dev tap0");
        namespace::ip("link set tap0 up");
        permit_pings();
        run(|platform| {
            let network = ours(platform, Config::from_keys("10.77.0.2/24".parse().ok(), None));
            (Side::new(network), host(platform, Ipv4Addr::new(10, 77, 0, 1)))
        });
    }

    #[test]
    #[ignore = "run by a_hundred_thousand_short_connections"]
    fn short_connections() {
        namespace::ip("tuntap add tap0 mode tap");
        namespace::ip("address add 10.77.0.1/24 dev tap0");
        namespace::ip("link set tap0 up");
        let platform = UnixPlatform::new().expect("a test may open descriptors");
        Runtime::new(Rc::clone(&platform) as Rc<dyn Platform>).run(async {
            let network = ours(&platform, Config::from_keys("10.77.0.2/24".parse().ok(), None));
            let (ours, kernels) = (Side::new(network), host(&platform, Ipv4Addr::new(10, 77, 0, 1)));
            mirage_conformance::short_connections(ours.clone(), kernels.clone(), 50_000).await;
            mirage_conformance::short_connections(kernels, ours, 50_000).await;
        });
    }

    #[test]
    #[ignore = "run by a_tap_device_with_sockets"]
    fn tap_over_ipv6() {
        namespace::ip("tuntap add tap0 mode tap");
        namespace::ip("address add fd00:77::1/64 dev tap0 nodad");
        namespace::ip("link set tap0 up");
        permit_pings();
        run(|platform| {
            let mut config = Config::new();
            let mut ipv6 = Ipv6Config::fixed("fd00:77::2/64".parse().expect("a prefix"), None);
            // Nobody else is on this link.
            ipv6.duplicate_probes = 0;
            config.ipv6 = Some(ipv6);
            let address = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 2);
            let network = ours(platform, config);
            (Side::at_address(network, address), host(platform, Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1)))
        });
    }
}
