//! What the tests have in common: hosts on a switch, an echo.

extern crate std;

pub use alloc::vec;
pub use alloc::vec::Vec;
use core::cell::Cell;
pub use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

pub use crate::keys::Cidr;
pub use crate::net::switch::{Impairments, Switch};
pub use crate::net::{Config, Network, TcpStream};
pub use crate::runtime::{JoinHandle, spawn};

use crate::net::direct::tcp::either;
pub use crate::testing;

std::thread_local! {
    static OVER_IPV6: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test with our own machine or smoltcp's, over IPv6 or IPv4.
pub fn in_world(own: bool, ipv6: bool, test: fn()) {
    either::choose_own(own);
    OVER_IPV6.set(ipv6);
    test();
}

/// Whether this test is with our own machine.
pub fn is_own() -> bool {
    either::is_own_chosen()
}

/// Whether this test is over IPv6.
pub fn is_ipv6() -> bool {
    OVER_IPV6.get()
}

/// The IPv4 address of host `number`.
pub fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

/// A port of host `number`.
pub fn at(number: u8, port: u16) -> SocketAddr {
    match is_ipv6() {
        true => SocketAddr::from((ip6(number), port)),
        false => SocketAddr::from((ip(number), port)),
    }
}

/// An address that is no host's.
pub fn nobody() -> SocketAddr {
    match is_ipv6() {
        true => SocketAddr::from((Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 80)),
        false => at(255, 80),
    }
}

/// The most bytes of a datagram.
pub fn most_datagram() -> usize {
    if is_ipv6() { 1452 } else { 1472 }
}

/// The IPv6 address of host `number`.
pub fn ip6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into())
}

/// The IPv4 address with which host `number` starts.
pub fn cidr(number: u8) -> Cidr {
    if is_ipv6() { crate::net::direct::NO_ADDRESS } else { Cidr::of(ip(number), 24) }
}

pub fn config(number: u8) -> Config {
    #[cfg(feature = "ipv6")]
    if is_ipv6() {
        let network = crate::keys::Cidr6::new(ip6(number), 64).expect("a prefix");
        let mut ipv6 = crate::net::ipv6::Ipv6Config::fixed(network, None);
        // Nobody waits for it to be known that no other host has the address.
        ipv6.duplicate_probes = 0;
        return Config { ipv6: Some(ipv6), ..Config::new() };
    }
    Config { ipv4: Cidr::new(ip(number), 24).ok(), ..Config::new() }
}

/// Host `number` on a new port of `switch`.
pub fn host(switch: &Switch, number: u8) -> Network {
    host_with(switch, config(number))
}

pub fn host_with(switch: &Switch, config: Config) -> Network {
    Network::direct(switch.port(), switch.pool(), config).expect("the configuration is good")
}

/// `length` bytes that follow from `seed` and do not repeat soon.
pub fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31 + seed * 7) ^ (at >> 8)) as u8).collect()
}

/// Sends back what comes until the peer is done, then closes.
pub async fn echo(stream: TcpStream) {
    let mut buffer = vec![0; 2000];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(length) => {
                if stream.write_all(&buffer[..length]).await.is_err() {
                    break;
                }
            }
        }
    }
}

/// An echo server at `port` that never ends.
pub async fn echo_server(network: &Network, port: u16) -> JoinHandle<()> {
    let mut listener = network.tcp().bind(port).await.expect("the port is free");
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(spawn(echo(stream)));
        }
    })
}

/// Writes and reads back `bytes` at once, then closes this side and reads the end.
pub async fn exchange(stream: TcpStream, bytes: Vec<u8>) {
    let writer = stream.clone();
    let sent = bytes.clone();
    let writing = spawn(async move {
        writer.write_all(&sent).await.expect("the peer reads");
        writer.shutdown().expect("the connection is open");
    });
    let received = read_to_end(&stream).await;
    writing.await.expect("the writer ends");
    assert!(received == bytes, "{} of {} bytes came back, or they differ", received.len(), bytes.len());
}

pub async fn read_to_end(stream: &TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    let mut buffer = vec![0; 3000];
    loop {
        match stream.read(&mut buffer).await.expect("the connection lives") {
            0 => return received,
            length => received.extend_from_slice(&buffer[..length]),
        }
    }
}

fn fifty_connections_echo() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let (server, client) = (host(&switch, 1), host(&switch, 2));
        let _echoing = echo_server(&server, 80).await;
        let tasks: Vec<_> = (0..50)
            .map(|number| {
                let client = client.clone();
                spawn(async move {
                    let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
                    exchange(stream, pattern(number, 20_000)).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("the task ends");
        }
    });
}

worlds! {
    fifty_connections_echo,
}

/// A switch, and a connection from host 2 to host 1: the client's end and the server's.
pub async fn pair(seed: u64) -> (Switch, TcpStream, TcpStream) {
    let switch = Switch::new(seed, Impairments::NONE);
    let (server, client) = (host(&switch, 1), host(&switch, 2));
    let mut listener = server.tcp().bind(80).await.expect("the port is free");
    let connecting = client.tcp().connect(at(1, 80)).await.expect("the server listens");
    let (accepted, _) = listener.accept().await.expect("a connection waits");
    (switch, connecting, accepted)
}
