//! The backend's half of a connection: requests taken from the ring, done and answered.

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;

use super::{BackRing, DiskFeatures, Shared, World};
use crate::blkfront::wire::{
    Blkif, DIRECT_SEGMENTS, INDIRECT_SEGMENTS, Request, Response, SECTOR, Segment, operation, status,
};
use crate::hypervisor::PAGE_SIZE;
use crate::model::{BackendPort, Mapping};
use crate::shared::SharedBytes;

pub(super) struct Link {
    pub(super) ring: BackRing<Blkif, Vec<Mapping>>,
    pub(super) end: BackendPort,
    /// Grants that stay mapped, if both sides agreed to that.
    persistent: Option<BTreeMap<u32, Mapping>>,
    /// Segments of an indirect request, at most, as was offered for this connection.
    indirect: usize,
    taken: Vec<Taken>,
    /// Pages that a hostile backend does not let go of.
    pub(super) kept: Vec<Mapping>,
    /// It has written over the ring, and serves it no more.
    pub(super) scribbles: bool,
}

/// A request that was not answered.
pub(super) struct Taken {
    due: u64,
    pub(super) id: u64,
    pub(super) operation: u8,
    pub(super) work: Result<Work, i16>,
}

pub(super) enum Work {
    Transfer { write: bool, at: usize, parts: Vec<Part> },
    Flush,
    Discard { at: usize, length: usize },
}

/// A part of a page, mapped for this request or for longer.
pub(super) struct Part {
    pub(super) mapping: Option<Mapping>,
    bytes: SharedBytes<'static>,
    offset: usize,
    length: usize,
}

impl Link {
    pub(super) fn new(ring: BackRing<Blkif, Vec<Mapping>>, end: BackendPort, persistent: bool, indirect: u32) -> Self {
        let (persistent, indirect) = (persistent.then(BTreeMap::new), indirect as usize);
        Self { ring, end, persistent, indirect, taken: Vec::new(), kept: Vec::new(), scribbles: false }
    }

    /// When the next request is to be answered.
    pub(super) fn next_due(&self) -> Option<u64> {
        // One that only scribbles answers none.
        self.taken.iter().filter(|_| !self.scribbles).map(|taken| taken.due).min()
    }

    pub(super) fn serve(&mut self, world: &Rc<World>, shared: &mut Shared) -> bool {
        let kicked = world.take_pending(self.end) | core::mem::take(&mut shared.kicked);
        if self.scribbles && shared.mischief.is_none() {
            return false;
        }
        self.ring.lenient = shared.hostile;
        let mut any = false;
        if kicked {
            loop {
                while let Some((_, request)) = (!self.scribbles).then(|| self.ring.take()).flatten() {
                    let work = self.understand(world, shared, &request);
                    let due = world.now() + if shared.latency > 0 { shared.random() % shared.latency } else { 0 };
                    let (_, operation) = request.segment_count();
                    self.taken.push(Taken { due, id: request.id(), operation, work });
                    any = true;
                }
                if self.scribbles || self.ring.listen() == 0 {
                    break;
                }
            }
            shared.most_under_way = shared.most_under_way.max(self.taken.len());
        }
        if let Some(mischief) = shared.mischief
            && self.misbehave(world, mischief)
        {
            shared.mischief = None;
            any = true;
        }
        if !shared.hold {
            any |= self.answer(world, shared);
        }
        if !self.scribbles && self.ring.publish() {
            shared.notifications += 1;
            world.notify(self.end);
        }
        any
    }

    /// Does and answers what is due.
    fn answer(&mut self, world: &World, shared: &mut Shared) -> bool {
        let mut any = false;
        while let Some(index) = self.taken.iter().position(|taken| taken.due <= world.now()) {
            // Not in the order in which they came, when it is slow.
            let taken = if shared.latency > 0 { self.taken.swap_remove(index) } else { self.taken.remove(index) };
            let status = match &taken.work {
                Ok(work) => {
                    shared.done[usize::from(taken.operation)] += 1;
                    do_work(work, shared);
                    status::OKAY
                }
                Err(status) => *status,
            };
            // The pages are let go of before the frontend hears of it.
            drop(taken.work);
            self.ring.push(&Response { id: taken.id, operation: taken.operation, status });
            any = true;
        }
        any
    }

    /// Takes a request to be done that was not done, if there is one.
    pub(super) fn take_any(&mut self) -> Option<Taken> {
        if self.taken.is_empty() { None } else { Some(self.taken.remove(0)) }
    }

    /// Checks a request as Linux does and maps its pages.
    fn understand(&mut self, world: &Rc<World>, shared: &mut Shared, request: &Request) -> Result<Work, i16> {
        let (_, inner) = request.segment_count();
        if shared.failures > 0 {
            shared.failures -= 1;
            return Err(status::ERROR);
        }
        if shared.unknown == Some(inner) {
            return Err(status::UNSUPPORTED);
        }
        if request.operation() == operation::INDIRECT {
            shared.done[usize::from(operation::INDIRECT)] += 1;
        }
        let features = shared.features;
        self.check(world, &features, request).map_err(|what| {
            shared.refused.push(what);
            status::ERROR
        })
    }

