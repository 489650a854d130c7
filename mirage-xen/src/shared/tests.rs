use super::*;
use crate::model::World;

#[test]
fn copies_come_out_as_they_went_in() {
    let memory = World::new().xenstore_end().0;
    memory.copy_in(3, b"some bytes");
    let mut copy = [0; 10];
    memory.copy_out(3, &mut copy);
    assert_eq!(&copy, b"some bytes");
    memory.write_words(8, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(memory.read_words::<4>(12), [5, 6, 7, 8]);
    assert_eq!(memory.load_u32(8, Ordering::Relaxed), 0x0403_0201);
    assert_eq!(memory.part(8, 8).load_u16(2, Ordering::Relaxed), 0x0403);
    memory.clear();
    assert_eq!(memory.read_words::<8>(8), [0; 8]);
}

#[test]
fn pages_are_copied_whole() {
    let memory = World::new().xenstore_end().0;
    let page = core::array::from_fn(|index| (index / 3) as u8);
    memory.copy_page_in(&page);
    assert_eq!((memory.read_u8(5), memory.read_u8(PAGE_SIZE - 1)), (1, (4095 / 3) as u8));
    let mut copy = [0; PAGE_SIZE];
    memory.copy_page_out(&mut copy);
    assert!(copy == page);
}

#[test]
fn a_compare_and_swap_changes_only_what_it_expects() {
    let memory = World::new().xenstore_end().0;
    memory.store_u16(2, 5, Ordering::Relaxed);
    assert_eq!(memory.compare_exchange_u16(2, 4, 9), Err(5));
    assert_eq!(memory.compare_exchange_u16(2, 5, 9), Ok(5));
    assert_eq!(memory.load_u16(2, Ordering::Relaxed), 9);
}

#[test]
#[should_panic(expected = "offset outside of shared memory")]
fn an_access_beyond_the_end_stops() {
    World::new().xenstore_end().0.read_words::<8>(PAGE_SIZE - 4);
}

#[test]
#[should_panic(expected = "offset outside of shared memory")]
fn an_access_that_is_not_aligned_stops() {
    World::new().xenstore_end().0.load_u32(2, Ordering::Relaxed);
}

#[test]
#[should_panic(expected = "offset outside of shared memory")]
fn a_part_stays_within_its_whole() {
    World::new().xenstore_end().0.part(8, 8).read_u8(8);
}

#[test]
fn pages_change_hands_and_go_back_to_their_pool() {
    let pool = World::new().pool();
    let free = pool.available();
    let mut page = Page::take(&pool).expect("a page");
    page[7] = 42;
    let shared = SharedPage::from(page);
    assert_eq!(shared.bytes().read_u8(7), 42);
    shared.bytes().write_u8(8, 43);
    assert_eq!(shared.into_page()[8], 43);
    drop(SharedPage::from(Page::take(&pool).expect("a page")));
    assert_eq!(pool.available(), free);
    SharedPage::from(Page::take(&pool).expect("a page")).quarantine();
    assert_eq!(pool.available(), free - 1);
}
