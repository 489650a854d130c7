//! Both families on one network.

use core::net::{IpAddr, SocketAddr};

use super::*;
use crate::net::ConfigError;
use crate::net::names::{Options, Resolver};
use crate::runtime::spawn;

#[test]
fn a_listener_and_a_socket_serve_both_families() {
    testing::run(40, async {
        let switch = Switch::new(40, Impairments::NONE);
        let (server, client) = (host(&switch, both(1)), host(&switch, both(2)));
        sleep(seconds(2)).await;
        let four = IpAddr::from([10, 0, 0, 1]);
        assert_eq!(server.addresses(), [four, local(1).into(), ip(1).into()]);
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        assert!(matches!(server.tcp().bind(80).await, Err(crate::net::BindError::InUse { port: 80 })));
        let mut only_six = server.tcp().bind(SocketAddr::from((ip(1), 81))).await.expect("the port is free");
        for address in [four, ip(1).into(), local(1).into()] {
            let stream = client.tcp().connect(SocketAddr::new(address, 80)).await.expect("it listens");
            let (accepted, peer) = listener.accept().await.expect("a connection waits");
            assert_eq!((peer, accepted.local_addr().ip()), (stream.local_addr(), address));
            stream.write_all(b"hello").await.expect("there is room");
            let mut buffer = [0; 10];
            assert_eq!(accepted.read(&mut buffer).await.expect("the peer lives"), 5);
        }
        let refused = client.tcp().connect(SocketAddr::new(four, 81)).await;
        assert!(matches!(refused, Err(crate::net::ConnectError::Refused(_))), "{refused:?}");
        let stream = client.tcp().connect(SocketAddr::from((ip(1), 81))).await.expect("it listens");
        assert_eq!(only_six.accept().await.expect("a connection waits").1, stream.local_addr());

        let (socket, sender) = (server.udp().bind(7).await, client.udp().bind(0).await);
        let (socket, sender) = (socket.expect("the port is free"), sender.expect("a port is free"));
        for address in [four, ip(1).into()] {
            sender.send_to(b"hello", SocketAddr::new(address, 7)).await.expect("there is room");
            let (length, peer) = socket.receive_from(&mut [0; 10]).await.expect("it comes");
            assert_eq!((length, peer.is_ipv4(), peer.port()), (5, address.is_ipv4(), sender.local_addr().port()));
        }
    });
}

#[test]
fn a_host_has_either_family_alone() {
    testing::run(41, async {
        let switch = Switch::new(41, Impairments::NONE);
        let six = host(&switch, fixed(1));
        let four = host(&switch, Config { ipv6: None, ..both(2) });
        sleep(seconds(2)).await;
        assert!(matches!(
            six.tcp().connect(SocketAddr::from(([10, 0, 0, 2], 80))).await,
            Err(crate::net::ConnectError::Unreachable(_))
        ));
        assert!(matches!(
            four.tcp().connect(SocketAddr::from((ip(1), 80))).await,
            Err(crate::net::ConnectError::Unreachable(_))
        ));
        let socket = six.udp().bind(7).await.expect("the port is free");
        assert_eq!(socket.local_addr(), SocketAddr::from((ip(1), 7)));
    });
}

#[test]
fn names_are_found_in_both_families_and_over_either() {
    testing::run(42, async {
        let switch = Switch::new(42, Impairments::NONE);
        let (server, client) = (host(&switch, fixed(1)), host(&switch, both(2)));
        sleep(seconds(2)).await;
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let _accepting = spawn(async move { while listener.accept().await.is_ok() {} });
        // Its name server is an IPv6 host too.
        let socket = server.udp().bind(53).await.expect("the port is free");
        let _naming = spawn(async move {
            let mut buffer = [0; 600];
            while let Ok((length, peer)) = socket.receive_from(&mut buffer).await {
                let mut answer = buffer[..length].to_vec();
                // The question ends with its kind and class: the first question's, EDNS stands behind it.
                let end = 12 + answer[12..].iter().position(|byte| *byte == 0).expect("a name") + 5;
                let is_six = answer[end - 3] == 28;
                answer.truncate(end);
                answer[2..4].copy_from_slice(&[0x81, 0x80]);
                answer[6..12].copy_from_slice(&[0, u8::from(is_six), 0, 0, 0, 0]);
                if is_six {
                    answer.extend_from_slice(&[0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16]);
                    answer.extend_from_slice(&ip(1).octets());
                }
                if socket.send_to(&answer, peer).await.is_err() {
                    break;
                }
            }
        });
        let resolver = Resolver::new(&client, Options::new([ip(1)]));
        assert_eq!(resolver.lookup("www.example").await.expect("it is known"), [IpAddr::from(ip(1))]);
        let stream = resolver.connect("www.example:80").await.expect("it listens");
        assert_eq!(stream.peer_addr(), SocketAddr::from((ip(1), 80)));
    });
}

#[test]
fn a_network_needs_a_good_address() {
    testing::run(43, async {
        let switch = Switch::new(43, Impairments::NONE);
        let start = |text: &str, gateway: Option<&str>| {
            let gateway = gateway.map(|text| text.parse().expect("an address"));
            let ipv6 = Some(Ipv6Config::fixed(text.parse().expect("a network"), gateway));
            Network::direct(switch.port(), switch.pool(), Config { ipv6, ..Config::new() }).map(drop)
        };
        for text in ["::/64", "ff02::1/64", "::1/64", "fe80::1/64", "2001:db8::/64", "::ffff:10.0.0.1/96"] {
            let address = text.split('/').next().and_then(|text| text.parse().ok()).expect("an address");
            assert_eq!(start(text, None), Err(ConfigError::NotAnIpv6Host(address)), "{text}");
        }
        for gateway in ["2001:db8::1", "2001:db8:1::1", "ff02::2"] {
            let error = Err(ConfigError::Ipv6Gateway(gateway.parse().expect("an address")));
            assert_eq!(start("2001:db8::1/64", Some(gateway)), error);
        }
        for (text, gateway) in [("2001:db8::1/64", Some("fe80::1")), ("2001:db8::/127", Some("2001:db8::1"))] {
            assert_eq!(start(text, gateway), Ok(()), "{text}");
        }
        let narrow = switch.port().with_info(|info| info.mtu = 1279);
        let refused = Network::direct(narrow, switch.pool(), automatic()).map(drop);
        assert_eq!(refused, Err(ConfigError::Ipv6Mtu(1279)));
    });
}
