//! Pages of other domains, by the grants that those gave us: copied, or mapped.
//!
//! Copying is what Xen does well: nothing is mapped, nothing has to be flushed, and what was copied is ours. A mapping is for pages
//! that stay shared, such as the ring of a protocol whose frontend is the other domain. Both work on whole batches, and every
//! operation has its own result.
//!
//! `xen/grant_table.h`, GNTTABOP_copy, GNTTABOP_map_grant_ref and GNTTABOP_unmap_grant_ref. No driver of this crate needs them, so
//! they stand beside [`Hypervisor`]: a program that uses no [`Foreign`] is linked without.

mod machine;
#[cfg(test)]
mod tests;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
#[cfg(feature = "test-utils")]
use core::ops::Range;
use core::sync::atomic::Ordering;

use crate::abi;
use crate::attachment::Attachment;
use crate::hypervisor::{DomainId, Frame, HypercallError, Hypervisor, PAGE_SIZE};
use crate::shared::{SharedBytes, SharedPage};
use crate::warning::warn;

/// A page that another domain has granted us.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ForeignPage {
    /// The domain.
    pub domain: DomainId,
    /// Its grant reference.
    pub reference: u32,
}

/// Why Xen did not carry out an operation on a grant (`GNTST_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum GrantStatus {
    /// There is no such domain, or it is not ours to use.
    BadDomain,
    /// The domain has not granted us anything by this reference.
    BadReference,
    /// The page was granted for reading only.
    PermissionDenied,
    /// There is no memory behind the grant, or behind our own page.
    BadPage,
    /// The range passes the end of a page.
    BadRange,
    /// The page is on its way from a disk of the host: try again.
    Again,
    /// Xen has no room for another mapping.
    NoSpace,
    /// Another reason.
    Other(i16),
}

impl GrantStatus {
    /// The result that Xen wrote.
    pub(crate) fn check(status: i16) -> Result<(), Self> {
        Err(match i32::from(status) {
            status if status == abi::GNTST_okay as i32 => return Ok(()),
            abi::GNTST_bad_domain => Self::BadDomain,
            abi::GNTST_bad_gntref => Self::BadReference,
            abi::GNTST_permission_denied => Self::PermissionDenied,
            abi::GNTST_bad_page => Self::BadPage,
            abi::GNTST_bad_copy_arg => Self::BadRange,
            abi::GNTST_eagain => Self::Again,
            abi::GNTST_no_space | abi::GNTST_no_device_space => Self::NoSpace,
            _ => Self::Other(status),
        })
    }
}

impl fmt::Display for GrantStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadDomain => "there is no such domain",
            Self::BadReference => "the domain has granted nothing to us by this reference",
            Self::PermissionDenied => "the page was granted for reading only",
            Self::BadPage => "there is no memory behind the grant",
            Self::BadRange => "the range passes the end of a page",
            Self::Again => "the page is not in memory now: try again",
            Self::NoSpace => {
                "Xen has no room for another mapping: raise max_maptrack_frames in the domain's configuration"
            }
            Self::Other(status) => return write!(f, "Xen refuses the grant with status {status}"),
        })
    }
}

impl core::error::Error for GrantStatus {}

/// Pages of another domain can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ForeignError {
    /// Xen did not carry out this operation.
    Grant(GrantStatus),
    /// Xen refused the whole call.
    Hypercall(HypercallError),
    /// As many pages are mapped as there are addresses for.
    TooManyMappings,
    /// No heap memory.
    OutOfMemory,
    /// Our own page is not I/O memory.
    NotOurs,
    /// The range passes the end of a page.
    BadRange,
}

impl fmt::Display for ForeignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(status) => status.fmt(f),
            Self::Hypercall(error) => error.fmt(f),
            Self::TooManyMappings => f.write_str("all addresses for pages of other domains are in use: drop a mapping"),
            Self::OutOfMemory => f.write_str("no memory for the list of operations: give the domain more memory"),
            Self::NotOurs => f.write_str("only pages of an I/O pool can be copied to and from another domain"),
            Self::BadRange => GrantStatus::BadRange.fmt(f),
        }
    }
}

