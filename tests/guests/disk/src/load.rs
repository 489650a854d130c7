//! A load for measurements: a number of requests always under way.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::future::poll_fn;

use mirage_rt::page::Page;
use mirage_rt::runtime::{now, spawn};
use mirage_rt::time::{Duration, Instant};
use mirage_rt::types::block::{BlockDevice, BlockError, Request};
use mirage_rt::{Error, println};
use mirage_xen::blkfront::Blkfront;

/// What to do.
#[derive(Clone, Copy)]
pub struct Load {
    random: bool,
    write: bool,
    pages: usize,
    depth: u32,
    seconds: u32,
}

impl Load {
    /// `operation` is read, write, randread or randwrite.
    pub fn new(operation: &str, bytes: u32, depth: u32, seconds: u32) -> Option<Self> {
        let (random, rest) = match operation.strip_prefix("rand") {
            Some(rest) => (true, rest),
            None => (false, operation),
        };
        let write = match rest {
            "read" => false,
            "write" => true,
            _ => return None,
        };
        let pages = bytes as usize / 4096;
        (pages > 0 && depth > 0).then_some(Self { random, write, pages, depth, seconds })
    }
}

/// What the tasks share.
struct Shared {
    device: Rc<Blkfront>,
    load: Load,
    end: Instant,
    state: Cell<u64>,
    next: Cell<u64>,
    done: Cell<u64>,
}

/// Runs the load and prints how many requests there were.
pub async fn run(device: &Rc<Blkfront>, load: Load) -> mirage_rt::Result {
    println!("load starts");
    let started = now();
    let shared = Rc::new(Shared {
        device: Rc::clone(device),
        load,
        end: started + Duration::from_secs(load.seconds.into()),
        state: Cell::new(0x9E37_79B9_7F4A_7C15),
        next: Cell::new(0),
        done: Cell::new(0),
    });
    let tasks: Vec<_> = (0..load.depth).map(|_| spawn(worker(Rc::clone(&shared)))).collect();
    for task in tasks {
        task.await.map_err(|_| Error::message("a task was stopped"))??;
    }
    let nanoseconds = (now() - started).as_nanos() as u64;
    println!("operations {} nanoseconds {nanoseconds} errors 0", shared.done.get());
    Ok(())
}

async fn worker(shared: Rc<Shared>) -> Result<(), BlockError> {
    let (device, load) = (&shared.device, shared.load);
    let info = device.info();
    let per_request = load.pages as u64 * info.sectors_per_page();
    let places = (info.sectors / per_request).max(1);
    let pool = device.pool();
    let mut pages: Vec<Page> = (0..load.pages).map_while(|_| Page::take(&pool)).collect();
    if pages.len() < load.pages {
        return Err(BlockError::Memory);
    }
    while now() < shared.end {
        let sector = shared.place() % places * per_request;
        poll_fn(|context| device.poll_ready(context)).await;
        let request = if load.write { Request::write(sector, pages, false) } else { Request::read(sector, pages) };
        let (result, back) = device.submit(request).await;
        result?;
        pages = back;
        shared.done.set(shared.done.get() + 1);
    }
    Ok(())
}

impl Shared {
    /// Where the next request goes: xorshift64*, or one after the other.
    fn place(&self) -> u64 {
        if !self.load.random {
            return self.next.replace(self.next.get() + 1);
        }
        let mut state = self.state.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.state.set(state);
        state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }
}
