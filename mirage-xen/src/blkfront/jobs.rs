//! What the users of a disk asked for and were not answered yet, and the order in which its parts go to the backend.
//!
//! A [`Job`] is a user's request. It is done in one or more [`Piece`]s, each of which is a request on the ring. Pieces that
//! wait are in one queue, whether they are new or have to be repeated with another backend.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::task::{Context, Waker};

use mirage_rt::page::Page;
use mirage_rt::types::block::{BlockError, Completion, Operation, Request, Responder};

use super::wire::SECTOR;
use crate::hypervisor::PAGE_SIZE;

/// Sectors of the ring in a page.
const PAGE_SECTORS: u64 = PAGE_SIZE as u64 / SECTOR as u64;

/// How the backend makes data durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flushing {
    /// It has no cache.
    Needless,
    /// By a flush; by a barrier if it turns out not to know flushes.
    Flush {
        /// Whether it offers barriers as well.
        or_barrier: bool,
    },
    /// By a barrier without data, before which all writes are done.
    Barrier,
    /// It said it could and then that it can't.
    Refused,
}

pub(super) struct Job {
    pub(super) operation: Operation,
    /// The first sector and, of discards, the number of them, as the ring counts.
    sector: u64,
    pub(super) count: u64,
    /// `None` is a page that the backend has, or would not give back.
    pub(super) pages: Vec<Option<Page>>,
    responder: Responder,
    /// Pieces that are not done.
    open: u32,
    result: Result<(), BlockError>,
    /// The data of a write with `fua` is on its way from the cache.
    pub(super) flushing: bool,
}

impl Job {
    /// Where the page with number `page` belongs on the disk, as the ring counts.
    pub(super) fn sector_of(&self, page: u32) -> u64 {
        self.sector + u64::from(page) * PAGE_SECTORS
    }
}

/// Some pages of a job, or all of one that has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) job: u32,
    pub(super) first: u32,
    pub(super) count: u32,
}

pub(super) struct Jobs {
    jobs: Vec<Option<Job>>,
    free: Vec<u32>,
    waiting: VecDeque<Piece>,
    most: usize,
    /// Who waits for room.
    wakers: Vec<Waker>,
    pub(super) flush: Flushing,
}

impl Jobs {
    pub(super) fn new(most: usize) -> Self {
        Self {
            jobs: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            most,
            wakers: Vec::new(),
            flush: Flushing::Needless,
        }
    }

    /// Jobs that are not answered.
    pub(super) fn open(&self) -> usize {
        self.jobs.len() - self.free.len()
    }

    pub(super) fn has_room(&self) -> bool {
        self.open() < self.most
    }

    /// Wakes the task when there is room.
    pub(super) fn wait(&mut self, context: &Context<'_>) {
        remember(&mut self.wakers, context);
    }

    pub(super) fn wake_all(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    /// Takes a request that was checked, of a disk whose sectors are `scale` sectors of the ring each.
    pub(super) fn add(&mut self, request: Request, scale: u64) -> Completion {
        let (responder, completion) = Completion::new();
        let count = match request.operation {
            Operation::Discard { count } | Operation::Erase { count } => count * scale,
            _ => 0,
        };
        let pages: Vec<_> = request.pages.into_iter().map(Some).collect();
        let moves = matches!(request.operation, Operation::Read | Operation::Write { .. });
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.jobs.push(None);
                self.jobs.len() as u32 - 1
            }
        };
        // The number of pages fits: a disk of 2^32 pages is filled by no memory we run in.
        self.waiting.push_back(Piece { job: number, first: 0, count: if moves { pages.len() as u32 } else { 0 } });
        self.jobs[number as usize] = Some(Job {
            operation: request.operation,
            sector: request.sector * scale,
            count,
            pages,
            responder,
            open: 1,
            result: Ok(()),
            flushing: false,
        });
        completion
    }

    /// The next piece to be given to the backend, and its job.
    pub(super) fn next(&mut self) -> Option<(Piece, &mut Job)> {
        let piece = *self.waiting.front()?;
        let job = self.jobs.get_mut(piece.job as usize)?.as_mut()?;
        Some((piece, job))
    }

    /// The first `taken` pages of the next piece, or all of one that has none, were given to the backend.
    pub(super) fn taken(&mut self, taken: u32) {
        let Some(piece) = self.waiting.front_mut() else { return };
        if taken < piece.count {
            piece.first += taken;
            piece.count -= taken;
            if let Some(Some(job)) = self.jobs.get_mut(piece.job as usize) {
                job.open += 1;
            }
        } else {
            self.waiting.pop_front();
        }
    }

    /// The next piece can't be done.
    pub(super) fn refuse(&mut self, error: BlockError) {
        if let Some(piece) = self.waiting.pop_front() {
            self.finish(piece, Err(error));
        }
    }

    /// Puts a piece before all others, to be done again.
    pub(super) fn again(&mut self, piece: Piece) {
        self.waiting.push_front(piece);
    }

    /// Whether the piece is of a job that erases.
    pub(super) fn is_erase(&self, piece: Piece) -> bool {
        let job = self.jobs.get(piece.job as usize).and_then(Option::as_ref);
        job.is_some_and(|job| matches!(job.operation, Operation::Erase { .. }))
    }

    /// A page of a job that the backend has let go of.
    pub(super) fn give_back(&mut self, job: u32, number: u32, page: Page) {
        if let Some(Some(job)) = self.jobs.get_mut(job as usize)
            && let Some(place) = job.pages.get_mut(number as usize)
        {
            *place = Some(page);
        }
    }

    /// A piece is done. With the last one, the job is answered, or its data is flushed first.
    pub(super) fn finish(&mut self, piece: Piece, result: Result<(), BlockError>) {
        let Some(place) = self.jobs.get_mut(piece.job as usize) else { return };
        let Some(job) = place else { return };
        job.result = job.result.and(result);
        job.open -= 1;
        if job.open > 0 {
            return;
        }
        if let (Operation::Write { fua: true }, Ok(()), false) = (job.operation, job.result, job.flushing) {
            match self.flush {
                Flushing::Needless => {}
                Flushing::Refused => job.result = Err(BlockError::Unsupported),
                Flushing::Flush { .. } | Flushing::Barrier => {
                    (job.flushing, job.open) = (true, 1);
                    self.waiting.push_front(Piece { job: piece.job, first: 0, count: 0 });
                    return;
                }
            }
        }
        if let Some(job) = place.take() {
            self.free.push(piece.job);
            job.responder.respond(job.result, job.pages.into_iter().flatten().collect());
        }
        if !self.wakers.is_empty() {
            self.wake_all();
        }
    }

    /// Ends all that waits with an error.
    pub(super) fn fail_waiting(&mut self, error: BlockError) {
        while !self.waiting.is_empty() {
            self.refuse(error);
        }
    }
}

/// Adds a task to those to be woken, once.
pub(super) fn remember(wakers: &mut Vec<Waker>, context: &Context<'_>) {
    if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
        wakers.push(context.waker().clone());
    }
}
