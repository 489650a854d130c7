use std::net::SocketAddr;

use mirage_rt::net::{
    BindError, CongestionControl, ConnectError, KeepAlive, Network, OptionError, ReadError, WriteError,
};
use mirage_rt::{spawn, timeout};
use std::time::Duration;

use super::*;
use crate::testing;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

async fn read_all(stream: &mirage_rt::net::TcpStream) -> Result<Vec<u8>, ReadError> {
    let (mut all, mut buffer) = (Vec::new(), [0; 1000]);
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(all),
            length => all.extend_from_slice(&buffer[..length]),
        }
    }
}

#[test]
fn a_stream_carries_bytes_both_ways_until_both_sides_end() {
    testing::run(|network| async move {
        let mut listener = network.tcp().bind(0).await.expect("a port is free");
        let address = listener.local_addr();
        assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
        let server = spawn(async move {
            let (stream, peer) = listener.accept().await.expect("a client comes");
            assert_eq!(stream.peer_addr(), peer);
            let received = read_all(&stream).await.expect("the client ends its side");
            // More than the host's buffers hold, so that writing has to wait.
            for _ in 0..200 {
                stream.write_all(&received).await.expect("the client reads");
            }
        });
        let stream = network.tcp().connect(address).await.expect("the listener is there");
        assert_eq!(stream.peer_addr(), address);
        let sent: Vec<u8> = (0..100_000_u32).map(|index| index as u8).collect();
        stream.write_all(&sent).await.expect("the server reads");
        stream.shutdown().expect("the stream is open");
        stream.shutdown().expect("a second time does nothing");
        assert!(matches!(stream.write(b"x").await, Err(WriteError::Closed)));
        let received =
            timeout(LONG, read_all(&stream)).await.expect("the server answers").expect("the server ends its side");
        assert!(received == sent.repeat(200));
        server.await.expect("the server's task ran to its end");
    });
}

#[test]
fn parts_are_written_with_few_calls() {
    testing::run(|network| async move {
        let mut listener = network.tcp().bind(0).await.expect("a port is free");
        let client = network.tcp().connect(listener.local_addr()).await.expect("the listener is there");
        let (server, _) = listener.accept().await.expect("the client comes");
        let bytes: Vec<u8> = (0..40).collect();
        let parts: Vec<&[u8]> = bytes.chunks(1).flat_map(|byte| [byte, &[]]).collect();
        // Empty parts take no place.
        assert_eq!(server.write_vectored(&parts).await.ok(), Some(tcp::MOST_PARTS));
        let mut buffer = [0; 100];
        assert_eq!(client.read(&mut buffer).await.ok(), Some(tcp::MOST_PARTS));
        assert_eq!(buffer[..tcp::MOST_PARTS], bytes[..tcp::MOST_PARTS]);
        // More than the host's buffers hold: what was given up is gone on with.
        let large = bytes.repeat(500_000);
        let mut parts: [&[u8]; 3] = [b"head", &large, b"tail"];
        let waited = timeout(Duration::from_millis(50), server.write_all_vectored(&mut parts)).await;
        assert!(waited.is_err(), "nobody reads");
        assert!(parts[0].is_empty() && parts[1].len() < large.len() && parts[2] == b"tail");
        let reader = spawn(async move { read_all(&client).await });
        timeout(LONG, server.write_all_vectored(&mut parts)).await.expect("in time").expect("it is read");
        server.shutdown().expect("the stream is open");
        let received = reader.await.expect("the reader ran to its end").expect("all comes");
        assert!(received == [&b"head"[..], &large, b"tail"].concat());
        server.abort();
        assert!(matches!(server.write_vectored(&[b"x"]).await, Err(WriteError::Closed)));
    });
}

#[test]
fn an_abort_resets_the_peer() {
    testing::run(|network| async move {
        let mut listener = network.tcp().bind(0).await.expect("a port is free");
        let client = network.tcp().connect(listener.local_addr()).await.expect("the listener is there");
        let (server, _) = listener.accept().await.expect("the client comes");
        let waiting = {
            let server = server.clone();
            spawn(async move { server.read(&mut [0; 8]).await })
        };
        mirage_rt::yield_now().await;
        server.abort();
        assert!(matches!(waiting.await.expect("it was woken"), Err(ReadError::Aborted)));
        assert!(matches!(client.read(&mut [0; 8]).await, Err(ReadError::Reset)));
        assert!(matches!(server.write(b"x").await, Err(WriteError::Closed)));
    });
}

