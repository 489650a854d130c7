//! Hand-made frames against a stack: what strangers may send.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use smoltcp::wire::IpProtocol;

use super::*;
use crate::net::direct::Direct;
use crate::net::direct::ethernet::{self, Arp, EtherType};
use crate::net::direct::hash::Keyed;
use crate::net::direct::tcp::segment::{BARE_MOST, Bare, Control, FourTuple, Segment, Seq, SynOptions};
use crate::net::direct::{header, ipv4};
use crate::net::switch::Port;
use crate::packet::PacketMut;
use crate::time::{Duration, sleep};
use crate::types::network::NetworkDevice;

/// A host without a stack: a test sends its frames and sees what comes back.
pub(super) struct Raw {
    switch: Switch,
    port: Port,
    own: IpAddr,
    pub(super) proxied: Option<Ipv4Addr>,
}

const KEY: Keyed = Keyed::new([1, 2]);

/// The Ethernet address of the stack under test, which has the first port of its switch.
pub(super) const STACK: [u8; 6] = [2, 0, 0, 0, 0, 1];

impl Raw {
    pub(super) fn new(switch: &Switch, number: u8) -> Raw {
        Raw { switch: switch.clone(), port: switch.port(), own: at(number, 0).ip(), proxied: None }
    }

    fn answers_for(&self, address: Ipv4Addr) -> bool {
        address == self.own || Some(address) == self.proxied
    }

    pub(super) fn mac(&self) -> [u8; 6] {
        self.port.info().mac
    }

    /// Sends bytes as they are.
    pub(super) fn send_frame(&mut self, bytes: &[u8]) {
        let packet = PacketMut::copy_of(&self.switch.pool(), bytes).expect("pages are left");
        self.port.transmit(packet).expect("the port takes it");
        self.port.flush();
    }

    /// Sends an IP packet to the stack.
    pub(super) fn send_ip(&mut self, packet: &[u8]) {
        let mut frame = Vec::from([0; ethernet::HEADER]);
        let header = frame.first_chunk_mut().expect("as long as a header");
        ethernet::emit(header, STACK, self.mac(), ethertype());
        frame.extend_from_slice(packet);
        self.send_frame(&frame);
    }

    /// Sends a segment without data from `from` to `to`.
    pub(super) fn send_bare(&mut self, from: SocketAddr, to: SocketAddr, bare: &Bare) {
        self.send_data(from, to, bare, &[]);
    }

    /// Sends a segment with `data`.
    pub(super) fn send_data(&mut self, from: SocketAddr, to: SocketAddr, bare: &Bare, data: &[u8]) {
        self.send_segment(from, to, bare, data, false);
    }

    /// Sends a segment that ends the stream.
    pub(super) fn send_fin(&mut self, from: SocketAddr, to: SocketAddr, bare: &Bare) {
        self.send_segment(from, to, bare, &[], true);
    }

    fn send_segment(&mut self, from: SocketAddr, to: SocketAddr, bare: &Bare, data: &[u8], fin: bool) {
        let mut bytes = [0; BARE_MOST];
        let tuple = FourTuple::new(&KEY, from, to);
        let length = bare.emit(&tuple, &mut bytes).expect("of one family");
        let mut packet = bytes[..length].to_vec();
        packet.extend_from_slice(data);
        packet[header::length(to.ip()) + 13] |= u8::from(fin);
        header::set_length(&mut packet);
        header::fill_transport(&mut packet, false);
        self.send_ip(&packet);
    }

    /// Sends a SYN with these options, as they are; their length is a multiple of four.
    pub(super) fn send_syn(&mut self, from: SocketAddr, to: SocketAddr, bare: &Bare, options: &[u8]) {
        let mut bytes = [0; BARE_MOST];
        let length = bare.emit(&FourTuple::new(&KEY, from, to), &mut bytes).expect("of one family");
        let mut packet = [&bytes[..length], options].concat();
        packet[header::length(to.ip()) + 12] = (20 + options.len() as u8) << 2;
        header::set_length(&mut packet);
        header::fill_transport(&mut packet, false);
        self.send_ip(&packet);
    }

