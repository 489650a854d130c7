//! Whatever comes in, the stack neither panics nor stops serving.

use core::net::SocketAddr;

use proptest::prelude::*;

use super::peer::plain;
use super::*;
use crate::net::direct::header;
use crate::net::ipv6::ndp::ALL_NODES;
use crate::net::ipv6::packet::protocol;
use crate::runtime::{spawn, yield_now};

/// A step of a stranger.
#[derive(Clone, Debug)]
enum Step {
    /// Any bytes behind a sound Ethernet header.
    Ether(Vec<u8>),
    /// Any bytes behind a sound IP header, to the stack or to all.
    Ip(u8, bool, Vec<u8>),
    /// Extension headers of any kind, then anything.
    Chain(Vec<(u8, Vec<u8>)>, u8, Vec<u8>),
    /// A message with a right checksum, a kind and any body, from one of our addresses or another.
    Icmp(u8, u8, u16, bool, Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..100);
    let extension = (prop::sample::select(&[0u8, 43, 44, 60][..]), prop::collection::vec(any::<u8>(), 7..24));
    prop_oneof![
        1 => bytes().prop_map(Step::Ether),
        2 => (any::<u8>(), any::<bool>(), bytes()).prop_map(|(protocol, to_all, body)| Step::Ip(protocol, to_all, body)),
        2 => (prop::collection::vec(extension, 1..12), any::<u8>(), bytes())
            .prop_map(|(chain, protocol, body)| Step::Chain(chain, protocol, body)),
        6 => (prop_oneof![133u8..138, any::<u8>()], prop_oneof![Just(255u8), any::<u8>()], 1u16..5, any::<bool>(), options())
            .prop_map(|(kind, hops, from, to_all, body)| Step::Icmp(kind, hops, from, to_all, body)),
    ]
}

/// The body of a message: mostly something like a target, and options.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let option = (prop::sample::select(&[1u8, 2, 3, 5, 25, 99][..]), 0u8..6, prop::collection::vec(any::<u8>(), 40));
    let option = option.prop_map(|(kind, units, mut bytes)| {
        bytes.truncate(8 * usize::from(units));
        bytes.iter_mut().zip([kind, units]).for_each(|(byte, value)| *byte = value);
        bytes
    });
    let target = prop_oneof![
        (0u16..4).prop_map(|number| ip(number).octets().to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
        Just(local(1).octets().to_vec()),
    ];
    (any::<u32>(), target, prop::collection::vec(option, 0..4)).prop_map(|(flags, target, options)| {
        let mut body = flags.to_be_bytes().to_vec();
        body.extend_from_slice(&target);
        options.iter().for_each(|option| body.extend_from_slice(option));
        body
    })
}

async fn misbehave(peer: &mut Peer, step: &Step) {
    match step {
        Step::Ether(bytes) => {
            let mut frame = Vec::from([2, 0, 0, 0, 0, 1]);
            frame.extend_from_slice(&peer.mac());
            frame.extend_from_slice(&[0x86, 0xdd]);
            frame.extend_from_slice(bytes);
            peer.send_frame(&frame);
        }
        Step::Ip(protocol, to_all, body) => {
            peer.send_packet(&plain(ip(3), if *to_all { ALL_NODES } else { ip(1) }, *protocol, 64, body));
        }
        Step::Chain(chain, last, body) => {
            let mut payload = Vec::new();
            for (index, (_, bytes)) in chain.iter().enumerate() {
                let next = chain.get(index + 1).map_or(*last, |(kind, _)| *kind);
                let mut header = Vec::from([next, (bytes.len() as u8 + 1).div_ceil(8) - 1]);
                header.extend_from_slice(&bytes[1..]);
                header.resize(header.len().div_ceil(8) * 8, 0);
                payload.extend_from_slice(&header);
            }
            payload.extend_from_slice(body);
            peer.send_packet(&plain(ip(3), ip(1), chain[0].0, 64, &payload));
        }
        Step::Icmp(kind, hops, from, to_all, body) => {
            let mut message = Vec::from([*kind, 0, 0, 0]);
            message.extend_from_slice(body);
            let source = if *from == 4 { local(9) } else { ip(*from) };
            let mut packet = plain(source, if *to_all { ALL_NODES } else { ip(1) }, protocol::ICMP, *hops, &message);
            header::fill_icmp(&mut packet);
            peer.send_packet(&packet);
        }
    }
    yield_now().await;
}

/// Connects to the stack and sends it something back and forth.
async fn visit(client: &Network) {
    let stream = client.tcp().connect(SocketAddr::from((ip(1), 80))).await.expect("new clients are served");
    stream.write_all(b"hello").await.expect("there is room");
    assert_eq!(stream.read(&mut [0; 10]).await.expect("the server lives"), 5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn strangers_do_no_harm(steps in prop::collection::vec(step(), 1..200), seed in any::<u64>()) {
        testing::run(seed, async {
            let switch = Switch::new(seed, Impairments::NONE);
            let (direct, server) = stack(&switch, fixed(1)).await;
            let mut listener = server.tcp().bind(80).await.expect("the port is free");
            let _echoing = spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let mut buffer = [0; 10];
                    let length = stream.read(&mut buffer).await.unwrap_or(0);
                    let _ = stream.write_all(&buffer[..length]).await;
                    stream.acknowledged().await.ok();
                }
            });
            let client = host(&switch, fixed(2));
            sleep(seconds(2)).await;
            visit(&client).await;
            let mut peer = Peer::new(&switch);
            for step in &steps {
                misbehave(&mut peer, step).await;
            }
            peer.seen().await;
            // Whatever was said of it, a neighbour answers for itself when it is asked again.
            sleep(seconds(120)).await;
            visit(&client).await;
            prop_assert!(server.addresses().contains(&ip(1).into()));
            let (_, neighbours) = direct.shared.stack.borrow().ip.counted();
            prop_assert!(neighbours <= 1100);
            Ok(())
        })?;
    }
}