impl core::error::Error for ForeignError {}

/// An operation of a batch, in Xen's own terms.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    foreign: ForeignPage,
    foreign_offset: u16,
    own: Frame,
    own_offset: u16,
    length: u16,
    /// From the other domain to us.
    inward: bool,
    status: i16,
}

/// For the model's Xen.
#[cfg(feature = "test-utils")]
impl Operation {
    pub(crate) fn foreign(&self) -> ForeignPage {
        self.foreign
    }

    pub(crate) fn own(&self) -> Frame {
        self.own
    }

    pub(crate) fn is_inward(&self) -> bool {
        self.inward
    }

    pub(crate) fn foreign_range(&self) -> Range<usize> {
        usize::from(self.foreign_offset)..usize::from(self.foreign_offset) + usize::from(self.length)
    }

    pub(crate) fn own_range(&self) -> Range<usize> {
        usize::from(self.own_offset)..usize::from(self.own_offset) + usize::from(self.length)
    }

    pub(crate) fn set_status(&mut self, status: i16) {
        self.status = status;
    }
}

/// A page of another domain that Xen has mapped.
#[derive(Clone, Copy, Debug)]
pub struct Mapped {
    memory: SharedBytes<'static>,
    /// Xen's number of the mapping.
    handle: u32,
}

#[cfg(feature = "test-utils")]
impl Mapped {
    pub(crate) fn new(memory: SharedBytes<'static>, handle: u32) -> Self {
        Self { memory, handle }
    }

    pub(crate) fn handle(&self) -> u32 {
        self.handle
    }
}

/// Xen, as far as pages of other domains go.
///
/// # Safety
///
/// `map` hands out memory that stays mapped, and used for nothing else, until `unmap`. `copy` writes to nothing but the ranges of the
/// operations.
pub unsafe trait ForeignMemory {
    /// Carries out the operations and writes the status of each.
    ///
    /// # Errors
    ///
    /// When Xen refuses the call. Some operations may have been carried out.
    fn copy(&self, operations: &mut [Operation]) -> Result<(), HypercallError>;

    /// Maps a page.
    ///
    /// # Errors
    ///
    /// Xen's reason, or that there is no address left.
    fn map(&self, page: ForeignPage, writable: bool) -> Result<Mapped, ForeignError>;

    /// Ends a mapping, whose memory is not used any more.
    ///
    /// # Errors
    ///
    /// Xen's reason. The address is not used again then.
    fn unmap(&self, mapped: Mapped) -> Result<(), ForeignError>;

    /// Forgets a mapping that ended with a resume: nothing is at its address.
    fn forget(&self, mapped: Mapped);
}

/// Pages of other domains. Cloning gives another handle to the same ones.
#[derive(Clone)]
pub struct Foreign {
    inner: Rc<Inner>,
}

struct Inner {
    attachment: Attachment,
    memory: Rc<dyn ForeignMemory>,
}

impl Foreign {
    /// The pages of other domains of the machine we run on; `None` on a host.
    pub fn machine(attachment: &Attachment) -> Option<Self> {
        machine::Machine::new().map(|memory| Self::new(attachment, Rc::new(memory)))
    }

    /// The same by `memory`.
    pub fn new(attachment: &Attachment, memory: Rc<dyn ForeignMemory>) -> Self {
        Self { inner: Rc::new(Inner { attachment: attachment.clone(), memory }) }
    }

    /// An empty batch of copies.
    pub fn copies<'p>(&self) -> Copies<'p> {
        Copies { foreign: self.clone(), operations: Vec::new(), pages: PhantomData }
    }

    /// Maps a page of another domain, as long as the mapping lives. One that is only read can be mapped with a grant that allows no
    /// more.
    ///
    /// # Errors
    ///
    /// Xen's reason, or that there is no room.
    pub fn map(&self, page: ForeignPage, writable: bool) -> Result<Mapping, ForeignError> {
        let generation = self.inner.attachment.generation();
        let mapped = self.inner.memory.map(page, writable)?;
        Ok(Mapping { foreign: self.clone(), mapped, writable, generation })
    }
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pages of other domains")
    }
}

