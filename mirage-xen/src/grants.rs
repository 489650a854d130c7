//! Grants: pages of ours that another domain may use.
//!
//! The grant table (version 1) is memory that Xen reads: giving a page and taking it back is a few stores and one
//! compare-and-swap, without a hypercall. A page that the other side still uses can't be taken back; it is put in
//! quarantine, together with its reference, and never used again.
//!
//! Entry layout and flags: `xen/grant_table.h`, `struct grant_entry_v1`.

#[allow(unsafe_code)]
pub mod foreign;
mod place;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use mirage_rt::cell::RefCell;
use mirage_rt::page::Page;

use crate::hypervisor::{DomainId, Frame, HypercallError, Hypervisor, PAGE_SIZE};
use crate::shared::{SharedArray, SharedBytes, SharedPage};
use crate::warning::warn;

pub use place::Place;

/// Bytes of a version 1 entry.
const ENTRY: usize = 8;
/// Entries of a grant table frame.
const PER_FRAME: u32 = (PAGE_SIZE / ENTRY) as u32;
/// The first entries belong to the tools (xenstore's and the console's page).
const RESERVED: u32 = 8;

const PERMIT_ACCESS: u16 = 1;
const READ_ONLY: u16 = 1 << 2;
const READING: u16 = 1 << 3;
const WRITING: u16 = 1 << 4;

/// What the other domain may do with a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read it.
    ReadOnly,
    /// Read and write it.
    ReadWrite,
}

/// The grant table. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Grants {
    inner: Rc<Inner>,
}

struct Inner {
    hypervisor: Rc<dyn Hypervisor>,
    /// How often there was a new table, in as many bits as tell a reference from those before.
    generation: Cell<u32>,
    frames: RefCell<Vec<SharedBytes<'static>>>,
    free: RefCell<Vec<u32>>,
    quarantined: Cell<u32>,
}

/// A page could not be granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum GrantError {
    /// Every reference of the largest table Xen allows is in use.
    TableFull {
        /// Frames of the table, `max_grant_frames`.
        frames: u32,
    },
    /// No heap memory for the list of free references.
    OutOfMemory,
    /// There is none to lend by: it was lost, or lends something else.
    NoReference,
    /// The page is not I/O memory, or beyond the 16 TiB that a version 1 entry can name.
    NotGrantable,
    /// Xen did not let the table grow.
    Hypercall(HypercallError),
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableFull { frames } => write!(
                f,
                "all grant references of {frames} frames are in use: raise max_grant_frames in the domain's configuration"
            ),
            Self::OutOfMemory => f.write_str("no memory for more grant references: give the domain more memory"),
            Self::NoReference => f.write_str("the reference was lost, or lends something else"),
            Self::NotGrantable => f.write_str("only pages of an I/O pool can be granted to another domain"),
            Self::Hypercall(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for GrantError {}

impl Grants {
    /// The table of this domain, with no frame yet.
    pub fn new(hypervisor: Rc<dyn Hypervisor>) -> Self {
        Self {
            inner: Rc::new(Inner {
                hypervisor,
                generation: Cell::new(0),
                frames: RefCell::default(),
                free: RefCell::default(),
                quarantined: Cell::new(0),
            }),
        }
    }

    /// Starts anew with an empty table: after a resume nobody has access by any reference of before.
    pub(crate) fn reset(&self) {
        let inner = &self.inner;
        inner.generation.set(inner.generation.get().wrapping_add(1));
        inner.free.borrow_mut().clear();
        inner.frames.borrow_mut().clear();
        inner.quarantined.set(0);
    }

    /// Takes a free reference; the table grows by a frame when there is none.
    ///
    /// # Errors
    ///
    /// When the table can't grow.
    pub fn reference(&self) -> Result<Reference, GrantError> {
        if self.inner.free.borrow().is_empty() {
            self.inner.grow()?;
        }
        match self.inner.free.borrow_mut().pop() {
            Some(number) => Ok(Reference {
                number,
                generation: self.inner.generation.get(),
                entry: self.inner.entry(number),
                table: Rc::clone(&self.inner),
            }),
            None => Err(GrantError::OutOfMemory),
        }
    }

    /// Whether `page` can be lent: it is I/O memory.
    #[inline(never)]
    pub(crate) fn can_lend(&self, page: &Page) -> bool {
        self.inner.frame_of(NonNull::from(&page[..]).cast()).is_ok()
    }

    /// Lends `page` to `domain` by a new reference.
    ///
    /// # Errors
    ///
    /// The page comes back with the reason.
    pub fn share(&self, page: SharedPage, domain: DomainId, access: Access) -> Result<Grant, (GrantError, SharedPage)> {
        match self.reference() {
            Ok(reference) => reference.lend(page, domain, access).map_err(|(error, _, page)| (error, page)),
            Err(error) => Err((error, page)),
        }
    }

    /// References that are neither free nor lost.
    pub fn in_use(&self) -> u32 {
        let frames = self.inner.frames.borrow().len() as u32;
        let usable = (frames * PER_FRAME).saturating_sub(RESERVED);
        usable - self.inner.free.borrow().len() as u32 - self.inner.quarantined.get()
    }

    /// References, and pages, lost because the other side would not let go of them.
    pub fn quarantined(&self) -> u32 {
        self.inner.quarantined.get()
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} grants in use, {} in quarantine", self.in_use(), self.quarantined())
    }
}

