//! A place for the waker of the task that waits for something.

use core::task::Waker;

/// Keeps the latest waker. A waker whose place is taken by another task's is woken, so that it can come back.
#[derive(Default)]
pub struct WakerSlot(Option<Waker>);

impl WakerSlot {
    pub fn register(&mut self, waker: &Waker) {
        match &self.0 {
            Some(kept) if kept.will_wake(waker) => {}
            _ => {
                if let Some(earlier) = self.0.replace(waker.clone()) {
                    earlier.wake();
                }
            }
        }
    }

    pub fn wake(&mut self) {
        if let Some(waker) = self.0.take() {
            waker.wake();
        }
    }
}
