//! How short the machine is of memory.
//!
//! An image whose build.rs declares a [balloon](https://wiki.xenproject.org/wiki/Tuning_Xen_for_Performance) watches its free
//! memory and what the toolstack asks back. Elsewhere (on Unix, without a balloon) the pressure is always [`Pressure::Relaxed`].
//!
//! ```no_run
//! # async fn example(mut cache: Vec<u8>) {
//! use mirage_rt::memory::{Pressure, pressure};
//!
//! let mut pressure = pressure();
//! loop {
//!     match pressure.changed().await {
//!         Pressure::Relaxed => {}
//!         Pressure::Tight => cache.truncate(cache.len() / 2),
//!         _ => cache.clear(),
//!     }
//!     cache.shrink_to_fit();
//! }
//! # }
//! ```

use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};

use spin::Mutex;

/// How short memory is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[non_exhaustive]
pub enum Pressure {
    /// There is enough.
    #[default]
    Relaxed,
    /// Less than an eighth is free: caches should stop growing.
    Tight,
    /// Less than a thirty-second is free, or the toolstack asks for more than the domain can give back: what can be done
    /// without should go.
    Critical,
}

/// What the machine's memory is said to be, and who wants to know.
struct State {
    level: Pressure,
    wakers: Vec<Waker>,
}

// One machine, one pressure. Never held while a waker is woken.
static STATE: Mutex<State> = Mutex::new(State { level: Pressure::Relaxed, wakers: Vec::new() });

/// A view of the memory's pressure, which starts as if memory had been enough so far.
pub fn pressure() -> Pressures {
    Pressures { seen: Pressure::Relaxed }
}

/// The pressure and its changes, as one task sees them.
#[derive(Debug)]
pub struct Pressures {
    seen: Pressure,
}

impl Pressures {
    /// The pressure now.
    pub fn level(&self) -> Pressure {
        STATE.lock().level
    }

    /// Waits until the pressure is another one than this returned last, and returns it. Changes in between that were undone are
    /// not told. Cancel safe.
    pub async fn changed(&mut self) -> Pressure {
        poll_fn(|context| self.poll_changed(context)).await
    }

    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Pressure> {
        let mut state = STATE.lock();
        if state.level != self.seen {
            self.seen = state.level;
            return Poll::Ready(self.seen);
        }
        if !state.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            state.wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}

/// Tells everybody of the pressure. For platforms.
pub fn publish(level: Pressure) {
    let mut state = STATE.lock();
    if state.level == level {
        return;
    }
    state.level = level;
    let wakers = core::mem::take(&mut state.wakers);
    drop(state);
    wakers.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use crate::time::{Duration, timeout};

    // One test: the pressure is the process's.
    #[test]
    fn changes_are_told_once_to_everybody() {
        testing::run(1, async {
            let (mut one, mut other) = (pressure(), pressure());
            let quiet = |watch: Pressures| async move {
                let mut watch = watch;
                timeout(Duration::from_millis(1), watch.changed())
                    .await
                    .is_err()
                    .then_some(watch)
                    .expect("nothing changed")
            };
            one = quiet(one).await;
            let waiting = crate::spawn(async move { other.changed().await });
            crate::yield_now().await;
            publish(Pressure::Tight);
            assert_eq!(one.changed().await, Pressure::Tight);
            assert_eq!(waiting.await.ok(), Some(Pressure::Tight));
            one = quiet(one).await;
            // Undone before anybody looked.
            publish(Pressure::Critical);
            publish(Pressure::Tight);
            one = quiet(one).await;
            publish(Pressure::Relaxed);
            assert_eq!((one.level(), one.changed().await), (Pressure::Relaxed, Pressure::Relaxed));
        });
    }
}
