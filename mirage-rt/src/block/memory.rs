//! A disk in memory, whose power can fail.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::task::{Context, Poll, Waker};

use crate::block::Block;
use crate::page::{HeapPool, Page, PagePool};
use crate::time::Duration;
use crate::types::block::{
    BlockDevice, BlockError, BlockInfo, Completion, Discard, Operation, Request, Wanted, WriteCache,
};

/// The most pages that users of the disk may hold at a time.
const PAGES: usize = 1024;

/// A disk in memory, for tests: its writes stay in a cache until they are flushed, and are lost or not when its power fails.
/// Cloning gives another handle to the same disk.
///
/// It is as bad as a disk may be: at a power failure every sector that was written since the last flush holds, by chance, any of
/// what was written to it since then or what was there before, independent of the others.
///
/// ```
/// use mirage_rt::block::MemoryDisk;
///
/// mirage_rt::testing::run(1, async {
///     let disk = MemoryDisk::new(64);
///     disk.block().write_bytes(0, &[1; 4096]).await?;
///     disk.block().flush().await?;
///     disk.block().write_bytes(8, &[2; 4096]).await?;
///     let after = disk.power_failure(7);
///     let mut content = [0; 4096];
///     after.block().read_bytes(0, &mut content).await?;
///     assert_eq!(content, [1; 4096]);
///     Ok::<(), mirage_rt::block::BlockError>(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryDisk {
    inner: Rc<Inner>,
}

struct Inner {
    pool: Rc<dyn PagePool>,
    state: RefCell<State>,
    delay: Cell<Duration>,
}

struct State {
    info: BlockInfo,
    /// What survives, sector by sector; zeros where nothing is.
    medium: BTreeMap<u64, Box<[u8]>>,
    /// What was written since the last flush, oldest first.
    cache: BTreeMap<u64, Vec<Version>>,
    /// Writes under way: a flush need not wait for them.
    unanswered: BTreeSet<u64>,
    requests: u64,
    /// After this many requests the power is off.
    power_until: u64,
    /// This many requests fail next, with this error.
    failing: (u64, BlockError),
    attached: bool,
    change: u64,
    waiting: Vec<Waker>,
}

/// What one request wrote to a sector.
struct Version {
    request: u64,
    data: Box<[u8]>,
}

impl MemoryDisk {
    /// A disk of `sectors` sectors of 512 bytes, with a cache, that knows everything but to erase. It reads as zeros.
    pub fn new(sectors: u64) -> MemoryDisk {
        let mut info = BlockInfo::new(512, sectors, false);
        info.cache = WriteCache::Flushed;
        info.discard = Some(Discard::new(1, 0));
        MemoryDisk::with_info(info)
    }

    /// A disk that is as `info` says. One without a cache keeps what was written in any case.
    pub fn with_info(info: BlockInfo) -> MemoryDisk {
        MemoryDisk::with_medium(info, BTreeMap::new())
    }

    fn with_medium(info: BlockInfo, medium: BTreeMap<u64, Box<[u8]>>) -> MemoryDisk {
        let state = State {
            info,
            medium,
            cache: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            requests: 0,
            power_until: u64::MAX,
            failing: (0, BlockError::Io),
            attached: true,
            change: 1,
            waiting: Vec::new(),
        };
        let pool = HeapPool::with_pages(PAGES);
        MemoryDisk { inner: Rc::new(Inner { pool, state: RefCell::new(state), delay: Cell::new(Duration::ZERO) }) }
    }

    /// What an application uses.
    pub fn block(&self) -> Block {
        Block::new(Rc::new(self.clone()))
    }

    /// From now on requests take `delay`. Those under way at the same time end in the order in which they began.
    pub fn set_delay(&self, delay: Duration) {
        self.inner.delay.set(delay);
    }

    /// Lets the next `count` requests fail with `error`, without doing anything.
    pub fn fail_next(&self, count: u64, error: BlockError) {
        self.inner.state.borrow_mut().failing = (count, error);
    }

    /// Has the power fail after `count` more requests: the one after them is under way at that moment, and it and all others
    /// are [`BlockError::Detached`]. [`power_failure`](Self::power_failure) gives the disk after it.
    pub fn cut_power_after(&self, count: u64) {
        let mut state = self.inner.state.borrow_mut();
        state.power_until = state.requests.saturating_add(count);
    }

    /// Switches the power off, if it is not off yet; the disk after it is on again. `seed` chooses what survives.
    pub fn power_failure(&self, seed: u64) -> MemoryDisk {
        let mut state = self.inner.state.borrow_mut();
        state.power_until = 0;
        let mut medium = state.medium.clone();
        let mut random = seed;
        for (sector, versions) in &state.cache {
            let choice = (next(&mut random) % (versions.len() as u64 + 1)) as usize;
            if let Some(version) = choice.checked_sub(1).and_then(|index| versions.get(index)) {
                medium.insert(*sector, version.data.clone());
            }
        }
        MemoryDisk::with_medium(state.info, medium)
    }

