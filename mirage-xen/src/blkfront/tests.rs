use std::format;
use std::future::poll_fn;
use std::string::ToString;
use std::vec::Vec;

use mirage_rt::page::Page;
use mirage_rt::runtime::{spawn, yield_now};
use mirage_rt::types::block::{Discard, Done, WriteCache};

use super::*;
use crate::model::{Blkback, DiskFeatures, DiskMischief, Machine};
use wire::operation;

mod connection;
mod hostile;
mod requests;
mod shadow;

const XVDA: u32 = 51712;

fn machine(features: DiskFeatures) -> (Machine, Blkback) {
    let machine = Machine::new(1);
    machine.world.limit_grant_frames(8);
    let blkback = Blkback::attach(&machine.world, &machine.store, XVDA, features);
    (machine, blkback)
}

/// Without copies: the backend gets the pages themselves.
fn lending() -> Options {
    Options { persistent: false, ..Options::default() }
}

async fn connect(machine: &Machine, options: Options) -> Blkfront {
    Blkfront::connect(&machine.attachment, XVDA, machine.pool(), options).await.expect("the backend is honest")
}

/// What page `number` of a pattern holds.
fn pattern(seed: usize, number: usize) -> [u8; 4096] {
    let mut page = [0; 4096];
    for (index, word) in page.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *word =
            ((seed * 7 + number * 1017 + 1) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ index as u64).to_le_bytes();
    }
    page
}

fn filled(pool: &Rc<dyn PagePool>, count: usize, seed: usize) -> Vec<Page> {
    let mut pages = empty(pool, count);
    pages.iter_mut().enumerate().for_each(|(number, page)| page.copy_from_slice(&pattern(seed, number)));
    pages
}

fn empty(pool: &Rc<dyn PagePool>, count: usize) -> Vec<Page> {
    let take = || {
        let mut page = Page::take(pool).expect("the pool is large");
        page.fill(0xEE);
        page
    };
    (0..count).map(|_| take()).collect()
}

/// Whether the pages are those of a pattern.
fn is_pattern(pages: &[Page], seed: usize) -> bool {
    pages.iter().enumerate().all(|(number, page)| **page == pattern(seed, number))
}

async fn write(device: &Blkfront, sector: u64, count: usize, seed: usize, fua: bool) -> Result<(), BlockError> {
    let (result, pages) = device.submit(Request::write(sector, filled(&device.pool(), count, seed), fua)).await;
    let same = is_pattern(&pages, seed);
    assert!(
        pages.len() == count && same,
        "{} of {count} pages come back as they were: {same}, {result:?}",
        pages.len()
    );
    result
}

async fn read(device: &Blkfront, sector: u64, count: usize) -> Done {
    let (result, pages) = device.submit(Request::read(sector, empty(&device.pool(), count))).await;
    assert_eq!(pages.len(), count);
    (result, pages)
}

/// A round trip through xenstore: both sides have done what they could.
async fn settle(machine: &Machine) {
    for _ in 0..4 {
        machine.attachment.xenstore().read("device").await.expect("xenstore is honest");
        yield_now().await;
    }
}

/// What must hold in the end: nothing is lent, mapped or bound.
fn assert_nothing_left(machine: &Machine) {
    let grants = machine.attachment.grants();
    assert_eq!((grants.in_use(), machine.world.granted(), machine.world.mapped()), (0, 0, 0));
    assert_eq!(machine.attachment.events().bound(), 1, "xenstore's only");
}
