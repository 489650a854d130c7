//! What is of IPv4 only: ARP, ICMP, gateways, fragments.

use alloc::string::ToString;
use core::time::Duration;

use smoltcp::wire::IpProtocol;

use super::raw::{Raw, STACK, stack};
use super::*;
use crate::net::ConfigError;
use crate::net::direct::ethernet::{self, EtherType};
use crate::net::direct::tcp::segment::{Bare, Control, Seq};
use crate::net::direct::{header, ipv4};
use crate::runtime::now;
use crate::time::sleep;

impl Raw {
    /// Sends a datagram.
    pub(super) fn send_udp(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        let mut packet = vec![0; header::length(to.ip())];
        let length = 8 + data.len() as u16;
        for field in [from.port(), to.port(), length, 0] {
            packet.extend_from_slice(&field.to_be_bytes());
        }
        packet.extend_from_slice(data);
        header::emit(&mut packet, from.ip(), to.ip(), IpProtocol::Udp).expect("of one family");
        header::fill_transport(&mut packet, false);
        self.send_ip(&packet);
    }

    /// Makes it answer questions for the Ethernet address of `address` too.
    pub(super) fn proxy(mut self, address: Ipv4Addr) -> Raw {
        self.proxied = Some(address);
        self
    }

    /// Passes an IP packet on to the device `mac`.
    pub(super) fn forward(&mut self, mac: [u8; 6], packet: &[u8]) {
        let mut frame = Vec::from([0; ethernet::HEADER]);
        let header = frame.first_chunk_mut().expect("as long as a header");
        ethernet::emit(header, mac, self.mac(), EtherType::Ipv4);
        frame.extend_from_slice(packet);
        self.send_frame(&frame);
    }
}

/// A connection through a gateway, with pauses longer than a neighbour stays fresh.
fn a_gateway_that_is_asked_again_makes_nobody_wait() {
    testing::run(93, async {
        let switch = Switch::new(93, Impairments::NONE);
        let server = host_with(&switch, Config { gateway: Some(ip(254)), ..config(1) });
        // The far host believes the whole world to be on its link; the gateway answers for the server.
        let far = Cidr::new(Ipv4Addr::new(10, 0, 1, 5), 8).ok();
        let client = host_with(&switch, Config { ipv4: far, ..Config::new() });
        let client_mac = client.mac().expect("it has a device");
        let mut gateway = Raw::new(&switch, 254).proxy(ip(1));
        let _echoing = echo_server(&server, 80).await;
        let _forwarding = spawn(async move {
            loop {
                for packet in gateway.packets().await {
                    let to_server = packet[16..20] == ip(1).octets();
                    gateway.forward(if to_server { STACK } else { client_mac }, &packet);
                }
            }
        });
        let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        for _ in 0..2 {
            sleep(Duration::from_secs(70)).await;
            let start = now();
            stream.write_all(b"still there?").await.expect("there is room");
            assert_eq!(stream.read(&mut [0; 100]).await.expect("an answer"), 12);
            assert!(now() - start < Duration::from_millis(50), "{:?}", now() - start);
        }
    });
}

fn a_datagram_to_nobody_is_answered() {
    testing::run(96, async {
        let switch = Switch::new(96, Impairments::NONE);
        let (_direct, _server) = stack(&switch);
        let mut raw = Raw::new(&switch, 3);
        raw.send_udp(at(3, 1000), at(1, 9), b"anybody?");
        let answers = raw.packets().await;
        let [answer] = answers.as_slice() else { panic!("one answer, not {}", answers.len()) };
        let answer = crate::net::direct::ipv4::Ipv4::parse(answer).expect("a sound packet");
        let icmp = smoltcp::wire::Icmpv4Packet::new_checked(answer.payload()).expect("an ICMP message");
        assert!(icmp.verify_checksum());
        assert_eq!(icmp.msg_type(), smoltcp::wire::Icmpv4Message::DstUnreachable);
        assert_eq!(icmp.msg_code(), 3);
        // The ports are quoted.
        assert_eq!(icmp.data().get(20..24), Some(&[1000u16.to_be_bytes(), 9u16.to_be_bytes()].concat()[..]));
    });
}

