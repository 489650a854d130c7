//! Pages that are handed over, and bytes between them.

use alloc::rc::Rc;
use alloc::vec;
use core::ops::Range;

use super::script::Script;
use super::*;
use crate::packet::PacketMut;
use crate::page::{PAGE_SIZE, Page};

/// Pages that the link has.
const PAGES: usize = 4000;

/// A connection with a peer that wants segments of 1000 bytes, and a device that cuts long packets.
fn cutting() -> Script {
    let mut script = Script::with_sack();
    script.machine.set_device(Paths::of(1500, 65_521));
    script
}

impl Script {
    /// The bytes `range` of a page full of `byte`.
    fn fragment(&self, byte: u8, range: Range<usize>) -> Fragment {
        let mut page = Page::take(&self.out.pool).expect("there are pages");
        page.fill(byte);
        Fragment::new(page, range).expect("it is in the page")
    }

    fn gives(&mut self, byte: u8, length: usize) -> &mut Script {
        let mut fragment = Some(self.fragment(byte, 0..length));
        assert!(self.machine.give_page(ID, &mut fragment) && fragment.is_none());
        self
    }

    /// What leaves now, as it is handed to the device.
    fn packets(&mut self) -> Vec<PacketMut> {
        self.machine.run(self.now, ID, &mut self.out);
        core::mem::take(&mut self.out.packets)
    }

    fn pages(&self) -> usize {
        self.out.pool.available()
    }
}

fn payload(packet: &PacketMut) -> Vec<u8> {
    packet.parts().collect::<Vec<_>>().concat().split_off(40)
}

#[test]
fn the_device_reads_what_was_given_from_its_page() {
    let mut script = cutting();
    let fragment = script.fragment(1, 0..PAGE_SIZE);
    let place = fragment.page().as_ptr();
    assert!(script.machine.give_page(ID, &mut Some(fragment)));
    script.machine.write(ID, &[2; 904]);
    script.gives(3, 2000);
    let packets = script.packets();
    let [packet] = &packets[..] else { panic!("one packet") };
    assert_eq!(packet.gso(), Gso::Ipv4 { mss: 1000 });
    // Only what was written between the pages stands in one of its own.
    assert_eq!(packet.fragments().iter().map(Fragment::len).collect::<Vec<_>>(), [4096, 904, 2000]);
    assert_eq!(packet.fragments()[0].page().as_ptr(), place);
    assert!(payload(packet) == [vec![1; 4096], vec![2; 904], vec![3; 2000]].concat());
    // The head, the bytes between, and the two that were given, until the peer has all and the device has sent it.
    assert_eq!(script.pages(), PAGES - 4);
    script.hears("1:1 ack 7001");
    assert_eq!(script.pages(), PAGES - 4);
    drop(packets);
    assert_eq!(script.pages(), PAGES);
}

#[test]
fn what_is_lost_is_sent_again_from_the_page() {
    let mut script = cutting();
    script.gives(1, 4000).gives(2, 4000).run();
    script.sends(&[
        "0 1:1001 ack 1",
        "0 1001:2001 ack 1",
        "0 2001:3001 ack 1",
        "0 3001:4001 ack 1",
        "0 4001:5001 ack 1",
        "0 5001:6001 ack 1",
        "0 6001:7001 ack 1",
        "0 7001:8001 ack 1",
    ]);
    // An acknowledgement in the middle of a page, and news of what follows the next segment.
    script.until(10).hears("1:1 ack 1501").sends(&[]);
    assert_eq!(script.machine.readiness(ID).unacknowledged, 6500);
    script.until(20).hears("1:1 ack 3001 sack 4001:8001").sends(&["20 3001:4001 ack 1"]);
    assert_eq!(script.pages(), PAGES - 2);
    script.until(30).hears("1:1 ack 4001 sack 5001:8001");
    assert_eq!(script.pages(), PAGES - 1, "the first page is back");
    script.hears("1:1 ack 8001");
    assert_eq!((script.pages(), script.machine.readiness(ID).unacknowledged), (PAGES, 0));
}