#[test]
fn the_user_chooses_what_linux_can_do() {
    testing::run(|network| async move {
        let mut listener = network.tcp().bind(0).await.expect("a port is free");
        let client = network.tcp().connect(listener.local_addr()).await.expect("the listener is there");
        let (server, _) = listener.accept().await.expect("the client comes");
        let second = Duration::from_secs(1);
        let keep = KeepAlive { idle: second / 2, interval: second, probes: 3 };
        client.set_nodelay(false).expect("Linux has Nagle's algorithm");
        client.set_keep_alive(Some(keep)).expect("Linux asks silent peers");
        client.set_keep_alive(None).expect("and stops");
        client.set_user_timeout(Some(second)).expect("Linux has a user timeout");
        client.set_user_timeout(None).expect("and a default");
        client.set_congestion_control(CongestionControl::NewReno).expect("every Linux has it");
        // More than Linux takes, and what would make dropping wait.
        assert!(matches!(
            client.set_keep_alive(Some(KeepAlive { probes: 1000, ..keep })),
            Err(OptionError::OutOfRange)
        ));
        assert!(matches!(client.set_keep_alive(Some(KeepAlive { probes: 0, ..keep })), Err(OptionError::OutOfRange)));
        assert!(matches!(client.set_linger(Some(second)), Err(OptionError::Unsupported)));
        client.set_linger(Some(Duration::ZERO)).expect("a hard close is possible");
        drop(client);
        assert!(matches!(server.read(&mut [0; 8]).await, Err(ReadError::Reset)));
        server.abort();
        assert!(matches!(server.set_nodelay(true), Err(OptionError::Closed)));
    });
}

#[test]
fn errors_name_what_to_change() {
    testing::run(|network| async move {
        let listener = network.tcp().bind(0).await.expect("a port is free");
        let port = listener.local_addr().port();
        let second = network.tcp().bind(port).await.expect_err("the port is in use");
        assert!(matches!(second, BindError::InUse { port: busy } if busy == port));
        assert_eq!(second.to_string(), format!("port {port} is in use: choose another one, or end what uses it"));
        drop(listener);
        let refused =
            network.tcp().connect(SocketAddr::from(([127, 0, 0, 1], port))).await.expect_err("nothing listens");
        assert!(matches!(refused, ConnectError::Refused(_)), "{refused}");
        network.tcp().bind(port).await.expect("the port is free again");
        // 192.0.2.0/24 is for documentation only (RFC 5737).
        let foreign = network.udp().bind((Ipv4Addr::new(192, 0, 2, 1), 0)).await.expect_err("no host has it");
        assert!(matches!(foreign, BindError::NotOurs(_)), "{foreign}");
    });
    let platform = UnixPlatform::new().expect("a test may open descriptors");
    let foreign = HostSockets::new(&platform, Ipv4Addr::new(192, 0, 2, 1)).check_address().expect_err("no host has it");
    assert!(foreign.to_string().starts_with("192.0.2.1 is not an address of this host"), "{foreign}");
    HostSockets::new(&platform, Ipv4Addr::LOCALHOST).check_address().expect("every host has it");
}

#[test]
fn datagrams_keep_their_bounds() {
    testing::run(|network| async move {
        let (first, second) = (network.udp().bind(0).await, network.udp().bind(0).await);
        let (first, second) = (first.expect("a port is free"), second.expect("a port is free"));
        first.send_to(b"one", second.local_addr()).await.expect("loopback is there");
        first.send_to(b"", second.local_addr()).await.expect("loopback is there");
        first.send_to(b"longer", second.local_addr()).await.expect("loopback is there");
        let mut buffer = [0; 4];
        for (length, stored) in [(3, &b"one"[..]), (0, b""), (6, b"long")] {
            assert_eq!(second.receive_from(&mut buffer).await.ok(), Some((length, first.local_addr())));
            assert_eq!(&buffer[..stored.len()], stored);
        }
        let error = first.send_to(&[0; 70_000], second.local_addr()).await.expect_err("no datagram is so long");
        assert!(error.to_string().contains("65507"), "{error}");
    });
}

#[test]
fn a_listener_that_waits_takes_nobodys_time() {
    testing::run(|network| async move {
        let mut listener = network.tcp().bind(0).await.expect("a port is free");
        let none = timeout(Duration::from_millis(20), listener.accept()).await;
        assert!(none.is_err());
        let client = network.tcp().connect(listener.local_addr()).await.expect("the listener is there");
        let (_, peer) = listener.accept().await.expect("a dropped accept loses nothing");
        assert_eq!(peer, client.local_addr());
    });
}

