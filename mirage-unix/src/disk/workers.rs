//! The threads of a disk.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use mirage_rt::page::PageBytes;
use rustix::io::Errno;

use super::file::File;

/// The most threads of a disk. The host's page cache answers most requests at once; more threads would only help disks
/// with deep queues.
const THREADS: usize = 4;

/// One request for the threads.
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) work: Work,
    pub(super) pages: Vec<&'static mut PageBytes>,
}

pub(super) enum Work {
    Read { offset: u64 },
    Write { offset: u64, durable: bool },
    Flush,
    Discard { offset: u64, length: u64 },
}

/// One that was done.
pub(super) struct Finished {
    pub(super) number: u64,
    pub(super) result: Result<(), Errno>,
    pub(super) pages: Vec<&'static mut PageBytes>,
}

pub(super) struct Workers {
    shared: Arc<Shared>,
}

struct Shared {
    file: File,
    jobs: Mutex<Jobs>,
    more: Condvar,
    finished: Mutex<Outbox>,
}

#[derive(Default)]
struct Jobs {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

#[derive(Default)]
struct Outbox {
    finished: Vec<Finished>,
    waker: Option<Waker>,
}

/// Nothing here panics while it holds a lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers {
    /// Starts the first thread.
    pub(super) fn start(file: File) -> io::Result<Workers> {
        let shared = Shared { file, jobs: Mutex::default(), more: Condvar::new(), finished: Mutex::default() };
        let workers = Workers { shared: Arc::new(shared) };
        workers.add(&mut lock(&workers.shared.jobs))?;
        Ok(workers)
    }

    pub(super) fn file(&self) -> &File {
        &self.shared.file
    }

    pub(super) fn push(&self, job: Job) {
        let mut jobs = lock(&self.shared.jobs);
        jobs.queue.push_back(job);
        if jobs.queue.len() > jobs.idle && jobs.threads < THREADS {
            // Where there is no further thread, those that are there do it.
            let _ = self.add(&mut jobs);
        }
        drop(jobs);
        self.shared.more.notify_one();
    }

    fn add(&self, jobs: &mut Jobs) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        thread::Builder::new().name("disk".into()).spawn(move || shared.work())?;
        jobs.threads += 1;
        Ok(())
    }

    /// What was done since the last call. When there is nothing, the waker is woken for the next.
    pub(super) fn poll_finished(&self, context: &mut Context<'_>) -> Poll<Vec<Finished>> {
        let mut outbox = lock(&self.shared.finished);
        if outbox.finished.is_empty() {
            outbox.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(&mut outbox.finished))
    }

    /// Has the threads end when the queue is empty, and wakes whoever waits for what they have done.
    pub(super) fn close(&self) {
        lock(&self.shared.jobs).closed = true;
        self.shared.more.notify_all();
        let waker = lock(&self.shared.finished).waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn work(&self) {
        while let Some(job) = self.next() {
            let Job { number, work, mut pages } = job;
            let result = match work {
                Work::Read { offset } => self.file.read(offset, &mut pages),
                Work::Write { offset, durable } => self.file.write(offset, &pages, durable),
                Work::Flush => self.file.flush(),
                Work::Discard { offset, length } => self.file.discard(offset, length),
            };
            let waker = {
                let mut outbox = lock(&self.finished);
                outbox.finished.push(Finished { number, result, pages });
                outbox.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// The next job; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let mut jobs = lock(&self.jobs);
        loop {
            if let Some(job) = jobs.queue.pop_front() {
                return Some(job);
            }
            if jobs.closed {
                return None;
            }
            jobs.idle += 1;
            jobs = self.more.wait(jobs).unwrap_or_else(PoisonError::into_inner);
            jobs.idle -= 1;
        }
    }
}
