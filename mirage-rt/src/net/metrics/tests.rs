//! The page is read by a strict reader, and its numbers are those that the switch counted.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec;

use super::*;
use crate::net::direct::counters::Event;
use crate::net::switch::{Direction, Impairments, Switch};
use crate::net::{Config, TcpState};
use crate::runtime::spawn;
use crate::testing;
use crate::time::{Duration, sleep};

/// The samples of a page by name and labels. Whatever is not as the format wants it is refused.
fn read(page: &str) -> BTreeMap<String, u64> {
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let mut family: Option<(&str, &str)> = None;
    let mut lines = page.lines();
    assert!(page.ends_with('\n'));
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            assert!(families.insert(name), "{name} comes twice");
            assert!(help.ends_with('.'), "{help}");
            let kind = lines.next().expect("the type follows").strip_prefix("# TYPE ").expect("the type follows");
            let (again, kind) = kind.split_once(' ').expect("a name and a type");
            assert_eq!(again, name);
            assert!(matches!(kind, "counter" | "gauge"), "{kind}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            family = Some((name, kind));
            continue;
        }
        let (labelled, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = labelled.split_once('{').expect("every sample has its interface");
        assert_eq!(Some(name), family.map(|(name, _)| name), "samples stand below their family");
        assert!(labels.starts_with("interface=\"") && labels.ends_with("\"}"), "{labels}");
        let earlier = samples.insert(labelled.to_string(), value.parse().expect("a whole number"));
        assert_eq!(earlier, None, "{labelled} comes twice");
    }
    samples
}

fn network(switch: &Switch, number: u8) -> Network {
    let address = alloc::format!("10.0.0.{number}/24").parse().expect("an address");
    Network::direct(switch.port(), switch.pool(), Config::from_keys(Some(address), None)).expect("a host's address")
}

fn page(networks: &[(&str, &Network)]) -> BTreeMap<String, u64> {
    let mut text = String::new();
    write(&mut text, networks).expect("a string takes all");
    read(&text)
}

/// The sample of a family without labels of its own.
fn of(samples: &BTreeMap<String, u64>, name: &str, interface: &str) -> u64 {
    with(samples, name, interface, "")
}

fn with(samples: &BTreeMap<String, u64>, name: &str, interface: &str, labels: &str) -> u64 {
    let key = alloc::format!("mirage_{name}{{interface=\"{interface}\"{labels}}}");
    *samples.get(&key).unwrap_or_else(|| panic!("no {key} in {samples:#?}"))
}

