//! Time: a monotonic [`Instant`], the wall clock's [`UnixTime`], and futures that wait.
//!
//! Both clocks count nanoseconds in a `u64`, which lasts until the year 2554. The monotonic clock stands still while
//! the machine is suspended; the wall clock may step.

mod limit;

use core::fmt;
use core::future::Future;
use core::ops::{Add, AddAssign, Sub};
use core::pin::Pin;
use core::task::{Context, Poll};
pub use core::time::Duration;

pub use limit::TimeLimit;

use crate::runtime::{Runtime, Timer};

/// A point of the monotonic clock, in nanoseconds since an arbitrary start (usually the boot).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The clock's start.
    pub const ZERO: Instant = Instant(0);

    /// The instant `nanoseconds` after the clock's start.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Instant(nanoseconds)
    }

    /// Nanoseconds since the clock's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`, zero when `earlier` is the later one.
    pub const fn saturating_duration_since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Nanoseconds from `earlier` to `self`, none when `earlier` is the later one. Cheaper than a [`Duration`].
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    #[inline]
    pub(crate) const fn nanos_since(self, earlier: Instant) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// So many nanoseconds later.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    #[inline]
    pub(crate) const fn plus_nanos(self, nanoseconds: u64) -> Instant {
        Instant(self.0.saturating_add(nanoseconds))
    }

    /// `self` plus `duration`, at most the end of the clock's range.
    #[inline]
    pub fn saturating_add(self, duration: Duration) -> Instant {
        // Not by `as_nanos`, whose 128 bits cost more than all the rest.
        let seconds = duration.as_secs().saturating_mul(1_000_000_000);
        Instant(self.0.saturating_add(seconds).saturating_add(duration.subsec_nanos().into()))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at the end of the clock's range.
    fn add(self, duration: Duration) -> Instant {
        self.saturating_add(duration)
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Saturates at zero.
    fn sub(self, earlier: Instant) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// A point of the wall clock: nanoseconds since 1970-01-01 00:00:00 UTC, leap seconds not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The time `nanoseconds` after 1970-01-01 UTC.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        UnixTime(nanoseconds)
    }

    /// Nanoseconds since 1970-01-01 UTC.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970-01-01 UTC.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

/// Waits for at least `duration`.
///
/// # Cancel safety
///
/// Dropping the future removes the timer; nothing else has happened.
///
/// # Panics
///
/// When called outside of a running [`Runtime`].
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(Runtime::current().now() + duration)
}

/// Waits until `deadline`; ready at once when it has passed.
///
/// # Cancel safety
///
/// As [`sleep`].
///
/// # Panics
///
/// When polled outside of a running [`Runtime`].
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, armed: None }
}

/// The future of [`sleep`] and [`sleep_until`].
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    deadline: Instant,
    armed: Option<Timer>,
}

impl Sleep {
    /// When this future becomes ready.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Sets another deadline; the future must be polled again to be woken at it.
    pub fn reset(&mut self, deadline: Instant) {
        self.armed = None;
        self.deadline = deadline;
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.armed = None;
        let runtime = Runtime::current();
        if runtime.now() >= self.deadline {
            return Poll::Ready(());
        }
        self.armed = Some(runtime.add_timer(self.deadline, context.waker().clone()));
        Poll::Pending
    }
}

/// The time given to [`timeout`] was over before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time for this operation was over before it was done")
    }
}

impl core::error::Error for Elapsed {}

/// Runs `future` for at most `duration`; at the end of that time it is dropped.
///
/// # Errors
///
/// [`Elapsed`] when the time was over first.
///
/// # Cancel safety
///
/// That of `future`.
///
/// # Panics
///
/// When polled outside of a running [`Runtime`].
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = core::pin::pin!(future);
    // What is ready at once needs neither the clock nor a timer.
    let mut timer: Option<Sleep> = None;
    core::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        let timer = timer.get_or_insert_with(|| sleep(duration));
        Pin::new(timer).poll(context).map(|()| Err(Elapsed))
    })
    .await
}
