//! Pages that are taken as they came.

use alloc::format;
use alloc::vec;

use super::script::{PEERS, Script};
use super::*;
use crate::packet::PacketMut;
use crate::page::PAGE_SIZE;

const PAGES: usize = 4000;

impl Script {
    /// A segment of the peer's comes in a page, as [`Script::hears`]; where its bytes stand, if the page is kept.
    fn gets(&mut self, text: &str) -> Option<*const u8> {
        let packet = self.words.peers(text);
        let segment = parse(&tuple().reversed(), &packet);
        let frame = PacketMut::copy_of(&self.out.pool, &packet).expect("there are pages");
        let start = frame.head().as_ptr();
        self.machine.offer_pages(start.addr()..start.addr() + frame.head().len(), 1);
        if self.machine.predict(self.now, ID, frame.head(), &segment).is_none() {
            self.machine.on_segment(self.now, ID, frame.head(), &segment, &mut self.out);
        }
        let wanted = self.machine.end_offer();
        let place = wanted.map(|wanted| {
            let (mut bytes, _) = frame.into_parts();
            bytes.truncate(wanted.bytes.end);
            bytes.pull_front(wanted.bytes.start);
            let place = bytes.bytes().as_ptr();
            self.machine.keep_page(wanted.id, bytes);
            place
        });
        self.run();
        place
    }

    fn left(&self) -> usize {
        self.out.pool.available()
    }
}

/// A connection that takes pages.
fn taking() -> Script {
    let mut script = Script::with_sack();
    assert!(!script.machine.wants_pages() && script.machine.take_page(ID).is_none());
    assert!(script.machine.wants_pages(), "from the first call on");
    script
}

#[test]
fn the_page_of_the_device_is_handed_over() {
    let mut script = taking();
    let used = script.machine.memory();
    let place = script.gets("1:1401 ack 1").expect("it is kept");
    assert_eq!((script.left(), script.machine.memory() - used), (PAGES - 1, PAGE_SIZE), "all of it counts");
    let taken = script.machine.take_page(ID).expect("there is a page");
    assert_eq!((taken.bytes().as_ptr(), taken.len()), (place, 1400));
    assert!(taken.bytes().iter().all(|byte| *byte == 9));
    assert_eq!((script.machine.memory(), script.machine.readiness(ID).readable), (used, 0));
    drop(taken);
    assert_eq!(script.left(), PAGES);
    // And it is acknowledged as ever.
    script.gets("1401:2801 ack 1");
    script.sends(&["0 1:1 ack 2801"]);
}

#[test]
fn nobody_keeps_pages_who_was_not_asked_for_any() {
    let mut script = Script::with_sack();
    assert!(script.gets("1:1401 ack 1").is_none());
    assert_eq!(script.left(), PAGES);
    script.reads(1400);
}

#[test]
fn small_segments_and_those_behind_a_gap_are_copied() {
    let mut script = taking();
    assert!(script.gets("1:1001 ack 1").is_none(), "less than a quarter of a page");
    assert!(script.gets("1001:2401 ack 1").is_some());
    assert!(script.gets("3801:5201 ack 1").is_none());
    assert!(script.gets("2401:3801 ack 1").is_none(), "what closes a gap stands in front of what was copied");
    assert!(script.gets("5201:6601 ack 1").is_some());
    assert_eq!(script.left(), PAGES - 2);
    // Everything in its order, whichever way it is read.
    assert!(script.machine.take_page(ID).is_none());
    assert_eq!(script.machine.peek(ID).len(), 1000);
    script.machine.consume(ID, 1000);
    assert_eq!(script.machine.peek(ID).len(), 1400);
    script.reads(1000);
    assert_eq!(script.machine.take_page(ID).map(|page| page.len()), Some(400), "the rest of it");
    script.reads(3000);
    assert_eq!(script.machine.take_page(ID).map(|page| page.len()), Some(1200));
    assert_eq!((script.machine.readiness(ID).readable, script.left()), (0, PAGES));
}

#[test]
fn pages_take_no_more_memory_than_the_buffer_may() {
    let mut script = Script::with(Buffers { receive: 5000, send: 5000, budget: 1 << 20 });
    script.establish(SynOptions { mss: Some(1400), window_shift: Some(0), ..SynOptions::default() }, 60_000);
    assert!(script.machine.take_page(ID).is_none());
    // 20,000 bytes at first: four pages, and the rest is copied.
    let kept = (0..12)
        .filter(|number| script.gets(&format!("{}:{} ack 1", 1 + number * 1400, 1401 + number * 1400)).is_some())
        .count();
    assert_eq!((kept, script.left()), (4, PAGES - 4));
    let expected = script.machine.expected(ID);
    assert_eq!(expected.next, PEERS.add(1 + 12 * 1400));
    assert!(expected.end.since(expected.next) <= 20_000 - 12 * 1400);
    script.reads(12 * 1400);
    assert_eq!(script.left(), PAGES);
}

#[test]
fn without_memory_pages_are_not_kept() {
    let mut script = taking();
    let others: Vec<_> = core::iter::from_fn(|| script.machine.memory.take(512, 0, memory::Purpose::Receive)).collect();
    assert!(script.gets("1:1401 ack 1").is_none());
    assert_eq!((script.left(), script.machine.readiness(ID).readable), (PAGES, 0), "as good as lost");
    others.into_iter().for_each(|memory| script.machine.memory.put(memory));
    assert!(script.gets("1:1401 ack 1").is_some());
}

#[test]
fn pages_of_a_connection_that_is_over_can_be_taken_or_go_back() {
    let mut script = taking();
    script.gets("1:1401 ack 1");
    script.gets("1401:2801 ack 1");
    script.hears("R 2801:2801").is(State::Closed);
    assert_eq!(script.machine.take_page(ID).map(|page| page.len()), Some(1400));
    assert_eq!(script.left(), PAGES - 1);
    script.machine.free(ID);
    assert_eq!((script.left(), script.machine.memory()), (PAGES, 0));
    assert!(!script.machine.wants_pages());
}

#[test]
fn an_offer_is_for_the_page_that_it_names() {
    let mut script = taking();
    let other = vec![0; 2000];
    script.machine.offer_pages(other.as_ptr().addr()..other.as_ptr().addr() + other.len(), 1);
    script.hears("1:1401 ack 1");
    assert_eq!(script.machine.end_offer(), None, "the segment stands elsewhere");
    script.reads(1400);
}
