//! The tap device against the Linux kernel's network stack, in a network namespace that ends with the test.

#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;

use mirage_rt::packet::{Checksum, Gso, PacketMut};
use mirage_rt::platform::Platform;
use mirage_rt::types::network::{NetworkDevice, TransmitErrorKind};
use mirage_rt::{Duration, Runtime, timeout};
use mirage_unix::{Tap, TapError, UnixPlatform};
use namespace::ip;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

const OURS: [u8; 4] = [10, 77, 0, 2];
const KERNELS: [u8; 4] = [10, 77, 0, 1];

mod namespace;

#[test]
fn inside_a_namespace() {
    namespace::run(&["inner::errors", "inner::frames", "inner::bursts"]);
}

/// Makes an interface with the kernel's address and no traffic of its own.
fn interface(name: &str) {
    ip(&format!("tuntap add {name} mode tap"));
    ip(&format!("link set {name} addrgenmode none up"));
    ip(&format!("address add 10.77.0.1/24 dev {name}"));
}

/// Runs a test with a tap device on the interface `tap0`.
fn with_tap<F: Future>(test: impl FnOnce(Tap) -> F) {
    interface("tap0");
    let platform = UnixPlatform::new().expect("a test may open descriptors");
    let tap = Tap::open(&platform, "tap0").expect("the interface was made for this");
    let mac = tap.info().mac.map(|byte| format!("{byte:02x}")).join(":");
    ip(&format!("neigh add 10.77.0.2 lladdr {mac} dev tap0"));
    let whole = async {
        let tap = passing(tap).await;
        timeout(LONG, test(tap)).await
    };
    Runtime::new(platform as Rc<dyn Platform>).run(whole).expect("it takes no time");
}

/// Waits until the kernel's datagrams arrive: it learns of the other end some time after the device was opened, and loses
/// what it is given before.
async fn passing(mut tap: Tap) -> Tap {
    let socket = UdpSocket::bind("10.77.0.1:0").expect("the kernel has this address");
    for attempt in 0..100_u32 {
        socket.send_to(&attempt.to_be_bytes(), SocketAddr::from((OURS, 7))).expect("the route is there");
        let heard = timeout(LONG / 100, async {
            // What comes late is an earlier attempt's.
            while receive_udp(&mut tap).await.head()[42..] != attempt.to_be_bytes() {}
        });
        if heard.await.is_ok() {
            return tap;
        }
    }
    panic!("none of a hundred datagrams arrived")
}

async fn receive(tap: &mut Tap) -> PacketMut {
    poll_fn(|context| tap.poll_receive(context)).await.expect("the device works")
}

/// The next frame that carries UDP over IPv4 to us.
async fn receive_udp(tap: &mut Tap) -> PacketMut {
    loop {
        let packet = receive(tap).await;
        if packet.head().len() >= 42 && packet.head()[12..14] == [8, 0] && packet.head()[23] == 17 {
            return packet;
        }
    }
}

