//! Ways that take shorter packets than the link.

use alloc::string::String;

use super::script::{OURS, Script};
use super::*;

impl Script {
    /// A router says that our segment at `position` is too long for `mtu` bytes.
    fn hears_too_big(&mut self, position: u32, mtu: usize) -> bool {
        let believed = self.machine.on_too_big(self.now, ID, OURS.add(position), mtu);
        self.run();
        believed
    }

    /// What has left since the last time, without the acknowledgement at its end.
    fn ranges(&mut self) -> Vec<String> {
        let left = core::mem::take(&mut self.left);
        left.iter().map(|line| line.trim_end_matches(" ack 1").into()).collect()
    }
}

#[test]
fn a_router_says_how_long_packets_may_be() {
    let mut script = Script::with_sack();
    script.writes(3000);
    assert_eq!(script.ranges(), ["0 1:1001", "0 1001:2001", "0 2001:3001"]);
    let window = script.machine.info(script.now, ID).congestion_window;
    assert!(script.hears_too_big(1, 640));
    assert_eq!(script.ranges(), ["0 1:601", "0 601:1201", "0 1201:1801", "0 1801:2401", "0 2401:3001"]);
    assert_eq!(script.machine.info(script.now, ID).congestion_window, window, "RFC 1191, 6.4");
    assert_eq!(script.machine.info(script.now, ID).segment_size, Some(600));
    // After a while it is tried again (RFC 1191, 6.3).
    script.until(20).hears("1:1 ack 3001").until(599_000).writes(1000);
    assert_eq!(script.ranges(), ["599000 3001:3601", "599000 3601:4001"]);
    script.hears("1:1 ack 4001").until(600_000).writes(1000);
    assert_eq!(script.ranges(), ["600000 4001:5001"]);
}

#[test]
fn inventions_are_not_believed() {
    let mut script = Script::with_sack();
    assert!(!script.hears_too_big(1, 640), "nothing is under way");
    script.writes(3000).until(20).hears("1:1 ack 1001");
    script.ranges();
    assert!(!script.hears_too_big(1, 640), "it has arrived");
    assert!(!script.hears_too_big(3001, 640), "it was not sent");
    assert!(!script.hears_too_big(1001, 1040), "it is no shorter");
    assert!(script.hears_too_big(1001, 68));
    assert_eq!(script.machine.info(script.now, ID).segment_size, Some(256), "no less");
}

#[test]
fn long_packets_that_get_lost_without_a_word_are_tried_shorter() {
    let mut script = Script::without_sack();
    script.writes(1000).until(7000);
    assert_eq!(script.ranges(), ["0 1:1001", "1000 1:1001", "3000 1:537", "7000 1:537"]);
    script.hears("1:1 ack 537");
    assert_eq!(script.ranges(), ["7000 537:1001"]);
    script.hears("1:1 ack 1001").until(11_000).writes(1000).hears("1:1 ack 2001");
    assert_eq!(script.ranges(), ["11000 1001:1537", "11000 1537:2001"]);
    // It may have been an accident: once more. If not, it is known at once what gets through.
    script.until(12_000).writes(1000);
    assert_eq!(script.ranges(), ["12000 2001:3001"]);
    script.until(60_000);
    let left = script.ranges();
    assert!(left[0].ends_with(" 2001:3001") && left[1].ends_with(" 2001:2537"), "{left:?}");
    script.hears("1:1 ack 3001").until(600_000).writes(1000);
    let left = script.ranges();
    assert!(left.iter().any(|line| line == "600000 3001:3537"), "{left:?}");
}

#[test]
fn short_packets_that_get_lost_are_no_sign_of_a_short_way() {
    let mut script = Script::without_sack();
    script.writes(500).until(100_000);
    script.left.clear();
    script.hears("1:1 ack 501").writes(1000);
    assert_eq!(script.ranges(), ["100000 501:1501"]);
}

#[test]
fn a_short_write_can_be_too_long_as_well() {
    let mut script = Script::without_sack();
    script.writes(800).until(3000);
    assert_eq!(script.ranges(), ["0 1:801", "1000 1:801", "3000 1:537"]);
}

#[test]
fn what_was_short_says_nothing_of_longer_packets() {
    let mut script = Script::without_sack();
    script.writes(1000).until(3000).hears("1:1 ack 537").hears("1:1 ack 1001");
    // Longer packets are tried again, but first something short arrives.
    script.until(9000).writes(100).until(9010).hears("1:1 ack 1101");
    script.ranges();
    script.writes(1000).until(9900);
    let left = script.ranges();
    assert_eq!(left[left.len() - 1], "9610 1101:1637", "it is known what gets through: {left:?}");
    script.until(9910).hears("1:1 ack 1637").hears("1:1 ack 2101").until(20_000).writes(1000);
    let left = script.ranges();
    assert_eq!(left[left.len() - 2..], ["20000 2101:2637", "20000 2637:3101"], "{left:?}");
}
