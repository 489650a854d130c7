use super::*;
use crate::model::{BACKEND, GrantFault, Guest, World};
use crate::shared::SharedPage;
use mirage_rt::packet::Fragment;
use mirage_rt::page::{HeapPool, Page};
use std::vec::Vec;

fn machine() -> (std::rc::Rc<World>, Grants) {
    let world = World::new();
    let grants = Grants::new(Rc::new(Guest(world.clone())));
    (world, grants)
}

fn page(world: &World) -> SharedPage {
    Page::take(&world.pool()).expect("the model has pages").into()
}

#[test]
fn a_backend_sees_what_is_granted_and_no_more() {
    let (world, grants) = machine();
    let writable = grants.share(page(&world), BACKEND, Access::ReadWrite).expect("a free reference");
    let readable = grants.share(page(&world), BACKEND, Access::ReadOnly).expect("a free reference");
    let foreign = grants.share(page(&world), DomainId(7), Access::ReadWrite).expect("a free reference");
    world.map_grant(writable.number(), true).expect("granted").bytes().write_u8(9, 77);
    assert_eq!(writable.bytes().read_u8(9), 77);
    assert!(world.map_grant(readable.number(), false).is_ok());
    assert_eq!(world.map_grant(readable.number(), true).err(), Some(GrantFault::ReadOnly));
    assert_eq!(world.map_grant(foreign.number(), false).err(), Some(GrantFault::WrongDomain));
    assert_eq!(world.map_grant(500, false).err(), Some(GrantFault::NotGranted));
    assert_eq!(grants.in_use(), 3);
    drop((writable, readable, foreign));
    assert_eq!((grants.in_use(), world.granted()), (0, 0));
}

#[test]
fn the_page_comes_back_when_the_access_has_ended() {
    let (world, grants) = machine();
    let free = world.pool().available();
    let grant = grants.share(page(&world), BACKEND, Access::ReadWrite).expect("a free reference");
    // The first grant made the table's first frame.
    let table = 1;
    grant.bytes().copy_in(100, b"hello");
    let number = grant.number();
    let (reference, page) = grant.end().expect("not mapped");
    assert_eq!(world.map_grant(number, false).err(), Some(GrantFault::NotGranted));
    assert_eq!(&page.into_page()[100..105], b"hello");
    drop(reference);
    assert_eq!(world.pool().available(), free - table);
}

#[test]
fn a_page_in_use_goes_into_quarantine() {
    let (world, grants) = machine();
    let grant = grants.share(page(&world), BACKEND, Access::ReadWrite).expect("a free reference");
    let free = world.pool().available();
    let number = grant.number();
    let mapping = world.map_grant(number, true).expect("granted");
    assert_eq!(grant.end().err(), Some(Quarantined));
    assert_eq!((grants.quarantined(), grants.in_use(), world.pool().available()), (1, 0, free));
    drop(mapping);
    let others: Vec<_> = (0..504).map_while(|_| grants.reference().ok()).collect();
    assert!(others.iter().all(|other| other.number() != number), "a lost reference is never used again");
    assert_eq!(world.pool().available(), free - 1, "the table grew, and the page did not come back");
}

#[test]
fn dropping_does_what_ending_does() {
    let (world, grants) = machine();
    let grant = grants.share(page(&world), BACKEND, Access::ReadWrite).expect("a free reference");
    let mapping = world.map_grant(grant.number(), false).expect("granted");
    drop(grant);
    assert_eq!(grants.quarantined(), 1);
    drop(mapping);
}

#[test]
fn a_read_only_owner_is_kept_until_the_end() {
    let (world, grants) = machine();
    let pool = world.pool();
    let owner = Page::take(&pool).expect("a page");
    let reference = grants.reference().expect("a free reference");
    let before = pool.available();
    let grant = reference.lend_read_only(owner, |page| page, BACKEND).expect("an I/O page");
    let mapping = world.map_grant(grant.number(), false).expect("granted");
    assert_eq!(world.map_grant(grant.number(), true).err(), Some(GrantFault::ReadOnly));
    drop(grant);
    assert_eq!((grants.quarantined(), pool.available()), (1, before), "the owner is leaked, not reused");
    drop(mapping);
}