#[test]
fn repetitions_are_of_the_same_bytes() {
    let mut script = cutting();
    script.gives(1, 1500).gives(2, 1500);
    assert_eq!(script.packets().len(), 1);
    script.deadline = script.machine.run(script.now, ID, &mut script.out).deadline;
    script.now = Instant::from_nanos(5_000_000_000);
    let packets = script.packets();
    assert!(payload(&packets[0]) == [1; 1000], "the timer sends the first once more");
    script.hears("1:1 ack 1001");
}

#[test]
fn a_plain_device_gets_copies() {
    let mut script = Script::with_sack();
    script.gives(1, 1700).gives(2, 1300);
    let packets = script.packets();
    assert_eq!(packets.iter().map(|packet| packet.fragments().len()).sum::<usize>(), 0);
    let all: Vec<u8> = packets.iter().flat_map(payload).collect();
    assert!(all == [vec![1; 1700], vec![2; 1300]].concat());
}

#[test]
fn a_packet_has_no_more_parts_than_devices_take() {
    let mut script = cutting();
    let window = SynOptions { mss: Some(1000), window_shift: Some(4), sack: true, ..SynOptions::default() };
    script.establish(window, 60_000);
    script.machine.get_mut(ID).expect("it is there").congestion.set_window(1 << 20);
    let all: Vec<u8> = (0..30u8)
        .flat_map(|byte| {
            script.gives(byte, 1024);
            vec![byte; 1024]
        })
        .collect();
    let packets = script.packets();
    assert!(packets.iter().all(|packet| packet.fragments().len() <= 17));
    // 17 pages have 17,408 bytes: 17 segments in the first packet, and the rest in one more.
    assert_eq!(packets.len(), 2);
    assert!(packets.iter().flat_map(payload).collect::<Vec<_>>() == all);
}

#[test]
fn few_bytes_are_copied() {
    let mut script = cutting();
    for byte in 0..100 {
        script.gives(byte, 1);
    }
    assert_eq!(script.pages(), PAGES);
    assert!(payload(&script.packets()[0]) == (0..100).collect::<Vec<u8>>());
}

#[test]
fn who_gives_waits_for_room() {
    let mut script = Script::with(Buffers { receive: 10_000, send: 10_000, budget: 1 << 20 });
    script.establish(SynOptions { mss: Some(1000), ..SynOptions::default() }, 2000);
    let mut given = 0;
    let refused = loop {
        let mut fragment = Some(script.fragment(1, 0..4000));
        if !script.machine.give_page(ID, &mut fragment) {
            break fragment;
        }
        given += 1;
    };
    // A page begins while there is room.
    assert_eq!((given, refused.map(|fragment| fragment.len())), (10, Some(4000)));
    assert!(!script.machine.readiness(ID).writable);
    assert_eq!(script.machine.write(ID, &[1; 100]), 0);
    script.run();
    script.hears("1:1 ack 1001 win 2000");
    assert!(
        script.machine.readiness(ID).writable && script.machine.give_page(ID, &mut Some(script.fragment(2, 0..4000)))
    );
}

#[test]
fn pages_go_back_however_a_connection_ends() {
    // In order; by the peer's reset; forgotten.
    let mut script = cutting();
    script.gives(1, 3000).gives(2, 3000).shuts().hears("1:1 ack 2001");
    script.hears("1:1 ack 6002").hears("F 1:2 ack 6002");
    assert_eq!(script.pages(), PAGES);
    let mut script = cutting();
    script.gives(1, 3000).gives(2, 3000).hears("R 1:1").is(State::Closed);
    assert_eq!(script.pages(), PAGES);
    let mut script = cutting();
    script.gives(1, 3000).gives(2, 3000).machine.free(ID);
    assert_eq!((script.pages(), script.machine.memory()), (PAGES, 0));
}

#[test]
fn a_shared_page_is_given_many_times() {
    let mut script = cutting();
    let page = Rc::new(Page::take(&script.out.pool).expect("a page"));
    for _ in 0..2 {
        let fragment = Fragment::shared(Rc::clone(&page), 0..PAGE_SIZE).expect("it is in the page");
        assert!(script.machine.give_page(ID, &mut Some(fragment)));
    }
    assert_eq!(script.pages(), PAGES - 1);
    script.run();
    script.hears(&alloc::format!("1:1 ack {}", 1 + 2 * PAGE_SIZE));
    assert_eq!(Rc::strong_count(&page), 1);
}