impl Inner {
    fn grow(&self) -> Result<(), GrantError> {
        let mut frames = self.frames.borrow_mut();
        let mut free = self.free.borrow_mut();
        let index = frames.len() as u32;
        if index >= self.hypervisor.grant_frames_limit() {
            return Err(GrantError::TableFull { frames: index });
        }
        frames.try_reserve(1).map_err(|_| GrantError::OutOfMemory)?;
        // All of the table may become free at once.
        let all = (frames.len() + 1) * PER_FRAME as usize;
        let more = all - free.len();
        free.try_reserve_exact(more).map_err(|_| GrantError::OutOfMemory)?;
        frames.push(self.hypervisor.grant_frame(index).map_err(GrantError::Hypercall)?);
        let first = if index == 0 { RESERVED } else { index * PER_FRAME };
        // Low numbers on top.
        free.extend((first..(index + 1) * PER_FRAME).rev());
        Ok(())
    }

    fn entry(&self, number: u32) -> SharedArray<'static, ENTRY> {
        let frame = self.frames.borrow()[(number / PER_FRAME) as usize];
        frame.array((number % PER_FRAME) as usize * ENTRY)
    }

    /// The frame of a page as an entry holds it.
    fn frame_of(&self, page: NonNull<u8>) -> Result<u32, GrantError> {
        let Frame(frame) = self.hypervisor.frame_of(page).ok_or(GrantError::NotGrantable)?;
        u32::try_from(frame).map_err(|_| GrantError::NotGrantable)
    }
}

/// A grant reference that names no page: goes back to the table when dropped. A driver keeps one for each slot of a
/// ring, so that its hot path never touches the list of free ones.
pub struct Reference {
    number: u32,
    generation: u32,
    /// Its place in the table of that generation.
    entry: SharedArray<'static, ENTRY>,
    table: Rc<Inner>,
}

impl Reference {
    /// The number, to be told to the other side.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Lends `page` to `domain`.
    ///
    /// # Errors
    ///
    /// Everything comes back with the reason when the page is not I/O memory.
    #[inline(always)]
    pub fn lend(
        self,
        page: SharedPage,
        domain: DomainId,
        access: Access,
    ) -> Result<Grant, (GrantError, Reference, SharedPage)> {
        match self.table.frame_of(page.address()) {
            Ok(frame) => {
                self.set(frame, domain, access);
                Ok(Grant { parts: Some((self, page)) })
            }
            Err(error) => Err((error, self, page)),
        }
    }

    /// Lets `domain` read the page that `page_of` finds in `owner`, and keeps `owner` until the grant has ended. We may
    /// go on reading the page ourselves: nobody writes it.
    ///
    /// # Errors
    ///
    /// Everything comes back with the reason when the page is not I/O memory.
    #[inline(always)]
    pub fn lend_read_only<T>(
        self,
        owner: T,
        page_of: impl FnOnce(&T) -> &Page,
        domain: DomainId,
    ) -> Result<ReadGrant<T>, (GrantError, Reference, T)> {
        match self.table.frame_of(NonNull::from(&page_of(&owner)[..]).cast()) {
            Ok(frame) => {
                self.set(frame, domain, Access::ReadOnly);
                Ok(ReadGrant { parts: Some((self, owner)) })
            }
            Err(error) => Err((error, self, owner)),
        }
    }

    fn is_current(&self) -> bool {
        self.generation == self.table.generation.get()
    }