/// Copies to be carried out with one hypercall. Each has at most a page, and lies in one page on either side.
pub struct Copies<'p> {
    foreign: Foreign,
    operations: Vec<Operation>,
    // Our own pages stay where they are until the batch has run.
    pages: PhantomData<&'p SharedPage>,
}

impl<'p> Copies<'p> {
    /// Adds a copy of `length` bytes at `offset` of another domain's page to `own_offset` of our own.
    ///
    /// # Errors
    ///
    /// When a range passes the end of its page, the own page is not I/O memory, or there is no heap memory. Nothing is added then.
    pub fn read(
        &mut self,
        page: ForeignPage,
        offset: usize,
        own: &'p SharedPage,
        own_offset: usize,
        length: usize,
    ) -> Result<(), ForeignError> {
        self.add(page, offset, own, own_offset, length, true)
    }

    /// Adds a copy the other way: from our own page to another domain's.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn write(
        &mut self,
        page: ForeignPage,
        offset: usize,
        own: &'p SharedPage,
        own_offset: usize,
        length: usize,
    ) -> Result<(), ForeignError> {
        self.add(page, offset, own, own_offset, length, false)
    }

    fn add(
        &mut self,
        foreign: ForeignPage,
        foreign_offset: usize,
        own: &'p SharedPage,
        own_offset: usize,
        length: usize,
        inward: bool,
    ) -> Result<(), ForeignError> {
        let start = |offset: usize| {
            let fits = offset <= PAGE_SIZE && length <= PAGE_SIZE - offset;
            // At most a page, so no bits are lost.
            fits.then_some(offset as u16).ok_or(ForeignError::BadRange)
        };
        let (foreign_offset, own_offset) = (start(foreign_offset)?, start(own_offset)?);
        let hypervisor: &dyn Hypervisor = &**self.foreign.inner.attachment.hypervisor();
        let own = hypervisor.frame_of(own.address()).ok_or(ForeignError::NotOurs)?;
        self.operations.try_reserve(1).map_err(|_| ForeignError::OutOfMemory)?;
        let length = length as u16;
        self.operations.push(Operation { foreign, foreign_offset, own, own_offset, length, inward, status: 0 });
        Ok(())
    }

    /// Carries the copies out, in their order; the result of each. Cancelled by nothing: it does not wait.
    ///
    /// # Errors
    ///
    /// When Xen refuses the whole call.
    pub fn run(mut self) -> Result<impl Iterator<Item = Result<(), GrantStatus>>, ForeignError> {
        self.foreign.inner.memory.copy(&mut self.operations).map_err(ForeignError::Hypercall)?;
        // What was copied is visible to what follows.
        core::sync::atomic::fence(Ordering::SeqCst);
        Ok(self.operations.into_iter().map(|operation| GrantStatus::check(operation.status)))
    }
}

impl fmt::Debug for Copies<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} copies", self.operations.len())
    }
}

/// A page of another domain, mapped until this is dropped. The domain may change it at any time.
///
/// A mapping does not outlive a suspension of this domain, or the other one's end of the grant by force: reads give ones then and
/// writes go nowhere.
pub struct Mapping {
    foreign: Foreign,
    mapped: Mapped,
    writable: bool,
    generation: u64,
}

impl Mapping {
    /// Copies bytes from `offset` on out of the page.
    ///
    /// # Panics
    ///
    /// When the range passes the end of the page.
    pub fn copy_out(&self, offset: usize, buffer: &mut [u8]) {
        self.mapped.memory.copy_out(offset, buffer);
    }

    /// The page's memory, to be read and written. `None` of a page that was mapped for reading only: a write to it would be a fault.
    pub fn bytes(&self) -> Option<SharedBytes<'_>> {
        self.writable.then_some(self.mapped.memory)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let Inner { attachment, memory } = &*self.foreign.inner;
        if self.generation != attachment.generation() {
            memory.forget(self.mapped);
        } else if let Err(error) = memory.unmap(self.mapped) {
            warn(format_args!("a page of another domain stays mapped: {error}"));
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mapping {} of another domain's page", self.mapped.handle)
    }
}
