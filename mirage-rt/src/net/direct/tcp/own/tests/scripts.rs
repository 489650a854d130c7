//! Scripts of what every connection does.

use alloc::format;

use super::script::{OURS, PEERS, Script};
use super::*;
use crate::net::direct::ip::Blocked;

#[test]
fn an_acknowledgement_waits_a_little_for_company() {
    let mut script = Script::with_sack();
    script.hears("1:1001 ack 1").sends(&[]).until(9).sends(&[]).until(10).sends(&["10 1:1 ack 1001"]);
    script.hears("1001:2001 ack 1").sends(&[]).hears("2001:3001 ack 1").sends(&["10 1:1 ack 3001"]);
    script.hears("3001:4001 ack 1").writes(50).sends(&["10 1:51 ack 4001"]);
    script.until(100).sends(&[]);
}

#[test]
fn gaps_are_told_at_once_the_latest_first() {
    let mut script = Script::with_sack();
    script.hears("1001:2001 ack 1").sends(&["0 1:1 ack 1 sack 1001:2001"]);
    script.hears("3001:4001 ack 1").sends(&["0 1:1 ack 1 sack 3001:4001 sack 1001:2001"]);
    script.hears("3001:4001 ack 1").sends(&["0 1:1 ack 1 sack 3001:4001 sack 3001:4001 sack 1001:2001"]);
    script.hears("1:1001 ack 1").sends(&["0 1:1 ack 2001 sack 3001:4001"]);
    script.hears("1:1001 ack 1").sends(&["0 1:1 ack 2001 sack 1:1001 sack 3001:4001"]);
    // The end of the stream may come early, too.
    script.hears("F 4001:4002 ack 1").sends(&["0 1:1 ack 2001 sack 3001:4001"]);
    script.hears("2001:3001 ack 1").sends(&["0 1:1 ack 4002"]).reads(4000).sends(&[]);
    assert!(script.machine.readiness(ID).finished);
}

#[test]
fn three_segments_behind_a_gap_bring_the_lost_one_back() {
    let mut script = Script::with_sack();
    script.writes(6000).sends(&[
        "0 1:1001 ack 1",
        "0 1001:2001 ack 1",
        "0 2001:3001 ack 1",
        "0 3001:4001 ack 1",
        "0 4001:5001 ack 1",
        "0 5001:6001 ack 1",
    ]);
    script.until(20).hears("1:1 ack 1 sack 1001:2001").hears("1:1 ack 1 sack 1001:3001").sends(&[]);
    script.hears("1:1 ack 1 sack 1001:4001").sends(&["20 1:1001 ack 1"]);
    script.until(40).hears("1:1 ack 6001").sends(&[]).until(5000).sends(&[]);
}

#[test]
fn without_sack_acknowledgements_are_counted() {
    let mut script = Script::without_sack();
    script.writes(10_000);
    script.left.clear();
    script.until(20).hears("1:1 ack 1").hears("1:1 ack 1").sends(&[]);
    script.hears("1:1 ack 1").sends(&["20 1:1001 ack 1"]);
    // A partial acknowledgement brings the next one (RFC 6582).
    script.until(40).hears("1:1 ack 5001").sends(&["40 5001:6001 ack 1"]);
    script.until(60).hears("1:1 ack 10001").until(5000).sends(&[]);
}

#[test]
fn the_timeout_doubles() {
    let mut script = Script::without_sack();
    script.writes(10).sends(&["0 1:11 ack 1"]);
    script.until(15_000).sends(&["1000 1:11 ack 1", "3000 1:11 ack 1", "7000 1:11 ack 1", "15000 1:11 ack 1"]);
    let info = script.machine.info(script.now, ID);
    assert_eq!((info.retransmissions, info.in_flight, info.silence), (Some(4), Some(10), Some(15_000 * MS)));
    assert_eq!(script.machine.retransmitted(), 4);
    // After two minutes of silence the peer is given up.
    script.until(119_999).is(State::Open);
    script.left.clear();
    script.until(120_000).sends(&["120000 R 11:11 ack 1"]).is(State::Closed);
}

