//! Requests under way: the ring, what each of its requests has lent to the backend, and the check of what comes back.
//!
//! A page of a job is lent for the time of its request and comes back when its grant has ended. So the backend moves the
//! data itself, and nothing is copied here. With persistent grants (see [`Options`](super::Options)) it sees only pages of
//! our own, which stay lent from one request to the next, and the data is copied between them and the job's.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;

use mirage_rt::page::{Page, PagePool};
use mirage_rt::types::block::{BlockError, Operation};

use super::jobs::{Flushing, Job, Jobs, Piece};
use super::wire::{Blkif, DIRECT_SEGMENTS, INDIRECT_SEGMENTS, Request, Segment, operation, status};
use super::{Broken, Statistics};
use crate::grants::{Access, Grant, GrantError, Grants, ReadGrant, Reference};
use crate::hypervisor::{DomainId, PAGE_SIZE};
use crate::ring::FrontRing;
use crate::shared::SharedPage;
use crate::warning::warn;

/// Pages of our own that a backend keeps mapped, at most: as many as Linux's does.
const MOST_BOUNCE: usize = 1056;

/// What a connection is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) backend: DomainId,
    /// The device's number, as requests carry it.
    pub(super) handle: u16,
    /// Pages of a request, at most.
    pub(super) segments: usize,
    pub(super) persistent: bool,
}

pub(super) struct Flight {
    ring: FrontRing<Blkif, Vec<Grant>>,
    /// By request id.
    slots: Box<[Slot]>,
    free: Vec<u16>,
    spare: Vec<Reference>,
    /// Pages of our own that the backend may keep mapped; the latest used is the next one.
    bounce: Vec<Grant>,
    /// How many more of them may be made.
    bounce_left: usize,
    pool: Rc<dyn PagePool>,
    grants: Grants,
    terms: Terms,
    /// Requests ever written.
    issued: u64,
}

#[derive(Default)]
struct Slot {
    under_way: Option<UnderWay>,
    lent: Vec<Lent>,
    /// The page of segments, once there was an indirect request in this slot.
    segments: Option<Grant>,
}

#[derive(Clone, Copy)]
struct UnderWay {
    piece: Piece,
    /// What was asked for; of an indirect request, the operation inside.
    asked: u8,
    indirect: bool,
    order: u64,
}

/// A page of a job that is with the backend.
enum Lent {
    /// To be written by the backend.
    Read(Grant),
    /// To be read by it.
    Write(ReadGrant<Page>),
    /// Not itself: its data goes through a page of our own.
    Copied { bounce: Grant, page: Page, read: bool },
}

impl Lent {
    /// The reference that the backend is told.
    fn number(&self) -> u32 {
        match self {
            Self::Read(grant) => grant.number(),
            Self::Write(grant) => grant.number(),
            Self::Copied { bounce, .. } => bounce.number(),
        }
    }
}

/// Why a piece was not written into the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotNow {
    /// Until a request comes back.
    Full,
    /// Never.
    Memory,
}

/// An operation that the backend does not know after all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    Flush,
    Discard,
    Erase,
}

impl Flight {
    pub(super) fn new(
        ring: FrontRing<Blkif, Vec<Grant>>,
        grants: &Grants,
        pool: &Rc<dyn PagePool>,
        terms: Terms,
    ) -> Self {
        let size = ring.size() as u16;
        Self {
            ring,
            slots: (0..size).map(|_| Slot::default()).collect(),
            free: (0..size).rev().collect(),
            spare: Vec::new(),
            bounce: Vec::new(),
            // The other half is for those who use the disk.
            bounce_left: (pool.available() / 2).min(MOST_BOUNCE),
            pool: Rc::clone(pool),
            grants: grants.clone(),
            terms,
            issued: 0,
        }
    }

    /// Whether data goes through pages that stay granted; to be said before there is any.
    pub(super) fn persist(&mut self, persistent: bool) {
        self.terms.persistent = persistent;
    }

