//! The runtime: a queue of tasks, timers, and the platform below them, for one thread.
//!
//! A [`Runtime`] is a value: several live in one process, on one thread or on many. [`spawn`], [`now`] and the futures of
//! [`crate::time`] find the one that is running through the platform's [`Hooks`](crate::platform::Hooks).

mod queue;
mod task;
mod timers;

use alloc::rc::{Rc, Weak};
use alloc::sync::Arc;
use alloc::task::Wake;
use core::cell::Cell;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};

pub use task::JoinHandle;

use crate::cell::RefCell;
use crate::platform::{self, Platform, Unpark};
use crate::time::{Duration, Instant, UnixTime};
use crate::types::random::RandomError;
use queue::Queue;
use timers::{TimerId, Timers};

/// Tasks polled before devices and timers are looked at again.
const BATCH: usize = 64;

/// A single-threaded executor with timers, on a [`Platform`]. Cloning gives another handle to the same runtime.
#[derive(Clone)]
pub struct Runtime {
    inner: Rc<Inner>,
}

struct Inner {
    platform: Rc<dyn Platform>,
    queue: Arc<Queue>,
    timers: RefCell<Timers>,
    log_filter: Cell<Option<LogFilter>>,
    /// The time of the present round of tasks, if any of them has asked for it.
    recent: Cell<Option<Instant>>,
}

