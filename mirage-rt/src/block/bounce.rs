//! How many pages may be used at a time to copy through.

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};

/// The most pages for copies, of all tasks together.
const LIMIT: usize = 64;
/// The most of them for one request: what a disk takes in one go.
const LARGEST: usize = 32;

/// Counts pages that copies use, so that many tasks that copy leave the pool's pages to those that move them.
#[derive(Default)]
pub(super) struct Bounce {
    used: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

/// The right to take some pages, until this is dropped.
pub(super) struct Permit<'a> {
    bounce: &'a Bounce,
    count: usize,
}

impl Bounce {
    /// Waits for at least one page, takes at most `wanted`.
    pub(super) async fn acquire(&self, wanted: usize) -> Permit<'_> {
        poll_fn(|context| {
            let count = wanted.min(LARGEST).min(LIMIT - self.used.get());
            if count == 0 {
                let mut waiting = self.waiting.borrow_mut();
                if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                    waiting.push(context.waker().clone());
                }
                return Poll::Pending;
            }
            self.used.set(self.used.get() + count);
            Poll::Ready(Permit { bounce: self, count })
        })
        .await
    }
}

impl Permit<'_> {
    pub(super) fn count(&self) -> usize {
        self.count
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.bounce.used.set(self.bounce.used.get() - self.count);
        // All of them: whoever comes first gets the pages, the others ask again.
        let waiting = self.bounce.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }
}
