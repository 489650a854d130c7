//! Pages that the device has filled and the application takes. Only a connection of which some were asked for keeps any, and
//! only of segments that were expected: what comes behind a gap, or brings little, is copied as ever.

use alloc::boxed::Box;

use super::connection::Connection;
use super::memory::Memory;
use super::pages::{LEAST, Pages, Queue};
use crate::packet::Fragment;
use crate::page::PAGE_SIZE;

/// The pages of a connection.
pub struct Taking {
    pub pages: Box<dyn Pages>,
    /// How many pages count against the budget.
    charged: usize,
}

impl Connection {
    /// The pages that wait to be taken, if any ever were.
    #[inline]
    fn kept(&self) -> Option<&dyn Pages> {
        Some(&*self.rare.as_deref()?.taking.as_ref()?.pages)
    }

    #[inline]
    fn kept_mut(&mut self) -> Option<&mut dyn Pages> {
        Some(&mut *self.rare.as_deref_mut()?.taking.as_mut()?.pages)
    }

    /// Bytes that can be read.
    #[inline]
    pub fn receive_length(&self) -> usize {
        self.receive.length() + self.kept().map_or(0, Pages::length)
    }

    /// How many more there is room for.
    #[inline]
    pub fn receive_room(&self) -> usize {
        self.receive.room().saturating_sub(self.kept().map_or(0, Pages::length))
    }

    /// From now on pages are kept; whether they were not before.
    pub fn start_taking(&mut self) -> bool {
        let taking = match &mut self.rare {
            Some(rare) => &mut rare.taking,
            rare @ None => &mut rare.insert(Box::default()).taking,
        };
        if taking.is_some() {
            return false;
        }
        *taking = Some(Taking { pages: Box::new(Queue::default()), charged: 0 });
        true
    }

    /// Whether pages are kept.
    pub fn is_taking(&self) -> bool {
        self.kept().is_some()
    }

    /// Whether the next segment, of so many bytes in so many pages, is to be kept in these. They count as what they take of
    /// memory, and so much no buffer may hold either.
    pub fn may_keep(&mut self, length: usize, pages: usize, memory: &Memory) -> bool {
        let limit = self.receive.limit();
        length >= pages * LEAST
            && memory.has_pages(pages)
            && self.kept_mut().is_some_and(|kept| (kept.count() + pages) * PAGE_SIZE <= limit && kept.make_place(pages))
    }

    /// Keeps a page of a segment whose bytes were counted already.
    pub fn keep(&mut self, fragment: Fragment, memory: &mut Memory) {
        let Some(taking) = self.rare.as_deref_mut().and_then(|rare| rare.taking.as_mut()) else { return };
        taking.pages.push(&self.receive, fragment);
        taking.charged += 1;
        memory.charge_pages(1);
    }

    /// The page that comes first, if it is one.
    pub fn take(&mut self) -> Option<Fragment> {
        self.kept_mut()?.pop()
    }

    /// The first bytes, as far as they stand side by side.
    pub fn peek(&self) -> &[u8] {
        match self.kept() {
            Some(pages) => pages.first(&self.receive),
            None => self.receive.get(0, usize::MAX)[0],
        }
    }

    /// Takes the first bytes away.
    pub fn consume(&mut self, length: usize) {
        match self.rare.as_deref_mut().and_then(|rare| rare.taking.as_mut()) {
            Some(taking) => taking.pages.consume(&mut self.receive, length),
            None => self.receive.consume(length),
        }
    }

    /// Pages that are not here any more do not count.
    #[inline]
    pub fn rest_pages(&mut self, memory: &mut Memory) {
        if let Some(taking) = self.rare.as_deref_mut().and_then(|rare| rare.taking.as_mut()) {
            let count = taking.pages.count();
            memory.release_pages(taking.charged - count);
            taking.charged = count;
        }
    }

    /// How many pages count, of a connection that is no more.
    pub fn charged_pages(&self) -> usize {
        self.rare.as_deref().and_then(|rare| rare.taking.as_ref()).map_or(0, |taking| taking.charged)
    }
}
