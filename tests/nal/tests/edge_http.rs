//! edge-http, its server and its client, on both kinds of networks: stacks of our own on the in-memory switch, over either family
//! and with losses, and the host's sockets.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fmt::{Debug, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use edge_http::io::client::Connection as Client;
use edge_http::io::server::{Connection, Handler, Server};
use edge_http::io::{Body, Error};
use edge_http::{Method, RequestHeaders};
use edge_nal::io::{Read, Write};
use edge_nal::{TcpAccept, TcpSplit};
use mirage_rt::net::ipv6::Ipv6Config;
use mirage_rt::net::switch::{Impairments, Switch};
use mirage_rt::net::{Config, Network, SocketError, Tcp, TcpListener, TcpStream};
use mirage_rt::{spawn, testing};

/// More than a segment, a page, and the server's buffer.
const LONG: usize = 100_000;

/// Connections that a server takes care of at a time.
const TASKS: usize = 2;

/// Answers `/` with a greeting, and what is posted to `/double` with each byte twice.
struct Site;

impl Handler for Site {
    type Error<E>
        = Error<E>
    where
        E: Debug;

    async fn handle<T, const N: usize>(
        &self,
        _: impl Display + Copy,
        connection: &mut Connection<'_, T, N>,
    ) -> Result<(), Error<T::Error>>
    where
        T: Read + Write + TcpSplit,
    {
        let (head, body): (&RequestHeaders<'_, N>, &mut Body<'_, T>) = connection.split();
        match (head.method, head.path) {
            (Method::Get, "/") => {
                connection.initiate_response(200, Some("OK"), &[("Content-Length", "5")]).await?;
                connection.write_all(b"hello").await
            }
            (Method::Post, "/double") => {
                let (mut all, mut buffer) = (Vec::new(), [0; 1000]);
                while let length @ 1.. = body.read(&mut buffer).await? {
                    all.extend(buffer[..length].iter().flat_map(|byte| [*byte, *byte]));
                }
                // Without a length it is sent in chunks.
                connection.initiate_response(200, Some("OK"), &[]).await?;
                connection.write_all(&all).await
            }
            _ => connection.initiate_response(404, Some("Not Found"), &[("Content-Length", "0")]).await,
        }
    }
}

/// A listener that counts.
struct Counting {
    listener: TcpListener,
    accepted: Rc<Cell<usize>>,
}

impl TcpAccept for Counting {
    type Error = SocketError;
    type Socket<'a> = TcpStream;

    async fn accept(&self) -> Result<(SocketAddr, TcpStream), SocketError> {
        let accepted = TcpAccept::accept(&self.listener).await?;
        self.accepted.set(self.accepted.get() + 1);
        Ok(accepted)
    }
}

/// Serves at a free port of `network`; the port, and how many connections have come.
async fn serve(network: &Network) -> (u16, Rc<Cell<usize>>) {
    let listener = network.tcp().bind(0).await.expect("a port is free");
    let (port, accepted) = (listener.local_addr().port(), Rc::new(Cell::new(0)));
    let counting = Counting { listener, accepted: Rc::clone(&accepted) };
    drop(spawn(async move {
        let mut server = Box::new(Server::<TASKS, 2048, 16>::new());
        let ended = server.run(None, counting, Site).await;
        panic!("the server has ended: {ended:?}");
    }));
    (port, accepted)
}

/// Status and body of an answer.
async fn answer(client: &mut Client<'_, Tcp, 16>) -> (u16, Vec<u8>) {
    client.initiate_response().await.expect("the server answers");
    let code = client.headers().expect("there is a head").code;
    let (mut body, mut buffer) = (Vec::new(), [0; 3000]);
    while let length @ 1.. = client.read(&mut buffer).await.expect("the server answers") {
        body.extend_from_slice(&buffer[..length]);
    }
    (code, body)
}

async fn get(client: &mut Client<'_, Tcp, 16>, path: &str, headers: &[(&str, &str)]) -> (u16, Vec<u8>) {
    client.initiate_request(true, Method::Get, path, headers).await.expect("the server listens");
    answer(client).await
}

