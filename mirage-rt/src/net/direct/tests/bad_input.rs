//! Whatever comes in, the stack neither panics nor stops serving.

use proptest::prelude::*;
use smoltcp::wire::IpProtocol;

use super::raw::{Raw, STACK, stack};
use super::*;
use crate::net::direct::ethernet::{self, EtherType};
use crate::net::direct::{header, ipv4};
use crate::runtime::yield_now;

/// A step of a stranger.
#[derive(Clone, Debug)]
enum Step {
    /// Any bytes.
    Frame(Vec<u8>),
    /// Any bytes behind a sound Ethernet header.
    Ether(bool, Vec<u8>),
    /// Any bytes behind a sound IP header.
    Ip(u8, Vec<u8>),
    /// A segment whose checksum is right and whose rest is not: flags, positions near the connection's, data.
    Segment { port: u8, flags: u8, seq: i16, ack: i16, window: u16, options: Vec<u8>, length: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..100);
    let segment = (any::<u8>(), any::<u8>(), any::<i16>(), any::<i16>(), any::<u16>(), bytes(), 0u16..1400).prop_map(
        |(port, flags, seq, ack, window, options, length)| Step::Segment {
            port,
            flags,
            seq,
            ack,
            window,
            options,
            length,
        },
    );
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 14..100).prop_map(Step::Frame),
        1 => (any::<bool>(), bytes()).prop_map(|(arp, bytes)| Step::Ether(arp, bytes)),
        1 => (prop_oneof![Just(1u8), Just(6), Just(17), any::<u8>()], bytes())
            .prop_map(|(protocol, bytes)| Step::Ip(protocol, bytes)),
        4 => segment,
    ]
}

/// A whole IP packet with a right header checksum.
fn packet(protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; ipv4::HEADER];
    let header = packet.first_chunk_mut().expect("a header");
    ipv4::emit_header(header, ip(3), ip(1), protocol, payload.len());
    packet.extend_from_slice(payload);
    packet
}

async fn misbehave(raw: &mut Raw, step: &Step, ours: u32, theirs: u32) {
    match step {
        Step::Frame(bytes) => raw.send_frame(bytes),
        Step::Ether(arp, bytes) => {
            let mut frame = vec![0; ethernet::HEADER];
            let ethertype = if *arp { EtherType::Arp } else { EtherType::Ipv4 };
            ethernet::emit(frame.first_chunk_mut().expect("a header"), STACK, raw.mac(), ethertype);
            frame.extend_from_slice(bytes);
            raw.send_frame(&frame);
        }
        Step::Ip(protocol, bytes) => raw.send_ip(&packet(IpProtocol::from(*protocol), bytes)),
        Step::Segment { port, flags, seq, ack, window, options, length } => {
            let mut segment = vec![0; 20];
            // Mostly the open connection, sometimes another.
            let from = 4000 + u16::from(port % 4 == 0);
            segment[..2].copy_from_slice(&from.to_be_bytes());
            segment[2..4].copy_from_slice(&80u16.to_be_bytes());
            segment[4..8].copy_from_slice(&ours.wrapping_add_signed(i32::from(*seq)).to_be_bytes());
            segment[8..12].copy_from_slice(&theirs.wrapping_add_signed(i32::from(*ack)).to_be_bytes());
            let options = &options[..options.len().min(40) / 4 * 4];
            segment[12] = (20 + options.len() as u8) / 4 * 16;
            segment[13] = *flags;
            segment[14..16].copy_from_slice(&window.to_be_bytes());
            segment.extend_from_slice(options);
            segment.resize(segment.len() + usize::from(*length), 0x55);
            let mut packet = packet(IpProtocol::Tcp, &segment);
            header::fill_transport(&mut packet, false);
            raw.send_ip(&packet);
        }
    }
    yield_now().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    fn strangers_do_no_harm(steps in prop::collection::vec(step(), 1..120), seed in any::<u64>()) {
        testing::run(seed, async {
            let switch = Switch::new(seed, Impairments::NONE);
            let (_direct, server) = stack(&switch);
            let _echoing = echo_server(&server, 80).await;
            let client = host(&switch, 2);
            let before = client.tcp().connect(at(1, 80)).await.expect("the server listens");
            let mut raw = Raw::new(&switch, 3);
            let (ours, theirs) = raw.handshake(at(3, 4000), at(1, 80)).await;
            for step in &steps {
                misbehave(&mut raw, step, ours.0, theirs.0).await;
            }
            raw.packets().await;
            exchange(before, pattern(1, 3000)).await;
            let after = client.tcp().connect(at(1, 80)).await.expect("new clients are served");
            exchange(after, pattern(2, 3000)).await;
        });
    }
}

machines! {
    strangers_do_no_harm,
}
