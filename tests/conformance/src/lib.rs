//! What every network promises to applications, as cases that run between any two networks that reach each other: a stack of
//! our own on whatever device, or the host's sockets. A case knows neither which it has, nor what is between them.
//!
//! Each case is run twice, with the two networks in both roles, so that a stack that is new is both client and server of one that
//! is not.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod choices;
mod close;
mod datagrams;
mod echoes;
mod errors;
mod listeners;
mod many;
mod names;
mod pages;
mod streams;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use core::pin::Pin;

use mirage_rt::net::{Network, ReadError, TcpStream};
use mirage_rt::{Duration, timeout};

/// Far longer than any case takes; it is an end for those that hang.
const LONG: Duration = Duration::from_secs(120);

/// A network and the address by which the other one reaches it.
#[derive(Clone, Debug)]
pub struct Side {
    /// The network.
    pub network: Network,
    /// Its address.
    pub address: IpAddr,
    /// What it can't do by design, or may not where it runs. The cases see that it says so, instead of doing it.
    pub lacks: &'static [Lack],
}

/// What a network may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Echo requests: the host does not permit them to this process.
    EchoRequests,
    /// Groups: Linux's loopback interface carries none over IPv6.
    Groups,
}

impl Lack {
    /// What is not done.
    fn text(self) -> &'static str {
        match self {
            Lack::EchoRequests => "  LACKING: a side is not permitted to send echo requests, and says so",
            Lack::Groups => {
                "  LACKING: what a side sends to a group is heard by nobody, as its interface carries no groups"
            }
        }
    }
}

impl Side {
    /// A network that is reached by its first address.
    ///
    /// # Panics
    ///
    /// When it has none.
    pub fn new(network: Network) -> Side {
        let address = *network.addresses().first().expect("the network has an address");
        Side::at_address(network, address)
    }

    /// A network that is reached by this address.
    pub fn at_address(network: Network, address: impl Into<IpAddr>) -> Side {
        Side { network, address: address.into(), lacks: &[] }
    }

    /// The same, of which it is known what it can't do.
    pub fn lacking(self, lacks: &'static [Lack]) -> Side {
        Side { lacks, ..self }
    }

    fn lacks(&self, what: Lack) -> bool {
        self.lacks.contains(&what)
    }

    /// A port of this side.
    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }
}

/// The two sides of a case.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The side that listens.
    pub server: Side,
    /// The side that connects.
    pub client: Side,
}

impl Pair {
    /// Whether either side lacks this.
    fn lacks(&self, what: Lack) -> bool {
        self.server.lacks(what) || self.client.lacks(what)
    }
}

type Running = Pin<Box<dyn Future<Output = ()>>>;

/// One promise.
#[derive(Clone, Copy)]
pub struct Case {
    /// What is promised.
    pub name: &'static str,
    run: fn(Pair) -> Running,
}

macro_rules! cases {
    ($($module:ident: $($name:ident)*;)*) => {
        /// All cases, in the order in which they run.
        pub const CASES: &[Case] = &[$($(
            Case { name: stringify!($name), run: |pair| Box::pin($module::$name(pair)) },
        )*)*];
    };
}

cases! {
    streams: bytes_come_back_as_they_were large_amounts_pass_both_ways_at_once a_reader_that_waits_stops_the_writer
        peeked_bytes_stay_until_they_are_consumed a_read_that_is_given_up_loses_nothing small_pieces_keep_their_order
        parts_arrive_one_after_the_other;
    close: each_side_ends_on_its_own what_was_written_arrives_although_the_writer_is_gone unread_bytes_reset_the_peer
        an_abort_resets_the_peer both_sides_end_at_once nothing_listens_there;
    listeners: a_listener_knows_its_port_and_its_peers a_port_has_one_listener an_accept_that_is_given_up_loses_nothing
        a_listener_that_is_gone_resets_who_waits a_port_is_free_again;
    pages: given_pages_arrive_among_written_bytes a_shared_page_goes_to_many
        taken_pages_have_what_was_written pages_are_sent_back;
    many: connections_do_not_mix connections_come_and_go;
    datagrams: datagrams_keep_their_bounds a_datagram_too_long_is_an_error a_short_buffer_is_told_the_length
        a_group_hears_what_is_sent_to_it what_is_sent_to_a_group_comes_back_if_it_may;
    errors: a_socket_hears_of_ports_that_nobody_has;
    echoes: a_host_answers_echo_requests;
    names: names_have_addresses hosts_are_reached_by_name;
    choices: a_linger_of_zero_resets choices_are_taken_at_any_time;
}

/// Runs all cases between the two networks, in both roles, and tells `log` of each before it starts.
///
/// # Panics
///
/// When a promise is not kept, or not within two minutes.
pub async fn run(one: Side, other: Side, mut log: impl FnMut(&'static str)) {
    for lack in [one.lacks, other.lacks].concat() {
        log(lack.text());
    }
    let pairs = [Pair { server: one.clone(), client: other.clone() }, Pair { server: other, client: one }];
    for case in CASES {
        log(case.name);
        for pair in &pairs {
            if timeout(LONG, (case.run)(pair.clone())).await.is_err() {
                panic!("{} did not come to an end: {pair:?}", case.name);
            }
        }
    }
}

/// Makes `count` short connections, one after the other.
///
/// # Panics
///
/// When one of them does not do what it should.
pub async fn short_connections(server: Side, client: Side, count: usize) {
    many::come_and_go(&Pair { server, client }, count).await;
}

/// A connection between the two sides, the server's end first.
async fn connected(pair: &Pair) -> (TcpStream, TcpStream) {
    let mut listener = pair.server.network.tcp().bind(0).await.expect("a port is free");
    let address = pair.server.at(listener.local_addr().port());
    let client = pair.client.network.tcp().connect(address).await.expect("the listener is there");
    let (server, _) = listener.accept().await.expect("the client has come");
    (server, client)
}

/// `length` bytes that follow from `seed` and do not repeat soon.
fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31 + seed * 7) ^ (at >> 8)) as u8).collect()
}

/// What comes until the peer ends.
async fn read_all(stream: &TcpStream) -> Result<Vec<u8>, ReadError> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4000]);
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(all),
            length => all.extend_from_slice(&buffer[..length]),
        }
    }
}

/// The next `length` bytes.
async fn read_exactly(stream: &TcpStream, length: usize) -> Vec<u8> {
    let mut all = alloc::vec![0; length];
    let mut done = 0;
    while done < length {
        match stream.read(&mut all[done..]).await.expect("the peer writes") {
            0 => panic!("the peer ended after {done} bytes of {length}"),
            more => done += more,
        }
    }
    all
}

/// Sends back what comes until the peer is done, then ends.
async fn echo(stream: TcpStream) {
    let mut buffer = [0; 4000];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
}
