//! Pages that the device has filled and the application takes. Only a connection of which some were asked for keeps any, and
//! only of segments that were expected: what comes behind a gap, or brings little, is copied as ever.

use alloc::boxed::Box;

use super::connection::Connection;
use super::memory::Memory;
use super::pages::{Handed, LEAST};
use crate::packet::Fragment;
use crate::page::PAGE_SIZE;

impl Connection {
    /// The pages that wait to be taken, if any ever were.
    #[inline]
    fn kept(&self) -> Option<&Handed> {
        self.rare.as_deref()?.taking.as_ref()
    }

    #[inline]
    fn kept_mut(&mut self) -> Option<&mut Handed> {
        self.rare.as_deref_mut()?.taking.as_mut()
    }

    /// Received bytes that stand in pages.
    #[inline]
    pub fn kept_length(&self) -> usize {
        self.kept().map_or(0, |kept| kept.length)
    }

    /// Whether pages are kept.
    #[inline]
    pub fn is_taking(&self) -> bool {
        self.kept().is_some()
    }

    /// From now on they are.
    #[cold]
    #[inline(never)]
    pub fn start_taking(&mut self) {
        self.rare.get_or_insert_with(Box::default).taking.get_or_insert_with(Handed::new);
    }

    /// Whether the next segment, of so many bytes in so many pages, is to be kept in these. They count as what they take of
    /// memory, and so much no buffer may hold either.
    #[inline(never)]
    pub fn may_keep(&mut self, length: usize, pages: usize, memory: &Memory) -> bool {
        let limit = self.receive.limit();
        length >= pages * LEAST
            && memory.has_pages(pages)
            && self.kept_mut().is_some_and(|kept| (kept.count + pages) * PAGE_SIZE <= limit && kept.make_place(pages))
    }

    /// Keeps a page of a segment whose bytes were counted already.
    pub fn keep(&mut self, fragment: Fragment, memory: &mut Memory) {
        if let Some(kept) = self.rare.as_deref_mut().and_then(|rare| rare.taking.as_mut()) {
            kept.push(&mut self.receive, fragment);
            memory.charge_pages(1);
        }
    }

    /// The page that comes first, if it is one.
    pub fn take(&mut self, memory: &mut Memory) -> Option<Fragment> {
        let fragment = self.rare.as_deref_mut()?.taking.as_mut()?.pop(&mut self.receive)?;
        memory.release_pages(1);
        Some(fragment)
    }

    /// The first bytes, as far as they stand side by side.
    pub fn peek(&self) -> &[u8] {
        match self.kept() {
            Some(kept) => kept.pages().first(&self.receive),
            None => self.receive.get(0, usize::MAX)[0],
        }
    }

    /// Takes the first bytes away.
    pub fn consume(&mut self, length: usize, memory: &mut Memory) {
        match self.rare.as_deref_mut().and_then(|rare| rare.taking.as_mut()) {
            Some(kept) => {
                let before = kept.count;
                kept.consume(&mut self.receive, length);
                memory.release_pages(before - kept.count);
            }
            None => self.receive.consume(length),
        }
    }

    /// Copies the first bytes out, when some of them may be in pages.
    #[cold]
    #[inline(never)]
    pub fn read_pages(&mut self, buffer: &mut [u8], memory: &mut Memory) -> usize {
        let Some(kept) = self.rare.as_deref_mut().and_then(|rare| rare.taking.as_mut()) else { return 0 };
        let before = kept.count;
        let length = kept.read(&mut self.receive, buffer);
        memory.release_pages(before - kept.count);
        length
    }

    /// How many pages are kept.
    pub fn kept_pages(&self) -> usize {
        self.kept().map_or(0, |kept| kept.count)
    }
}
