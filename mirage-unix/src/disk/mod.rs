//! A disk that is a file, or a block device of the host.
//!
//! Files can't be read without blocking, so a few threads do what is asked of them, and the runtime's own thread only hands
//! requests on and answers on return ([`workers`]). Nothing is mapped, and the host's page cache is used: a flush is
//! `fdatasync`, a discard punches a hole.

mod error;
mod file;
mod workers;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use mirage_rt::log::{error, warn};
use mirage_rt::page::{HeapPool, Page, PagePool};
use mirage_rt::types::block::{BlockDevice, BlockError, BlockInfo, Completion, Operation, Request, Responder, Wanted};
use rustix::io::Errno;

pub use error::DiskError;

use workers::{Finished, Job, Work, Workers};

/// Requests under way at a time; more wait.
const DEPTH: usize = 64;

/// Pages for a disk's requests: 4 MiB. They are made when they are first needed.
const PAGES: usize = 1024;

/// A disk on a file or block device of the host. Dropping it ends its threads when what is under way is done.
pub struct Disk {
    inner: Rc<Inner>,
}

struct Inner {
    path: String,
    workers: Workers,
    pool: Rc<dyn PagePool>,
    info: Cell<BlockInfo>,
    under_way: RefCell<HashMap<u64, UnderWay>>,
    next: Cell<u64>,
    change: Cell<u64>,
    /// Who waits for room, and for a change.
    room: Waiting,
    changes: Waiting,
    closed: Cell<bool>,
}

/// A request that threads have.
struct UnderWay {
    responder: Responder,
    /// Where each of its pages belongs.
    pools: Vec<Rc<dyn PagePool>>,
}

/// Tasks that wait for the same thing.
#[derive(Default)]
struct Waiting(RefCell<Vec<Waker>>);

impl Waiting {
    fn add(&self, waker: &Waker) {
        let mut wakers = self.0.borrow_mut();
        if !wakers.iter().any(|other| other.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    fn wake(&self) {
        let wakers = self.0.take();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Disk {
    /// Opens the disk at `path`, which must be there. It is read-only where the file can't be written. Until it is closed no
    /// other process that asks for the same lock (`flock`) can use it: another Mirage program, `cargo run` for Xen, or
    /// QEMU's tools.
    ///
    /// # Errors
    ///
    /// [`DiskError`], which says what to do.
    ///
    /// # Panics
    ///
    /// Outside of a running [`Runtime`](mirage_rt::Runtime), which looks after the disk from then on.
    pub fn open(path: &str) -> Result<Disk, DiskError> {
        let (file, info) = file::open(path)?;
        let odd = file.size().unwrap_or(0) % u64::from(info.sector_size);
        if odd != 0 {
            warn!("{path}: the last {odd} bytes are not used, as they are no whole sector");
        }
        let inner = Rc::new(Inner {
            path: path.to_owned(),
            workers: Workers::start(file).map_err(DiskError::Thread)?,
            pool: HeapPool::with_pages(PAGES),
            info: Cell::new(info),
            under_way: RefCell::default(),
            next: Cell::new(0),
            change: Cell::new(1),
            room: Waiting::default(),
            changes: Waiting::default(),
            closed: Cell::new(false),
        });
        let task = Rc::clone(&inner);
        mirage_rt::spawn(async move {
            while let Some(finished) = poll_fn(|context| task.poll_finished(context)).await {
                finished.into_iter().for_each(|finished| task.answer(finished));
                task.room.wake();
            }
        });
        Ok(Disk { inner })
    }
}

impl Inner {
    /// What has been done; `None` when nothing is under way and nothing will be.
    fn poll_finished(&self, context: &mut Context<'_>) -> Poll<Option<Vec<Finished>>> {
        match self.workers.poll_finished(context) {
            Poll::Pending if self.closed.get() && self.under_way.borrow().is_empty() => Poll::Ready(None),
            other => other.map(Some),
        }
    }

    fn answer(&self, finished: Finished) {
        let Some(UnderWay { responder, pools }) = self.under_way.borrow_mut().remove(&finished.number) else { return };
        let pages =
            finished.pages.into_iter().zip(pools).map(|(memory, pool)| Page::from_parts(memory, pool)).collect();
        let result = finished.result.map_err(|errno| match errno {
            // It has become smaller.
            file::END => BlockError::OutOfRange,
            Errno::OPNOTSUPP | Errno::NOSYS => BlockError::Unsupported,
            errno => {
                error!("{}: {}", self.path, crate::platform::host_error(errno));
                BlockError::Io
            }
        });
        responder.respond(result, pages);
    }

    /// Looks whether the size is another one now.
    fn look(&self) {
        let mut info = self.info.get();
        let Ok(bytes) = self.workers.file().size() else { return };
        let sectors = bytes / u64::from(info.sector_size);
        if sectors != info.sectors {
            info.sectors = sectors;
            self.info.set(info);
            self.change.set(self.change.get() + 1);
            self.changes.wake();
        }
    }
}

/// What threads have to do for a request, but for its pages.
fn work(request: &Request, sector_size: u32) -> Work {
    // Both fit, as the range is on the device.
    let bytes = |sectors: u64| sectors * u64::from(sector_size);
    let offset = bytes(request.sector);
    match request.operation {
        Operation::Read => Work::Read { offset },
        Operation::Write { fua } => Work::Write { offset, durable: fua },
        Operation::Flush => Work::Flush,
        Operation::Discard { count } | Operation::Erase { count } => Work::Discard { offset, length: bytes(count) },
    }
}

impl BlockDevice for Disk {
    fn info(&self) -> BlockInfo {
        self.inner.info.get()
    }

    fn pool(&self) -> Rc<dyn PagePool> {
        Rc::clone(&self.inner.pool)
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.inner.under_way.borrow().len() < DEPTH {
            return Poll::Ready(());
        }
        self.inner.room.add(context.waker());
        Poll::Pending
    }

    fn submit(&self, request: Request) -> Completion {
        let inner = &self.inner;
        inner.look();
        let info = inner.info.get();
        let refused = match request.check(&info) {
            Ok(Wanted::Nothing) => Some(Ok(())),
            Ok(Wanted::Device) if inner.under_way.borrow().len() >= DEPTH => Some(Err(BlockError::Full)),
            Ok(Wanted::Device) => None,
            Err(error) => Some(Err(error)),
        };
        if let Some(result) = refused {
            return Completion::ready(result, request.pages);
        }
        let work = work(&request, info.sector_size);
        let (pages, pools) = request.pages.into_iter().map(Page::into_parts).unzip();
        let number = inner.next.replace(inner.next.get() + 1);
        let (responder, completion) = Completion::new();
        inner.under_way.borrow_mut().insert(number, UnderWay { responder, pools });
        inner.workers.push(Job { number, work, pages });
        completion
    }

    fn poll_changed(&self, seen: &mut u64, context: &mut Context<'_>) -> Poll<()> {
        self.inner.look();
        if *seen != self.inner.change.get() {
            *seen = self.inner.change.get();
            return Poll::Ready(());
        }
        self.inner.changes.add(context.waker());
        Poll::Pending
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.inner.closed.set(true);
        self.inner.workers.close();
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "disk {}", self.inner.path)
    }
}

#[cfg(test)]
mod tests;
