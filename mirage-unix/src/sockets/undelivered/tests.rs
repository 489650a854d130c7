use std::time::Duration;

use mirage_rt::net::{Network, SendError, UdpSocket};
use mirage_rt::platform::Platform;
use mirage_rt::{Runtime, spawn, timeout};

use super::*;
use crate::{HostSockets, UnixPlatform};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// Runs `test` with sockets at these addresses: by which they are bound, and by which they are reached.
fn at_each<F: Future<Output = ()>>(test: fn(Network, IpAddr) -> F) {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    let everywhere = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    for (bound, reached) in [(v4, v4), (v6, v6), (everywhere, v6), (everywhere, v4)] {
        let platform = UnixPlatform::new().expect("a test may open descriptors");
        let network = Network::host(std::rc::Rc::new(HostSockets::new(&platform, bound)));
        Runtime::new(std::rc::Rc::clone(&platform) as std::rc::Rc<dyn Platform>).run(test(network, reached));
    }
}

/// A port that nobody has, while the socket of the same number at another address is there.
async fn closed(network: &Network, address: IpAddr) -> SocketAddr {
    let socket = network.udp().bind(0).await.expect("a port is free");
    SocketAddr::new(address, socket.local_addr().port())
}

async fn receive(socket: &UdpSocket) -> Result<usize, ReceiveError> {
    let received = timeout(LONG, socket.receive_from(&mut [0; 100])).await.expect("something comes");
    received.map(|(length, _)| length)
}

#[test]
fn a_socket_that_wants_to_know_is_told() {
    at_each(|network, address| async move {
        let gone = closed(&network, address).await;
        let (socket, other) = (network.udp().bind(0).await, network.udp().bind(0).await);
        let (socket, other) = (socket.expect("a port is free"), other.expect("a port is free"));
        let there = SocketAddr::new(address, other.local_addr().port());
        let quiet = |socket: UdpSocket| async move {
            timeout(Duration::from_millis(50), socket.receive_from(&mut [0; 10])).await.is_err()
        };
        socket.send_to(b"x", gone).await.expect("loopback is there");
        assert!(quiet(socket.clone()).await, "it did not want to know");
        socket.tell_unreachable(true).expect("it can");
        // Whoever waits already is woken.
        let waiting = spawn({
            let socket = socket.clone();
            async move {
                socket.readable().await;
                socket.receive_from(&mut [0; 10]).await
            }
        });
        mirage_rt::yield_now().await;
        socket.send_to(b"x", gone).await.expect("loopback is there");
        let told = timeout(LONG, waiting).await.expect("it comes").expect("the task ran to its end");
        assert!(matches!(told, Err(ReceiveError::Refused(peer)) if peer == gone), "{told:?}");
        assert!(quiet(socket.clone()).await, "it was told");
        // What a send meets is told to whoever receives, before datagrams; the send goes on.
        socket.send_to(b"x", gone).await.expect("loopback is there");
        for _ in 0..2 {
            socket.send_to(b"hello", there).await.expect("that was about an earlier one");
        }
        other.send_to(b"answer", SocketAddr::new(address, socket.local_addr().port())).await.expect("it goes");
        socket.readable().await;
        let told = receive(&socket).await;
        assert!(matches!(told, Err(ReceiveError::Refused(peer)) if peer == gone), "{told:?}");
        assert_eq!(receive(&socket).await.ok(), Some(6));
        assert_eq!((receive(&other).await.ok(), receive(&other).await.ok()), (Some(5), Some(5)));
        // Not any more, nor by the next send.
        socket.send_to(b"x", gone).await.expect("loopback is there");
        socket.tell_unreachable(false).expect("it can");
        socket.send_to(b"x", gone).await.expect("that was about an earlier one");
        socket.send_to(b"hello", there).await.expect("that was about an earlier one");
        assert!(quiet(socket).await);
        assert_eq!(receive(&other).await.ok(), Some(5));
    });
}

#[test]
fn errors_of_a_send_are_its_own() {
    at_each(|network, address| async move {
        let gone = closed(&network, address).await;
        let socket = network.udp().bind(0).await.expect("a port is free");
        socket.tell_unreachable(true).expect("it can");
        socket.send_to(b"x", gone).await.expect("loopback is there");
        let long = socket.send_to(&[0; 70_000], gone).await;
        assert!(matches!(long, Err(SendError::TooLong { most: 65_507 })), "{long:?}");
        let told = receive(&socket).await;
        assert!(matches!(told, Err(ReceiveError::Refused(peer)) if peer == gone), "{told:?}");
    });
}

#[test]
fn only_the_latest_destinations_are_told_of() {
    let peer = |number: u16| SocketAddr::from(([192, 0, 2, 1], number));
    let mut undelivered = Undelivered::default();
    (1..=17).chain([2]).for_each(|number| undelivered.note_sent(peer(number)));
    assert_eq!(undelivered.sent.len(), REMEMBERED);
    assert!(undelivered.told(peer(1), Fate::Refused).is_none());
    undelivered.note_sent(peer(18));
    assert!(undelivered.told(peer(3), Fate::Refused).is_none());
    let told = undelivered.told(peer(2), Fate::Unreachable);
    assert!(matches!(told, Some(ReceiveError::Unreachable(told)) if told == peer(2)), "{told:?}");
    // As a socket of both families tells it.
    let mapped = SocketAddr::new(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().into(), 2);
    let told = undelivered.told(mapped, Fate::Refused);
    assert!(matches!(told, Some(ReceiveError::Refused(told)) if told == peer(2)), "{told:?}");
}

#[test]
fn errors_say_what_has_become_of_a_datagram() {
    let message = |level: i32, kind: i32, error: [u8; 3]| {
        let head = [&64_usize.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes(), &[0; 4]].concat();
        [&head[..], &error, &[0; 9]].concat()
    };
    let fate_of = |control: &[u8]| read_error(control).and_then(Told::fate);
    let [(ip, ip_errors), (ipv6, ipv6_errors)] = sys::RECEIVES_ERRORS;
    for (error, fate) in [
        ([2, 3, 2], Some(Fate::Refused)),
        ([2, 3, 3], Some(Fate::Refused)),
        ([2, 3, 4], None),
        ([2, 3, 1], Some(Fate::Unreachable)),
        ([2, 3, 13], Some(Fate::Unreachable)),
        ([2, 11, 0], None),
        // Of this host itself, and times of sending.
        ([1, 3, 3], None),
        ([4, 0, 0], None),
    ] {
        assert_eq!(fate_of(&message(ip, ip_errors, error)), fate, "{error:?}");
        // A socket of IPv6 is told so of what it has sent to addresses of IPv4.
        assert_eq!(fate_of(&message(ipv6, ipv6_errors, error)), fate, "{error:?}");
    }
    for (error, fate) in [
        ([3, 1, 4], Some(Fate::Refused)),
        ([3, 4, 1], Some(Fate::Refused)),
        ([3, 4, 0], None),
        ([3, 1, 0], Some(Fate::Unreachable)),
        ([3, 2, 0], None),
    ] {
        assert_eq!(fate_of(&message(ipv6, ipv6_errors, error)), fate, "{error:?}");
    }
    let whole = message(ip, ip_errors, [2, 3, 3]);
    assert_eq!(read_error(&message(ip, ip_errors + 1, [2, 3, 3])), None);
    for length in 0..whole.len() - 9 {
        assert_eq!(read_error(&whole[..length]), None);
    }
}