    /// Whether a packet is of neighbour discovery; a question for our address is answered.
    #[cfg(not(feature = "ipv6"))]
    fn answer_discovery(&mut self, _: &[u8]) -> bool {
        false
    }

    /// Whether a packet is of neighbour discovery; a question for our address is answered.
    #[cfg(feature = "ipv6")]
    fn answer_discovery(&mut self, packet: &[u8]) -> bool {
        use crate::net::ipv6::{ndp, packet};
        let packet = packet::read(packet).expect("the stack sends sound packets");
        let message = ndp::read(packet.source, packet.destination, packet.hop_limit, packet.payload());
        if let Some(ndp::Message::Solicitation { target, .. }) = message
            && self.own == target
        {
            let message = ndp::advertisement(target, self.mac(), true, true);
            let mut answer = vec![0; packet::HEADER];
            let head = answer.first_chunk_mut().expect("a header");
            packet::emit_header(head, target, packet.source, packet::protocol::ICMP, message.len(), ndp::HOP_LIMIT);
            answer.extend_from_slice(&message);
            header::fill_icmp(&mut answer);
            self.send_ip(&answer);
        }
        // What a later fragment starts with says nothing.
        let is_icmp = packet.protocol == packet::protocol::ICMP && packet.fragment.is_none();
        is_icmp && packet.payload().first().is_some_and(|kind| *kind >= 133)
    }

    /// The next frame that came, without waiting, ARP left out. Questions for our address are answered on the way.
    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut context = core::task::Context::from_waker(core::task::Waker::noop());
            let core::task::Poll::Ready(Ok(frame)) = self.port.poll_receive(&mut context) else { return None };
            let frame = frame.head().to_vec();
            if is_ipv6() {
                match self.answer_discovery(&frame[ethernet::HEADER..]) {
                    true => continue,
                    false => return Some(frame),
                }
            }
            match Arp::parse(&frame[ethernet::HEADER..]) {
                Some(arp) if arp.request && self.answers_for(arp.target) => self.answer_arp(&arp),
                Some(_) => {}
                None => return Some(frame),
            }
        }
    }

    /// Sends an ARP packet in a frame to `to`.
    pub(super) fn send_arp(&mut self, to: [u8; 6], arp: &Arp) {
        let mut frame = [0; ethernet::HEADER + ethernet::ARP_LENGTH];
        let (header, body) = frame.split_first_chunk_mut().expect("a header");
        ethernet::emit(header, to, self.mac(), EtherType::Arp);
        arp.emit(body.first_chunk_mut().expect("a body"));
        self.send_frame(&frame);
    }

    /// The ARP packets that came within a millisecond, and to which Ethernet address. None is answered.
    pub(super) async fn arps(&mut self) -> Vec<([u8; 6], Arp)> {
        let mut arps = Vec::new();
        for _ in 0..5 {
            let mut context = core::task::Context::from_waker(core::task::Waker::noop());
            while let core::task::Poll::Ready(Ok(frame)) = self.port.poll_receive(&mut context) {
                if let Some((to, _, EtherType::Arp)) = ethernet::parse(frame.head()) {
                    arps.extend(Arp::parse(&frame.head()[ethernet::HEADER..]).map(|arp| (to, arp)));
                }
            }
            sleep(Duration::from_micros(200)).await;
        }
        arps
    }

    fn answer_arp(&mut self, question: &Arp) {
        let answer = Arp {
            request: false,
            source_mac: self.mac(),
            source: question.target,
            target_mac: question.source_mac,
            target: question.source,
        };
        self.send_arp(question.source_mac, &answer);
    }

    /// The IP packets that came within a millisecond.
    pub(super) async fn packets(&mut self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for _ in 0..5 {
            while let Some(frame) = self.next() {
                packets.push(frame[ethernet::HEADER..].to_vec());
            }
            sleep(Duration::from_micros(200)).await;
        }
        packets
    }

    /// The segments that came within a millisecond.
    pub(super) async fn segments(&mut self) -> Vec<Segment> {
        self.segments_with_data().await.into_iter().map(|(segment, _)| segment).collect()
    }

    /// The same with their data.
    pub(super) async fn segments_with_data(&mut self) -> Vec<(Segment, Vec<u8>)> {
        let packets = self.packets().await;
        packets
            .iter()
            .filter_map(|bytes| {
                let (source, destination) = addresses(bytes)?;
                let mut filled = bytes.clone();
                header::fill_transport(&mut filled, false);
                assert!(filled == *bytes, "the stack sends right checksums");
                let segment = Segment::parse(&KEY, source, destination, header::payload(bytes))?;
                Some((segment, bytes[bytes.len() - segment.length as usize..].to_vec()))
            })
            .collect()
    }

    /// Opens a connection from `from` to `to` by hand; our next position and the stack's.
    pub(super) async fn handshake(&mut self, from: SocketAddr, to: SocketAddr) -> (Seq, Seq) {
        let options = SynOptions { mss: Some(1460), window_shift: Some(7), sack: true, ..SynOptions::default() };
        let syn = Bare { control: Control::Syn, seq: Seq(1000), window: 60_000, options, ..Bare::default() };
        self.send_bare(from, to, &syn);
        let answers = self.segments().await;
        let [answer] = answers.as_slice() else { panic!("one answer to a SYN, not {answers:?}") };
        assert!(answer.syn && answer.ack == Some(Seq(1001)));
        let theirs = answer.seq.add(1);
        self.send_bare(from, to, &Bare { seq: Seq(1001), ack: Some(theirs), window: 60_000, ..Bare::default() });
        (Seq(1001), theirs)
    }
}