#[test]
fn a_place_lends_one_page_after_another_by_its_reference() {
    let (world, grants) = machine();
    let mut place = Place::<SharedPage>::empty();
    let (error, back) = place.lend(page(&world), BACKEND, Access::ReadWrite).expect_err("it has no reference yet");
    assert_eq!((error, place.number(), place.is_equipped()), (GrantError::NoReference, None, false));
    place.equip(grants.reference().expect("a free reference"));
    let first = place.lend(back, BACKEND, Access::ReadWrite).expect("an I/O page");
    assert_eq!(place.number(), Some(first));
    world.map_grant(first, true).expect("granted");
    // It keeps what it has lent, and the reference by which.
    let (error, other) = place.lend(page(&world), BACKEND, Access::ReadWrite).expect_err("it has lent another");
    assert_eq!(error, GrantError::NoReference);
    place.equip(grants.reference().expect("a free reference"));
    assert_eq!((place.number(), grants.in_use()), (Some(first), 1));
    assert!(place.end().expect("nobody uses it").is_some());
    assert!(place.end().expect("nor anything else").is_none());
    assert_eq!(world.map_grant(first, false).err(), Some(GrantFault::NotGranted));
    assert_eq!(place.lend(other, BACKEND, Access::ReadOnly).ok(), Some(first));
    assert_eq!(world.map_grant(first, true).err(), Some(GrantFault::ReadOnly));
    drop(place);
    assert_eq!(world.map_grant(first, false).err(), Some(GrantFault::NotGranted));
    assert_eq!(grants.in_use(), 0);
}

#[test]
fn a_place_whose_page_is_still_used_is_lost_with_it() {
    let (world, grants) = machine();
    let pool = world.pool();
    for ends in [true, false] {
        let mut place = Place::<Fragment>::empty();
        place.equip(grants.reference().expect("a free reference"));
        let part = Fragment::new(Page::take(&pool).expect("a page"), 0..100).expect("it is in the page");
        let (before, lost) = (pool.available(), grants.quarantined());
        let number = place.lend(part, BACKEND).expect("an I/O page");
        assert_eq!(world.map_grant(number, true).err(), Some(GrantFault::ReadOnly));
        let mapping = world.map_grant(number, false).expect("granted");
        if ends {
            assert!(place.end().is_err());
            assert!(!place.is_equipped() && place.number().is_none(), "the reference is never used again");
            assert!(place.end().expect("there is nothing left").is_none());
        }
        drop(place);
        assert_eq!((grants.quarantined(), pool.available()), (lost + 1, before), "it is leaked, not reused");
        drop(mapping);
    }
    assert_eq!(grants.in_use(), 0);
}

#[test]
fn the_table_grows_to_its_limit() {
    let (world, grants) = machine();
    world.limit_grant_frames(2);
    let all: Vec<_> = (0..1016).map(|_| grants.reference().expect("two frames of 512, 8 reserved")).collect();
    assert_eq!(grants.reference().err(), Some(GrantError::TableFull { frames: 2 }));
    assert!(all.iter().all(|reference| reference.number() >= 8));
    drop(all);
    assert_eq!(grants.in_use(), 0);
}

#[test]
fn only_io_pages_can_be_granted() {
    let (_world, grants) = machine();
    let heap = Page::take(&HeapPool::with_pages(1)).expect("a page");
    let (error, _page) = grants.share(heap.into(), BACKEND, Access::ReadWrite).expect_err("not the model's memory");
    assert_eq!(error, GrantError::NotGrantable);
    assert_eq!(grants.in_use(), 0);
}

#[test]
fn what_is_older_than_a_resume_does_nothing() {
    let (world, grants) = machine();
    let old = grants.share(page(&world), BACKEND, Access::ReadWrite).expect("a free reference");
    let spare = grants.reference().expect("a free reference");
    world.forget_guest();
    grants.reset();
    let new = grants.share(page(&world), BACKEND, Access::ReadWrite).expect("a free reference");
    assert_eq!(new.number(), old.number(), "numbers start anew");
    drop(old);
    drop(spare);
    assert!(world.map_grant(new.number(), true).is_ok(), "dropping the old one did not end the new one");
    assert_eq!(grants.in_use(), 1);
}
