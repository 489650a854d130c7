//! What the application chooses.

use super::script::Script;
use super::*;
use crate::net::KeepAlive;

fn choose(script: &mut Script, option: TcpOption) {
    script.machine.set(script.now, ID, option).expect("it can");
    script.run();
}

#[test]
fn nagle_holds_small_segments_back_when_it_is_on() {
    let mut script = Script::with_sack();
    script.writes(10).writes(10).sends(&["0 1:11 ack 1", "0 11:21 ack 1"]);
    choose(&mut script, TcpOption::NoDelay(false));
    script.writes(10).sends(&[]).hears("1:1 ack 21").sends(&["0 21:31 ack 1"]);
    script.writes(10).sends(&[]);
    choose(&mut script, TcpOption::NoDelay(true));
    script.sends(&["0 31:41 ack 1"]);
}

#[test]
fn a_loss_takes_what_the_chosen_algorithm_takes() {
    for (algorithm, most) in [(CongestionControl::Cubic, 7000), (CongestionControl::NewReno, 5000)] {
        let mut script = Script::with_sack();
        choose(&mut script, TcpOption::CongestionControl(algorithm));
        script.writes(10_000);
        // Ten segments are under way, and nothing is heard of them.
        script.until(5000);
        let info = script.machine.info(script.now, ID);
        assert_eq!(info.slow_start_threshold, Some(most), "{algorithm:?}");
    }
}

#[test]
fn silent_peers_are_asked_as_often_as_wanted() {
    let mut script = Script::with_sack();
    script.until(500);
    let keep = KeepAlive { idle: 1000 * MS, interval: 100 * MS, probes: 2 };
    choose(&mut script, TcpOption::KeepAlive(Some(keep)));
    script.until(1499).sends(&[]).until(1500).sends(&["1500 0:0 ack 1"]);
    // An answer puts it off.
    script.until(1550).hears("1:1 ack 1").until(2549).sends(&[]);
    script.until(2700).sends(&["2550 0:0 ack 1", "2650 0:0 ack 1"]);
    script.hears("1:1 ack 1").until(3700).sends(&["3700 0:0 ack 1"]);
    // So does whatever else is said.
    script.hears("1:11 ack 1").until(4699).sends(&["3710 1:1 ack 11"]);
    script.until(4899).sends(&["4700 0:0 ack 11", "4800 0:0 ack 11"]).is(State::Open);
    script.until(4900).sends(&["4900 R 1:1 ack 11"]).is(State::Closed);
}

#[test]
fn who_waits_for_an_acknowledgement_asks_nothing() {
    let mut script = Script::with_sack();
    let keep = KeepAlive { idle: 100 * MS, interval: 100 * MS, probes: 1 };
    choose(&mut script, TcpOption::KeepAlive(Some(keep)));
    script.writes(10).until(5000);
    assert!(!script.left.iter().any(|line| line.contains(" 0:0 ")), "{:?}", script.left);
    script.is(State::Open);
    choose(&mut script, TcpOption::KeepAlive(None));
    script.hears("1:1 ack 11");
    script.left.clear();
    script.until(100_000).sends(&[]);
}

#[test]
fn the_user_timeout_counts_from_the_last_acknowledgement() {
    let mut script = Script::with_sack();
    choose(&mut script, TcpOption::UserTimeout(Some(5000 * MS)));
    script.until(60_000).is(State::Open).writes(2000).until(64_000).hears("1:1 ack 1001");
    script.left.clear();
    script.until(68_999).is(State::Open);
    script.left.clear();
    script.until(69_000).sends(&["69000 R 2001:2001 ack 1"]).is(State::Closed);
}
