//! A bounded pool of pages that tells when one came back.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Waker;

use mirage_rt::page::{HeapPool, PageBytes, PagePool};

pub(super) struct Pages {
    pool: Rc<dyn PagePool>,
    waiting: RefCell<Option<Waker>>,
}

impl Pages {
    /// A pool of at most `most` pages.
    pub(super) fn new(most: usize) -> Rc<Pages> {
        Rc::new(Pages { pool: HeapPool::with_pages(most), waiting: RefCell::default() })
    }

    /// Wakes `waker` when the next page comes back. Only the latest one is kept.
    pub(super) fn wait(&self, waker: &Waker) {
        self.waiting.replace(Some(waker.clone()));
    }
}

impl PagePool for Pages {
    fn take(&self) -> Option<&'static mut PageBytes> {
        self.pool.take()
    }

    fn put(&self, memory: &'static mut PageBytes) {
        self.pool.put(memory);
        let waiting = self.waiting.take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }

    fn available(&self) -> usize {
        self.pool.available()
    }
}
