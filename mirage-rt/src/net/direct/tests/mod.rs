//! Stacks against each other on the switch, in virtual time. These tests are there twice: with smoltcp's TCP machine, and
//! as `own_tests` with our own.

mod bad_input;
mod bulk;
mod close;
mod configure;
mod flat;
mod hosts;
mod loss;
mod raw;

use core::net::{Ipv4Addr, SocketAddr};

use alloc::vec;
use alloc::vec::Vec;

use crate::keys::Cidr;
use crate::net::switch::{Impairments, Switch};
use crate::net::{Config, Network, TcpStream};
use crate::runtime::{JoinHandle, spawn};

mod testing {
    use core::future::Future;

    use crate::net::direct::tcp::either;

    /// As [`crate::testing::run`], with the machine that these tests are for.
    pub fn run<F: Future>(seed: u64, future: F) -> F::Output {
        either::choose_own(module_path!().contains("own_tests"));
        crate::testing::run(seed, future)
    }
}

/// The address of host `number`.
fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

/// A port of host `number`.
fn at(number: u8, port: u16) -> SocketAddr {
    SocketAddr::from((ip(number), port))
}

fn config(number: u8) -> Config {
    Config { ipv4: Cidr::new(ip(number), 24).ok(), ..Config::new() }
}

/// Host `number` on a new port of `switch`.
fn host(switch: &Switch, number: u8) -> Network {
    host_with(switch, config(number))
}

fn host_with(switch: &Switch, config: Config) -> Network {
    Network::direct(switch.port(), switch.pool(), config).expect("the configuration is good")
}

/// `length` bytes that follow from `seed` and do not repeat soon.
fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31 + seed * 7) ^ (at >> 8)) as u8).collect()
}

/// Sends back what comes until the peer is done, then closes.
async fn echo(stream: TcpStream) {
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
async fn echo_server(network: &Network, port: u16) -> JoinHandle<()> {
    let mut listener = network.tcp().bind(port).await.expect("the port is free");
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(spawn(echo(stream)));
        }
    })
}

/// Writes and reads back `bytes` at once, then closes this side and reads the end.
async fn exchange(stream: TcpStream, bytes: Vec<u8>) {
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

async fn read_to_end(stream: &TcpStream) -> Vec<u8> {
    let mut received = Vec::new();
    let mut buffer = vec![0; 3000];
    loop {
        match stream.read(&mut buffer).await.expect("the connection lives") {
            0 => return received,
            length => received.extend_from_slice(&buffer[..length]),
        }
    }
}

#[test]
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
