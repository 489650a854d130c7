//! What strangers put into a connection that they cannot see, and what comes from its own past.

use alloc::format;
use alloc::vec;

use super::accepted::Server;
use super::script::{OURS, Script};
use super::*;

#[test]
fn data_with_an_acknowledgement_from_long_ago_is_not_taken() {
    let mut script = Script::open(SynOptions { mss: Some(1000), ..SynOptions::default() }, 1000);
    for number in 1..=3 {
        script.writes(1000).hears(&format!("1:1 ack {} win 1000", 1 + 1000 * number));
    }
    script.until(1000).left.clear();
    // RFC 5961, 5.2: no peer acknowledges what lies further back than its largest window.
    script.hears("1:11 ack 2000 win 1000").sends(&["1000 3001:3001 ack 1"]);
    assert_eq!(script.machine.readiness(ID).readable, 0);
    script.hears("1:11 ack 2001 win 1000").until(1100).sends(&["1010 3001:3001 ack 11"]);
    assert_eq!(script.machine.readiness(ID).readable, 10);
    // Nor what was never sent.
    script.until(2000).hears("11:21 ack 3002 win 1000").sends(&["2000 3001:3001 ack 11"]);
    assert_eq!(script.machine.readiness(ID).readable, 10);
}

#[test]
fn old_data_is_answered_and_read_once() {
    let mut script = Script::with_sack();
    script.hears("1:101 ack 1").until(10).left.clear();
    script.hears("1:101 ack 1").sends(&["10 1:1 ack 101 sack 1:101"]);
    script.hears("51:151 ack 1").sends(&["10 1:1 ack 151 sack 51:101"]);
    assert_eq!(script.machine.readiness(ID).readable, 150);
    // What lies beyond the window is cut off, be it with an end.
    let mut next = 151;
    loop {
        let window = script.machine.expected(ID);
        let window = window.end.since(window.next) as u32;
        if window < 5000 {
            script.hears(&format!("F {next}:{} ack 1", next + window + 11)).until(1000);
            let ready = script.machine.readiness(ID);
            assert_eq!((ready.readable as u32, ready.finished), (next + window - 1, false));
            return;
        }
        script.hears(&format!("{next}:{} ack 1", next + 1000));
        next += 1000;
    }
}

#[test]
fn who_refuses_scaled_windows_is_told_none_and_believed_as_it_says() {
    let large = Buffers { receive: 200_000, send: 100_000, budget: 1 << 24 };
    let options = SynOptions { mss: Some(1000), sack: true, ..SynOptions::default() };
    for (shift, told) in [(None, 5000), (Some(0), 5000), (Some(3), 40_000)] {
        let mut script = Script::with(large);
        script.establish(SynOptions { window_shift: shift, ..options }, 60_000);
        script.hears("1:1 ack 1 win 5000");
        assert_eq!(script.machine.info(script.now, ID).send_window, Some(told));
        assert_eq!(script.machine.expected(ID).shift > 0, shift.is_some());
        let mut next = 1;
        for _ in 0..400 {
            script.hears(&format!("{next}:{} ack 1", next + 1000));
            next += 1000;
            script.reads(1000);
        }
        let window = script.machine.expected(ID);
        let window = window.end.since(window.next);
        assert!((window > 65_535) == shift.is_some(), "{window} bytes for a peer with {shift:?}");
    }
    // The peer that was called refuses.
    for (answer, shifts) in [("S 0:1 ack 1", false), ("S 0:1 ack 1 syn-options", true)] {
        let mut script = Script::with(large);
        script.machine.connect(Instant::ZERO, ID, &tuple(), OURS).expect("there is memory");
        script.run();
        script.hears(answer).hears("1:1 ack 1 win 5000").is(State::Open);
        assert_eq!(script.machine.expected(ID).shift > 0, shifts);
        assert_eq!(script.machine.info(script.now, ID).send_window, Some(if shifts { 20_000 } else { 5000 }));
    }
    // And a server offers nothing to who has not offered it.
    let mut server = Server::new();
    for (syn, offers) in [("S 0:1", false), ("S 0:1 syn-options", true)] {
        let packet = server.words.peers(syn);
        let mut segment = parse(&server.words.tuple.reversed(), &packet);
        segment.tuple = server.words.tuple;
        server.tcp.on_segment(server.now, &packet, &segment, &mut server.out);
        let answer = server.out.cut_packets().remove(0);
        assert_eq!(parse(&server.words.tuple, &answer).options(&answer[20..]).window_shift.is_some(), offers);
        server.port(5000);
    }
}

#[test]
fn a_timestamp_is_too_old_to_compare_with_after_24_days() {
    const DAY: u64 = 24 * 3600 * 1000;
    for (days, counts) in [(1, false), (23, false), (25, true), (40, true)] {
        let mut script = Script::new(8000);
        script.machine.connect(Instant::ZERO, ID, &tuple(), OURS).expect("there is memory");
        script.run();
        script.hears("S 0:1 ack 1 syn-options ts 5000:0").hears("1:11 ack 1 ts 6000:0").until(days * DAY);
        script.left.clear();
        // The peer's clock has gone around once, or this comes from before.
        script.hears("11:21 ack 1 ts 4000:0");
        let expected = if counts { 20 } else { 10 };
        assert_eq!(script.machine.readiness(ID).readable, expected, "after {days} days");
        script.until(days * DAY + 10);
        assert_eq!(script.left, vec![format!("{} 1:1 ack {}", days * DAY + if counts { 10 } else { 0 }, expected + 1)]);
    }
}