#[test]
fn tasks_end_with_their_runtime_and_close_their_sockets() {
    let address = testing::run(|network| async move {
        let mut listener = network.tcp().bind(0).await.expect("a port is free");
        let address = listener.local_addr();
        let inner = spawn(async move { listener.accept().await.map(drop) });
        // A task that waits for a task that waits for the host.
        spawn(async move { inner.await.map(drop) });
        mirage_rt::yield_now().await;
        address
    });
    let refused = std::net::TcpStream::connect(address).expect_err("nobody listens any more");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

/// A name server on a free port of 127.0.0.1: `www.example` is that address, and an IPv6 one that nobody has. Everything else is
/// there without an address.
async fn name_server(network: &mirage_rt::net::Network) -> SocketAddr {
    let socket = network.udp().bind(0).await.expect("a port is free");
    let address = socket.local_addr();
    drop(spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.receive_from(&mut buffer).await {
            // Name and type of the question, without the record of EDNS behind it.
            let question = &buffer[12..length - 11];
            let name = &question[..question.len() - 4];
            let data: &[u8] = match (name, question[question.len() - 3]) {
                (b"\x03www\x07example\0", 1) => &[127, 0, 0, 1],
                // 100::/64 leads nowhere (RFC 6666).
                (b"\x03www\x07example\0", 28) => &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                _ => &[],
            };
            let mut answer =
                [&buffer[..2], &[0x81, 0x80, 0, 1, 0, u8::from(!data.is_empty()), 0, 0, 0, 0], question].concat();
            if !data.is_empty() {
                answer.extend([0xC0, 12, 0, question[question.len() - 3], 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
                answer.extend(data);
            }
            socket.send_to(&answer, from).await.expect("loopback is there");
        }
    }));
    address
}

#[test]
fn names_are_found_and_connected_to() {
    use mirage_rt::net::names::{LookupError, Options, Resolver};

    testing::run(|network| async move {
        let mut options = Options::new([Ipv4Addr::LOCALHOST]);
        options.servers = vec![name_server(&network).await];
        let resolver = Resolver::new(&network, options);
        let mut listener = network.tcp().bind(0).await.expect("a port is free");
        let found = resolver.lookup("www.example").await.expect("the server says it");
        assert_eq!(found, ["100::1", "127.0.0.1"].map(|text| text.parse::<IpAddr>().expect("an address")));
        let target = format!("www.example:{}", listener.local_addr().port());
        let stream = timeout(LONG, resolver.connect(&target)).await.expect("in time").expect("one of them takes it");
        assert_eq!(stream.peer_addr(), listener.local_addr());
        let (_, peer) = listener.accept().await.expect("it was connected");
        assert_eq!(peer, stream.local_addr());
        assert!(matches!(resolver.lookup("other.example").await, Err(LookupError::NoAddress(_))));
        // Where there is such a file at all, somebody is to be asked.
        assert!(Options::of(&network).is_none_or(|options| !options.servers.is_empty()));
    });
}

#[test]
fn a_group_of_ipv6_is_joined_where_the_address_is() {
    let group = "ff02::6d69:7261:6765".parse::<Ipv6Addr>().expect("an address");
    // The kernel's list of groups: the interface's number and name, the group, and more (`net/ipv6/mcast.c`, `igmp6_mc_seq_show`).
    let joined = || {
        let list = std::fs::read_to_string("/proc/net/igmp6").unwrap_or_default();
        let digits = format!("{:032x}", u128::from(group));
        let of_group = list.lines().filter(|line| line.contains(&digits));
        of_group.filter_map(|line| line.split_whitespace().nth(1)).map(String::from).collect::<Vec<_>>()
    };
    let platform = UnixPlatform::new().expect("there are descriptors");
    let network = Network::host(Rc::new(HostSockets::new(&platform, Ipv6Addr::LOCALHOST)));
    mirage_rt::Runtime::new(platform as Rc<dyn mirage_rt::platform::Platform>).run(async {
        let Ok(socket) = network.udp().bind(0).await else {
            println!("SKIPPED: this host has no IPv6");
            return;
        };
        // A group of a link: without the link's number it can't be bound to.
        socket.join(IpAddr::V6(group)).expect("the interface of ::1 has groups");
        assert_eq!(joined(), ["lo"]);
        socket.leave(IpAddr::V6(group)).expect("it is in it");
        assert!(joined().is_empty());
    });
}
