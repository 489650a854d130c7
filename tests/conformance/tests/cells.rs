//! Goodput over links that lose, delay, reorder and repeat packets, in virtual time, beside what is known of TCP; among them the
//! cells of the benchmark beside Linux (`benches/benches/xen/netem.rs`), each way.

#![forbid(unsafe_code)]

use mirage_rt::net::switch::{Impairments, Switch};
use mirage_rt::net::{Config, Network};
use mirage_rt::{Duration, now, spawn, testing};

/// Payload bytes of a segment, with timestamps.
const SEGMENT: f64 = 1448.0;
const DELAY: Duration = Duration::from_millis(10);

/// `length` bytes that do not repeat soon.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31) ^ (at >> 8)) as u8).collect()
}

/// Which way data goes, as the server sees it.
#[derive(Clone, Copy, Debug)]
enum Way {
    In,
    Out,
}

/// Bytes in a second of a transfer of `length` bytes, each of which arrives.
fn goodput(seed: u64, impairments: Impairments, way: Way, length: usize) -> f64 {
    testing::run(seed, async {
        let switch = Switch::new(seed, impairments);
        let network = |address: &str| {
            let mut config = Config::from_keys(address.parse().ok(), None);
            // Windows are not what limits it.
            config.receive_buffer = 128 << 10;
            config.send_buffer = 128 << 10;
            config.connection_memory = 64 << 20;
            Network::direct(switch.port(), switch.pool(), config).expect("a host's address")
        };
        let (server, client) = (network("10.0.0.1/24"), network("10.0.0.2/24"));
        let mut listener = server.tcp().bind(80).await.expect("a port is free");
        let sent = pattern(length);
        let accepting = spawn(async move { listener.accept().await.expect("the client comes").0 });
        let called = client.tcp().connect(([10, 0, 0, 1], 80)).await.expect("the server listens");
        let accepted = accepting.await.expect("the task ran to its end");
        let (from, to) = match way {
            Way::In => (called, accepted),
            Way::Out => (accepted, called),
        };
        let start = now();
        let writer = spawn({
            let sent = sent.clone();
            async move {
                from.write_all(&sent).await.expect("the peer reads");
                from.shutdown().expect("it is open");
                from
            }
        });
        let (mut received, mut buffer) = (Vec::new(), vec![0; 100_000]);
        while let Ok(length @ 1..) = to.read(&mut buffer).await {
            received.extend_from_slice(&buffer[..length]);
        }
        assert!(received == sent, "{} bytes of {}, or others", received.len(), sent.len());
        let took = (now() - start).as_secs_f64();
        drop(writer.await.expect("the task ran to its end"));
        length as f64 / took
    })
}

/// The median of five seeds.
fn median(name: &str, impairments: Impairments, length: usize) -> f64 {
    median_of(5, name, impairments, Way::Out, length)
}

/// The median of so many, an odd number.
fn median_of(seeds: u64, name: &str, impairments: Impairments, way: Way, length: usize) -> f64 {
    let mut found: Vec<f64> = (1..=seeds).map(|seed| goodput(seed, impairments, way, length)).collect();
    found.sort_by(f64::total_cmp);
    let (median, last) = (found[found.len() / 2], found[found.len() - 1]);
    println!("{name}: {:.0} KB/s of {:.0} to {:.0}", median / 1e3, found[0] / 1e3, last / 1e3);
    median
}

/// What a Reno sender comes to with such losses (Mathis et al., 1997), each round trip of 20 ms.
fn reno(loss: f64) -> f64 {
    SEGMENT / 0.02 * (1.5 / loss).sqrt()
}

#[test]
fn losses() {
    for (loss, length) in [(0.001, 3_000_000), (0.01, 1_000_000), (0.05, 400_000)] {
        let impairments = Impairments::NONE.with_loss(loss).with_delay(DELAY, Duration::ZERO);
        let found = median(&format!("loss {loss}"), impairments, length);
        assert!(found > 0.7 * reno(loss), "loss {loss}: {found:.0} of {:.0} bytes in a second", reno(loss));
    }
}

#[test]
fn delay_reordering_and_duplicates() {
    let delay = Impairments::NONE.with_delay(DELAY, Duration::ZERO);
    let clean = median("delay", delay, 2_000_000);
    let repeated = median("duplicates", delay.with_duplication(0.01), 2_000_000);
    assert!(repeated > 0.9 * clean, "{repeated:.0} of {clean:.0} bytes in a second");
    // Others overtake a packet by up to a quarter of the round trip: that is no loss (RFC 8985, 3.2).
    let reordered = median("reordering", delay.with_reordering(0.05, Duration::from_millis(4)), 2_000_000);
    assert!(reordered > 0.8 * clean, "{reordered:.0} of {clean:.0} bytes in a second");
}

/// A link in a host that takes no time of its own, as that below netem, here of 1 Gbit/s.
const LINK: Impairments =
    Impairments::NONE.with_delay(Duration::from_micros(100), Duration::ZERO).with_bandwidth(1_000_000_000, 20_000_000);

/// The cells of the benchmark, with the part of the link's rate that must be reached. There it is 0.9 of what Linux reaches on the
/// same link; nobody else is here to be compared with, so what we reach now, less a margin, is the least.
#[test]
fn cells_of_the_benchmark() {
    let after = |delay: u64| LINK.with_delay(Duration::from_millis(delay), Duration::ZERO);
    let cells = [
        ("loss-0.1", LINK.with_loss(0.001), 1_000_000, 0.6),
        ("loss-1", LINK.with_loss(0.01), 800_000, 0.4),
        ("loss-5", LINK.with_loss(0.05), 400_000, 0.07),
        ("delay", after(20), 1_000_000, 0.025),
        // netem sends a quarter at once and holds the others back.
        ("reorder", LINK.with_reordering(0.75, Duration::from_millis(10)), 3_000_000, 0.025),
        ("duplicate", LINK.with_duplication(0.01), 800_000, 0.8),
    ];
    for (name, impairments, length, least) in cells {
        for way in [Way::In, Way::Out] {
            let part = median_of(3, &format!("{name} {way:?}"), impairments, way, length) / 125e6;
            assert!(part > least, "{name} {way:?}: {part:.3} of the rate, not {least}");
        }
    }
}
