//! ARP: who looks for duplicates, who claims our address, who has moved.

use super::raw::{Raw, STACK, stack};
use super::*;
use crate::net::direct::Direct;
use crate::net::direct::counters::ReceiveDrop;
use crate::net::direct::ethernet::{Arp, BROADCAST};
use crate::net::direct::tcp::segment::Bare;
use crate::time::{Duration, sleep};

/// What `raw` says when `source` asks for `target`.
fn question(raw: &Raw, source: Ipv4Addr, target: Ipv4Addr) -> Arp {
    Arp { request: true, source_mac: raw.mac(), source, target_mac: [0; 6], target }
}

fn neighbours(direct: &Direct) -> usize {
    direct.shared.stack.borrow().snapshot().neighbours
}

fn dropped(direct: &Direct) -> u64 {
    direct.shared.stack.borrow().ip.counters.receive_drops[ReceiveDrop::Arp as usize]
}

fn who_looks_for_a_duplicate_hears_of_us() {
    testing::run(51, async {
        let switch = Switch::new(51, Impairments::NONE);
        let (direct, _server) = stack(&switch);
        let mut raw = Raw::new(&switch, 3);
        raw.arps().await;
        let nowhere = Ipv4Addr::UNSPECIFIED;
        raw.send_arp(BROADCAST, &question(&raw, nowhere, ip(1)));
        let (request, target_mac) = (false, raw.mac());
        let answer = Arp { request, source_mac: STACK, source: ip(1), target_mac, target: nowhere };
        assert_eq!(raw.arps().await, [(raw.mac(), answer)]);
        // Others speak for themselves, and a probe is no answer.
        raw.send_arp(BROADCAST, &question(&raw, nowhere, ip(9)));
        raw.send_arp(BROADCAST, &question(&raw, nowhere, nowhere));
        raw.send_arp(STACK, &Arp { request: false, ..question(&raw, nowhere, ip(1)) });
        assert_eq!((raw.arps().await, dropped(&direct), neighbours(&direct)), (vec![], 3, 0));
    });
}

fn a_claim_to_our_address_is_answered_now_and_then() {
    testing::run(52, async {
        let switch = Switch::new(52, Impairments::NONE);
        let (direct, server) = stack(&switch);
        let mut raw = Raw::new(&switch, 3);
        raw.arps().await;
        let announced = Arp { source_mac: STACK, ..question(&raw, ip(1), ip(1)) };
        for (number, seconds) in [(1, 5), (0, 6), (1, 0)] {
            for _ in 0..20 {
                raw.send_arp(BROADCAST, &question(&raw, ip(1), ip(1)));
                raw.send_arp(BROADCAST, &question(&raw, ip(1), ip(7)));
                raw.send_arp(STACK, &Arp { request: false, ..question(&raw, ip(1), ip(1)) });
            }
            assert_eq!(raw.arps().await, vec![(BROADCAST, announced); number]);
            sleep(Duration::from_secs(seconds)).await;
        }
        // It is ours still, and no neighbour's; what comes back of our own says nothing.
        raw.send_arp(BROADCAST, &announced);
        assert_eq!(raw.arps().await, []);
        assert_eq!((dropped(&direct), neighbours(&direct)), (181, 0));
        assert_eq!(server.addresses(), [core::net::IpAddr::V4(ip(1))]);
    });
}

fn a_neighbour_that_has_moved_is_followed_and_asked() {
    testing::run(53, async {
        let switch = Switch::new(53, Impairments::NONE);
        let (direct, server) = stack(&switch);
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let mut old = Raw::new(&switch, 3);
        let mut new = Raw::new(&switch, 4).proxy(ip(3));
        let (ours, theirs) = old.handshake(at(3, 4000), at(1, 80)).await;
        let (stream, _) = listener.accept().await.expect("the handshake is done");
        let known = neighbours(&direct);
        // Of those whom nobody has asked for nothing is kept.
        new.send_arp(BROADCAST, &question(&new, ip(9), ip(9)));
        new.arps().await;
        assert_eq!(neighbours(&direct), known);
        // Nor is what a neighbour says that is where it was worth a question.
        old.send_arp(BROADCAST, &question(&old, ip(3), ip(3)));
        stream.write_all(b"there").await.expect("there is room");
        assert!(new.arps().await.iter().all(|(_, arp)| arp.source_mac != STACK));
        assert_eq!(old.segments().await.len(), 1);
        let ack = Bare { seq: ours, ack: Some(theirs.add(5)), window: 1000, ..Bare::default() };
        old.send_bare(at(3, 4000), at(1, 80), &ack);
        // It has moved: what follows goes there, with a question that says whether it is so.
        new.send_arp(BROADCAST, &question(&new, ip(3), ip(3)));
        sleep(Duration::from_millis(1)).await;
        stream.write_all(b"moved").await.expect("there is room");
        let came = new.segments().await;
        assert!(matches!(came.as_slice(), [data] if data.length == 5), "{came:?}");
        let ack = Bare { ack: Some(theirs.add(10)), ..ack };
        new.send_bare(at(3, 4000), at(1, 80), &ack);
        sleep(Duration::from_secs(5)).await;
        old.arps().await;
        stream.write_all(b"again").await.expect("there is room");
        assert_eq!((new.segments().await.len(), old.arps().await.len()), (1, 0));
    });
}

fn a_false_move_is_found_out_with_the_next_packet() {
    testing::run(54, async {
        let switch = Switch::new(54, Impairments::NONE);
        let (_direct, server) = stack(&switch);
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let (mut peer, mut stranger) = (Raw::new(&switch, 3), Raw::new(&switch, 4));
        peer.handshake(at(3, 4000), at(1, 80)).await;
        let (stream, _) = listener.accept().await.expect("the handshake is done");
        stranger.send_arp(BROADCAST, &question(&stranger, ip(3), ip(3)));
        sleep(Duration::from_millis(1)).await;
        stream.write_all(b"first").await.expect("there is room");
        assert!(peer.segments().await.is_empty(), "it answers a question");
        stream.write_all(b"second").await.expect("there is room");
        sleep(Duration::from_millis(1)).await;
        let came = peer.segments().await;
        assert!(came.iter().any(|segment| segment.length == 6), "{came:?}");
    });
}

machines! {
    who_looks_for_a_duplicate_hears_of_us,
    a_claim_to_our_address_is_answered_now_and_then,
    a_neighbour_that_has_moved_is_followed_and_asked,
    a_false_move_is_found_out_with_the_next_packet,
}
