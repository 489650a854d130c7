//! What a Unix process gives to a runtime.

use std::fmt;
use std::io::Write;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use mirage_rt::Instant;
use mirage_rt::platform::{Platform, Unpark};
use mirage_rt::time::UnixTime;
use mirage_rt::types::random::RandomError;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::current;
use crate::reactor::Reactor;

/// The platform below a [`Runtime`](mirage_rt::Runtime): the system's clocks and random numbers, standard output as the
/// console, and a reactor that sleeps until sockets, tap devices or other threads have something.
///
/// It belongs to one thread. Runtimes of that thread may share one, so that one [`park`](Platform::park) sleeps for all of
/// them; runtimes of several threads have one each.
pub struct UnixPlatform {
    reactor: Rc<Reactor>,
}

impl UnixPlatform {
    /// A platform for this thread.
    ///
    /// # Errors
    ///
    /// [`StartError`] when the process can't have another epoll or event descriptor.
    pub fn new() -> Result<Rc<UnixPlatform>, StartError> {
        current::install_hooks();
        let reactor = Reactor::new().map_err(|errno| StartError(host_error(errno)))?;
        Ok(Rc::new(UnixPlatform { reactor: Rc::new(reactor) }))
    }

    pub(crate) fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }
}

impl Platform for UnixPlatform {
    fn now(&self) -> Instant {
        // All platforms of a process count from the same start, so that their instants can be compared.
        static START: OnceLock<std::time::Instant> = OnceLock::new();
        let since = START.get_or_init(std::time::Instant::now).elapsed();
        Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn wall_clock(&self) -> Option<UnixTime> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        u64::try_from(since.as_nanos()).ok().map(UnixTime::from_nanos)
    }

    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        let mut rest = buffer;
        while !rest.is_empty() {
            match getrandom(&mut *rest, GetRandomFlags::empty()) {
                Ok(length) => rest = rest.get_mut(length..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(_) => return Err(RandomError::Host),
            }
        }
        Ok(())
    }

    fn write_console(&self, bytes: &[u8]) {
        // A closed pipe, or a terminal that is gone, is no reason to stop serving: there is nobody to tell.
        let mut output = std::io::stdout().lock();
        let _ = output.write_all(bytes).and_then(|()| output.flush());
    }

    fn park(&self, deadline: Option<Instant>) {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(self.now()));
        self.reactor.park(timeout);
    }

    fn poll_events(&self) {
        self.reactor.poll();
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.reactor.unparker()
    }

    fn wake_all(&self) {
        self.reactor.wake_all();
    }
}

/// The process can't run an application: it may not open the descriptors that a reactor needs.
#[derive(Debug)]
pub struct StartError(std::io::Error);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no descriptors for the event loop: {}; see the limits of `ulimit -n`", self.0)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The message above has it already.
        None
    }
}

/// The standard library's error for a system call's, which has the message for people.
pub(crate) fn host_error(errno: Errno) -> std::io::Error {
    std::io::Error::from_raw_os_error(errno.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_and_random_numbers_are_the_systems() {
        let platform = UnixPlatform::new().expect("a test may open descriptors");
        let first = platform.now();
        assert!(UnixPlatform::new().expect("a test may open descriptors").now() >= first);
        // 2020-01-01: before this was written.
        assert!(platform.wall_clock().is_some_and(|time| time.as_secs() > 1_577_836_800));
        let mut numbers = [[0; 1000]; 2];
        for buffer in &mut numbers {
            platform.fill_random(buffer).expect("the system has random numbers");
            // The chance that any of these windows stays zero by itself is below one in 2^100.
            assert!(buffer.windows(32).all(|window| window != [0; 32]));
        }
        assert_ne!(numbers[0], numbers[1]);
    }
}
