//! Domains that are saved, restored, moved and asked for things while they work, on the real Xen. All tests of this file share
//! one boot of the lab.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mirage_lab::{Domain, Lab, StopReason};
use mirage_tests::image;

const LONG: Duration = Duration::from_secs(120);

/// The image of the echo server, built once.
fn echo_server() -> PathBuf {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| image("echo-server")).clone()
}

/// A port of this machine that nobody uses.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it has an address").port()
}

/// A running echo server, and the port of this machine that leads to it.
fn echo(lab: &Lab, last: u8) -> (Domain, u16) {
    let address = Ipv4Addr::new(10, 0, 2, last);
    let domain =
        lab.domain(echo_server()).memory(16).vif().cmdline(&format!("--ipv4 {address}/24 --log debug")).start();
    let domain = domain.expect("the domain starts");
    domain.console().wait_for("echoing on", LONG).expect("the server comes up");
    let port = free_port();
    lab.forward(port, address, 7007).expect("the port is free");
    (domain, port)
}

/// A client that keeps its connection.
struct Client {
    stream: TcpStream,
    round: usize,
}

impl Client {
    fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the forwarded port answers");
        stream.set_read_timeout(Some(LONG)).expect("a timeout can be set");
        Client { stream, round: 0 }
    }

    /// Sends bytes that were not sent before.
    fn send(&mut self) -> Vec<u8> {
        self.round += 1;
        let bytes: Vec<u8> = (0..3000).map(|index| (index * 7 + index / 251 + self.round * 31) as u8).collect();
        self.stream.write_all(&bytes).expect("the connection is open");
        bytes
    }

    /// Reads what was sent, byte for byte.
    fn check(&mut self, sent: &[u8]) {
        let mut back = vec![0; sent.len()];
        self.stream.read_exact(&mut back).expect("the connection is open");
        assert!(back == sent, "round {}", self.round);
    }

    fn exchange(&mut self) {
        let sent = self.send();
        self.check(&sent);
    }
}

#[test]
fn connections_survive_saves_and_migrations() {
    let Some(lab) = Lab::shared_or_skip() else { return };
    let (mut domain, port) = echo(lab, 60);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(port)).collect();
    clients.iter_mut().for_each(Client::exchange);
    for round in 0..3 {
        let start = Instant::now();
        domain.save().unwrap_or_else(|error| panic!("save {round}: {error}\n{}", domain.console().text()));
        println!("saved in {:?}", start.elapsed());
        // While it is away.
        let sent = clients[0].send();
        domain.restore().expect("xl restore");
        println!("and restored after {:?}", start.elapsed());
        clients[0].check(&sent);
        println!("and answered after {:?}", start.elapsed());
        clients.iter_mut().for_each(Client::exchange);
    }
    for _ in 0..2 {
        let start = Instant::now();
        domain.migrate().expect("xl migrate");
        println!("migrated in {:?}", start.elapsed());
        clients.iter_mut().for_each(Client::exchange);
        println!("answered after {:?}", start.elapsed());
    }
    println!("{}", domain.console().text());
    domain.shutdown().expect("xl shutdown");
    let report = domain.exit(LONG).expect("the domain ends");
    assert_eq!((report.reason, report.code), (StopReason::Poweroff, Some(0)), "{}", report.console);
}