/// A router's word to host 1, as host `from`, that `packet` is longer than the `mtu` bytes that its way takes (RFC 4443, 3.2).
#[cfg(feature = "datagrams")]
pub fn too_big(from: u8, mtu: u32, packet: &[u8]) -> Vec<u8> {
    icmp_packet([from, 1], &[&[2, 0, 0, 0], &mtu.to_be_bytes()[..], &packet[..packet.len().min(1200)]].concat())
}

#[cfg(feature = "datagrams")]
/// An IP packet of host `from` to host `to` with a message of ICMP, whose checksum is filled in.
pub fn icmp_packet([from, to]: [u8; 2], message: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; header::length(at(1, 0).ip()) + message.len()];
    let protocol = if is_ipv6() { IpProtocol::Icmpv6 } else { IpProtocol::Icmp };
    let body = header::emit(&mut packet, at(from, 0).ip(), at(to, 0).ip(), protocol).expect("of one family");
    body.copy_from_slice(message);
    body[2..4].fill(0);
    let sum = !smoltcp::wire::checksum::data(body);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    #[cfg(feature = "ipv6")]
    if is_ipv6() {
        header::fill_icmp(&mut packet);
    }
    packet
}

/// What a frame with a packet of these tests carries.
fn ethertype() -> EtherType {
    #[cfg(feature = "ipv6")]
    if is_ipv6() {
        return EtherType::Ipv6;
    }
    EtherType::Ipv4
}

/// The addresses of a packet with a segment.
fn addresses(bytes: &[u8]) -> Option<(IpAddr, IpAddr)> {
    #[cfg(feature = "ipv6")]
    if is_ipv6() {
        let packet = crate::net::ipv6::packet::read(bytes).expect("the stack sends sound packets");
        return (packet.protocol == 6).then_some((packet.source.into(), packet.destination.into()));
    }
    let packet = ipv4::Ipv4::parse(bytes).expect("the stack sends sound packets");
    (packet.protocol == IpProtocol::Tcp).then_some((packet.source.into(), packet.destination.into()))
}

/// A stack as host 1 whose inside can be looked at.
pub(super) fn stack(switch: &Switch) -> (Direct, Network) {
    let direct = Direct::start(switch.port(), switch.pool(), &config(1), cidr(1)).expect("the configuration is good");
    let network = Network { stack: crate::net::Stack::Direct(direct.clone()) };
    (direct, network)
}

