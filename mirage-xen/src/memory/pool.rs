//! Pools of I/O pages, which may be lent to a backend.
//!
//! Their pages come from the frame allocator when they are first needed and never go back to it: what was shared once is never
//! part of the heap.

use alloc::vec::Vec;
use core::cell::Cell;
use core::ops::Range;

use mirage_rt::cell::RefCell;
use mirage_rt::page::{PageBytes, PagePool};

use crate::hypervisor::PAGE_SIZE;
use crate::memory::machine::pointer;

/// A pool is made of about so many blocks, so that few ranges describe all I/O pages.
const BLOCKS: usize = 4;

/// A pool that takes blocks of pages from `source`, by their addresses.
pub(crate) struct IoPool<S> {
    source: S,
    order: usize,
    budget: usize,
    free: RefCell<Vec<&'static mut PageBytes>>,
    unmade: Cell<usize>,
}

impl<S: Fn(usize) -> Option<Range<u64>>> IoPool<S> {
    /// A pool of at most `budget` pages. `source` is asked for 2^n pages, and may give fewer or none.
    ///
    /// # Safety
    ///
    /// What `source` gives are addresses of whole pages of memory that nothing else has, for ever.
    pub(crate) unsafe fn new(source: S, budget: usize) -> Self {
        let order = (budget / BLOCKS).checked_ilog2().unwrap_or(0) as usize;
        Self { source, order, budget, free: RefCell::default(), unmade: Cell::new(budget) }
    }

    fn grow(&self, free: &mut Vec<&'static mut PageBytes>) -> Option<()> {
        let unmade = self.unmade.get();
        if unmade == 0 {
            return None;
        }
        // A place for every page there is, so that `put` never allocates.
        let made = self.budget - unmade;
        free.try_reserve(made + (1 << self.order)).ok()?;
        let block = (self.source)(self.order)?;
        // A block may exceed the budget by a few pages; they stay unused.
        let pages = ((block.end - block.start) as usize / PAGE_SIZE).min(unmade);
        self.unmade.set(unmade - pages);
        for page in 0..pages {
            let memory = pointer(block.start + (page * PAGE_SIZE) as u64);
            // SAFETY: the source has promised the page to us alone; zero bytes are valid.
            free.push(unsafe {
                memory.write_bytes(0, PAGE_SIZE);
                &mut *memory.cast::<PageBytes>()
            });
        }
        Some(())
    }
}

impl<S: Fn(usize) -> Option<Range<u64>>> PagePool for IoPool<S> {
    fn take(&self) -> Option<&'static mut PageBytes> {
        let mut free = self.free.borrow_mut();
        if free.is_empty() {
            self.grow(&mut free)?;
        }
        free.pop()
    }

    fn put(&self, memory: &'static mut PageBytes) {
        self.free.borrow_mut().push(memory);
    }

    fn available(&self) -> usize {
        self.free.borrow().len() + self.unmade.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory that is not clean, as much as is asked for.
    fn dirty(order: usize) -> Option<Range<u64>> {
        let pages: Vec<PageBytes> = (0..1 << order).map(|_| PageBytes([0xAA; PAGE_SIZE])).collect();
        let start = pages.leak().as_mut_ptr().expose_provenance() as u64;
        Some(start..start + (PAGE_SIZE << order) as u64)
    }

    fn pool<S: Fn(usize) -> Option<Range<u64>>>(source: S, budget: usize) -> IoPool<S> {
        // SAFETY: the tests' sources give leaked memory, each piece once.
        unsafe { IoPool::new(source, budget) }
    }

    #[test]
    fn the_budget_is_kept_and_pages_are_clean_at_first() {
        for budget in [0, 1, 2, 3, 7, 64, 100] {
            let pool = pool(dirty, budget);
            assert_eq!(pool.available(), budget);
            let mut taken: Vec<_> = core::iter::from_fn(|| pool.take()).collect();
            assert_eq!(taken.len(), budget);
            assert_eq!(pool.available(), 0);
            assert!(taken.iter().all(|page| page.0.iter().all(|&byte| byte == 0)));
            taken.drain(..).for_each(|page| pool.put(page));
            assert_eq!(pool.available(), budget);
            assert_eq!(core::iter::from_fn(|| pool.take()).count(), budget);
        }
    }

    #[test]
    fn giving_back_never_allocates() {
        let pool = pool(dirty, 100);
        let taken: Vec<_> = core::iter::from_fn(|| pool.take()).collect();
        let capacity = pool.free.borrow().capacity();
        assert!(capacity >= taken.len());
        taken.into_iter().for_each(|page| pool.put(page));
        assert_eq!(pool.free.borrow().capacity(), capacity);
    }

    #[test]
    fn a_source_without_memory_ends_the_pool_early_but_not_for_ever() {
        let blocks = Cell::new(1_u32);
        let source = |order: usize| {
            blocks.set(blocks.get().checked_sub(1)?);
            dirty(order.min(1))
        };
        let pool = pool(&source, 64);
        assert!(pool.take().is_some() && pool.take().is_some());
        blocks.set(0);
        assert!(pool.take().is_none());
        assert_eq!(pool.available(), 62);
        blocks.set(1);
        assert!(pool.take().is_some());
    }
}