#[test]
fn a_lost_tail_is_probed_before_the_timeout() {
    let mut script = Script::with_sack();
    script.writes(1000).until(50).hears("1:1 ack 1001");
    script.left.clear();
    // Twice the round trip of 50 ms, and a little for the peer.
    script.writes(3000).until(112).sends(&["50 1001:2001 ack 1", "50 2001:3001 ack 1", "50 3001:4001 ack 1"]);
    script.until(162).sends(&["162 3001:4001 ack 1"]);
    // The probe's acknowledgement tells what else is missing.
    script.until(212).hears("1:1 ack 1001 sack 3001:4001").until(230);
    assert!(script.left.iter().any(|line| line.ends_with(" 1001:2001 ack 1")), "{:?}", script.left);
}

#[test]
fn ten_segments_at_first_and_one_after_a_timeout() {
    let mut script = Script::with_sack();
    script.writes(20_000);
    assert_eq!(core::mem::take(&mut script.left).len(), 10);
    script.until(999).sends(&[]).until(1000).sends(&["1000 1:1001 ack 1"]);
    // With nothing new to say, the others are sent again.
    let mut script = Script::with_sack();
    script.writes(10_000).left.clear();
    script.until(1000).sends(&["1000 1:1001 ack 1"]);
    script.until(1020).hears("1:1 ack 1001").sends(&["1020 1001:2001 ack 1", "1020 2001:3001 ack 1"]);
}

#[test]
fn a_closed_window_is_probed() {
    let mut script = Script::open(SynOptions { mss: Some(1000), ..SynOptions::default() }, 1000);
    script.writes(1500).sends(&["0 1:1001 ack 1"]).until(20).hears("1:1 ack 1001 win 0").sends(&[]);
    script.until(1000).sends(&["220 1000:1000 ack 1", "620 1000:1000 ack 1"]);
    // It is not silly enough to send ten bytes, until it must.
    script.hears("1:1 ack 1001 win 10").sends(&[]).until(1199).sends(&[]);
    script.until(2000);
    let left = core::mem::take(&mut script.left);
    assert!(left.iter().any(|line| line.ends_with(" 1001:1011 ack 1")), "{left:?}");
    script.hears("1:1 ack 1011 win 5000").sends(&["2000 1011:1501 ack 1"]);
}

#[test]
fn a_closed_window_is_probed_for_the_end_alone() {
    let mut script = Script::open(SynOptions { mss: Some(1000), ..SynOptions::default() }, 1000);
    script.writes(1000).shuts().sends(&["0 1:1001 ack 1"]).until(20).hears("1:1 ack 1001 win 0").sends(&[]);
    script.until(1000).sends(&["220 1000:1000 ack 1", "620 1000:1000 ack 1"]);
    script.hears("1:1 ack 1001 win 10").sends(&["1000 F 1001:1002 ack 1"]);
}

#[test]
fn a_reader_opens_the_window_in_large_steps() {
    let mut script = Script::open(SynOptions { mss: Some(1000), ..SynOptions::default() }, 1000);
    for number in 0..60 {
        script.hears(&format!("{}:{} ack 1", 1 + number * 1000, 1001 + number * 1000));
    }
    script.until(10);
    assert_eq!(script.machine.expected(ID).end, script.machine.expected(ID).next, "it is full");
    script.left.clear();
    script.hears("60001:60002 ack 1").sends(&["10 1:1 ack 60001"]);
    script.reads(1000).sends(&[]).reads(459).sends(&[]).reads(1).sends(&["10 1:1 ack 60001"]);
}

#[test]
fn blind_segments_are_challenged() {
    let mut script = Script::with_sack();
    // Not the next position: only the real peer can answer this with the right one.
    script.hears("R 2:2").sends(&["0 1:1 ack 1"]).is(State::Open);
    // Whoever makes them up does not get an answer to each, however few connections are asked.
    script.hears("R 3:3").sends(&[]).hears("S 5:6").sends(&[]).hears("1:10 ack 500").sends(&[]).is(State::Open);
    script.until(500).hears("S 5:6").sends(&["500 1:1 ack 1"]).is(State::Open);
    script.until(1000).hears("1:10 ack 500").sends(&["1000 1:1 ack 1"]);
    script.hears("R 70000:70000").sends(&[]).is(State::Open);
    script.hears("R 1:1").sends(&[]).is(State::Closed);
}

