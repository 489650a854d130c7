//! How losses are repaired, and what was no loss.

use alloc::format;

use super::script::Script;
use super::*;
use crate::net::direct::tcp::timestamps::Timestamp;

fn window(script: &Script) -> usize {
    script.machine.info(script.now, ID).congestion_window.expect("it has one")
}

fn threshold(script: &Script) -> Option<usize> {
    script.machine.info(script.now, ID).slow_start_threshold
}

#[test]
fn a_recovery_goes_on_sending_for_what_arrives() {
    let mut script = Script::with_sack();
    script.writes(60_000).until(20).hears("1:1 ack 10001");
    script.left.clear();
    // Twenty segments are under way, the first of which is lost. RFC 9937: one for two that arrive.
    let mut sent = Vec::new();
    script.until(40);
    for number in 1..=12u32 {
        script.hears(&format!("1:1 ack 10001 sack 11001:{}", 11_001 + number * 1000));
        sent.push(core::mem::take(&mut script.left).len());
    }
    // The third is the lost one: until three behind it have come, the window is as it was.
    assert_eq!(sent, [1, 1, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1]);
    script.until(60).hears("1:1 ack 31001");
    assert_eq!((window(&script), threshold(&script)), (11_000, Some(11_000)), "half of what was under way");
}

/// A connection with timestamps on which all that was sent at the beginning has timed out.
fn timed_out() -> Script {
    let mut script = with_stamps();
    script.writes(10_000).left.clear();
    script.until(1000).sends(&["1000 1:1001 ack 1 ts 1000:5000"]);
    script.until(1010);
    assert_eq!(window(&script), 1000);
    script
}

fn with_stamps() -> Script {
    let mut script = Script::new(60_000);
    let stamp = Some(Timestamp { value: 5000, echo: 0 });
    let options = SynOptions { mss: Some(1012), window_shift: Some(0), sack: true, stamp, ecn: false };
    // The handshake's last segment has one, too.
    script.establish(options, 60_000);
    script
}

#[test]
fn a_timeout_that_was_for_nothing_is_undone_by_its_timestamp() {
    let mut script = timed_out();
    // The answer is for what was sent first, so the rest is on its way too.
    script.hears("1:1 ack 2001 ts 5100:0").sends(&[]);
    assert!(window(&script) >= 10_000 && threshold(&script).is_none());
    assert!(script.machine.info(script.now, ID).retransmission_timeout > Some(1010 * MS));
    script.hears("1:1 ack 10001 ts 5100:0").until(60_000).sends(&[]);
}

#[test]
fn a_timeout_that_was_needed_stays() {
    let mut script = timed_out();
    script.hears("1:1 ack 1001 ts 6005:1000");
    script.sends(&["1010 1001:2001 ack 1 ts 1010:6005", "1010 2001:3001 ack 1 ts 1010:6005"]);
    assert_eq!(window(&script), 2000);
}

#[test]
fn without_timestamps_new_segments_tell_whether_a_timeout_was_for_nothing() {
    let timed_out = || {
        let mut script = Script::with_sack();
        script.writes(20_000).left.clear();
        script.until(1000).sends(&["1000 1:1001 ack 1"]);
        // RFC 5682: two that are new, none again.
        script.until(1010).hears("1:1 ack 1001").sends(&["1010 10001:11001 ack 1", "1010 11001:12001 ack 1"]);
        script
    };
    // Something else that was sent before has arrived without being sent again.
    let mut script = timed_out();
    script.hears("1:1 ack 2001");
    assert!(window(&script) >= 10_000 && threshold(&script).is_none());
    assert!(!script.left.iter().any(|line| line.contains(" 1001:2001 ")), "{:?}", script.left);
    // Only what is new has: the rest was lost.
    let mut script = timed_out();
    script.until(1030).hears("1:1 ack 1001 sack 10001:11001");
    assert_eq!(script.left.first().map(|line| line.as_str()), Some("1030 1001:2001 ack 1"));
    assert!(window(&script) <= 3000 && threshold(&script).is_some());
}

#[test]
fn a_recovery_that_was_for_nothing_is_undone() {
    // The peer says that it got twice what was sent again (RFC 2883).
    let mut script = Script::with_sack();
    script.writes(10_000).left.clear();
    script.until(20).hears("1:1 ack 1 sack 1001:4001").sends(&["20 1:1001 ack 1"]);
    assert!(threshold(&script).is_some());
    script.until(25).hears("1:1 ack 4001").until(40).hears("1:1 ack 10001 sack 1:1001");
    assert!(window(&script) >= 10_000 && threshold(&script).is_none(), "{}", window(&script));
    // Or its timestamp tells that what was sent first has come late (RFC 3522).
    let mut script = with_stamps();
    script.writes(10_000).left.clear();
    script.until(20).hears("1:1 ack 1 ts 5020:0 sack 1001:4001");
    script.sends(&["20 1:1001 ack 1 ts 20:5020"]);
    script.until(25).hears("1:1 ack 4001 ts 5025:0");
    assert!(window(&script) >= 10_000 && threshold(&script).is_none());
    script.sends(&[]);
    // Or nothing had to be sent again: what was late came with what told of its lack.
    let mut script = Script::with_sack();
    script.writes(10_000).left.clear();
    script.until(20).hears_at_once(&["1:1 ack 1 sack 1001:4001", "1:1 ack 4001"]).sends(&[]);
    assert!(threshold(&script).is_some());
    script.hears("1:1 ack 10001");
    assert!(window(&script) >= 10_000 && threshold(&script).is_none());
    // Otherwise it stays.
    let mut script = with_stamps();
    script.writes(10_000).left.clear();
    script.until(20).hears("1:1 ack 1 ts 5020:0 sack 1001:4001").until(40).hears("1:1 ack 4001 ts 5040:20");
    assert!(threshold(&script).is_some());
    script.hears("1:1 ack 10001 ts 5040:20");
    assert_eq!(threshold(&script), Some(window(&script)));
}

#[test]
fn slow_start_ends_when_round_trips_get_longer() {
    let mut script =
        Script::open(SynOptions { mss: Some(200), window_shift: Some(0), sack: true, ..SynOptions::default() }, 60_000);
    let (mut now, mut acknowledged, mut windows) = (0, 1, Vec::new());
    script.machine.write(ID, &alloc::vec![7; 60_000]);
    script.run();
    for round in 0..9 {
        let segments = core::mem::take(&mut script.left).len();
        // RFC 9406: an eighth more is enough, but no less than 4 ms.
        now += if round < 2 { 20 } else { 25 };
        script.until(now);
        script.left.clear();
        for _ in 0..segments {
            acknowledged += 200;
            script.machine.write(ID, &alloc::vec![7; 60_000]);
            script.hears(&format!("1:1 ack {acknowledged}"));
        }
        windows.push(window(&script));
    }
    // It doubles until a whole round was longer, grows by a quarter for five rounds, and then slowly.
    assert_eq!(&windows[..3], [4000, 8000, 16_000]);
    assert!((20_000..21_000).contains(&windows[3]) && windows[8] < 50_000, "{windows:?}");
    assert!(threshold(&script).is_some_and(|threshold| (46_000..50_000).contains(&threshold)), "{windows:?}");
}
