//! What the user of a device wants of it, for the task that looks after the device; and those who wait for what comes of it.

use alloc::vec::Vec;
use core::cell::Cell;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};

use mirage_rt::cell::RefCell;

use super::{Step, XenbusError};
use crate::xenstore::XenstoreError;

/// What a device should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    Connected,
    Quiet,
    Gone,
}

/// The wish of today, and who is to be woken.
pub(crate) struct Wishes {
    wish: Cell<Wish>,
    /// Of the supervisor, for a changed wish or a broken device.
    supervisor: RefCell<Option<Waker>>,
    /// Of those who wait for the device to change.
    watchers: RefCell<Vec<Waker>>,
}

impl Wishes {
    /// A device that is to be connected.
    pub(crate) fn new() -> Self {
        Self { wish: Cell::new(Wish::Connected), supervisor: RefCell::default(), watchers: RefCell::default() }
    }

    pub(crate) fn get(&self) -> Wish {
        self.wish.get()
    }

    pub(crate) fn set(&self, wish: Wish) {
        self.wish.set(wish);
        self.wake_supervisor();
    }

    /// Whether the device is to be connected.
    pub(crate) fn is_connected(&self) -> bool {
        self.get() == Wish::Connected
    }

    /// Keeps the waker of the supervisor, which is about to wait.
    pub(crate) fn remember_supervisor(&self, context: &Context<'_>) {
        *self.supervisor.borrow_mut() = Some(context.waker().clone());
    }

    pub(crate) fn wake_supervisor(&self) {
        let waker = self.supervisor.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes a step of connecting while the device is to be connected; as if [interrupted](XenbusError::is_interrupted) as
    /// soon as it is not.
    pub(crate) async fn while_connected(&self, mut step: Step<'_, Result<(), XenbusError>>) -> Result<(), XenbusError> {
        poll_fn(|context| {
            if !self.is_connected() {
                return Poll::Ready(Err(XenstoreError::Interrupted.into()));
            }
            self.remember_supervisor(context);
            step.as_mut().poll(context)
        })
        .await
    }

    /// Waits until `wanted` holds, which is looked at again with each [`wake_watchers`](Self::wake_watchers).
    pub(crate) async fn until(&self, mut wanted: impl FnMut() -> bool) {
        poll_fn(|context| {
            if wanted() {
                return Poll::Ready(());
            }
            self.watchers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn wake_watchers(&self) {
        let watchers = core::mem::take(&mut *self.watchers.borrow_mut());
        watchers.into_iter().for_each(Waker::wake);
    }
}
