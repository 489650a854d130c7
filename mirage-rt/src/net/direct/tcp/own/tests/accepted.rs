//! Connections that a peer opens, as they come out of the table of half-open connections or of a cookie.

use alloc::format;
use alloc::string::String;
use core::task::{Context, Poll, Waker};

use super::script::Words;
use super::*;
use crate::net::address::ListenAddr;
use crate::net::direct::tcp::Tcp;

/// A listener at port 80.
pub struct Server {
    pub tcp: Tcp<OwnTcp>,
    pub out: Kept,
    pub now: Instant,
    pub words: Words,
}

impl Server {
    pub fn new() -> Server {
        let buffers = Buffers { receive: 8000, send: 100_000, budget: 1 << 24 };
        let machine = OwnTcp::new(Paths::of(1500, 0), buffers, CongestionControl::NewReno, KEY);
        let clock = machine.clock(&tuple());
        let mut tcp = Tcp::new(machine, Paths::of(1500, 0), KEY, [5, 6]);
        tcp.bind(ListenAddr { address: None, port: 80 }, 1000).expect("the port is free");
        Server { tcp, out: Kept::new(4000), now: Instant::ZERO, words: Words { clock, ..Words::new() } }
    }

    /// The peer has another port from now on.
    pub fn port(&mut self, port: u16) {
        let local = tuple().local();
        self.words.tuple = FourTuple::new(&KEY, local, SocketAddr::new(tuple().remote().ip(), port));
        self.words.clock = self.tcp.machine.clock(&self.words.tuple);
    }

    /// What leaves at once.
    pub fn hears(&mut self, text: &str) -> Vec<String> {
        let packet = self.words.peers(text);
        let mut segment = parse(&self.words.tuple.reversed(), &packet);
        segment.tuple = self.words.tuple;
        self.tcp.on_segment(self.now, &packet, &segment, &mut self.out);
        self.run()
    }

    pub fn run(&mut self) -> Vec<String> {
        self.tcp.run(self.now, 100, &mut self.out);
        let packets = self.out.cut_packets();
        packets
            .iter()
            .map(|packet| {
                let segment = parse(&self.words.tuple, packet);
                if segment.syn {
                    self.words.ours = segment.seq;
                }
                self.words.describe(packet)
            })
            .collect()
    }

    pub fn until(&mut self, milliseconds: u64) -> Vec<String> {
        let end = Instant::from_nanos(milliseconds * 1_000_000);
        let mut left = Vec::new();
        while let Some(deadline) = self.tcp.deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline;
            left.extend(self.run());
        }
        self.now = end;
        left
    }

    pub fn accept(&mut self) -> ConnId {
        match self.tcp.poll_accept(0, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok((id, _))) => id,
            other => panic!("nothing to accept: {other:?}"),
        }
    }

    pub fn writes(&mut self, id: ConnId, length: usize) -> Vec<String> {
        let written = self.tcp.poll_write(id, &mut Context::from_waker(Waker::noop()), &alloc::vec![7; length]);
        assert!(matches!(written, Poll::Ready(Ok(written)) if written == length));
        self.run()
    }
}

#[test]
fn both_sides_use_timestamps_when_the_peer_offers_them() {
    let mut server = Server::new();
    assert_eq!(server.hears("S 0:1 syn-options ts 5000:0"), ["S 0:1 ack 1 ts 0:5000"]);
    // Our answer was lost. What is echoed is the later SYN's, so that the peer does not measure the loss.
    server.until(700);
    assert_eq!(server.hears("S 0:1 syn-options ts 5700:0"), ["S 0:1 ack 1 ts 700:5700"]);
    server.until(720);
    server.hears("1:1 ack 1 ts 5720:700");
    let id = server.accept();
    assert_eq!(server.writes(id, 10), ["1:11 ack 1 ts 720:5720"]);
    // RFC 7323, 5.3.
    assert_eq!(server.hears("1:101 ack 11 ts 5719:720"), ["11:11 ack 1 ts 720:5720"]);
    assert_eq!(server.tcp.machine.readiness(id).readable, 0);
    server.hears("1:101 ack 11 ts 5721:720");
    assert_eq!(server.tcp.machine.readiness(id).readable, 100);
    // A challenge has them too, else some peers would not hear it.
    assert_eq!(server.hears("R 103:103"), ["11:11 ack 101 ts 720:5721"]);
    // Nobody offers what the peer has not.
    server.port(5000);
    assert_eq!(server.hears("S 0:1 syn-options"), ["S 0:1 ack 1"]);
    server.hears("1:1 ack 1");
    let id = server.accept();
    assert_eq!(server.writes(id, 10), ["1:11 ack 1"]);
}

