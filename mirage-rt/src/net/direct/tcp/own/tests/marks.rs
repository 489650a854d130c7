//! Marks of routers (RFC 3168).

use super::script::Script;
use super::*;

fn with_ecn() -> Script {
    Script::open(SynOptions { mss: Some(1000), window_shift: Some(0), sack: true, ecn: true, stamp: None }, 60_000)
}

#[test]
fn a_mark_is_told_until_the_peer_knows() {
    let mut script = with_ecn();
    script.hears("1:1001 ack 1 ce").sends(&["0 E 1:1 ack 1001"]);
    script.hears("1001:2001 ack 1").until(10).sends(&["10 E 1:1 ack 2001"]);
    script.writes(10).sends(&["10 E 1:11 ack 2001 ect"]);
    script.hears("C 2001:3001 ack 11").until(20).sends(&["20 11:11 ack 3001"]);
    // A packet that is marked itself says so all the same.
    script.hears("C 3001:4001 ack 11 ce").sends(&["20 E 11:11 ack 4001"]);
}

#[test]
fn a_mark_that_is_told_halves_the_window_once() {
    let mut script = with_ecn();
    script.writes(40_000);
    assert!(script.left.iter().all(|line| line.ends_with(" ect") && !line.contains('C')));
    script.left.clear();
    let window = |script: &Script| script.machine.info(script.now, ID).congestion_window;
    script.until(20).hears("E 1:1 ack 1001").hears("E 1:1 ack 2001");
    assert_eq!(window(&script), Some(5000));
    // Nothing was lost.
    script.sends(&[]).hears("E 1:1 ack 6001");
    script.sends(&["20 C 10001:11001 ack 1 ect"]);
    script.hears("1:1 ack 8001").sends(&["20 11001:12001 ack 1 ect", "20 12001:13001 ack 1 ect"]);
    // The next window counts again.
    script.hears("1:1 ack 10001").left.clear();
    script.hears("E 1:1 ack 12001");
    assert!(window(&script).is_some_and(|window| window < 4000), "{:?}", window(&script));
}

#[test]
fn what_is_sent_again_may_not_be_marked() {
    let mut script = with_ecn();
    script.writes(6000).left.clear();
    script.until(20).hears("1:1 ack 1 sack 1001:5001").sends(&["20 1:1001 ack 1"]);
    // And nothing at all without an agreement.
    let mut script = Script::with_sack();
    script.hears("E C 1:1001 ack 1 ce").until(10).sends(&["10 1:1 ack 1001"]).writes(10).sends(&["10 1:11 ack 1001"]);
}

/// A connection that is opened from here, `answer` being what the peer answers after `time` milliseconds.
fn connected(time: u64, answer: &str) -> Script {
    let mut script = Script::new(60_000);
    script.machine.connect(Instant::ZERO, ID, &tuple(), super::script::OURS).expect("there is memory");
    script.run();
    script.sends(&["0 S E C 0:1"]).until(time).left.clear();
    script.hears(answer).left.clear();
    script
}

#[test]
fn it_is_offered_once_to_those_that_are_called() {
    let sent = |script: &mut Script| {
        script.writes(10);
        core::mem::take(&mut script.left).pop().expect("a segment")
    };
    assert!(sent(&mut connected(20, "S E 0:1 ack 1 syn-options")).ends_with(" 1:11 ack 1 ect"));
    // Not taken, or the offer was merely reflected.
    assert!(sent(&mut connected(20, "S 0:1 ack 1 syn-options")).ends_with(" 1:11 ack 1"));
    assert!(sent(&mut connected(20, "S E C 0:1 ack 1 syn-options")).ends_with(" 1:11 ack 1"));
    // A SYN that is sent again offers nothing.
    let mut script = Script::new(60_000);
    script.machine.connect(Instant::ZERO, ID, &tuple(), super::script::OURS).expect("there is memory");
    script.run();
    script.until(1000).sends(&["0 S E C 0:1", "1000 S 0:1"]);
    script.hears("S E 0:1 ack 1 syn-options").left.clear();
    assert!(sent(&mut script).ends_with(" 1:11 ack 1"));
}
