//! SIGINT and SIGTERM: the first asks the program to stop, the second ends it at once.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use signal_hook::consts::{SIGINT, SIGPIPE, SIGTERM};
use signal_hook::iterator::Signals;

/// A request to stop, made from any thread.
#[derive(Clone, Default)]
pub(crate) struct StopRequest(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    requested: bool,
    waker: Option<Waker>,
}

impl StopRequest {
    /// Makes the request.
    pub(crate) fn request(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.requested = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for StopRequest {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.requested {
            return Poll::Ready(());
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

/// From here on, SIGINT and SIGTERM make a request to stop; the second one of them ends the process with the status that a
/// shell reports for that signal. They are taken by a thread of their own, so that the second one works even while the
/// program computes without end. Writing to a closed pipe becomes an error instead of a signal.
///
/// # Errors
///
/// When the system gives no thread or no descriptors.
pub(crate) fn install() -> io::Result<StopRequest> {
    let stop = StopRequest::default();
    signal_hook::flag::register(SIGPIPE, Arc::default())?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let request = stop.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        let mut asked = false;
        for signal in signals.forever() {
            if asked {
                signal_hook::low_level::exit(128 + signal);
            }
            asked = true;
            request.request();
        }
    })?;
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_wakes_whoever_waits_and_stays() {
        let platform = crate::UnixPlatform::new().expect("a test may open descriptors");
        let stop = StopRequest::default();
        let other = stop.clone();
        let thread = std::thread::spawn(move || other.request());
        mirage_rt::Runtime::new(platform).run(stop.clone());
        thread.join().expect("the thread only makes a request");
        assert!(Pin::new(&mut stop.clone()).poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}
