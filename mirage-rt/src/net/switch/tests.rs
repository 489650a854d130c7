//! Each impairment alone on one cable, and TCP over all of them.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::future::poll_fn;

use super::*;
use crate::net::{Config, Network};
use crate::packet::PacketMut;
use crate::runtime::{now, spawn};
use crate::testing;
use crate::time::{Duration, sleep, timeout};
use crate::types::network::NetworkDevice;

/// Bytes of the frames that tests send.
const LENGTH: usize = 100;

/// What arrived: when, and which frame.
type Arrivals = Vec<(Instant, Vec<u8>)>;

/// The frame with this number, from port 0 to port 1.
fn frame(number: u32) -> Vec<u8> {
    let mut bytes = vec![0; LENGTH];
    bytes[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
    bytes[14..18].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn number(frame: &[u8]) -> u32 {
    frame[14..18].iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn send(switch: &Switch, port: &mut Port, bytes: &[u8]) {
    let packet = PacketMut::copy_of(&switch.pool(), bytes).expect("pages are left");
    port.transmit(packet).expect("the port takes it");
    port.flush();
}

/// Takes in what comes until nothing has come for so long.
async fn receive_all(port: &mut Port, patience: Duration) -> Arrivals {
    let mut arrivals = Vec::new();
    while let Ok(frame) = timeout(patience, poll_fn(|context| port.poll_receive(context))).await {
        let frame = frame.expect("the port works");
        arrivals.push((now(), frame.parts().flatten().copied().collect()));
    }
    arrivals
}

/// Sends `count` frames, one each `gap`, over a cable with these impairments in one direction; what arrived, and what
/// the cable counted.
fn run(
    seed: u64,
    direction: Direction,
    impairments: Impairments,
    count: u32,
    gap: Duration,
) -> (Arrivals, LinkStatistics) {
    testing::run(seed, async {
        let switch = Switch::new(seed, Impairments::NONE);
        let (mut sender, mut receiver) = (switch.port(), switch.port());
        let impaired = if direction == Direction::Transmit { sender.index() } else { receiver.index() };
        switch.set_port_impairments(impaired, direction, impairments);
        let sending = {
            let switch = switch.clone();
            spawn(async move {
                for number in 0..count {
                    send(&switch, &mut sender, &frame(number));
                    sleep(gap).await;
                }
                sender
            })
        };
        let arrivals = receive_all(&mut receiver, Duration::from_secs(60)).await;
        let _sender = sending.await.expect("it ends");
        let statistics = switch.port_statistics(impaired, direction);
        assert_eq!((statistics.frames, statistics.bytes), (count.into(), u64::from(count) * LENGTH as u64));
        assert_eq!(switch.missed(1), 0);
        (arrivals, statistics)
    })
}

const MILLISECOND: Duration = Duration::from_millis(1);

/// Whether `count` of `all` is about the part that was asked for: within four standard deviations.
fn is_about(count: u64, all: u64, part: f64) -> bool {
    let all = all as f64;
    (count as f64 - all * part).abs() < 4.0 * (all * part * (1.0 - part)).sqrt()
}

#[test]
fn what_is_too_long_is_lost() {
    let packet = (LENGTH - 14) as u16;
    for (longest, arrives) in [(packet, 10), (packet - 1, 0)] {
        let impairments = Impairments::NONE.with_longest(longest);
        let (arrivals, statistics) = run(7, Direction::Receive, impairments, 10, Duration::from_millis(1));
        assert_eq!((arrivals.len(), statistics.too_long), (arrives, 10 - arrives as u64));
    }
}

#[test]
fn a_perfect_cable_brings_all_in_order_at_once() {
    let (arrivals, statistics) = run(1, Direction::Transmit, Impairments::NONE, 1000, MILLISECOND);
    let expected = (0..1000).map(|at| (Instant::ZERO + MILLISECOND * at, frame(at)));
    assert!(arrivals.into_iter().eq(expected));
    assert_eq!(statistics, LinkStatistics { frames: 1000, bytes: 100_000, ..LinkStatistics::default() });
}

#[test]
fn frames_are_lost_at_the_rate_that_was_asked_for() {
    for (seed, part) in [(2, 0.01), (3, 0.3), (4, 0.9)] {
        for direction in [Direction::Transmit, Direction::Receive] {
            let (arrivals, statistics) = run(seed, direction, Impairments::NONE.with_loss(part), 10_000, MILLISECOND);
            assert_eq!(statistics.lost, 10_000 - arrivals.len() as u64);
            assert!(is_about(statistics.lost, 10_000, part), "{} lost of {part}", statistics.lost);
            assert!(arrivals.is_sorted_by_key(|(_, frame)| number(frame)));
        }
    }
    let (arrivals, _) = run(5, Direction::Transmit, Impairments::NONE.with_loss(1.0), 100, MILLISECOND);
    assert!(arrivals.is_empty());
}

#[test]
fn frames_are_repeated_at_the_rate_that_was_asked_for() {
    let (arrivals, statistics) =
        run(6, Direction::Receive, Impairments::NONE.with_duplication(0.2), 10_000, MILLISECOND);
    assert!(is_about(statistics.duplicated, 10_000, 0.2), "{}", statistics.duplicated);
    assert_eq!(arrivals.len() as u64, 10_000 + statistics.duplicated);
    let mut numbers: Vec<u32> = arrivals.iter().map(|(_, frame)| number(frame)).collect();
    numbers.dedup();
    assert!(numbers.into_iter().eq(0..10_000), "every frame arrives, and its copy right behind it");
}

#[test]
fn one_bit_behind_the_ethernet_header_is_flipped() {
    let (arrivals, statistics) =
        run(7, Direction::Transmit, Impairments::NONE.with_corruption(0.1), 10_000, MILLISECOND);
    assert_eq!(arrivals.len(), 10_000);
    let mut places = vec![0; 8 * LENGTH];
    for (index, (_, bytes)) in arrivals.iter().enumerate() {
        let original = frame(index as u32);
        let flipped: Vec<usize> =
            (0..8 * LENGTH).filter(|bit| (bytes[bit / 8] ^ original[bit / 8]) >> (bit % 8) & 1 == 1).collect();
        assert!(flipped.len() <= 1, "{flipped:?}");
        flipped.iter().for_each(|bit| places[*bit] += 1);
    }
    assert_eq!(places.iter().sum::<u64>(), statistics.corrupted);
    assert!(is_about(statistics.corrupted, 10_000, 0.1), "{}", statistics.corrupted);
    assert!(places[..8 * 14].iter().all(|count| *count == 0), "Ethernet headers stay");
    // About 1000 flips in 688 places: hardly any place gets many.
    let most = places.iter().max().copied().unwrap_or_default();
    assert!(most < 12 && places.iter().filter(|count| **count > 0).count() > 400, "at most {most} in one place");
}

#[test]
fn delay_and_jitter_are_in_their_bounds_and_reorder() {
    let delay = Duration::from_millis(20);
    let still = Impairments::NONE.with_delay(delay, Duration::ZERO);
    let (arrivals, _) = run(8, Direction::Receive, still, 1000, MILLISECOND);
    let expected = (0..1000).map(|at| (Instant::ZERO + MILLISECOND * at + delay, frame(at)));
    assert!(arrivals.into_iter().eq(expected));

    let jitter = Duration::from_millis(10);
    let (arrivals, _) = run(9, Direction::Receive, Impairments::NONE.with_delay(delay, jitter), 10_000, MILLISECOND);
    assert_eq!(arrivals.len(), 10_000);
    assert!(!arrivals.is_sorted_by_key(|(_, frame)| number(frame)));
    let took = arrivals.iter().map(|(at, frame)| *at - (Instant::ZERO + MILLISECOND * number(frame)));
    let took: Vec<Duration> = took.collect();
    assert!(took.iter().all(|took| (delay..=delay + jitter).contains(took)));
    let mean = took.iter().sum::<Duration>() / took.len() as u32;
    let middle = delay + jitter / 2;
    assert!(mean.abs_diff(middle) < Duration::from_micros(150), "{mean:?}");
}

#[test]
fn frames_that_are_held_back_are_overtaken() {
    let back = Duration::from_micros(2500);
    let (arrivals, statistics) =
        run(10, Direction::Transmit, Impairments::NONE.with_reordering(0.05, back), 10_000, MILLISECOND);
    assert_eq!(arrivals.len(), 10_000);
    assert!(is_about(statistics.reordered, 10_000, 0.05), "{}", statistics.reordered);
    let late = arrivals.iter().filter(|(at, frame)| *at != Instant::ZERO + MILLISECOND * number(frame));
    let late: Vec<_> = late.map(|(at, frame)| *at - (Instant::ZERO + MILLISECOND * number(frame))).collect();
    assert_eq!(late.len() as u64, statistics.reordered);
    assert!(late.iter().all(|late| *late == back));
    assert!(!arrivals.is_sorted_by_key(|(_, frame)| number(frame)));
}

#[test]
fn bandwidth_spaces_frames_and_its_queue_is_bounded() {
    // A frame of 100 bytes takes 1 ms at 800 kbit/s.
    let slow = Impairments::NONE.with_bandwidth(800_000, 1000);
    let (arrivals, statistics) = run(11, Direction::Transmit, slow, 50, MILLISECOND * 2);
    assert_eq!(statistics.dropped, 0);
    let expected = (0..50).map(|at| (Instant::ZERO + MILLISECOND * (2 * at + 1), frame(at)));
    assert!(arrivals.into_iter().eq(expected), "there is time enough: each takes 1 ms and waits for none");

    let (arrivals, statistics) = run(12, Direction::Transmit, slow, 50, Duration::ZERO);
    assert_eq!((arrivals.len(), statistics.dropped), (10, 40), "ten wait, the others find no room");
    let expected = (0..10).map(|at| (Instant::ZERO + MILLISECOND * (at + 1), frame(at)));
    assert!(arrivals.into_iter().eq(expected));

    // Twice as much as passes.
    let (arrivals, statistics) = run(13, Direction::Receive, slow, 10_000, MILLISECOND / 2);
    assert_eq!(arrivals.len() as u64 + statistics.dropped, 10_000);
    assert!((5000..=5010).contains(&arrivals.len()), "{}", arrivals.len());
    assert!(arrivals.windows(2).all(|pair| pair[1].0 - pair[0].0 == MILLISECOND));

    let (arrivals, _) = run(14, Direction::Receive, slow.with_bandwidth(800_000, 10), 3, MILLISECOND * 2);
    assert_eq!(arrivals.len(), 3, "a frame that is alone needs no room");
    let (arrivals, _) = run(15, Direction::Receive, slow.with_bandwidth(0, 1000), 3, MILLISECOND);
    assert_eq!(arrivals.len(), 0);
}

/// All at once.
fn bad_link() -> Impairments {
    Impairments::NONE
        .with_loss(0.02)
        .with_duplication(0.05)
        .with_corruption(0.05)
        .with_reordering(0.05, Duration::from_millis(7))
        .with_delay(Duration::from_millis(1), Duration::from_millis(3))
        .with_bandwidth(2_000_000, 3000)
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_does_not() {
    let gap = Duration::from_micros(300);
    let (arrivals, statistics) = run(16, Direction::Transmit, bad_link(), 5000, gap);
    assert!(statistics.dropped > 0 && statistics.lost > 0, "{statistics:?}");
    assert!(statistics.corrupted > 0 && statistics.duplicated > 0 && statistics.reordered > 0, "{statistics:?}");
    assert_eq!((arrivals, statistics), run(16, Direction::Transmit, bad_link(), 5000, gap));
    let (first, again) =
        (run(16, Direction::Transmit, bad_link(), 5000, gap).0, run(17, Direction::Transmit, bad_link(), 5000, gap).0);
    assert!(first != again);
    // Each direction of each port has random numbers of its own.
    assert!(first != run(16, Direction::Receive, bad_link(), 5000, gap).0);
}

#[test]
fn only_the_chosen_port_and_direction_are_impaired() {
    testing::run(18, async {
        let switch = Switch::new(18, Impairments::NONE);
        let dead = Impairments::NONE.with_loss(1.0);
        let (mut first, second) = (switch.port(), switch.port());
        let (mut second, mut third) = (second.with_impairments(Direction::Receive, dead), switch.port());
        let mut everybody = frame(1);
        everybody[..6].fill(0xff);
        send(&switch, &mut first, &everybody);
        send(&switch, &mut second, &everybody);
        assert_eq!(receive_all(&mut first, MILLISECOND).await.len(), 1);
        assert_eq!(receive_all(&mut second, MILLISECOND).await.len(), 0);
        assert_eq!(receive_all(&mut third, MILLISECOND).await.len(), 2);
        assert_eq!(switch.port_statistics(1, Direction::Receive).lost, 1);
        assert_eq!(switch.port_statistics(1, Direction::Transmit).lost, 0);
        assert_eq!(switch.statistics().frames, 4, "each of the two for two others");
        // A port that nobody reads keeps 512 frames.
        for number in 0..600 {
            let mut to_third = frame(number);
            to_third[5] = 3;
            send(&switch, &mut first, &to_third);
        }
        assert_eq!(switch.missed(2), 88);
        assert_eq!(switch.port_statistics(9, Direction::Receive), LinkStatistics::default());
    });
}

/// `length` bytes that do not repeat.
fn pattern(length: usize) -> Vec<u8> {
    let mut state = 5;
    (0..length).map(|_| split_mix(&mut state) as u8).collect()
}

/// A network at `port`.
fn network(switch: &Switch, port: Port, number: u8) -> Network {
    let address = alloc::format!("10.0.0.{number}/24").parse().expect("an address");
    Network::direct(port, switch.pool(), Config::from_keys(Some(address), None)).expect("a host's address")
}

/// Sends `length` bytes over TCP from one stack to another, over links with these impairments in both directions, and
/// compares every byte. Returns how long it took and what the sender's cable counted.
fn transfer(seed: u64, impairments: Impairments, length: usize) -> (Duration, LinkStatistics) {
    testing::run(seed, async {
        let switch = Switch::new(seed, Impairments::NONE);
        let sender = switch
            .port()
            .with_impairments(Direction::Transmit, impairments)
            .with_impairments(Direction::Receive, impairments);
        let (receiver, sender) = (network(&switch, switch.port(), 1), network(&switch, sender, 2));
        let mut listener = receiver.tcp().bind(80).await.expect("the port is free");
        let expected = Rc::new(pattern(length));
        let sent = Rc::clone(&expected);
        let start = now();
        let sending = spawn(async move {
            let stream = sender.tcp().connect(([10, 0, 0, 1], 80)).await.expect("the server listens");
            stream.write_all(&sent).await.expect("the peer reads");
            stream.shutdown().expect("the connection is open");
            assert_eq!(stream.read(&mut [0; 1]).await.expect("the peer closes, too"), 0);
        });
        let (stream, _) = listener.accept().await.expect("a connection comes");
        let (mut received, mut buffer) = (0, [0; 5000]);
        loop {
            match stream.read(&mut buffer).await.expect("the connection lives") {
                0 => break,
                more => {
                    assert!(buffer[..more] == expected[received..received + more], "behind byte {received}");
                    received += more;
                }
            }
        }
        assert_eq!(received, length);
        stream.shutdown().expect("the connection is open");
        sending.await.expect("it ends");
        (now() - start, switch.port_statistics(0, Direction::Transmit))
    })
}

#[test]
fn tcp_brings_every_byte_over_a_lossy_link_that_repeats_and_reorders() {
    let link = Impairments::NONE
        .with_loss(0.01)
        .with_duplication(0.02)
        .with_reordering(0.05, Duration::from_millis(3))
        .with_delay(Duration::from_millis(5), Duration::from_millis(1));
    for seed in 20..23 {
        let (took, statistics) = transfer(seed, link, 2_000_000);
        assert!(statistics.lost > 0 && statistics.duplicated > 0 && statistics.reordered > 0, "{statistics:?}");
        assert!(took < Duration::from_secs(300), "{took:?}");
        assert_eq!((took, statistics), transfer(seed, link, 2_000_000));
    }
}

#[test]
fn tcp_brings_every_byte_over_a_link_that_flips_bits() {
    for seed in 23..26 {
        let (_, statistics) = transfer(seed, Impairments::NONE.with_corruption(0.02), 500_000);
        assert!(statistics.corrupted > 0, "{statistics:?}");
    }
}

#[test]
fn tcp_takes_the_bandwidth_that_there_is() {
    let line = Impairments::NONE.with_bandwidth(10_000_000, 300_000);
    let (took, _) = transfer(26, line, 2_000_000);
    // 1.6 s of data, and some for headers and the way to full speed. No window is longer than the queue.
    assert!(took > Duration::from_millis(1600) && took < Duration::from_millis(3200), "{took:?}");
}
