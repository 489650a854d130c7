//! Buffers that grow and shrink.

use alloc::format;

use super::script::Script;
use super::*;

const LEAST: usize = 10_000;

/// A connection whose buffers may grow up to 512 times.
fn script(budget: usize) -> Script {
    let mut script = Script::with(Buffers { receive: LEAST, send: LEAST, budget });
    let options = SynOptions { mss: Some(1000), window_shift: Some(3), sack: true, ..SynOptions::default() };
    script.establish(options, 60_000);
    script
}

/// The peer takes `time` to send as much as it may, from `position` on, and all is read but `unread` bytes; where it is then.
fn fill(script: &mut Script, position: u32, time: u64, unread: usize) -> u32 {
    let started = (script.now - Instant::ZERO).as_millis() as u64;
    let end = position + window(script);
    let mut at = position;
    while at < end {
        let next = (at + 1000).min(end);
        if next == end {
            script.until(started + time);
        }
        script.hears(&format!("{at}:{next} ack 1"));
        let readable = script.machine.readiness(ID).readable;
        script.reads(readable.saturating_sub(unread));
        at = next;
    }
    script.left.clear();
    at
}

fn connection(script: &Script) -> &Connection {
    script.machine.get(ID).expect("it is there")
}

fn window(script: &Script) -> u32 {
    let expected = script.machine.expected(ID);
    expected.end.since(expected.next) as u32
}

#[test]
fn a_window_that_is_used_up_gets_larger_as_long_as_there_is_memory() {
    let mut script = script(4 << 20);
    let (mut position, mut windows) = (1, Vec::new());
    for _ in 0..8 {
        position = fill(&mut script, position, 1, 0);
        windows.push(window(&script) / 1000);
    }
    // What is told is rounded down. On so short a way 256 KiB, once reached, are enough.
    assert!(windows.is_sorted() && windows[0] >= 38 && (318..=320).contains(&windows[7]), "{windows:?}");
    let mut script = self::script(16 << 20);
    script.machine.get_mut(ID).expect("it is there").trip.measure(Instant::ZERO, Instant::from_nanos(50_000_000));
    let mut position = 1;
    for _ in 0..7 {
        position = fill(&mut script, position, 60, 0);
    }
    assert!(window(&script) > 1_200_000, "{}", window(&script));
    // No further than an eighth of what is free.
    let mut script = self::script(800_000);
    let mut position = 1;
    for _ in 0..8 {
        position = fill(&mut script, position, 1, 0);
    }
    assert!((90_000..100_000).contains(&window(&script)), "{}", window(&script));
}

#[test]
fn a_window_stays_that_is_large_enough() {
    // The peer takes its time, or the application does.
    for (time, unread) in [(200, 0), (1, 39_000)] {
        let mut script = script(4 << 20);
        let mut position = 1;
        for _ in 0..5 {
            position = fill(&mut script, position, time, unread);
        }
        assert_eq!(connection(&script).receive.limit(), 4 * LEAST, "{time} ms");
    }
}

#[test]
fn who_is_idle_has_no_memory_and_gets_it_again() {
    let mut script = script(4 << 20);
    let (before, mut position) = (script.machine.memory.used(), 1);
    for _ in 0..8 {
        position = fill(&mut script, position, 1, 0);
    }
    // A while of silence, and there is no memory; for a longer one, and the window grows anew. What was told stays.
    script.until(9_000);
    assert_eq!((script.machine.memory.used(), connection(&script).receive.limit()), (before, 32 * LEAST));
    let promised = window(&script);
    script.until(30_000).hears(&format!("{position}:{} ack 1", position + 1000)).reads(1000);
    assert_eq!(connection(&script).receive.limit(), 4 * LEAST);
    assert_eq!(window(&script), promised - 1000, "no window shrinks (RFC 9293, 3.8.6.2.1)");
    // It can be used, too.
    let end = position + promised;
    script.hears(&format!("{}:{end} ack 1", end - 500));
    assert!(script.machine.memory.used() > promised as usize);
    assert!(connection(&script).held.is_some());
}

#[test]
fn without_memory_what_comes_is_as_good_as_lost() {
    let mut script = script(100_000);
    let others: Vec<_> = core::iter::from_fn(|| script.machine.memory.take(512, 0, memory::Purpose::Send)).collect();
    script.hears("1:1001 ack 1").until(10).sends(&[]);
    assert_eq!(
        (script.machine.readiness(ID).readable, script.machine.expected(ID).next),
        (0, Seq(super::script::PEERS.0 + 1))
    );
    for memory in others {
        script.machine.memory.put(memory);
    }
    script.hears("1:1001 ack 1").until(20).sends(&["20 1:1 ack 1001"]);
}

#[test]
fn who_writes_waits_for_memory() {
    let mut script = script(100_000);
    let others: Vec<_> = core::iter::from_fn(|| script.machine.memory.take(512, 0, memory::Purpose::Send)).collect();
    assert_eq!(script.machine.write(ID, &[7; 100]), 0);
    script.run();
    for now in [5, 25] {
        script.until(now).sends(&[]);
        assert!(!script.machine.readiness(ID).writable);
    }
    for memory in others {
        script.machine.memory.put(memory);
    }
    script.until(29);
    assert!(!script.machine.readiness(ID).writable);
    script.until(30);
    assert!(script.machine.readiness(ID).writable);
    script.writes(100).sends(&["30 1:101 ack 1"]);
}

#[test]
fn a_send_buffer_grows_that_holds_the_sender_up() {
    let mut script = script(4 << 20);
    let (mut acknowledged, mut now) = (1, 0);
    let limits: Vec<_> = (0..40)
        .map(|_| {
            script.machine.write(ID, &alloc::vec![7; 1 << 20]);
            script.run();
            script.left.clear();
            acknowledged += connection(&script).flight.total();
            now += 20;
            // The window is shifted by three bits.
            script.until(now).hears(&format!("1:1 ack {acknowledged} win 9000"));
            connection(&script).send.limit()
        })
        .collect();
    // No further than the peer's window of 72,000 goes.
    assert!(limits.is_sorted() && limits[0] == 4 * LEAST && limits[39] == 16 * LEAST, "{limits:?}");
    script.until(60_000).hears(&format!("1:11 ack {acknowledged} win 9000"));
    assert_eq!(connection(&script).send.limit(), 4 * LEAST);
}

#[test]
fn small_pieces_are_bounded_by_what_they_tell_of() {
    let mut script = script(4 << 20);
    for number in 1..=100 {
        script.until(number).hears(&format!("1:1 ack 1 win {}", 6_000 - number));
        script.machine.write(ID, &[7; 10]);
        script.run();
    }
    // One for 64 bytes of the 1024 that the buffer has, and 16.
    assert_eq!(connection(&script).flight.count(), 32);
    script.hears("1:1 ack 321");
    let flight = &connection(&script).flight;
    assert!(flight.count() < 32 && flight.total() == 680, "all the rest has left");
    script.hears("1:1 ack 1001").until(5_000);
    assert!(connection(&script).flight.is_empty());
}
