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
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    fn runtime() -> mirage_rt::Runtime {
        mirage_rt::Runtime::new(crate::UnixPlatform::new().expect("a test may open descriptors"))
    }

    #[test]
    fn a_request_wakes_whoever_waits_and_stays() {
        let stop = StopRequest::default();
        let other = stop.clone();
        let thread = std::thread::spawn(move || other.request());
        runtime().run(stop.clone());
        thread.join().expect("the thread only makes a request");
        assert!(Pin::new(&mut stop.clone()).poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }

    /// A program that says when it was asked to stop and then does not.
    #[test]
    #[ignore = "run by the_second_signal_ends_a_program_that_does_not_stop"]
    fn stubborn() {
        let stop = install().expect("a process may have a thread");
        println!("ready");
        runtime().run(stop);
        println!("asked");
        loop {
            std::thread::park();
        }
    }

    #[test]
    fn the_second_signal_ends_a_program_that_does_not_stop() {
        for (name, status) in [("-INT", 130), ("-TERM", 143)] {
            let mut program = Command::new(std::env::current_exe().expect("a program knows its path"))
                .args(["--exact", "signals::tests::stubborn", "--ignored", "--nocapture"])
                .stdout(Stdio::piped())
                .spawn()
                .expect("this program can be run again");
            let mut lines = BufReader::new(program.stdout.take().expect("its output is piped")).lines();
            for expected in ["ready", "asked"] {
                let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(expected)));
                assert!(line.is_some(), "the program ended before it was {expected}");
                let kill = Command::new("kill").args([name, &program.id().to_string()]).status();
                assert!(kill.expect("there is a kill").success());
            }
            assert_eq!(program.wait().expect("it ends").code(), Some(status), "{name}");
        }
    }
}
