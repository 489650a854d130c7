//! What a platform gives to a [`Runtime`]: clocks, random numbers, a console, and a way to sleep.
//!
//! mirage-unix and mirage-xen implement [`Platform`]; so does the virtual one of `mirage_rt::testing`.

use alloc::boxed::Box;
use alloc::sync::Arc;

use once_cell::race::OnceBox;

use crate::runtime::Runtime;
use crate::time::{Duration, Instant, UnixTime};
use crate::types::random::RandomError;

/// The ground a runtime stands on. All methods are called on the runtime's own thread.
pub trait Platform {
    /// The monotonic clock.
    fn now(&self) -> Instant;

    /// The wall clock, `None` where the machine has none.
    fn wall_clock(&self) -> Option<UnixTime>;

    /// Fills `buffer` with numbers fit for keys.
    ///
    /// # Errors
    ///
    /// [`RandomError`] where the machine has no source to be trusted; then nothing in `buffer` may be used.
    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), RandomError>;

    /// Writes to the console. Never waits for whoever reads it: what finds no room is dropped and counted.
    fn write_console(&self, bytes: &[u8]);

    /// How many bytes [`write_console`](Platform::write_console) has dropped.
    fn console_lost(&self) -> u64 {
        0
    }

    /// Sleeps until `deadline` (`None`: without end), a device's event, or a call of [`Unpark::unpark`], and wakes the
    /// wakers of what happened. Returns at once when something of this had happened since the last call.
    fn park(&self, deadline: Option<Instant>);

    /// Wakes the wakers of what has happened, without sleeping. Called between batches of tasks.
    fn poll_events(&self);

    /// A handle that ends [`park`](Platform::park), from any thread.
    fn unparker(&self) -> Arc<dyn Unpark>;

    /// How long the machine's processor ran for others while there was work for it here, since the machine started; `None` where
    /// nobody counts it.
    fn stolen_time(&self) -> Option<Duration> {
        None
    }

    /// Wakes every waker that the platform keeps. Called when a runtime ends: its tasks are dropped then, and a task whose
    /// only way to be woken is a device of the platform would stay for ever, and the device with it.
    fn wake_all(&self) {}
}

/// Ends a [`Platform::park`] from any thread.
pub trait Unpark: Send + Sync {
    /// Makes the current or the next `park` return.
    fn unpark(&self);
}

/// What [`Hooks::with`] shows the runtime to.
pub type Look<'a> = &'a mut dyn FnMut(&Runtime);

/// How [`Runtime::current`] is found: a thread-local on Unix, a static on Xen. The first one installed is kept.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// Shows the runtime that was set last, if any. No handle is made, so that code that only looks does not have all that
    /// ends a runtime in its image.
    pub with: fn(Look<'_>),
    /// Sets the current runtime and returns the one before.
    pub set: fn(Option<Runtime>) -> Option<Runtime>,
}

static HOOKS: OnceBox<Hooks> = OnceBox::new();

/// Tells this crate where the platform keeps the current runtime. Later calls change nothing.
pub fn install(hooks: Hooks) {
    let _ = HOOKS.set(Box::new(hooks));
}

pub(crate) fn hooks() -> Option<&'static Hooks> {
    HOOKS.get()
}