    /// Changes the number of sectors. What is beyond the end is lost.
    pub fn resize(&self, sectors: u64) {
        let mut state = self.inner.state.borrow_mut();
        state.info.sectors = sectors;
        state.medium.retain(|sector, _| *sector < sectors);
        state.cache.retain(|sector, _| *sector < sectors);
        state.changed();
    }

    /// Detaches the disk, as `xl block-detach` does, or attaches it again with what it held.
    pub fn set_attached(&self, attached: bool) {
        let mut state = self.inner.state.borrow_mut();
        state.attached = attached;
        state.changed();
    }

    /// How many requests were submitted so far.
    pub fn requests(&self) -> u64 {
        self.inner.state.borrow().requests
    }
}

impl State {
    fn changed(&mut self) {
        self.change += 1;
        self.waiting.drain(..).for_each(Waker::wake);
    }

    fn sector_size(&self) -> usize {
        self.info.sector_size as usize
    }

    /// Does `request`; its pages are filled or as they were.
    fn perform(&mut self, request: &mut Request) -> Result<(), BlockError> {
        let number = self.requests;
        self.requests += 1;
        if !self.attached {
            return Err(BlockError::Detached);
        }
        if let (Some(left), error) = (self.failing.0.checked_sub(1), self.failing.1) {
            self.failing.0 = left;
            return Err(error);
        }
        if number > self.power_until {
            return Err(BlockError::Detached);
        }
        let cut = number == self.power_until;
        if let Wanted::Device = request.check(&self.info)? {
            self.unanswered.insert(number);
            let durable = self.info.cache != WriteCache::Flushed && !cut;
            match request.operation {
                Operation::Read => self.read(request.sector, &mut request.pages),
                Operation::Write { fua } => self.write(number, request, durable || (fua && !cut)),
                Operation::Flush if !cut => self.flush(),
                Operation::Flush => {}
                Operation::Discard { count } | Operation::Erase { count } => {
                    let zeros: Box<[u8]> = vec![0; self.sector_size()].into();
                    for sector in request.sector..request.sector + count {
                        self.put(number, sector, zeros.clone(), durable);
                    }
                }
            }
        }
        if cut { Err(BlockError::Detached) } else { Ok(()) }
    }

    fn read(&self, first: u64, pages: &mut [Page]) {
        let size = self.sector_size();
        let parts = pages.iter_mut().flat_map(|page| page.chunks_exact_mut(size));
        for (sector, part) in (first..).zip(parts) {
            let cached = self.cache.get(&sector).and_then(|versions| versions.last()).map(|version| &version.data);
            match cached.or_else(|| self.medium.get(&sector)) {
                Some(data) => part.copy_from_slice(data),
                None => part.fill(0),
            }
        }
    }

    fn write(&mut self, number: u64, request: &Request, durable: bool) {
        let parts = request.pages.iter().flat_map(|page| page.chunks_exact(self.sector_size()));
        let parts: Vec<Box<[u8]>> = parts.map(Into::into).collect();
        for (sector, data) in (request.sector..).zip(parts) {
            self.put(number, sector, data, durable);
        }
    }

    fn put(&mut self, request: u64, sector: u64, data: Box<[u8]>, durable: bool) {
        if durable {
            self.cache.remove(&sector);
            self.medium.insert(sector, data);
        } else {
            self.cache.entry(sector).or_default().push(Version { request, data });
        }
    }

    /// Makes durable what was answered before.
    fn flush(&mut self) {
        let State { cache, medium, unanswered, .. } = self;
        cache.retain(|sector, versions| {
            if let Some(last) = versions.iter().rposition(|version| !unanswered.contains(&version.request)) {
                let later = versions.split_off(last + 1);
                if let Some(version) = versions.pop() {
                    medium.insert(*sector, version.data);
                }
                *versions = later;
            }
            !versions.is_empty()
        });
    }
}

impl BlockDevice for MemoryDisk {
    fn info(&self) -> BlockInfo {
        self.inner.state.borrow().info
    }

    fn pool(&self) -> Rc<dyn PagePool> {
        Rc::clone(&self.inner.pool)
    }

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn submit(&self, mut request: Request) -> Completion {
        let mut state = self.inner.state.borrow_mut();
        let number = state.requests;
        let result = state.perform(&mut request);
        let delay = self.inner.delay.get();
        if delay == Duration::ZERO {
            state.unanswered.remove(&number);
            return Completion::ready(result, request.pages);
        }
        drop(state);
        let (responder, completion) = Completion::new();
        let inner = Rc::clone(&self.inner);
        crate::spawn(async move {
            crate::sleep(delay).await;
            inner.state.borrow_mut().unanswered.remove(&number);
            responder.respond(result, request.pages);
        });
        completion
    }

    fn poll_changed(&self, seen: &mut u64, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.inner.state.borrow_mut();
        if *seen != state.change {
            *seen = state.change;
            return Poll::Ready(());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            state.waiting.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// SplitMix64: good enough for tests, and the same on every run.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