    fn check(&mut self, world: &Rc<World>, features: &DiskFeatures, request: &Request) -> Result<Work, &'static str> {
        let (count, inner) = request.segment_count();
        if inner == operation::DISCARD {
            let (sectors, secure) = request.discarded();
            let (at, length) = range(features, request.sector(), sectors)?;
            return match features.discard && (!secure || features.secure) && !features.read_only {
                true => Ok(Work::Discard { at, length }),
                false => Err("a discard that was not offered"),
            };
        }
        let segments = self.segments(world, request, count)?;
        match (inner, count) {
            (operation::FLUSH, 0) if features.flush => return Ok(Work::Flush),
            (operation::BARRIER, 0) if features.barrier => return Ok(Work::Flush),
            (operation::FLUSH | operation::BARRIER, _) => return Err("a flush that was not offered"),
            (operation::READ, 1..) => {}
            (operation::WRITE, 1..) if !features.read_only => {}
            _ => return Err("an operation that is not known"),
        }
        let write = inner == operation::WRITE;
        let mut parts = Vec::new();
        for segment in segments {
            if segment.first > segment.last || segment.last > 7 {
                return Err("a segment outside of its page");
            }
            let (offset, length) =
                (usize::from(segment.first) * 512, usize::from(segment.last - segment.first + 1) * 512);
            let (mapping, bytes) = self.map(world, segment.grant, !write).ok_or("a page that can't be mapped")?;
            parts.push(Part { mapping, bytes, offset, length });
        }
        let length: usize = parts.iter().map(|part| part.length).sum();
        let (at, length) = range(features, request.sector(), (length / SECTOR as usize) as u64)?;
        match [at, length].iter().all(|bytes| bytes.is_multiple_of(features.sector_size as usize)) {
            true => Ok(Work::Transfer { write, at, parts }),
            false => Err("parts of sectors"),
        }
    }

    fn segments(&mut self, world: &Rc<World>, request: &Request, count: usize) -> Result<Vec<Segment>, &'static str> {
        if request.operation() != operation::INDIRECT {
            return match count <= DIRECT_SEGMENTS {
                true => Ok((0..count).filter_map(|number| request.segment(number)).collect()),
                false => Err("too many segments"),
            };
        }
        if count > self.indirect {
            return Err("too many segments");
        }
        let mut segments = Vec::new();
        for number in 0..count {
            let page = request.segment_page(number / INDIRECT_SEGMENTS).ok_or("too many segments")?;
            let (mapping, bytes) = self.map(world, page, false).ok_or("a page of segments that can't be mapped")?;
            segments.push(Segment::parse(bytes.read_words(number % INDIRECT_SEGMENTS * Segment::SIZE)));
            drop(mapping);
        }
        Ok(segments)
    }

    fn map(
        &mut self,
        world: &Rc<World>,
        grant: u32,
        writable: bool,
    ) -> Option<(Option<Mapping>, SharedBytes<'static>)> {
        let Some(persistent) = &mut self.persistent else {
            let mapping = world.map_grant(grant, writable).ok()?;
            let bytes = mapping.bytes();
            return Some((Some(mapping), bytes));
        };
        if let Some(mapping) = persistent.get(&grant) {
            return Some((None, mapping.bytes()));
        }
        let mapping = world.map_grant(grant, true).ok()?;
        let bytes = mapping.bytes();
        persistent.insert(grant, mapping);
        Some((None, bytes))
    }
}

/// A range of the disk in bytes, if it is on it.
fn range(features: &DiskFeatures, sector: u64, count: u64) -> Result<(usize, usize), &'static str> {
    let sectors = features.bytes as u64 / u64::from(SECTOR);
    match sector.checked_add(count) {
        Some(end) if end <= sectors => Ok((sector as usize * 512, count as usize * 512)),
        _ => Err("a range beyond the end"),
    }
}

fn do_work(work: &Work, shared: &mut Shared) {
    match work {
        Work::Transfer { write, at, parts } => {
            let mut at = *at;
            for part in parts {
                let bytes = &mut shared.disk[at..at + part.length];
                match (write, <&mut [u8; PAGE_SIZE]>::try_from(&mut *bytes)) {
                    (true, Ok(page)) => part.bytes.copy_page_out(page),
                    (false, Ok(page)) => part.bytes.copy_page_in(page),
                    (true, Err(_)) => part.bytes.copy_out(part.offset, bytes),
                    (false, Err(_)) => part.bytes.copy_in(part.offset, bytes),
                }
                if *write && !(shared.features.flush || shared.features.barrier) {
                    shared.medium[at..at + part.length].copy_from_slice(&shared.disk[at..at + part.length]);
                }
                at += part.length;
            }
        }
        Work::Flush => shared.medium.copy_from_slice(&shared.disk),
        Work::Discard { at, length } => shared.disk[*at..*at + *length].fill(0),
    }
}
