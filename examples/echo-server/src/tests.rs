//! The echo over the host's loopback interface, and over the in-memory switch in virtual time.

use std::net::SocketAddr;
use std::vec::Vec;

use mirage_rt::net::{Network, TcpStream};
use mirage_rt::{Duration, now, spawn, timeout};

use crate::echo;

/// Far longer than any answer takes.
const LONG: Duration = Duration::from_secs(30);

/// Starts the server on any free port of `network`; its address.
async fn start(network: &Network) -> SocketAddr {
    let listener = network.tcp().bind(0).await.expect("a port is free");
    let address = listener.local_addr();
    spawn(echo::serve_all(listener));
    address
}

/// Bytes that differ from one place to the next, and from one `seed` to the next.
fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|index| ((index ^ (index >> 8) ^ (index >> 16)) + seed) as u8).collect()
}

/// Sends `bytes`, and reads as many back; what was read.
async fn exchange(stream: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    let (writer, written) = (stream.clone(), bytes.to_vec());
    let writing = spawn(async move { writer.write_all(&written).await.is_ok() });
    let mut back = std::vec![0; bytes.len()];
    let mut filled = 0;
    while filled < back.len() {
        match timeout(LONG, stream.read(&mut back[filled..])).await.expect("the server answers") {
            Ok(length @ 1..) => filled += length,
            end => panic!("the connection ended after {filled} bytes: {end:?}"),
        }
    }
    assert_eq!(writing.await.ok(), Some(true));
    back
}

async fn everything_comes_back(server: Network, client: Network) {
    let stream = client.tcp().connect(start(&server).await).await.expect("the server listens");
    for (seed, length) in [1, 2, 3000, 100_000, 1].into_iter().enumerate() {
        let bytes = pattern(seed, length);
        assert!(exchange(&stream, &bytes).await == bytes, "{length} bytes");
    }
    stream.shutdown().expect("the connection is open");
    assert_eq!(timeout(LONG, stream.read(&mut [0; 8])).await.expect("the server closes, too").ok(), Some(0));
}

async fn many_connections_do_not_mix(server: Network, client: Network) {
    let address = start(&server).await;
    let tasks: Vec<_> = (0..32)
        .map(|seed| {
            let client = client.clone();
            spawn(async move {
                let stream = client.tcp().connect(address).await.expect("the server listens");
                let bytes = pattern(seed, 5000);
                exchange(&stream, &bytes).await == bytes
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.ok(), Some(true));
    }
}

async fn connections_are_bounded(server: Network, client: Network) {
    let address = start(&server).await;
    let mut open = Vec::new();
    for _ in 0..echo::MAX_CONNECTIONS {
        let stream = client.tcp().connect(address).await.expect("the server listens");
        assert_eq!(exchange(&stream, b"x").await, b"x");
        open.push(stream);
    }
    let stream = client.tcp().connect(address).await.expect("the server listens");
    let end = timeout(LONG, stream.read(&mut [0; 8])).await.expect("it is closed at once");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert_eq!(exchange(&open[0], b"y").await, b"y");
}

async fn silence_ends_a_connection(server: Network, client: Network) {
    let stream = client.tcp().connect(start(&server).await).await.expect("the server listens");
    let start = now();
    let end = stream.read(&mut [0; 8]).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert_eq!(now().saturating_duration_since(start).as_secs(), echo::IDLE.as_secs());
}

mod on_loopback {
    use mirage_unix::testing::run;

    #[test]
    fn everything_comes_back() {
        run(|network| super::everything_comes_back(network.clone(), network));
    }

    #[test]
    fn connections_are_bounded() {
        run(|network| super::connections_are_bounded(network.clone(), network));
    }
}

mod on_the_switch {
    use mirage_rt::net::switch::{Impairments, Switch};
    use mirage_rt::net::{Config, Network};
    use mirage_rt::{spawn, testing, yield_now};

    use crate::{Devices, Keys};

    /// Runs `test` in virtual time, with the server and its client on a switch with these faults.
    fn run<F: Future<Output = ()>>(seed: u64, faults: Impairments, test: impl FnOnce(Network, Network) -> F) {
        testing::run(seed, async {
            let switch = Switch::new(seed, faults);
            let network = |address: &str| {
                let mut config = Config::from_keys(Some(address.parse().expect("it is an address")), None);
                // For as many connections as are served.
                config.connection_memory = 16 << 20;
                Network::direct(switch.port(), switch.pool(), config).expect("it is a host's address")
            };
            test(network("10.0.0.1/24"), network("10.0.0.2/24")).await;
        });
    }

    #[test]
    fn everything_comes_back() {
        run(1, Impairments::NONE, super::everything_comes_back);
    }

    #[test]
    fn everything_comes_back_in_spite_of_losses() {
        run(2, Impairments::NONE.with_loss(0.02).with_duplication(0.02), super::everything_comes_back);
    }

    #[test]
    fn many_connections_do_not_mix() {
        run(3, Impairments::NONE, super::many_connections_do_not_mix);
    }

    #[test]
    fn connections_are_bounded() {
        run(4, Impairments::NONE, super::connections_are_bounded);
    }

    #[test]
    fn silence_ends_a_connection() {
        run(5, Impairments::NONE, super::silence_ends_a_connection);
    }

    /// Three of these unikernels, each on a port of its own, and a client of all.
    #[test]
    fn three_unikernels_on_one_switch() {
        testing::run(6, async {
            let switch = Switch::new(6, Impairments::NONE.with_loss(0.01).with_duplication(0.01));
            let network = |address: &str| {
                let config = Config::from_keys(Some(address.parse().expect("it is an address")), None);
                Network::direct(switch.port(), switch.pool(), config).expect("it is a host's address")
            };
            for (address, port) in [("10.0.0.1/24", 7001), ("10.0.0.2/24", 7002), ("10.0.0.3/24", 7003)] {
                spawn(crate::main(Devices { service: network(address) }, Keys { port }));
            }
            yield_now().await;
            let client = network("10.0.0.4/24");
            for (host, port) in [(1, 7001), (2, 7002), (3, 7003)] {
                let stream = client.tcp().connect(([10, 0, 0, host], port)).await.expect("it listens");
                let bytes = super::pattern(host.into(), 20_000);
                assert!(super::exchange(&stream, &bytes).await == bytes, "host {host}");
            }
        });
    }
}
