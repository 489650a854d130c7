//! Ends the reactor's sleep from any thread.

use std::sync::atomic::{AtomicU8, Ordering};

use mirage_rt::platform::Unpark;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, read, write};

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const UNPARKED: u8 = 2;

/// A state, and an eventfd which is written only when the reactor sleeps.
pub(super) struct Unparker {
    state: AtomicU8,
    event: OwnedFd,
}

impl Unparker {
    pub(super) fn new() -> Result<Unparker, Errno> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Unparker { state: AtomicU8::new(AWAKE), event })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Whether the reactor may sleep now: not when it was unparked since the last sleep. From here on an unpark writes the
    /// eventfd, so the sleep ends even if it has not begun.
    pub(super) fn begin_sleep(&self) -> bool {
        match self.state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(_) => {
                self.end_sleep();
                false
            }
        }
    }

    /// The reactor is awake and its caller will look for work. A swap, so that what was done before an unpark is seen.
    pub(super) fn end_sleep(&self) {
        self.state.swap(AWAKE, Ordering::AcqRel);
    }

    /// Takes the eventfd's count away, so that the next write is an event again.
    pub(super) fn drain(&self) {
        let mut count = [0; 8];
        // Fails only when the count is 0 already.
        let _ = read(&self.event, &mut count);
    }
}

impl Unpark for Unparker {
    fn unpark(&self) {
        if self.state.swap(UNPARKED, Ordering::AcqRel) == ASLEEP {
            // Fails only when the count is at its end: then the event is there already.
            let _ = write(&self.event, &1_u64.to_ne_bytes());
        }
    }
}