/// The ones' complement sum of `bytes` and `start`.
fn sum(start: u32, bytes: &[u8]) -> u16 {
    let total = bytes
        .chunks(2)
        .fold(start, |total, pair| total + u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let folded = (total & 0xffff) + (total >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

/// A frame with a UDP datagram from us to the kernel, to be completed by the device.
fn datagram(tap: &Tap, kernel_mac: &[u8], port: u16, payload: &[u8]) -> PacketMut {
    let udp_length = (8 + payload.len()) as u16;
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    ip[2..4].copy_from_slice(&(20 + udp_length).to_be_bytes());
    ip.extend(OURS.iter().chain(&KERNELS));
    let header_sum = !sum(0, &ip);
    ip[10..12].copy_from_slice(&header_sum.to_be_bytes());
    let pseudo = sum(17 + u32::from(udp_length), &ip[12..20]);
    let ports = [7_u16.to_be_bytes(), port.to_be_bytes()].concat();
    let frame =
        [kernel_mac, &tap.info().mac, &[8, 0], &ip, &ports, &udp_length.to_be_bytes(), &pseudo.to_be_bytes(), payload]
            .concat();
    let mut packet = PacketMut::copy_of(&tap.pool(), &frame).expect("the pool has pages");
    packet.set_checksum(Checksum::Partial { start: 34, offset: 6 });
    packet
}

mod inner {
    use super::*;

    #[test]
    #[ignore = "run by inside_a_namespace"]
    fn errors() {
        interface("tap0");
        ip("tuntap add big0 mode tap");
        ip("link set big0 mtu 9000");
        ip("tuntap add tun0 mode tun");
        let platform = UnixPlatform::new().expect("a test may open descriptors");
        let open = |name: &str| Tap::open(&platform, name).map(|_| ()).expect_err("it can't be used");
        assert!(matches!(open("tap9"), TapError::Missing(_)));
        assert!(open("tap9").to_string().contains("ip tuntap add tap9 mode tap user $USER"));
        assert!(matches!(open("lo"), TapError::NotTap(_)));
        assert!(matches!(open("tun0"), TapError::NotTap(_)));
        assert!(matches!(open("a/b"), TapError::Name(_)));
        assert!(matches!(open("big0"), TapError::Mtu { mtu: 9000, .. }));
        let first = Tap::open(&platform, "tap0").expect("it can be used");
        assert!(matches!(open("tap0"), TapError::Busy(_)));
        assert_eq!(first.info().mtu, 1500);
        drop(first);
        Tap::open(&platform, "tap0").expect("it is free again");
    }

    #[test]
    #[ignore = "run by inside_a_namespace"]
    fn frames() {
        with_tap(|mut tap| async move {
            let socket = UdpSocket::bind("10.77.0.1:0").expect("the kernel has this address");
            let peer = SocketAddr::from((OURS, 7));
            let port = socket.local_addr().expect("it is bound").port();
            socket.send_to(b"to the unikernel", peer).expect("the route is there");
            let packet = receive_udp(&mut tap).await;
            assert_eq!(packet.head()[42..], *b"to the unikernel");
            assert_eq!(packet.head()[..6], tap.info().mac);
            // The kernel left the checksum to the device.
            assert_eq!(packet.checksum(), Checksum::Partial { start: 34, offset: 6 });
            let kernel_mac = packet.head()[6..12].to_vec();

            let answer = datagram(&tap, &kernel_mac, port, b"to the kernel");
            tap.transmit(answer).expect("there is room");
            tap.flush();
            let mut buffer = [0; 100];
            let (length, sender) = socket.recv_from(&mut buffer).expect("it arrives");
            assert_eq!((&buffer[..length], sender), (&b"to the kernel"[..], peer));

            let mut segments = datagram(&tap, &kernel_mac, port, b"x");
            segments.set_gso(Gso::Ipv4 { mss: 1 });
            let error = tap.transmit(segments).expect_err("it can't cut segments");
            assert_eq!(error.kind, TransmitErrorKind::Offload);
            for length in [13, 1519] {
                let odd = PacketMut::copy_of(&tap.pool(), &vec![0; length]).expect("the pool has pages");
                assert_eq!(tap.transmit(odd).expect_err("no such frame").kind, TransmitErrorKind::Size);
            }
        });
    }

    #[test]
    #[ignore = "run by inside_a_namespace"]
    fn bursts() {
        with_tap(|mut tap| async move {
            let socket = UdpSocket::bind("10.77.0.1:0").expect("the kernel has this address");
            // More than there are pages, and less than the interface's queue holds.
            for number in 0..300_u32 {
                socket.send_to(&number.to_be_bytes(), SocketAddr::from((OURS, 7))).expect("the route is there");
            }
            let mut kept = Vec::new();
            while tap.pool().available() > 0 {
                let packet = receive_udp(&mut tap).await;
                assert_eq!(packet.head()[42..], (kept.len() as u32).to_be_bytes());
                kept.push(packet);
            }
            assert_eq!(kept.len(), 256);
            assert!(timeout(Duration::ZERO, receive(&mut tap)).await.is_err());
            // A page that comes back is used for the next frame, and nothing was lost meanwhile.
            for number in 256..300_u32 {
                let waiting = mirage_rt::spawn({
                    let oldest = kept.pop();
                    async move { drop(oldest) }
                });
                let packet = receive_udp(&mut tap).await;
                assert_eq!(packet.head()[42..], number.to_be_bytes());
                waiting.await.expect("it only drops a packet");
            }
        });
    }
}
