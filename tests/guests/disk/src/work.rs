//! What is done to the disk.

use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::future::poll_fn;

use mirage_rt::page::Page;
use mirage_rt::runtime::spawn;
use mirage_rt::time::{Duration, sleep};
use mirage_rt::types::block::{BlockDevice, BlockError, Request};
use mirage_rt::{Error, println};
use mirage_xen::blkfront::Blkfront;

use crate::pattern;

/// Pages of the requests that write and read all of the disk, one after the other: up to 1 MiB.
const SIZES: [u64; 10] = [1, 32, 256, 11, 12, 2, 100, 1, 255, 64];
/// Tasks that write or read at the same time.
const TASKS: usize = 32;

async fn submit(device: &Blkfront, request: Request) -> (Result<(), BlockError>, Vec<Page>) {
    poll_fn(|context| device.poll_ready(context)).await;
    device.submit(request).await
}

fn pages(device: &Blkfront, count: u64) -> Result<Vec<Page>, Error> {
    let pool = device.pool();
    let pages: Vec<_> = (0..count).map_while(|_| Page::take(&pool)).collect();
    if pages.len() as u64 == count { Ok(pages) } else { Err(Error::message("the pool is too small")) }
}

/// Whether the disk can be written.
pub async fn info(device: &Rc<Blkfront>) -> mirage_rt::Result {
    let (result, pages) = submit(device, Request::read(0, pages(device, 1)?)).await;
    println!("first bytes {:?}, {result:?}", pages.first().map(|page| &page[..8]));
    let (result, _) = submit(device, Request::write(0, pages, false)).await;
    println!("written: {result:?}");
    Ok(())
}

/// Writes all of the disk, reads it back, and tries the rest.
pub async fn verify(device: &Rc<Blkfront>) -> mirage_rt::Result {
    all(device, true).await?;
    all(device, false).await?;
    println!("verified {} pages", total(device));
    let per_page = device.info().sectors_per_page();

    submit(device, Request::flush()).await.0?;
    let mut page = pages(device, 1)?;
    pattern::fill(&mut page[0], 0, 2);
    let (result, mut page) = submit(device, Request::write(0, page, true)).await;
    result?;
    page[0].fill(0);
    let (result, page) = submit(device, Request::read(0, page)).await;
    result?;
    if !pattern::is_filled(&page[0], 0, 2) {
        return Err(Error::message("what was written with fua is not there"));
    }
    println!("flushed");

    // A page that does not start where a page of the disk does.
    if per_page > 1 {
        let last = device.info().sectors - per_page - 1;
        let (result, page) = submit(device, Request::read(last, page)).await;
        result?;
        let (result, _) = submit(device, Request::write(last, page, false)).await;
        result?;
    }
    if let Some(discard) = device.info().discard {
        let count = u64::from(discard.granularity).max(64 * per_page);
        let (result, _) = submit(device, Request::discard(count, count)).await;
        let (read, page) = submit(device, Request::read(count, pages(device, 1)?)).await;
        read?;
        println!("discarded: {result:?}, zeros {}", page[0].iter().all(|byte| *byte == 0));
    }
    let (result, _) = submit(device, Request::erase(0, 8)).await;
    println!("erased: {result:?}");
    Ok(())
}

fn total(device: &Blkfront) -> u64 {
    device.info().sectors / device.info().sectors_per_page()
}

/// Writes or reads all pages of the disk, in requests of many sizes, in many tasks.
async fn all(device: &Rc<Blkfront>, write: bool) -> mirage_rt::Result {
    let next = Rc::new(Cell::new((0, 0)));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (device, next) = (Rc::clone(device), Rc::clone(&next));
            spawn(async move {
                loop {
                    let (first, turn): (u64, usize) = next.get();
                    let count = SIZES[turn % SIZES.len()].min(total(&device).saturating_sub(first));
                    if count == 0 {
                        return Ok(());
                    }
                    next.set((first + count, turn + 1));
                    let result =
                        if write { put(&device, first, count, 1).await } else { get(&device, first, count, 1).await };
                    result?;
                }
            })
        })
        .collect();
    for task in tasks {
        let result: mirage_rt::Result = task.await.map_err(|_| Error::message("a task was stopped"))?;
        result?;
    }
    Ok(())
}

async fn put(device: &Blkfront, first: u64, count: u64, round: u64) -> mirage_rt::Result {
    let mut pages = pages(device, count)?;
    (first..).zip(&mut pages).for_each(|(number, page)| pattern::fill(page, number, round));
    let sector = first * device.info().sectors_per_page();
    submit(device, Request::write(sector, pages, false)).await.0?;
    Ok(())
}

async fn get(device: &Blkfront, first: u64, count: u64, round: u64) -> mirage_rt::Result {
    let sector = first * device.info().sectors_per_page();
    let (result, pages) = submit(device, Request::read(sector, pages(device, count)?)).await;
    result?;
    for (number, page) in (first..).zip(&pages) {
        if !pattern::is_filled(page, number, round) {
            return Err(Error::message(format!("page {number} is not what round {round} wrote")));
        }
    }
    Ok(())
}

/// Writes and reads for ever, and prints what changes.
pub async fn follow(device: &Rc<Blkfront>) -> mirage_rt::Result {
    spawn(tell(Rc::clone(device)));
    let mut round = 1;
    loop {
        let result = rounds(device, round).await;
        match result {
            Ok(()) => round += 1,
            Err(BlockError::Detached) => sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(error.into()),
        }
        if round.is_multiple_of(16) {
            println!("round {round}");
        }
    }
}

async fn tell(device: Rc<Blkfront>) {
    let mut seen = 0;
    loop {
        poll_fn(|context| device.poll_changed(&mut seen, context)).await;
        let control = device.control();
        let (detached, connections) = (control.is_detached(), control.statistics().connections);
        println!("changed: {} sectors, detached {detached}, connection {connections}", device.info().sectors);
    }
}

/// Writes the first and the last pages of the disk, several requests at once, and reads them back.
async fn rounds(device: &Blkfront, round: u64) -> Result<(), BlockError> {
    const COUNT: u64 = 8;
    let per_page = device.info().sectors_per_page();
    let last = total(device) - 1;
    let places: Vec<u64> = (0..COUNT).map(|number| if number % 2 == 0 { number } else { last - number }).collect();
    let mut writes = Vec::new();
    for &place in &places {
        let mut pages = pages(device, 1).map_err(|_| BlockError::Memory)?;
        pattern::fill(&mut pages[0], place, round);
        writes.push(device.submit(Request::write(place * per_page, pages, false)));
    }
    for write in writes {
        write.await.0?;
    }
    submit(device, Request::flush()).await.0?;
    for &place in &places {
        let pages = pages(device, 1).map_err(|_| BlockError::Memory)?;
        let (result, pages) = submit(device, Request::read(place * per_page, pages)).await;
        result?;
        if !pattern::is_filled(&pages[0], place, round) {
            println!("page {place} is not what round {round} wrote");
            return Err(BlockError::Io);
        }
    }
    Ok(())
}