fn a_network_needs_a_good_address() {
    testing::run(97, async {
        let switch = Switch::new(97, Impairments::NONE);
        let start = |text: &str, gateway: Option<Ipv4Addr>| {
            let config = Config { ipv4: text.parse().ok(), gateway, ..Config::new() };
            Network::direct(switch.port(), switch.pool(), config).map(drop)
        };
        assert_eq!(start("", None), Err(ConfigError::NoAddress));
        for text in ["0.0.0.0/0", "224.0.0.1/24", "127.0.0.1/8", "10.0.0.255/24", "10.0.0.0/24"] {
            let address = text.split('/').next().and_then(|text| text.parse().ok()).expect("an address");
            assert_eq!(start(text, None), Err(ConfigError::NotAHost(address)), "{text}");
        }
        for gateway in [ip(1), Ipv4Addr::new(10, 1, 0, 1), ip(255)] {
            let address = ip(1);
            assert_eq!(start("10.0.0.1/24", Some(gateway)), Err(ConfigError::Gateway { gateway, address }));
        }
        for text in ["10.0.0.1/24", "10.0.0.0/31", "10.0.0.1/31", "10.0.0.1/32"] {
            assert_eq!(start(text, None), Ok(()), "{text}");
        }
        let message = ConfigError::NoAddress.to_string();
        assert!(message.contains("--ipv4 ADDRESS/PREFIX"), "{message}");
    });
}

fn connections_outlive_a_device_that_goes_and_comes_back() {
    testing::run(99, async {
        let switch = Switch::new(99, Impairments::NONE);
        let (server, client) = (host(&switch, 1), host(&switch, 2));
        let _echoing = echo_server(&server, 80).await;
        let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        let away = switch.clone();
        let trouble = spawn(async move {
            for _ in 0..5 {
                sleep(Duration::from_millis(3)).await;
                away.unplug(0);
                sleep(Duration::from_secs(2)).await;
                away.plug(0);
            }
        });
        exchange(stream, pattern(9, 400_000)).await;
        trouble.await.expect("it ends");
        // The network hears at once that the server is back.
        let before = switch.frames();
        switch.unplug(0);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(switch.frames(), before);
        switch.plug(0);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(switch.frames(), before + 1);
        let again = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        exchange(again, pattern(10, 1000)).await;
    });
}

fn fragments_of_a_segment_do_not_reset_its_connection() {
    testing::run(15, async {
        let switch = Switch::new(15, Impairments::NONE);
        let (_direct, server) = stack(&switch);
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let mut raw = Raw::new(&switch, 3);
        let (from, to) = (at(3, 4000), at(1, 80));
        let (ours, theirs) = raw.handshake(from, to).await;
        let (stream, _) = listener.accept().await.expect("the handshake is done");
        for (flags, offset) in [(true, 0u16), (true, 24), (false, 48)] {
            let mut packet = Vec::from([0; ipv4::HEADER + 24]);
            let (header, _) = packet.split_first_chunk_mut().expect("a header");
            ipv4::emit_header(header, ip(3), ip(1), smoltcp::wire::IpProtocol::Tcp, 24);
            let mut header = smoltcp::wire::Ipv4Packet::new_unchecked(&mut packet[..]);
            header.set_dont_frag(false);
            header.set_more_frags(flags);
            header.set_frag_offset(offset);
            header.fill_checksum();
            raw.send_ip(&packet);
        }
        assert!(raw.segments().await.is_empty());
        raw.send_data(from, to, &Bare { seq: ours, ack: Some(theirs), window: 1000, ..Bare::default() }, b"alive");
        assert_eq!(stream.read(&mut [0; 10]).await.expect("it lives"), 5);
    });
}