fn a_flood_of_syns_is_bounded_and_touches_no_connection() {
    testing::run(11, async {
        let switch = Switch::new(11, Impairments::NONE);
        let (direct, server) = stack(&switch);
        let _echoing = echo_server(&server, 80).await;
        let client = host(&switch, 2);
        let before = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        // A slow client: it has sent its SYN and takes its time.
        let mut slow = Raw::new(&switch, 4);
        let (from, to) = (at(4, 4000), at(1, 80));
        slow.send_bare(from, to, &Bare { control: Control::Syn, seq: Seq(1000), window: 9000, ..Bare::default() });
        let [syn] = slow.segments().await[..] else { panic!("one answer to a SYN") };
        let mut raw = Raw::new(&switch, 3);
        for port in 1..=5000 {
            let syn = Bare { control: Control::Syn, seq: Seq(port), window: 1000, ..Bare::default() };
            raw.send_bare(at(3, port as u16), at(1, 80), &syn);
            if port % 50 == 0 {
                raw.segments().await;
            }
        }
        assert_eq!(direct.shared.stack.borrow().tcp.half_open(), 256);
        exchange(before, pattern(1, 5000)).await;
        let after = client.tcp().connect(at(1, 80)).await.expect("new clients are served");
        exchange(after, pattern(2, 5000)).await;
        slow.send_data(
            from,
            to,
            &Bare { seq: Seq(1001), ack: Some(syn.seq.add(1)), window: 9000, ..Bare::default() },
            b"at last",
        );
        let answers = slow.segments().await;
        assert!(answers.iter().any(|answer| answer.length == 7), "{answers:?}");
        // The flood's are given up in the end.
        sleep(Duration::from_secs(60)).await;
        assert_eq!(direct.shared.stack.borrow().tcp.half_open(), 0);
    });
}

fn a_cookie_is_good_for_its_connection_and_for_a_while() {
    testing::run(17, async {
        let switch = Switch::new(17, Impairments::NONE);
        let (_direct, server) = stack(&switch);
        let _echoing = echo_server(&server, 80).await;
        let mut raw = Raw::new(&switch, 3);
        let to = at(1, 80);
        let syn = |seq: u32| Bare { control: Control::Syn, seq: Seq(seq), window: 1000, ..Bare::default() };
        let ack = |seq: u32, ack: Seq| Bare { seq: Seq(seq), ack: Some(ack), window: 1000, ..Bare::default() };
        let mut answers = Vec::new();
        for port in 1..=300 {
            raw.send_bare(at(3, port), to, &syn(7));
            answers.extend(raw.segments().await);
        }
        assert_eq!(answers.len(), 300);
        let cookie = answers[299].seq.add(1);
        // Not for another connection, another position, or another number.
        for (port, seq, number) in [(301, 8, cookie), (300, 9, cookie), (300, 8, cookie.add(256))] {
            raw.send_bare(at(3, port), to, &ack(seq, number));
            let answers = raw.segments().await;
            assert!(matches!(answers.as_slice(), [answer] if answer.rst), "{answers:?}");
        }
        raw.send_data(at(3, 300), to, &ack(8, cookie), b"hello");
        let answers = raw.segments().await;
        assert!(answers.iter().any(|answer| answer.length == 5 && !answer.rst), "{answers:?}");
        // And not after its time.
        for port in 1001..=1300 {
            raw.send_bare(at(3, port), to, &syn(7));
        }
        let late = raw.segments().await.last().expect("an answer").seq.add(1);
        sleep(Duration::from_secs(130)).await;
        raw.send_data(at(3, 1300), to, &ack(8, late), b"hello");
        let answers = raw.segments().await;
        let mut last = answers.iter().filter(|answer| answer.tuple.local().port() == 1300 && !answer.syn);
        assert!(last.next().is_some_and(|answer| answer.rst) && last.next().is_none());
    });
}