#[test]
fn one_side_closes_and_the_other_goes_on() {
    let mut script = Script::with_sack();
    script.hears("F 1:2 ack 1").sends(&["0 1:1 ack 2"]).writes(10).sends(&["0 1:11 ack 2"]);
    script.hears("2:2 ack 11").shuts().sends(&["0 F 11:12 ack 2"]).is(State::Open);
    script.hears("2:2 ack 12").is(State::Closed).sends(&[]);

    let mut script = Script::with_sack();
    script.shuts().sends(&["0 F 1:2 ack 1"]).hears("1:1 ack 2").is(State::Open);
    script.hears("1:11 ack 2").until(10).sends(&["10 2:2 ack 11"]);
    let over = State::TimeWait { next: OURS.add(2), expected: PEERS.add(12) };
    script.hears("F 11:12 ack 2").sends(&["10 2:2 ack 12"]).is(over);
    script.hears("F 11:12 ack 2").sends(&["10 2:2 ack 12"]);
}

#[test]
fn both_close_at_once() {
    let mut script = Script::with_sack();
    script.shuts().sends(&["0 F 1:2 ack 1"]);
    script.hears("F 1:2 ack 1").sends(&["0 2:2 ack 2"]).is(State::Open);
    script.hears("2:2 ack 2").is(State::TimeWait { next: OURS.add(2), expected: PEERS.add(2) });
}

#[test]
fn connecting_succeeds_is_refused_or_goes_unanswered() {
    let connecting = || {
        let mut script = Script::new(8000);
        script.machine.connect(Instant::ZERO, ID, &tuple(), OURS).expect("there is memory");
        script.run();
        script.sends(&["0 S E C 0:1"]).is(State::Connecting);
        script
    };
    let mut script = connecting();
    script.until(20).hears("S 0:1 ack 1 syn-options").sends(&["20 1:1 ack 1"]).is(State::Open);
    script.writes(10).sends(&["20 1:11 ack 1"]);
    // Somebody else's answer is reset, and one without a SYN or with a wrong reset is ignored.
    let mut script = connecting();
    script.hears("S 0:1 ack 7").sends(&["0 R 7:7"]).is(State::Connecting);
    script.hears("R 0:0 ack 7").hears("R 0:0").sends(&[]).is(State::Connecting);
    script.hears("R 0:0 ack 1").sends(&[]).is(State::Closed);
    let mut script = connecting();
    script.until(29_999).sends(&["1000 S 0:1", "3000 S 0:1", "7000 S 0:1", "15000 S 0:1"]);
    script.until(30_000).sends(&[]).is(State::Closed);
    // Both at once.
    let mut script = connecting();
    script.hears("S 0:1 syn-options").sends(&["0 S 0:1 ack 1"]).is(State::Connecting);
    script.hears("1:1 ack 1").sends(&[]).is(State::Open);
}

#[test]
fn old_timestamps_do_not_count() {
    let mut script = Script::new(8000);
    script.machine.connect(Instant::ZERO, ID, &tuple(), OURS).expect("there is memory");
    script.run();
    script.hears("S 0:1 ack 1 syn-options ts 5000:0");
    script.left.clear();
    script.hears("1:11 ack 1 ts 6000:0").until(10).sends(&["10 1:1 ack 11"]);
    script.hears("11:21 ack 1 ts 4000:0").sends(&["10 1:1 ack 11"]);
    script.hears("11:21 ack 1 ts 6000:0").until(20).sends(&["20 1:1 ack 21"]);
}

#[test]
fn a_blocked_way_delays_and_loses_nothing() {
    let mut script = Script::with_sack();
    script.out.blocked = Some(Blocked::Device);
    script.writes(10).sends(&[]);
    assert!(script.deadline.is_none_or(|deadline| deadline > script.now));
    script.out.blocked = None;
    script.run();
    script.sends(&["0 1:11 ack 1"]);
}

/// A reset in each state, from the peer's next position.
#[test]
fn a_reset_ends_every_state() {
    let steps: [&dyn Fn(&mut Script); 5] = [
        &|_: &mut Script| {},
        &|script: &mut Script| {
            script.shuts();
        },
        &|script: &mut Script| {
            script.shuts().hears("1:1 ack 2");
        },
        &|script: &mut Script| {
            script.hears("F 1:2 ack 1");
        },
        &|script: &mut Script| {
            script.hears("F 1:2 ack 1").shuts();
        },
    ];
    for (number, step) in steps.into_iter().enumerate() {
        let mut script = Script::with_sack();
        step(&mut script);
        let next = if number < 3 { "R 1:1" } else { "R 2:2" };
        script.hears(next).is(State::Closed);
    }
}
