//! The end of a request: a future on the application's side, an answer on the driver's.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use super::BlockError;
use crate::page::Page;

/// How a request ended, and its pages.
pub type Done = (Result<(), BlockError>, Vec<Page>);

/// The future of a request. Dropping it leaves the request running; see [the module](super).
///
/// It is ready once, and pending for ever if it is polled after that.
#[must_use = "the request runs, but only this tells how it ends"]
pub struct Completion {
    shared: Rc<Shared>,
}

/// The driver's half of a [`Completion`]. One that is dropped without an answer says [`BlockError::Broken`].
pub struct Responder {
    shared: Rc<Shared>,
    answered: bool,
}

#[derive(Default)]
struct Shared {
    done: Cell<Option<Done>>,
    waker: Cell<Option<Waker>>,
}

impl Completion {
    /// A completion, and what answers it.
    pub fn new() -> (Responder, Completion) {
        let shared = Rc::<Shared>::default();
        (Responder { shared: Rc::clone(&shared), answered: false }, Completion { shared })
    }

    /// One that is ready.
    pub fn ready(result: Result<(), BlockError>, pages: Vec<Page>) -> Completion {
        let shared = Shared { done: Cell::new(Some((result, pages))), waker: Cell::new(None) };
        Completion { shared: Rc::new(shared) }
    }
}

impl Future for Completion {
    type Output = Done;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Done> {
        if let Some(done) = self.shared.done.take() {
            return Poll::Ready(done);
        }
        let waker = match self.shared.waker.take() {
            Some(waker) if waker.will_wake(context.waker()) => waker,
            _ => context.waker().clone(),
        };
        self.shared.waker.set(Some(waker));
        Poll::Pending
    }
}

impl Responder {
    /// Ends the request. When nobody waits for it any more, the pages go to their pool.
    pub fn respond(mut self, result: Result<(), BlockError>, pages: Vec<Page>) {
        self.answer(result, pages);
    }

    fn answer(&mut self, result: Result<(), BlockError>, pages: Vec<Page>) {
        self.answered = true;
        self.shared.done.set(Some((result, pages)));
        if let Some(waker) = self.shared.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.answered {
            self.answer(Err(BlockError::Broken), Vec::new());
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("completion of a request")
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("answer to a request")
    }
}