#[test]
fn a_cookie_with_a_timestamp_keeps_all_options() {
    let mut server = Server::new();
    for port in 10_000..10_256 {
        server.port(port);
        assert_eq!(server.hears("S 0:1 syn-options ts 5000:0").len(), 1);
    }
    for (port, with_stamp) in [(4000, true), (4001, false)] {
        server.until(100);
        server.port(port);
        let stamp = |value: u32, echo: u32| if with_stamp { format!(" ts {value}:{echo}") } else { String::new() };
        let answer = server.hears(&format!("S E C 0:1 syn-options{}", stamp(5000, 0)));
        let told = answer[0].split_once(" ts ").map_or("0", |(_, told)| told.split_once(':').expect("a pair").0);
        let told: u32 = told.parse().expect("the clock is not ahead");
        server.hears(&format!("1:1 ack 1{}", stamp(5050, told)));
        let id = server.accept();
        assert_eq!(server.tcp.machine.expected(id).shift > 0, with_stamp);
        let answer = server.hears(&format!("1001:1101 ack 1{}", stamp(5050, told)));
        assert_eq!(answer[0].contains(" sack 1001:1101"), with_stamp, "{answer:?}");
        assert_eq!(answer[0].contains(" ts 100:5050"), with_stamp, "{answer:?}");
        assert_eq!(server.writes(id, 10)[0].contains(" ect"), with_stamp);
    }
    assert_eq!(server.tcp.counters().cookies, 2);
}

#[test]
fn a_later_timestamp_opens_anew_what_is_in_time_wait() {
    let mut server = Server::new();
    server.hears("S 0:1 syn-options ts 5000:0");
    server.hears("1:1 ack 1 ts 5000:0");
    let id = server.accept();
    server.tcp.shutdown(id).expect("it is open");
    assert_eq!(server.run(), ["F 1:2 ack 1 ts 0:5000"]);
    server.hears("1:1 ack 2 ts 5001:0");
    assert_eq!(server.hears("F 1:2 ack 2 ts 5002:0"), ["2:2 ack 2 ts 0:5002"]);
    assert_eq!(server.tcp.now().time_wait, 1);
    // From before the end, and no later.
    assert_eq!(server.hears("S 0:1 syn-options ts 5002:0"), ["2:2 ack 2 ts 0:5002"]);
    assert_eq!(server.hears("S 0:1 syn-options"), ["2:2 ack 2 ts 0:5002"]);
    assert_eq!(server.hears("S 0:1 syn-options ts 5003:0"), ["S 0:1 ack 1 ts 0:5003"]);
}

#[test]
fn who_did_not_hear_our_syn_is_sent_little_at_first() {
    let mut server = Server::new();
    server.hears("S 0:1 syn-options");
    assert_eq!(server.until(1250), ["S 0:1 ack 1"]);
    server.hears("1:1 ack 1");
    let id = server.accept();
    assert_eq!(server.writes(id, 5000), ["1:1001 ack 1"], "RFC 5681, 3.1");
    // RFC 6298, 5.7.
    assert_eq!(server.until(4249), [""; 0]);
    assert_eq!(server.until(4250), ["1:1001 ack 1"]);
}

#[test]
fn an_offer_to_heed_marks_is_taken_up() {
    let mut server = Server::new();
    assert_eq!(server.hears("S E C 0:1 syn-options"), ["S E 0:1 ack 1"]);
    // A second attempt without (RFC 3168, 6.1.1.1).
    assert_eq!(server.hears("S 0:1 syn-options"), ["S 0:1 ack 1"]);
    assert_eq!(server.hears("S E C 0:1 syn-options"), ["S 0:1 ack 1"]);
    for (port, flags, answer, ect) in [(5000, "E C ", "S E ", " ect"), (5001, "E ", "S ", ""), (5002, "", "S ", "")] {
        server.port(port);
        assert_eq!(server.hears(&format!("S {flags}0:1 syn-options")), [format!("{answer}0:1 ack 1")]);
        server.hears("1:1 ack 1");
        let id = server.accept();
        assert_eq!(server.writes(id, 10), [format!("1:11 ack 1{ect}")]);
    }
}