fn unknown_connections_are_reset_and_resets_are_not_answered() {
    testing::run(12, async {
        let switch = Switch::new(12, Impairments::NONE);
        let (_direct, server) = stack(&switch);
        let _echoing = echo_server(&server, 80).await;
        let mut raw = Raw::new(&switch, 3);
        let (from, closed, open) = (at(3, 4000), at(1, 81), at(1, 80));
        raw.send_bare(from, closed, &Bare { control: Control::Syn, seq: Seq(5), ..Bare::default() });
        let answers = raw.segments().await;
        assert!(matches!(answers.as_slice(), [answer] if answer.rst && answer.ack == Some(Seq(6))), "{answers:?}");
        raw.send_bare(from, open, &Bare { seq: Seq(5), ack: Some(Seq(77)), ..Bare::default() });
        let answers = raw.segments().await;
        assert!(matches!(answers.as_slice(), [answer] if answer.rst && answer.seq == Seq(77)), "{answers:?}");
        raw.send_bare(from, open, &Bare { control: Control::Rst, seq: Seq(5), ..Bare::default() });
        assert!(raw.segments().await.is_empty());
    });
}

fn a_blind_reset_or_syn_does_not_end_a_connection() {
    testing::run(13, async {
        let switch = Switch::new(13, Impairments::NONE);
        let (_direct, server) = stack(&switch);
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let mut raw = Raw::new(&switch, 3);
        let (from, to) = (at(3, 4000), at(1, 80));
        let (ours, theirs) = raw.handshake(from, to).await;
        let (stream, _) = listener.accept().await.expect("the handshake is done");
        for bare in [
            Bare { control: Control::Rst, seq: ours.add(100), ..Bare::default() },
            Bare { control: Control::Syn, seq: ours.add(100), ..Bare::default() },
        ] {
            // One answer is enough for the real peer, and says nothing to a stranger who counts his own.
            for _ in 0..300 {
                raw.send_bare(from, to, &bare);
            }
            let answers = raw.segments().await;
            let challenge = |segment: &Segment| !segment.rst && segment.ack == Some(ours) && segment.seq == theirs;
            assert!(matches!(answers.as_slice(), [answer] if challenge(answer)), "{answers:?}");
            sleep(Duration::from_millis(500)).await;
        }
        raw.send_bare(from, to, &Bare { control: Control::Rst, seq: ours.add(100_000), ..Bare::default() });
        assert!(raw.segments().await.is_empty());
        raw.send_data(from, to, &Bare { seq: ours, ack: Some(theirs), window: 1000, ..Bare::default() }, b"alive");
        let mut buffer = [0; 10];
        assert_eq!(stream.read(&mut buffer).await.expect("it lives"), 5);
        // The real one.
        raw.send_bare(from, to, &Bare { control: Control::Rst, seq: ours.add(5), ..Bare::default() });
        assert!(matches!(stream.read(&mut buffer).await, Err(crate::net::ReadError::Reset)));
    });
}

fn an_acknowledgement_of_what_was_never_sent_is_not_believed() {
    testing::run(14, async {
        let switch = Switch::new(14, Impairments::NONE);
        let (_direct, server) = stack(&switch);
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let mut raw = Raw::new(&switch, 3);
        let (from, to) = (at(3, 4000), at(1, 80));
        let (ours, theirs) = raw.handshake(from, to).await;
        let (stream, _) = listener.accept().await.expect("the handshake is done");
        stream.write_all(&[1; 100]).await.expect("there is room");
        let sent = raw.segments().await;
        assert_eq!(sent.iter().map(|segment| segment.length).sum::<u32>(), 100);
        raw.send_bare(from, to, &Bare { seq: ours, ack: Some(theirs.add(5000)), window: 1000, ..Bare::default() });
        raw.segments().await;
        // It is still sent again, as it was not acknowledged.
        sleep(Duration::from_secs(2)).await;
        let again = raw.segments().await;
        assert!(again.iter().any(|segment| segment.length == 100 && segment.seq == theirs), "{again:?}");
    });
}

worlds! {
    a_flood_of_syns_is_bounded_and_touches_no_connection,
    a_cookie_is_good_for_its_connection_and_for_a_while,
    unknown_connections_are_reset_and_resets_are_not_answered,
    a_blind_reset_or_syn_does_not_end_a_connection,
    an_acknowledgement_of_what_was_never_sent_is_not_believed,
}
