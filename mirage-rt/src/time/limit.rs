//! [`TimeLimit`]: one timer for many operations.

use core::fmt;
use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll};

use super::{Duration, Elapsed, Instant};
use crate::runtime::{Runtime, Timer};

/// A limit of time for futures that run one after the other, as the reads of one connection: as [`timeout`](super::timeout),
/// but its timer stays armed from one to the next, and is set anew only when it comes. A server that arms one for each request,
/// and takes it away when the request is there, does both for nothing each time.
///
/// The task may be polled once more, without a reason, for the timer of a future that is ready already.
///
/// ```
/// # async fn example() {
/// use mirage_rt::{Duration, TimeLimit};
///
/// let mut limit = TimeLimit::new();
/// assert_eq!(limit.run(Duration::from_secs(2), async { 7 }).await, Ok(7));
/// assert!(limit.run(Duration::from_secs(2), core::future::pending::<()>()).await.is_err());
/// # }
/// ```
#[derive(Default)]
pub struct TimeLimit {
    armed: Option<(Instant, Timer)>,
}

impl TimeLimit {
    /// Without a timer until the first future has to wait.
    pub const fn new() -> Self {
        TimeLimit { armed: None }
    }

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
    pub async fn run<F: Future>(&mut self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        let mut due = None;
        core::future::poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            self.poll_over(&mut due, duration, context).map(Err)
        })
        .await
    }

    /// Ready when the time is over that begins with the first call. `run` exists for each type of future, and this once.
    #[inline(never)]
    fn poll_over(&mut self, due: &mut Option<Instant>, duration: Duration, context: &Context<'_>) -> Poll<Elapsed> {
        let runtime = Runtime::current();
        let due = *due.get_or_insert_with(|| runtime.recent() + duration);
        if let Some((at, timer)) = &self.armed
            && *at <= due
            && timer.wakes(context.waker())
        {
            return Poll::Pending;
        }
        self.armed = None;
        if runtime.now() >= due {
            return Poll::Ready(Elapsed);
        }
        self.armed = Some((due, runtime.add_timer(due, context.waker().clone())));
        Poll::Pending
    }
}

impl fmt::Debug for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeLimit").field("armed", &self.armed.as_ref().map(|armed| armed.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::run;
    use crate::{now, sleep, spawn};
    use core::future::pending;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_future_has_its_own_time() {
        run(1, async {
            let mut limit = TimeLimit::new();
            for _ in 0..5 {
                assert_eq!(limit.run(3 * SECOND, sleep(2 * SECOND)).await, Ok(()));
            }
            assert_eq!(now().as_nanos(), 10_000_000_000);
            // The timer that stands is earlier than this one's end.
            assert_eq!(limit.run(5 * SECOND, pending::<()>()).await, Err(Elapsed));
            assert_eq!(now().as_nanos(), 15_000_000_000);
        });
    }

    #[test]
    fn a_shorter_time_counts_at_once() {
        run(1, async {
            let mut limit = TimeLimit::new();
            assert_eq!(limit.run(100 * SECOND, sleep(SECOND)).await, Ok(()));
            assert_eq!(limit.run(SECOND, pending::<()>()).await, Err(Elapsed));
            assert_eq!(now().as_nanos(), 2_000_000_000);
            assert_eq!(limit.run(Duration::ZERO, pending::<()>()).await, Err(Elapsed));
            assert_eq!(limit.run(Duration::ZERO, async { 1 }).await, Ok(1));
        });
    }

    #[test]
    fn it_wakes_the_task_that_it_has_moved_to() {
        run(1, async {
            let mut limit = TimeLimit::new();
            assert_eq!(limit.run(9 * SECOND, sleep(SECOND)).await, Ok(()));
            let moved = spawn(async move { limit.run(9 * SECOND, pending::<()>()).await });
            assert_eq!(moved.await, Ok(Err(Elapsed)));
            assert_eq!(now().as_nanos(), 10_000_000_000);
        });
    }
}
