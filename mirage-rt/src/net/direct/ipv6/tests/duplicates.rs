//! Addresses that somebody else has, wants or claims.

use super::*;
use crate::net::ipv6::ndp::{self, ALL_NODES, Message, solicited_node};
use crate::runtime::now;

#[test]
fn an_address_is_asked_for_before_it_is_used() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let network = host(&switch, fixed(1));
        let mut peer = Peer::new(&switch);
        assert!(network.addresses().is_empty());
        sleep(Duration::from_millis(60)).await;
        let seen = peer.seen().await;
        let mut asked: Vec<_> = seen
            .iter()
            .filter_map(|seen| match seen.message() {
                Some(Message::Solicitation { target, source: None }) => {
                    assert_eq!(seen.packet().source, Ipv6Addr::UNSPECIFIED);
                    assert_eq!(seen.packet().destination, solicited_node(target));
                    assert_eq!(seen.to_mac, ndp::group_mac(solicited_node(target)));
                    Some(target)
                }
                _ => None,
            })
            .collect();
        asked.sort();
        assert_eq!(asked, [ip(1), local(1)]);
        assert!(network.addresses().is_empty(), "they may object");
        sleep(seconds(1)).await;
        assert_eq!(network.addresses(), [local(1), ip(1)]);
    });
}

#[test]
fn an_address_that_somebody_has_or_wants_is_not_used() {
    for number in 0..2 {
        testing::run(2, async move {
            let switch = Switch::new(2, Impairments::NONE);
            let network = host(&switch, fixed(1));
            let mut peer = Peer::new(&switch);
            sleep(Duration::from_millis(500)).await;
            match number {
                0 => peer.send_discovery(ip(1), ALL_NODES, &ndp::advertisement(ip(1), mac(2), false, true)),
                _ => {
                    let probe = ndp::solicitation(ip(1), None);
                    peer.send_discovery(Ipv6Addr::UNSPECIFIED, solicited_node(ip(1)), &probe);
                }
            }
            sleep(seconds(2)).await;
            assert_eq!(network.addresses(), [local(1)]);
            let bound = network.tcp().bind(core::net::SocketAddr::from((ip(1), 80))).await;
            assert!(matches!(bound, Err(crate::net::BindError::NotOurs(_))));
            // Nobody is told that it is here.
            peer.send_discovery(local(2), solicited_node(ip(1)), &ndp::solicitation(ip(1), Some(mac(2))));
            assert!(peer.seen().await.iter().all(|seen| seen.packet().source != ip(1)));
        });
    }
}

#[test]
fn who_asks_for_our_address_hears_of_it_at_once() {
    testing::run(3, async {
        let switch = Switch::new(3, Impairments::NONE);
        let (_direct, _network) = stack(&switch, fixed(1)).await;
        let mut peer = Peer::new(&switch);
        peer.send_discovery(ip(2), solicited_node(ip(1)), &ndp::solicitation(ip(1), Some(mac(2))));
        let seen = peer.seen().await;
        let [answer] = seen.as_slice() else { panic!("one answer, not {seen:?}") };
        let expected = Message::Advertisement {
            target: ip(1),
            mac: Some(mac(1)),
            router: false,
            solicited: true,
            overriding: true,
        };
        assert_eq!((answer.message(), answer.to_mac), (Some(expected), mac(2)));
        assert_eq!((answer.packet().source, answer.packet().destination), (ip(1), ip(2)));
        // Who wants the address hears that it is taken.
        peer.send_discovery(Ipv6Addr::UNSPECIFIED, solicited_node(ip(1)), &ndp::solicitation(ip(1), None));
        let seen = peer.seen().await;
        let [answer] = seen.as_slice() else { panic!("one answer, not {seen:?}") };
        assert_eq!(answer.packet().destination, ALL_NODES);
        // Nobody else's.
        peer.send_discovery(ip(2), ip(1), &ndp::solicitation(ip(7), Some(mac(2))));
        assert_eq!(peer.seen().await.len(), 0);
        // Nor does a question from behind a router count.
        peer.send_icmp(ip(2), ip(1), 254, &ndp::solicitation(ip(1), Some(mac(2))));
        assert_eq!(peer.seen().await.len(), 0);
    });
}

#[test]
fn a_claim_to_our_address_does_not_take_it_away() {
    testing::run(4, async {
        let switch = Switch::new(4, Impairments::NONE);
        let (_direct, network) = stack(&switch, fixed(1)).await;
        let mut peer = Peer::new(&switch);
        for _ in 0..50 {
            peer.send_discovery(ip(1), ALL_NODES, &ndp::advertisement(ip(1), mac(2), false, true));
            peer.send_discovery(ip(1), solicited_node(ip(1)), &ndp::solicitation(ip(1), Some(mac(2))));
        }
        let seen = peer.seen().await;
        let [answer] = seen.as_slice() else { panic!("it is defended once: {seen:?}") };
        let ours = Message::Advertisement {
            target: ip(1),
            mac: Some(mac(1)),
            router: false,
            solicited: false,
            overriding: true,
        };
        assert_eq!((answer.message(), answer.packet().destination), (Some(ours), ALL_NODES));
        assert_eq!(network.addresses(), [local(1), ip(1)]);
    });
}

#[test]
fn without_probes_an_address_is_there_at_once() {
    testing::run(5, async {
        let switch = Switch::new(5, Impairments::NONE);
        let mut config = fixed(1);
        config.ipv6.as_mut().expect("it is set").duplicate_probes = 0;
        let network = host(&switch, config);
        assert_eq!((network.addresses().len(), now()), (2, crate::time::Instant::ZERO));
        let mut peer = Peer::new(&switch);
        sleep(Duration::from_millis(1)).await;
        // The others are told of both addresses.
        let told = |seen: &peer::Seen| matches!(seen.message(), Some(Message::Advertisement { .. }));
        assert_eq!(peer.seen().await.iter().filter(|seen| told(seen)).count(), 2);
    });
}
