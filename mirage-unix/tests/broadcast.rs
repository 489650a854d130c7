//! Datagrams to all hosts of a network, from the host's sockets to a stack of our own on a tap device and back.

#![forbid(unsafe_code)]

mod namespace;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use mirage_rt::net::{Config, Network, UdpSocket};
use mirage_rt::page::HeapPool;
use mirage_rt::platform::Platform;
use mirage_rt::{Duration, Runtime, timeout};
use mirage_unix::{HostSockets, Tap, UnixPlatform};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn all_hosts_hear_it() {
    namespace::run(&["inner::broadcast"]);
}

/// Sends until it is heard, as the host loses what it sends before it has noticed that somebody is at the device; from whom it came.
async fn heard(sender: &UdpSocket, to: SocketAddr, receiver: &UdpSocket) -> SocketAddr {
    let (text, mut buffer) = (to.to_string(), [0; 100]);
    loop {
        sender.send_to(text.as_bytes(), to).await.expect("every socket may");
        while let Ok(received) = timeout(Duration::from_millis(100), receiver.receive_from(&mut buffer)).await {
            let (length, from) = received.expect("it comes");
            // One that was sent before may come late.
            if &buffer[..length] == text.as_bytes() {
                return from;
            }
        }
    }
}

mod inner {
    use super::*;

    #[test]
    #[ignore = "run by all_hosts_hear_it"]
    fn broadcast() {
        namespace::ip("tuntap add tap0 mode tap");
        namespace::ip("address add 10.77.0.1/24 broadcast 10.77.0.255 dev tap0");
        namespace::ip("link set tap0 up");
        namespace::ip("route add default dev tap0");
        let platform = UnixPlatform::new().expect("a test may open descriptors");
        Runtime::new(Rc::clone(&platform) as Rc<dyn Platform>).run(async {
            // Linux hands what is for all to sockets that are bound to no address.
            let host = Network::host(Rc::new(HostSockets::new(&platform, Ipv4Addr::UNSPECIFIED)));
            let tap = Tap::open(&platform, "tap0").expect("the interface was made for this");
            let config = Config::from_keys("10.77.0.2/24".parse().ok(), None);
            let ours = Network::direct(tap, HeapPool::with_pages(256), config).expect("a host's address");
            let (host, ours) = (host.udp().bind(0).await, ours.udp().bind(0).await);
            let (host, ours) = (host.expect("a port is free"), ours.expect("a port is free"));
            let (hosts_port, our_port) = (host.local_addr().port(), ours.local_addr().port());
            let all_on_the_link = IpAddr::V4(Ipv4Addr::BROADCAST);
            for all in [IpAddr::from([10, 77, 0, 255]), all_on_the_link] {
                let from = timeout(LONG, heard(&host, SocketAddr::new(all, our_port), &ours)).await;
                assert_eq!(from.ok(), Some(SocketAddr::from(([10, 77, 0, 1], hosts_port))), "to {all} from the host");
                let from = timeout(LONG, heard(&ours, SocketAddr::new(all, hosts_port), &host)).await;
                assert_eq!(from.ok(), Some(SocketAddr::from(([10, 77, 0, 2], our_port))), "to {all} from ours");
            }
        });
    }
}
