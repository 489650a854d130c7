use super::*;
use crate::page::HeapPool;
use alloc::vec;

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7) as u8).collect()
}

#[test]
fn a_copy_has_the_bytes_at_every_size() {
    let pool = HeapPool::with_pages(64);
    for length in [0, 1, 60, MAX_HEAD - 1, MAX_HEAD, MAX_HEAD + 1, 9000, MAX_HEAD + MAX_FRAGMENTS * PAGE_SIZE] {
        let packet = PacketMut::copy_of(&pool, &bytes(length)).expect("the pool has room");
        assert_eq!(packet.len(), length);
        let mut copy = vec![0; length + 1];
        assert_eq!(packet.copy_to(&mut copy), length);
        assert_eq!(copy[..length], bytes(length));
    }
    assert!(PacketMut::copy_of(&pool, &bytes(MAX_HEAD + MAX_FRAGMENTS * PAGE_SIZE + 1)).is_none());
}

#[test]
fn pages_go_back_to_their_pool() {
    let pool = HeapPool::with_pages(3);
    let packet = PacketMut::copy_of(&pool, &bytes(9000)).expect("three pages");
    assert_eq!(pool.available(), 0);
    assert!(PacketMut::new(&pool).is_none());
    drop(packet);
    assert_eq!(pool.available(), 3);
}

#[test]
fn headers_move_in_and_out_of_the_headroom() {
    let pool = HeapPool::with_pages(1);
    let mut packet = PacketMut::copy_of(&pool, b"payload").expect("a page");
    assert!(packet.push_front(HEADROOM + 1).is_none());
    packet.push_front(3).expect("room")[..3].copy_from_slice(b"IP:");
    assert_eq!(packet.head(), b"IP:payload");
    assert!(!packet.pull_front(11));
    assert!(packet.pull_front(3));
    assert_eq!(packet.head(), b"payload");
    assert_eq!(packet.headroom(), HEADROOM);
}

#[test]
fn truncating_drops_what_is_behind() {
    let pool = HeapPool::with_pages(8);
    for length in [0, 10, MAX_HEAD, MAX_HEAD + 1, 8000, 9000, 10_000] {
        let mut packet = PacketMut::copy_of(&pool, &bytes(9000)).expect("pages");
        packet.truncate(length);
        assert_eq!(packet.len(), length.min(9000));
    }
    assert_eq!(pool.available(), 8);
}

#[test]
fn ranges_beyond_the_page_are_refused() {
    let pool = HeapPool::with_pages(1);
    let page = Page::take(&pool).expect("a page");
    assert_eq!(Fragment::new(page, 4000..4097).err(), Some(OutOfPage));
}