fn ping_is_answered_with_what_it_carries() {
    testing::run(16, async {
        let switch = Switch::new(16, Impairments::NONE);
        let (_direct, _server) = stack(&switch);
        let mut raw = Raw::new(&switch, 3);
        for length in [0, 1, 56, 1472] {
            let data = pattern(length, length);
            let mut message = Vec::from([8, 0, 0, 0, 0x12, 0x34, 0, 7]);
            message.extend_from_slice(&data);
            let mut icmp = smoltcp::wire::Icmpv4Packet::new_unchecked(&mut message[..]);
            icmp.fill_checksum();
            let mut packet = Vec::from([0; ipv4::HEADER]);
            let (header, _) = packet.split_first_chunk_mut().expect("a header");
            ipv4::emit_header(header, ip(3), ip(1), smoltcp::wire::IpProtocol::Icmp, message.len());
            packet.extend_from_slice(&message);
            raw.send_ip(&packet);
            let answers = raw.packets().await;
            let [answer] = answers.as_slice() else { panic!("one answer, not {}", answers.len()) };
            let answer = ipv4::Ipv4::parse(answer).expect("a sound packet");
            assert_eq!((answer.source, answer.destination), (ip(1), ip(3)));
            let icmp = smoltcp::wire::Icmpv4Packet::new_checked(answer.payload()).expect("an ICMP message");
            assert!(icmp.verify_checksum());
            assert_eq!(icmp.msg_type(), smoltcp::wire::Icmpv4Message::EchoReply);
            assert_eq!((icmp.echo_ident(), icmp.echo_seq_no()), (0x1234, 7));
            assert_eq!(icmp.data(), data);
        }
    });
}

/// Whether routers may cut a packet, and its number.
fn cutting(packet: &[u8]) -> (bool, u16) {
    ipv4::Ipv4::parse(packet).expect("a sound packet");
    (packet[6] & 0x40 == 0, u16::from_be_bytes([packet[4], packet[5]]))
}

fn only_who_looks_for_the_mtu_of_its_path_forbids_to_cut() {
    testing::run(18, async {
        let switch = Switch::new(18, Impairments::NONE);
        let (_direct, server) = stack(&switch);
        let mut raw = Raw::new(&switch, 3);
        let socket = server.udp().bind(9).await.expect("the port is free");
        let mut numbers = Vec::new();
        for length in [0, 1, 1471, 1472] {
            socket.send_to(&pattern(1, length), at(3, 7)).await.expect("there is room");
            let packets = raw.packets().await;
            let [packet] = packets.as_slice() else { panic!("one packet, not {packets:?}") };
            let (may_be_cut, number) = cutting(packet);
            assert!(may_be_cut && packet.len() == 28 + length);
            numbers.push(number);
        }
        #[cfg(feature = "datagrams")]
        {
            let pinged = server.icmp().ping(at(3, 7).ip(), b"?", Duration::from_millis(1)).await;
            assert!(pinged.is_err());
            let packets = raw.packets().await;
            let [packet] = packets.as_slice() else { panic!("one packet, not {packets:?}") };
            let (may_be_cut, number) = cutting(packet);
            assert!(may_be_cut);
            numbers.push(number);
        }
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), if cfg!(feature = "datagrams") { 5 } else { 4 });
        let _echoing = echo_server(&server, 80).await;
        raw.send_bare(at(3, 4000), at(1, 80), &Bare { control: Control::Syn, seq: Seq(1000), ..Bare::default() });
        let packets = raw.packets().await;
        assert_eq!(packets.iter().map(|packet| cutting(packet)).collect::<Vec<_>>(), [(false, 0)]);
    });
}

machines! {
    only_who_looks_for_the_mtu_of_its_path_forbids_to_cut,
    a_gateway_that_is_asked_again_makes_nobody_wait,
    a_datagram_to_nobody_is_answered,
    a_network_needs_a_good_address,
    connections_outlive_a_device_that_goes_and_comes_back,
    fragments_of_a_segment_do_not_reset_its_connection,
    ping_is_answered_with_what_it_carries,
}