/// Whether a message is shown.
type LogFilter = fn(&log::Metadata<'_>) -> bool;

impl Runtime {
    /// A runtime with nothing to do yet.
    pub fn new(platform: Rc<dyn Platform>) -> Self {
        let queue = Arc::new(Queue::new(platform.unparker()));
        let timers = RefCell::new(Timers::default());
        let (log_filter, recent) = (Cell::new(None), Cell::new(None));
        Runtime { inner: Rc::new(Inner { platform, queue, timers, log_filter, recent }) }
    }

    /// The runtime that runs this code.
    ///
    /// # Panics
    ///
    /// When none does; [`Runtime::try_current`] tells.
    pub fn current() -> Runtime {
        match Runtime::try_current() {
            Some(runtime) => runtime,
            None => {
                panic!("no Mirage runtime runs here: call this from a task, or inside Runtime::run or Runtime::enter")
            }
        }
    }

    /// The runtime that runs this code, or `None` outside of one.
    pub fn try_current() -> Option<Runtime> {
        Runtime::with_current(Runtime::clone)
    }

    /// Shows the runtime that runs this code to `act`; `None` outside of one.
    pub(crate) fn with_current<R>(act: impl FnOnce(&Runtime) -> R) -> Option<R> {
        // Not inlined: a closure behind `dyn` is compiled twice, and so would be all that it does.
        #[inline(never)]
        fn show<R>(runtime: &Runtime, act: &mut Option<impl FnOnce(&Runtime) -> R>) -> Option<R> {
            act.take().map(|act| act(runtime))
        }
        let (mut act, mut result) = (Some(act), None);
        (platform::hooks()?.with)(&mut |runtime| result = show(runtime, &mut act));
        result
    }

    /// Makes this the current runtime until the guard is dropped. Guards must be dropped in the reverse order.
    pub fn enter(&self) -> Entered {
        Entered { before: platform::hooks().map(|hooks| (hooks.set)(Some(self.clone()))) }
    }

    /// Starts `future` as a task of this runtime. The task goes on when the handle is dropped.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        task::spawn(&self.inner.queue, future)
    }

    /// Runs until `future` is ready, then returns its output. Tasks that are not done stay in the runtime and go on with
    /// the next call.
    pub fn run<F: Future>(&self, future: F) -> F::Output {
        let _entered = self.enter();
        self.run_entered(future)
    }

    /// As [`run`](Self::run), where this is the current runtime.
    pub(crate) fn run_entered<F: Future>(&self, future: F) -> F::Output {
        let main = self.main_waker();
        let waker = Waker::from(main.clone());
        let mut future = core::pin::pin!(future);
        loop {
            self.inner.recent.set(None);
            if main.woken.swap(false, Ordering::AcqRel)
                && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return output;
            }
            self.pass(&main);
        }
    }

    fn main_waker(&self) -> Arc<MainWaker> {
        Arc::new(MainWaker { woken: AtomicBool::new(true), unpark: self.inner.platform.unparker() })
    }

    /// One round of tasks, timers and devices, with a sleep when there is nothing to do.
    // `run` exists for each type of future, and this once.
    #[inline(never)]
    fn pass(&self, main: &MainWaker) {
        self.inner.queue.run(BATCH);
        let next = self.fire_timers();
        if main.woken.load(Ordering::Acquire) || !self.inner.queue.is_empty() {
            self.inner.platform.poll_events();
        } else {
            self.inner.platform.park(next);
        }
    }

    /// Runs what is ready now, without sleeping, and returns when the next timer is due: for a host that runs several
    /// runtimes on one thread.
    pub fn turn(&self) -> Turn {
        let _entered = self.enter();
        self.inner.platform.poll_events();
        let next = self.fire_timers();
        self.inner.recent.set(None);
        self.inner.queue.run(BATCH);
        Turn { busy: !self.inner.queue.is_empty(), next: self.inner.timers.borrow().next().or(next) }
    }

    /// The monotonic clock.
    #[inline(never)]
    pub fn now(&self) -> Instant {
        let now = self.inner.platform.now();
        self.inner.recent.set(Some(now));
        now
    }

    /// The monotonic clock as it was when a task last looked at it in the present round of tasks: for what need not be exact, as
    /// a limit of seconds, at the price of one look at the clock for all tasks of a round. What a task computes for long, without
    /// waiting, makes it late by that.
    pub fn recent(&self) -> Instant {
        self.inner.recent.get().unwrap_or_else(|| self.now())
    }

    /// How long the machine's processor ran for others while there was work for it here (steal time), since the machine started:
    /// a metric that tells a slow program from a crowded host. It is `None` on Unix.
    pub fn stolen_time(&self) -> Option<Duration> {
        self.inner.platform.stolen_time()
    }

    /// The wall clock, `None` where the machine has none.
    pub fn wall_clock(&self) -> Option<UnixTime> {
        self.inner.platform.wall_clock()
    }

    /// Fills `buffer` with numbers fit for keys.
    ///
    /// # Errors
    ///
    /// Where the machine has no source to be trusted, and in an image whose build.rs declares neither a network nor
    /// `.random()`; the message says what to do.
    pub fn fill_random(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        self.inner.platform.fill_random(buffer)
    }

    /// Writes to the console; see [`Platform::write_console`].
    pub fn write_console(&self, bytes: &[u8]) {
        self.inner.platform.write_console(bytes);
    }

    /// Messages are shown from now on if `filter` says so.
    pub(crate) fn filter_log(&self, filter: LogFilter) {
        self.inner.log_filter.set(Some(filter));
    }

    /// Whether a message is to be shown.
    pub(crate) fn logs(&self, message: &log::Metadata<'_>) -> bool {
        self.inner.log_filter.get().is_none_or(|filter| filter(message))
    }

    /// How many bytes of console output were lost so far, because nobody has read fast enough what was written before.
    pub fn console_lost(&self) -> u64 {
        self.inner.platform.console_lost()
    }

    pub(crate) fn add_timer(&self, deadline: Instant, waker: Waker) -> Timer {
        let id = self.inner.timers.borrow_mut().add(deadline, waker);
        Timer { id, inner: Rc::downgrade(&self.inner) }
    }

    /// Wakes every timer that is due; the next deadline after them.
    fn fire_timers(&self) -> Option<Instant> {
        self.inner.timers.borrow().next()?;
        // A timer that has become due since then is noticed by the sleep, which ends at once.
        let now = self.recent();
        loop {
            let due = self.inner.timers.borrow_mut().pop(now);
            match due {
                Some(waker) => waker.wake(),
                None => return self.inner.timers.borrow().next(),
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Dropping the last waker of a task queues it, so that close() drops its future here, on the runtime's thread.
        let timers = core::mem::take(self.timers.get_mut());
        drop(timers);
        self.platform.wake_all();
        self.queue.close();
    }
}

/// A timer that is taken away when this is dropped. It does not keep the runtime: a sleeping task would keep itself.
pub(crate) struct Timer {
    id: TimerId,
    inner: Weak<Inner>,
}

impl Timer {
    /// Whether it has not fired yet and wakes the task of this waker then.
    pub(crate) fn wakes(&self, waker: &Waker) -> bool {
        self.inner.upgrade().is_some_and(|inner| inner.timers.borrow().holds(self.id, waker))
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            let waker = inner.timers.borrow_mut().cancel(self.id);
            drop(waker);
        }
    }
}

/// What [`Runtime::turn`] left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Tasks are ready: call again before sleeping.
    pub busy: bool,
    /// When the next timer is due.
    pub next: Option<Instant>,
}

/// Restores the runtime that was current before [`Runtime::enter`].
#[must_use = "the runtime is current only while this lives"]
pub struct Entered {
    before: Option<Option<Runtime>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let (Some(before), Some(hooks)) = (self.before.take(), platform::hooks()) {
            let _ = (hooks.set)(before);
        }
    }
}

struct MainWaker {
    woken: AtomicBool,
    unpark: Arc<dyn Unpark>,
}

impl Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.unpark.unpark();
        }
    }
}

/// Starts `future` as a task of the current runtime. The task goes on when the handle is dropped.
///
/// # Panics
///
/// Outside of a running [`Runtime`].
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + 'static,
    F::Output: 'static,
{
    Runtime::current().spawn(future)
}

/// The monotonic clock of the current runtime.
///
/// # Panics
///
/// Outside of a running [`Runtime`].
pub fn now() -> Instant {
    Runtime::current().now()
}

/// Lets every other ready task run once before this one goes on.
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`].
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