    #[inline(always)]
    fn set(&self, frame: u32, domain: DomainId, access: Access) {
        if !self.is_current() {
            return;
        }
        let flags = match access {
            Access::ReadOnly => PERMIT_ACCESS | READ_ONLY,
            Access::ReadWrite => PERMIT_ACCESS,
        };
        let entry = self.entry.bytes();
        entry.store_u16(2, domain.0, Ordering::Relaxed);
        entry.store_u32(4, frame, Ordering::Relaxed);
        // Valid only with the flags: they come last.
        entry.store_u16(0, flags, Ordering::Release);
    }

    /// Ends the access; `false` when the other side uses the page at this moment. Nobody has any by a reference of an earlier
    /// generation.
    #[inline(always)]
    fn clear(&self) -> bool {
        if !self.is_current() {
            return true;
        }
        let entry = self.entry.bytes();
        let mut flags = entry.load_u16(0, Ordering::Relaxed);
        loop {
            if flags & (READING | WRITING) != 0 {
                return false;
            }
            match entry.compare_exchange_u16(0, flags, 0) {
                Ok(_) => return true,
                Err(found) => flags = found,
            }
        }
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        if self.is_current() {
            // Growing reserved room for every reference.
            self.table.free.borrow_mut().push(self.number);
        }
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grant reference {}", self.number)
    }
}

/// The number of the reference by which something is lent.
#[inline(always)]
fn number<T>(parts: &Option<(Reference, T)>) -> u32 {
    match parts {
        Some((reference, _)) => reference.number,
        None => unreachable!("a grant has its reference until it has ended"),
    }
}

/// Puts a reference and what it lent in quarantine: neither is ever used again, so nothing of it may be dropped.
fn lose<T>(parts: Option<(Reference, T)>) {
    if let Some((reference, lent)) = parts {
        let table = &reference.table;
        table.quarantined.set(table.quarantined.get() + 1);
        warn(format_args!("grant {}: another domain still uses the page, which is lost from now on", reference.number));
        core::mem::forget((reference, lent));
    }
}

/// A page lent to another domain. Dropping it ends the access, or puts the page in quarantine when that is impossible.
pub struct Grant {
    // None only once the grant has ended.
    parts: Option<(Reference, SharedPage)>,
}

impl Grant {
    /// The reference's number, to be told to the other side.
    pub fn number(&self) -> u32 {
        number(&self.parts)
    }

    /// The page's memory, which the other side may change at any time.
    pub fn bytes(&self) -> SharedBytes<'_> {
        match &self.parts {
            Some((_, page)) => page.bytes(),
            None => unreachable!("a grant has its page until it has ended"),
        }
    }

    /// Ends the other side's access: reference and page are ours alone again.
    ///
    /// # Errors
    ///
    /// [`Quarantined`] when the other side uses the page at this moment. Page and reference are lost then, and the
    /// device whose backend does that is broken.
    pub fn end(mut self) -> Result<(Reference, SharedPage), Quarantined> {
        match self.parts.take() {
            Some((reference, page)) if reference.clear() => Ok((reference, page)),
            parts => {
                lose(parts);
                Err(Quarantined)
            }
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if self.parts.as_ref().is_some_and(|(reference, _)| !reference.clear()) {
            lose(self.parts.take());
        }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grant {}", self.number())
    }
}

// What is larger is moved by a string instruction where code is compiled for size; it takes longer than four stores.
const _: () = assert!(size_of::<Option<Grant>>() <= 64);

/// Another domain may read a page of `owner`. Dropping it ends that, or leaks the owner when it is impossible.
pub struct ReadGrant<T> {
    // None only once the grant has ended.
    parts: Option<(Reference, T)>,
}

impl<T> ReadGrant<T> {
    /// The reference's number, to be told to the other side.
    pub fn number(&self) -> u32 {
        number(&self.parts)
    }

    /// Ends the other side's access.
    ///
    /// # Errors
    ///
    /// [`Quarantined`] when the other side uses the page at this moment. Owner and reference are lost then.
    pub fn end(mut self) -> Result<(Reference, T), Quarantined> {
        match self.parts.take() {
            Some((reference, owner)) if reference.clear() => Ok((reference, owner)),
            parts => {
                lose(parts);
                Err(Quarantined)
            }
        }
    }
}

impl<T> Drop for ReadGrant<T> {
    fn drop(&mut self) {
        if self.parts.as_ref().is_some_and(|(reference, _)| !reference.clear()) {
            lose(self.parts.take());
        }
    }
}

impl<T> fmt::Debug for ReadGrant<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "read-only grant {}", self.number())
    }
}

/// The other side still used a page when its grant should have ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quarantined;

impl fmt::Display for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the backend still uses a page that it said it had finished with")
    }
}

impl core::error::Error for Quarantined {}

#[cfg(test)]
mod tests;
