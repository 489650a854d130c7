//! Parts of pages.

use alloc::rc::Rc;
use core::fmt;
use core::ops::Range;

use crate::page::{PAGE_SIZE, Page};

/// A part of a page that belongs to a packet, or comes from one, or goes into one.
///
/// The page is the fragment's own, or [shared](Fragment::shared) with others: then nobody can write it until it is one's own
/// again, and it goes back to its pool with the last of them. A packet on its way to a device and whoever may have to send the
/// same bytes again share pages in this way.
#[derive(Debug)]
pub struct Fragment {
    page: Holder,
    pub(super) start: u16,
    pub(super) length: u16,
}

/// Who has a page.
enum Holder {
    /// This fragment alone.
    Own(Page),
    /// Perhaps others as well.
    Shared(Rc<Page>),
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Holder::Own(_) => "Page",
            Holder::Shared(_) => "shared Page",
        })
    }
}

/// The range of a fragment does not lie within its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfPage;

impl fmt::Display for OutOfPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the range reaches beyond the {PAGE_SIZE} bytes of its page")
    }
}

impl core::error::Error for OutOfPage {}

impl Fragment {
    /// The bytes `range` of `page`.
    ///
    /// # Errors
    ///
    /// [`OutOfPage`] when `range` is not within the page or ends before it starts.
    #[inline]
    pub fn new(page: Page, range: Range<usize>) -> Result<Fragment, OutOfPage> {
        Fragment::of(Holder::Own(page), range)
    }

    /// The bytes `range` of a page that others have too. An application that sends the same bytes to many keeps them in such
    /// pages.
    ///
    /// # Errors
    ///
    /// [`OutOfPage`] when `range` is not within the page or ends before it starts.
    pub fn shared(page: Rc<Page>, range: Range<usize>) -> Result<Fragment, OutOfPage> {
        Fragment::of(Holder::Shared(page), range)
    }

    #[inline]
    fn of(page: Holder, range: Range<usize>) -> Result<Fragment, OutOfPage> {
        if range.start > range.end || range.end > PAGE_SIZE {
            return Err(OutOfPage);
        }
        // Both fit: a page has 4096 bytes.
        Ok(Fragment { page, start: range.start as u16, length: (range.end - range.start) as u16 })
    }

    /// No bytes yet, from the `start`th of a page.
    pub(super) fn empty(page: Page, start: usize) -> Fragment {
        Fragment { page: Holder::Own(page), start: start as u16, length: 0 }
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.page()[self.range()]
    }

    /// The bytes, to be written; `None` while others share the page.
    #[inline]
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let range = self.range();
        Some(&mut self.page.get_mut()?[range])
    }

    /// How many bytes it has.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.length)
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where the bytes stand in the page.
    #[inline]
    pub fn range(&self) -> Range<usize> {
        usize::from(self.start)..usize::from(self.start) + usize::from(self.length)
    }

    /// The page they stand in.
    #[inline]
    pub fn page(&self) -> &Page {
        match &self.page {
            Holder::Own(page) => page,
            Holder::Shared(page) => page,
        }
    }

    /// The page and the range of the bytes in it.
    ///
    /// # Errors
    ///
    /// The fragment, when others share its page.
    pub fn into_parts(self) -> Result<(Page, Range<usize>), Fragment> {
        let range = self.range();
        match self.page {
            Holder::Own(page) => Ok((page, range)),
            Holder::Shared(page) => {
                let back = |page| Fragment { page: Holder::Shared(page), start: self.start, length: self.length };
                Rc::try_unwrap(page).map(|page| (page, range)).map_err(back)
            }
        }
    }

    /// Takes `length` bytes from the front; `false`, and no change, when there are fewer.
    pub fn pull_front(&mut self, length: usize) -> bool {
        if length > self.len() {
            return false;
        }
        self.start += length as u16;
        self.length -= length as u16;
        true
    }

    /// Takes bytes from the end until there are no more than `length`.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.len().min(length) as u16;
    }

    /// The same bytes of the same page, for others to have a [part](Fragment::part) of.
    #[must_use]
    pub fn into_shared(self) -> Fragment {
        let page = match self.page {
            Holder::Own(page) => Rc::new(page),
            Holder::Shared(page) => page,
        };
        Fragment { page: Holder::Shared(page), ..self }
    }

    /// The bytes `range` of these, in the same page; `None` when there are fewer, or the page is the fragment's
    /// [own](Fragment::into_shared).
    #[inline]
    pub fn part(&self, range: Range<usize>) -> Option<Fragment> {
        let Holder::Shared(page) = &self.page else { return None };
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        let start = self.start + range.start as u16;
        Some(Fragment { page: Holder::Shared(Rc::clone(page)), start, length: (range.end - range.start) as u16 })
    }

    /// Whether others may have the page as well.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.page, Holder::Shared(_))
    }

    /// Adds as many of `bytes` at the end as the page has room for, which is none if it is shared; how many.
    pub(super) fn append(&mut self, bytes: &[u8]) -> usize {
        let end = self.range().end;
        let length = bytes.len().min(PAGE_SIZE - end);
        let Holder::Own(page) = &mut self.page else { return 0 };
        page[end..end + length].copy_from_slice(&bytes[..length]);
        self.length += length as u16;
        length
    }
}

impl Holder {
    #[inline]
    fn get_mut(&mut self) -> Option<&mut Page> {
        match self {
            Holder::Own(page) => Some(page),
            Holder::Shared(page) => Rc::get_mut(page),
        }
    }
}
