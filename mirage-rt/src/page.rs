//! Pages of I/O memory and the pools they come from.
//!
//! A [`Page`] owns 4096 bytes, aligned to 4096, that only it can reach. Pages are never part of the general heap: what a
//! driver lends to a backend comes from its platform's pool and goes back there when the page is dropped.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::ops::{Deref, DerefMut};

use crate::cell::RefCell;

/// Bytes of a page.
pub const PAGE_SIZE: usize = 4096;

/// The memory of a page.
#[repr(C, align(4096))]
pub struct PageBytes(pub [u8; PAGE_SIZE]);

/// Where pages come from and go back to.
pub trait PagePool {
    /// Takes a page, or `None` when the pool's budget is used up. Its content is unspecified, but never another
    /// domain's and never from the general heap.
    fn take(&self) -> Option<&'static mut PageBytes>;

    /// Gives back the memory of a page that [`take`](PagePool::take) gave.
    fn put(&self, memory: &'static mut PageBytes);

    /// Pages that can still be taken.
    fn available(&self) -> usize;
}

/// One page of I/O memory, given back to its pool on drop.
pub struct Page {
    memory: Option<&'static mut PageBytes>,
    pool: Rc<dyn PagePool>,
}

impl Page {
    /// Takes a page from `pool`; `None` when its budget is used up.
    pub fn take(pool: &Rc<dyn PagePool>) -> Option<Page> {
        let memory = pool.take()?;
        Some(Page { memory: Some(memory), pool: Rc::clone(pool) })
    }

    /// How many pages can still be taken from the pool that this one is of.
    pub fn left(&self) -> usize {
        self.pool.available()
    }

    /// A page of `memory`, which goes to `pool` on drop. For drivers, after the other side's access has ended.
    pub fn from_parts(memory: &'static mut PageBytes, pool: Rc<dyn PagePool>) -> Page {
        Page { memory: Some(memory), pool }
    }

    /// The page's memory and pool. For drivers that share it: from then on, giving it back is their affair.
    pub fn into_parts(mut self) -> (&'static mut PageBytes, Rc<dyn PagePool>) {
        match self.memory.take() {
            Some(memory) => (memory, Rc::clone(&self.pool)),
            None => unreachable!("a page has its memory until it is dropped"),
        }
    }
}

impl Deref for Page {
    type Target = [u8; PAGE_SIZE];

    fn deref(&self) -> &Self::Target {
        match &self.memory {
            Some(memory) => &memory.0,
            None => unreachable!("a page has its memory until it is dropped"),
        }
    }
}

impl DerefMut for Page {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match &mut self.memory {
            Some(memory) => &mut memory.0,
            None => unreachable!("a page has its memory until it is dropped"),
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.pool.put(memory);
        }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Page")
    }
}

/// A pool on the program's heap, for tests and for platforms whose devices copy (tap, sockets). Its pages are made when
/// they are first needed and live as long as the program.
pub struct HeapPool {
    free: RefCell<Vec<&'static mut PageBytes>>,
    unmade: Cell<usize>,
}

impl HeapPool {
    /// A pool of at most `most` pages.
    pub fn with_pages(most: usize) -> Rc<dyn PagePool> {
        Rc::new(HeapPool { free: RefCell::new(Vec::new()), unmade: Cell::new(most) })
    }
}

impl PagePool for HeapPool {
    fn take(&self) -> Option<&'static mut PageBytes> {
        if let Some(memory) = self.free.borrow_mut().pop() {
            return Some(memory);
        }
        self.unmade.set(self.unmade.get().checked_sub(1)?);
        Some(Box::leak(Box::new(PageBytes([0; PAGE_SIZE]))))
    }

    fn put(&self, memory: &'static mut PageBytes) {
        self.free.borrow_mut().push(memory);
    }

    fn available(&self) -> usize {
        self.free.borrow().len() + self.unmade.get()
    }
}