    /// The references the ring is granted by.
    pub(super) fn ring_references(&self) -> impl Iterator<Item = u32> {
        self.ring.memory().iter().map(Grant::number)
    }

    /// Requests that were not answered.
    pub(super) fn under_way(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Writes a request for the next piece, or the first part of it; of how many pages.
    pub(super) fn issue(&mut self, piece: Piece, job: &mut Job, flush: Flushing) -> Result<u32, NotNow> {
        let Some(id) = self.free.pop() else { return Err(NotNow::Full) };
        let device = self.terms.handle;
        let (request, asked, count) = match (job.operation, job.flushing) {
            (Operation::Flush, _) | (_, true) => {
                let code = if flush == Flushing::Barrier { operation::BARRIER } else { operation::FLUSH };
                (Request::direct(code, device, id.into(), 0), code, 0)
            }
            (Operation::Discard { .. } | Operation::Erase { .. }, _) => {
                let secure = matches!(job.operation, Operation::Erase { .. });
                let request = Request::discard(secure, device, id.into(), job.sector_of(0), job.count);
                (request, operation::DISCARD, 0)
            }
            (Operation::Read | Operation::Write { .. }, _) => {
                let asked = if job.operation == Operation::Read { operation::READ } else { operation::WRITE };
                match self.transfer(id, asked, piece, job) {
                    Ok((request, count)) => (request, asked, count),
                    Err(error) => {
                        self.free.push(id);
                        return Err(error);
                    }
                }
            }
        };
        // There is a slot in the ring for every id.
        self.ring.push(&request);
        let indirect = request.operation() == operation::INDIRECT;
        let order = self.issued;
        self.slots[usize::from(id)].under_way =
            Some(UnderWay { piece: Piece { count, ..piece }, asked, indirect, order });
        self.issued += 1;
        Ok(count)
    }

    /// Lends as many pages of the piece as go in one request.
    fn transfer(&mut self, id: u16, asked: u8, piece: Piece, job: &mut Job) -> Result<(Request, u32), NotNow> {
        let device = self.terms.handle;
        let wanted = (piece.count as usize).min(self.terms.segments);
        let indirect = wanted > DIRECT_SEGMENTS && self.has_segment_page(id);
        let wanted = if indirect { wanted } else { wanted.min(DIRECT_SEGMENTS) };
        let mut request = Request::direct(asked, device, id.into(), job.sector_of(piece.first));
        let mut lent = core::mem::take(&mut self.slots[usize::from(id)].lent);
        let mut refused = NotNow::Memory;
        for number in 0..wanted {
            let Some(place) = job.pages.get_mut(piece.first as usize + number) else { break };
            let Some(page) = place.take() else { break };
            match self.lend(page, asked) {
                Ok(page) => {
                    let segment = Segment::page(page.number());
                    lent.push(page);
                    if !indirect {
                        request.push(segment);
                    } else if let Some(page) = &self.slots[usize::from(id)].segments {
                        page.bytes().write_words(number * Segment::SIZE, &segment.emit());
                    }
                }
                Err((error, page)) => {
                    *place = Some(page);
                    refused = error;
                    break;
                }
            }
        }
        let count = lent.len();
        let slot = &mut self.slots[usize::from(id)];
        slot.lent = lent;
        if count == 0 {
            return Err(refused);
        }
        if let Some(page) = slot.segments.as_ref().filter(|_| indirect) {
            // Both numbers fit: there are at most 512 segments.
            request =
                Request::indirect(asked, device, id.into(), job.sector_of(piece.first), count as u16, page.number());
        }
        Ok((request, count as u32))
    }

    /// Whether the slot has a page for segments, or got one.
    fn has_segment_page(&mut self, id: u16) -> bool {
        if self.slots[usize::from(id)].segments.is_none() {
            let access = if self.terms.persistent { Access::ReadWrite } else { Access::ReadOnly };
            let Some(page) = Page::take(&self.pool) else { return false };
            let page = SharedPage::from(page);
            // The backend sees all of it.
            page.bytes().clear();
            self.slots[usize::from(id)].segments = self.grants.share(page, self.terms.backend, access).ok();
        }
        self.slots[usize::from(id)].segments.is_some()
    }

    fn lend(&mut self, page: Page, asked: u8) -> Result<Lent, (NotNow, Page)> {
        let read = asked == operation::READ;
        if self.terms.persistent {
            return match self.bounce_page() {
                Ok(bounce) => {
                    if !read {
                        bounce.bytes().copy_page_in(&page);
                    }
                    Ok(Lent::Copied { bounce, page, read })
                }
                Err(error) => Err((error, page)),
            };
        }
        let reference = match self.spare.pop().map_or_else(|| self.grants.reference(), Ok) {
            Ok(reference) => reference,
            Err(error) => return Err((self.not_now(error), page)),
        };
        let backend = self.terms.backend;
        let (error, reference, page) = if read {
            match reference.lend(page.into(), backend, Access::ReadWrite) {
                Ok(grant) => return Ok(Lent::Read(grant)),
                Err((error, reference, page)) => (error, reference, page.into_page()),
            }
        } else {
            match reference.lend_read_only(page, |page| page, backend) {
                Ok(grant) => return Ok(Lent::Write(grant)),
                Err(parts) => parts,
            }
        };
        self.spare.push(reference);
        Err((self.not_now(error), page))
    }

    /// A page of our own that the backend may have mapped already.
    fn bounce_page(&mut self) -> Result<Grant, NotNow> {
        if let Some(grant) = self.bounce.pop() {
            return Ok(grant);
        }
        let page = if self.bounce_left > 0 { Page::take(&self.pool) } else { None };
        let Some(page) = page else {
            return Err(if self.under_way() > 1 { NotNow::Full } else { NotNow::Memory });
        };
        let page = SharedPage::from(page);
        page.bytes().clear();
        match self.grants.share(page, self.terms.backend, Access::ReadWrite) {
            Ok(grant) => {
                self.bounce_left -= 1;
                Ok(grant)
            }
            Err((error, _page)) => Err(self.not_now(error)),
        }
    }

    /// What a page that could not be lent means for its piece.
    fn not_now(&self, error: GrantError) -> NotNow {
        // The id of the piece itself is taken already.
        if error != GrantError::NotGrantable && self.under_way() > 1 {
            return NotNow::Full;
        }
        warn(format_args!("blkfront: a request is not done: {error}"));
        NotNow::Memory
    }

    /// Shows the backend what was written; whether to notify it.
    pub(super) fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// Asks for an event after `distance` more responses; whether there are some already.
    pub(super) fn listen(&mut self, distance: u32) -> Result<bool, Broken> {
        Ok(self.ring.listen(distance).map_err(Broken::Producer)? > 0)
    }

    /// Takes the responses that are there. What the backend turned out not to know.
    pub(super) fn reap(&mut self, jobs: &mut Jobs, statistics: &mut Statistics) -> Result<Option<Refused>, Broken> {
        let mut refused = None;
        while self.ring.available().map_err(Broken::Producer)? > 0 {
            let Some(response) = self.ring.take() else { break };
            statistics.responses += 1;
            let size = self.slots.len() as u64;
            let id = response.map(|response| response.id);
            let Some(slot) = id.below(size).and_then(|id| self.slots.get_mut(id as usize)) else {
                return Err(Broken::Id { id: id.for_any_value() });
            };
            let id = id.for_any_value();
            let Some(UnderWay { piece, asked, indirect, .. }) = slot.under_way else {
                return Err(Broken::NotUnderWay { id });
            };
            let said = response.map(|response| response.operation).for_any_value();
            if said != asked && !(indirect && said == operation::INDIRECT) {
                return Err(Broken::Operation { said, asked });
            }
            let status = response.map(|response| response.status).for_any_value();
            let result = match status {
                status::OKAY => Ok(()),
                status::ERROR => Err(BlockError::Io),
                status::UNSUPPORTED => Err(BlockError::Unsupported),
                _ => return Err(Broken::Status { status }),
            };
            slot.under_way = None;
            let bytes = u64::from(piece.count) * PAGE_SIZE as u64;
            match (asked, result.is_ok()) {
                (operation::READ, true) => statistics.read_bytes += bytes,
                (operation::WRITE, true) => statistics.written_bytes += bytes,
                _ => {}
            }
            statistics.errors += u64::from(result.is_err());
            let intact = self.take_back(id as u16, piece, jobs, result.is_ok());
            self.free.push(id as u16);
            if !intact {
                jobs.finish(piece, Err(BlockError::Broken));
                return Err(Broken::InUse);
            }
            if status == status::UNSUPPORTED {
                refused = refused.or(self.refused(asked, piece, jobs));
                if asked == operation::FLUSH && jobs.flush == Flushing::Barrier {
                    jobs.again(piece);
                    continue;
                }
            }
            jobs.finish(piece, result);
        }
        Ok(refused)
    }

    /// Notes that the backend does not know an operation it offered.
    fn refused(&self, asked: u8, piece: Piece, jobs: &mut Jobs) -> Option<Refused> {
        match (asked, jobs.flush) {
            (operation::FLUSH, Flushing::Flush { or_barrier: true } | Flushing::Barrier) => {
                jobs.flush = Flushing::Barrier;
                None
            }
            (operation::FLUSH | operation::BARRIER, _) => {
                jobs.flush = Flushing::Refused;
                Some(Refused::Flush)
            }
            (operation::DISCARD, _) if jobs.is_erase(piece) => Some(Refused::Erase),
            (operation::DISCARD, _) => Some(Refused::Discard),
            _ => None,
        }
    }

    /// Ends what a request has lent, and gives the pages back to its job; whether that was possible for all.
    fn take_back(&mut self, id: u16, piece: Piece, jobs: &mut Jobs, done: bool) -> bool {
        let Some(slot) = self.slots.get_mut(usize::from(id)) else { return true };
        let mut intact = true;
        for (number, lent) in slot.lent.drain(..).enumerate() {
            let page = match lent {
                Lent::Read(grant) => grant.end().map(|(reference, page)| (Some(reference), page.into_page())),
                Lent::Write(grant) => grant.end().map(|(reference, page)| (Some(reference), page)),
                Lent::Copied { bounce, mut page, read } => {
                    if read && done {
                        bounce.bytes().copy_page_out(&mut page);
                    }
                    self.bounce.push(bounce);
                    Ok((None, page))
                }
            };
            match page {
                Ok((reference, page)) => {
                    self.spare.extend(reference);
                    jobs.give_back(piece.job, piece.first + number as u32, page);
                }
                Err(_) => intact = false,
            }
        }
        intact
    }

    /// Ends the connection, of which the backend has let go: what it had not answered waits again, in the order in which
    /// it was given to it; how many requests that were.
    pub(super) fn abandon(mut self, jobs: &mut Jobs) -> u64 {
        let mut unanswered: Vec<(u64, u16, Piece)> = (0..)
            .zip(&self.slots)
            .filter_map(|(id, slot)| slot.under_way.map(|under_way| (under_way.order, id, under_way.piece)))
            .collect();
        // The latest first: each is put before those that wait.
        unanswered.sort_unstable_by_key(|(order, ..)| core::cmp::Reverse(*order));
        let count = unanswered.len() as u64;
        for (_, id, piece) in unanswered {
            if self.take_back(id, piece, jobs, false) {
                jobs.again(piece);
            } else {
                jobs.finish(piece, Err(BlockError::Broken));
            }
        }
        count
    }
}

const _: () = assert!(super::MOST_SEGMENTS <= INDIRECT_SEGMENTS);