#[test]
fn counts_are_those_of_the_switch_and_both_sides_agree() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let (server, client) = (network(&switch, 1), network(&switch, 2));
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let serving = spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client comes");
            let (mut buffer, mut received) = (vec![0; 4096], 0);
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                received += length;
            }
            assert_eq!(received, 100_000);
            let info = stream.info().expect("a stack of our own");
            assert_eq!((info.state, info.readable, info.unacknowledged), (TcpState::CloseWait, 0, 0));
            stream.shutdown().expect("it is open");
            listener
        });
        let stream = client.tcp().connect(([10, 0, 0, 1], 80)).await.expect("it listens");
        let info = stream.info().expect("a stack of our own");
        assert_eq!((info.state, info.segment_size, info.in_flight), (TcpState::Established, Some(1460), Some(0)));
        assert_eq!((info.retransmissions, info.slow_start_threshold), (Some(0), None));
        stream.write_all(&[7; 100_000]).await.expect("the server reads");
        let info = stream.info().expect("a stack of our own");
        assert!(info.unacknowledged > 0 && info.congestion_window >= Some(14_600), "{info:?}");
        stream.shutdown().expect("it is open");
        let _listener = serving.await.expect("it ends");
        assert_eq!(stream.read(&mut [0; 1]).await.expect("the server closes"), 0);
        sleep(Duration::from_secs(1)).await;
        assert_eq!(stream.info().expect("a stack of our own").state, TcpState::Closed);

        let samples = page(&[("service", &server), ("management", &client)]);
        for (port, interface) in [(0, "service"), (1, "management")] {
            let (out, into) =
                (switch.port_statistics(port, Direction::Transmit), switch.port_statistics(port, Direction::Receive));
            assert_eq!(of(&samples, "network_transmit_packets_total", interface), out.frames);
            assert_eq!(of(&samples, "network_transmit_bytes_total", interface), out.bytes);
            assert_eq!(of(&samples, "network_receive_packets_total", interface), into.frames);
            assert_eq!(of(&samples, "network_receive_bytes_total", interface), into.bytes);
            assert_eq!(of(&samples, "network_mtu_bytes", interface), 1500);
            assert_eq!(of(&samples, "network_up", interface), 1);
            assert_eq!(of(&samples, "tcp_retransmissions_total", interface), 0);
            assert_eq!(of(&samples, "tcp_connections", interface), 0);
            assert_eq!(with(&samples, "tcp_connections_ended_total", interface, ",cause=\"closed\""), 1);
            // Each has heard how the other announced itself, which was no question to it.
            let dropped: u64 =
                samples.iter().filter(|(key, _)| key.contains("_drops_total{")).map(|(_, value)| value).sum();
            assert_eq!(dropped, 2, "{samples:#?}");
            let announced = ",protocol=\"arp\",reason=\"not_for_us\"";
            assert_eq!(with(&samples, "network_receive_drops_total", interface, announced), 1);
        }
        assert_eq!(of(&samples, "tcp_receive_bytes_total", "service"), 100_000);
        let segments = of(&samples, "tcp_receive_segments_total", "service");
        assert_eq!(segments, of(&samples, "tcp_transmit_segments_total", "management"));
        assert_eq!(segments, of(&samples, "ip_receive_packets_total", "service"));
        assert_eq!(with(&samples, "tcp_connections_opened_total", "service", ",side=\"passive\""), 1);
        assert_eq!(with(&samples, "tcp_connections_opened_total", "management", ",side=\"active\""), 1);
        assert_eq!(of(&samples, "tcp_listeners", "service"), 1);
        assert_eq!(of(&samples, "tcp_connections_time_wait", "management"), 1);
        assert_eq!(with(&samples, "arp_receive_packets_total", "management", ",operation=\"reply\""), 1);
        assert_eq!(with(&samples, "dhcp_events_total", "service", ",event=\"moved\""), 0);
        assert_eq!(with(&samples, "names_events_total", "service", ",event=\"over_tcp\""), 0);
        #[cfg(feature = "datagrams")]
        assert_eq!(with(&samples, "ip_reassembly_packets_total", "service", ",outcome=\"whole\""), 0);
    });
}

#[test]
fn losses_are_counted_as_what_was_sent_again() {
    testing::run(2, async {
        let switch = Switch::new(2, Impairments::NONE.with_loss(0.02));
        let (server, client) = (network(&switch, 1), network(&switch, 2));
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let stream = client.tcp().connect(([10, 0, 0, 1], 80)).await.expect("it listens");
        let (peer, _) = listener.accept().await.expect("a client is there");
        let reading = spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok(1..) = peer.read(&mut buffer).await {}
        });
        stream.write_all(&[7; 500_000]).await.expect("the server reads");
        stream.acknowledged().await.expect("the server reads");
        let info = stream.info().expect("a stack of our own");
        assert!(info.retransmissions > Some(0) && info.slow_start_threshold.is_some(), "{info:?}");
        let samples = page(&[("a", &client)]);
        assert_eq!(Some(of(&samples, "tcp_retransmissions_total", "a")), info.retransmissions);
        drop(stream);
        reading.await.expect("it ends");
    });
}

/// What serves a network counts itself, each event in its own line.
#[test]
fn events_have_their_lines() {
    testing::run(4, async {
        let switch = Switch::new(4, Impairments::NONE);
        let lan = network(&switch, 1);
        let lines = [
            (Event::Leased, "dhcp", "leased"),
            (Event::Renewed, "dhcp", "renewed"),
            (Event::Expired, "dhcp", "expired"),
            (Event::Refused, "dhcp", "refused"),
            (Event::Moved, "dhcp", "moved"),
            (Event::Question, "names", "question"),
            (Event::Cached, "names", "cached"),
            (Event::Timeout, "names", "timeout"),
            (Event::OverTcp, "names", "over_tcp"),
        ];
        for (times, (event, ..)) in (1..).zip(lines) {
            (0..times).for_each(|_| lan.count(event));
        }
        let samples = page(&[("lan", &lan)]);
        for (times, (_, family, event)) in (1..).zip(lines) {
            let (family, label) = (alloc::format!("{family}_events_total"), alloc::format!(",event=\"{event}\""));
            assert_eq!(with(&samples, &family, "lan", &label), times);
        }
    });
}

