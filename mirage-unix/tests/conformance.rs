//! The promises of `mirage_rt::net`, kept by the host's sockets, and by a stack of our own on a tap device that talks to them.

#![forbid(unsafe_code)]

mod namespace;

use std::net::Ipv4Addr;
use std::rc::Rc;

use mirage_conformance::Side;
use mirage_rt::Runtime;
use mirage_rt::net::{Config, Network};
use mirage_rt::page::HeapPool;
use mirage_rt::platform::Platform;
use mirage_unix::{HostSockets, Tap, UnixPlatform};

/// The host's sockets, bound to `address`.
fn host(platform: &Rc<UnixPlatform>, address: Ipv4Addr) -> Side {
    Side::new(Network::host(Rc::new(HostSockets::new(platform, address))))
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

#[test]
fn a_tap_device_with_sockets() {
    namespace::run(&["inner::tap"]);
}

mod inner {
    use super::*;

    #[test]
    #[ignore = "run by a_tap_device_with_sockets"]
    fn tap() {
        namespace::ip("tuntap add tap0 mode tap");
        namespace::ip("address add 10.77.0.1/24 dev tap0");
        namespace::ip("link set tap0 up");
        run(|platform| {
            let tap = Tap::open(platform, "tap0").expect("the interface was made for this");
            let address = Some("10.77.0.2/24".parse().expect("an address"));
            let pool = HeapPool::with_pages(256);
            let network = Network::direct(tap, pool, Config::from_keys(address, None)).expect("a host's address");
            (Side::new(network), host(platform, Ipv4Addr::new(10, 77, 0, 1)))
        });
    }
}