/// Posts `length` bytes; with their number in the head, or in chunks.
async fn post(client: &mut Client<'_, Tcp, 16>, length: usize, in_chunks: bool) {
    let sent: Vec<u8> = (0..length).map(|at| ((at * 31) ^ (at >> 8)) as u8).collect();
    let (name, value) = ("Content-Length", length.to_string());
    let headers = [(name, value.as_str())];
    let headers = if in_chunks { &[][..] } else { &headers };
    client.initiate_request(true, Method::Post, "/double", headers).await.expect("the server listens");
    client.write_all(&sent).await.expect("the server reads");
    let expected: Vec<u8> = sent.iter().flat_map(|byte| [*byte, *byte]).collect();
    assert!(answer(client).await == (200, expected), "{length} bytes, in chunks: {in_chunks}");
}

/// Requests of edge-http's client, all on one connection, and of one that closes it.
async fn talk(server: Network, client: Network, address: IpAddr) {
    let (port, accepted) = serve(&server).await;
    let at = SocketAddr::new(address, port);
    let (tcp, mut buffer) = (client.tcp(), [0; 2048]);
    let mut client = Client::<_, 16>::new(&mut buffer, &tcp, at);
    assert_eq!(get(&mut client, "/", &[]).await, (200, b"hello".to_vec()));
    for (length, in_chunks) in [(5, false), (0, false), (LONG, false), (5, true), (LONG, true)] {
        post(&mut client, length, in_chunks).await;
    }
    assert_eq!(get(&mut client, "/nothing", &[]).await, (404, Vec::new()));
    assert_eq!(get(&mut client, "/", &[]).await, (200, b"hello".to_vec()));
    assert_eq!(accepted.get(), 1, "the connection is kept");
    // Another one meanwhile, which the server is asked to close.
    let mut buffer = [0; 2048];
    let mut other = Client::<_, 16>::new(&mut buffer, &tcp, at);
    assert_eq!(get(&mut other, "/", &[("Connection", "Close")]).await, (200, b"hello".to_vec()));
    other.close().await.expect("both sides end");
    assert_eq!(get(&mut client, "/", &[]).await, (200, b"hello".to_vec()));
    assert_eq!(accepted.get(), 2);
    two_at_once(&tcp.connect(at).await.expect("the server listens")).await;
}

/// Requests that come in one segment are answered one after the other.
async fn two_at_once(stream: &TcpStream) {
    let parts: [&[u8]; 2] = [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /x HTTP/1.1\r\nConnection: Close\r\n\r\n"];
    stream.write_all_vectored(&mut { parts }).await.expect("the server reads");
    let (mut received, mut buffer) = (Vec::new(), [0; 1000]);
    while let length @ 1.. = stream.read(&mut buffer).await.expect("the server answers") {
        received.extend_from_slice(&buffer[..length]);
    }
    let text = String::from_utf8(received).expect("it is text");
    let statuses: Vec<_> = text.match_indices("HTTP/1.1 ").map(|(at, _)| &text[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "404"], "{text}");
}

fn on_a_switch(impairments: Impairments, ipv6: bool) {
    testing::run(1, async move {
        let switch = Switch::new(1, impairments);
        let host = |number: u8| {
            let mut config = Config::from_keys(format!("10.0.0.{number}/24").parse().ok(), None);
            let network = format!("2001:db8::{number}/64").parse().expect("a network");
            let mut addresses = Ipv6Config::fixed(network, None);
            // Nobody else is on this link.
            addresses.duplicate_probes = 0;
            config.ipv6 = Some(addresses);
            Network::direct(switch.port(), switch.pool(), config).expect("the configuration is good")
        };
        let address: IpAddr = match ipv6 {
            true => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
            false => Ipv4Addr::new(10, 0, 0, 1).into(),
        };
        talk(host(1), host(2), address).await;
    });
}

#[test]
fn on_a_switch_over_either_family() {
    on_a_switch(Impairments::NONE, false);
    on_a_switch(Impairments::NONE, true);
}

#[test]
fn on_a_switch_that_loses_frames() {
    on_a_switch(Impairments::NONE.with_loss(0.02), false);
}

#[test]
fn on_the_hosts_sockets() {
    mirage_unix::testing::run(|network| async move {
        talk(network.clone(), network, Ipv4Addr::LOCALHOST.into()).await;
    });
}