#[test]
fn drops_have_their_reasons() {
    testing::run(3, async {
        let switch = Switch::new(3, Impairments::NONE);
        let (server, client) = (network(&switch, 1), network(&switch, 2));
        let receiver = server.udp().bind(7).await.expect("the port is free");
        let sender = client.udp().bind(0).await.expect("a port is free");
        for _ in 0..100 {
            sender.send_to(&[0; 1000], ([10, 0, 0, 1], 7)).await.expect("there is room in the end");
            sleep(Duration::from_millis(1)).await;
        }
        for _ in 0..150 {
            sender.send_to(&[0; 10], ([10, 0, 0, 1], 9)).await.expect("there is room in the end");
            sleep(Duration::from_micros(1)).await;
        }
        // Nobody has this address: three questions, and what was held is dropped.
        for _ in 0..3 {
            sender.send_to(&[0; 10], ([10, 0, 0, 9], 9)).await.expect("there is room in the end");
        }
        sleep(Duration::from_secs(10)).await;
        let refused = client.tcp().connect(([10, 0, 0, 1], 81)).await;
        assert!(refused.is_err());
        // One flipped bit in each frame: whatever it hits, it is counted somewhere.
        let before = page(&[("s", &server)]);
        switch.set_port_impairments(0, Direction::Receive, Impairments::NONE.with_corruption(1.0));
        for _ in 0..200 {
            sender.send_to(&[0; 100], ([10, 0, 0, 1], 7)).await.expect("there is room in the end");
            sleep(Duration::from_millis(1)).await;
        }
        let samples = page(&[("s", &server), ("c", &client)]);
        let reason = |samples: &_, protocol, reason| {
            let labels = alloc::format!(",protocol=\"{protocol}\",reason=\"{reason}\"");
            with(samples, "network_receive_drops_total", "s", &labels)
        };
        let queued = 64 * 1024 / 1064;
        assert_eq!(reason(&before, "udp", "queue_full"), 100 - queued);
        assert_eq!(reason(&before, "udp", "port"), 150);
        assert_eq!(of(&samples, "udp_receive_datagrams_total", "s"), queued);
        assert_eq!(of(&samples, "udp_receive_bytes_total", "s"), queued * 1000);
        assert_eq!(of(&samples, "udp_transmit_datagrams_total", "c"), 100 + 150 + 3 + 200);
        assert_eq!(of(&samples, "udp_sockets", "c"), 1);
        let unreachable = ",type=\"destination_unreachable\"";
        // How many there are in a second is drawn.
        let told = with(&samples, "icmp_transmit_messages_total", "s", unreachable);
        assert!((50..150).contains(&told), "{told}");
        assert_eq!(of(&samples, "icmp_limited_total", "s"), 150 - told);
        let held = ",protocol=\"arp\",reason=\"neighbour_unresolved\"";
        assert_eq!(with(&samples, "network_transmit_drops_total", "c", held), 3);
        assert_eq!(of(&samples, "tcp_resets_sent_total", "s"), 1);
        assert_eq!(with(&samples, "tcp_connections_ended_total", "c", ",cause=\"reset\""), 1);
        let all = |samples: &BTreeMap<String, u64>| -> u64 {
            let drops = samples.iter().filter(|(key, _)| key.contains("receive_drops_total{interface=\"s\""));
            drops.map(|(_, value)| value).sum()
        };
        assert_eq!(all(&samples) - all(&before), 200, "{samples:#?}");
        assert!(reason(&samples, "ip", "transport_checksum") > 100 && reason(&samples, "ip", "header") > 10);
        drop(receiver);
    });
}

#[test]
fn names_are_escaped() {
    testing::run(4, async {
        let switch = Switch::new(4, Impairments::NONE);
        let server = network(&switch, 1);
        let mut text = String::new();
        write(&mut text, &[("a\"b\\c\nd", &server)]).expect("a string takes all");
        assert!(text.contains("\nmirage_network_up{interface=\"a\\\"b\\\\c\\nd\"} 1\n"), "{text}");
        read(&text);
        // Nothing but the families is said of no network.
        assert!(page(&[]).is_empty());
    });
}
