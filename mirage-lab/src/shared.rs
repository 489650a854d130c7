//! Labs that the threads of a process share: a machine is booted once for all tests of a program.

use crate::cache::Cache;
use crate::error::StartError;
use crate::images::Images;
use crate::lab::Lab;
use crate::qemu::Qemu;
use std::cell::RefCell;
use std::env;
use std::io::{self, Write};
use std::ops::Deref;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

/// Machines that a process shares, at most.
const MOST: usize = 2;

static MACHINES: [OnceLock<Result<Lab, StartError>>; MOST] = [const { OnceLock::new() }; MOST];

/// Who uses each of them.
static USERS: Mutex<[Users; MOST]> = Mutex::new([Users::Threads(0); MOST]);
/// One of them has fewer users.
static FREED: Condvar = Condvar::new();

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Users {
    /// So many threads.
    Threads(u32),
    /// One that does not share it.
    Alone,
}

/// Which machine a thread uses, for as long as it runs.
struct Place(usize);

impl Place {
    /// A place at the machine that the fewest others use.
    fn among_others() -> Self {
        Self::take(|users| match users {
            Users::Threads(threads) => Some((threads, Users::Threads(threads + 1))),
            Users::Alone => None,
        })
    }

    /// All of a machine.
    fn alone() -> Self {
        Self::take(|users| (users == Users::Threads(0)).then_some((0, Users::Alone)))
    }

    /// Waits for a machine of which `taken` gives something: how busy it is and who uses it then.
    fn take(taken: impl Fn(Users) -> Option<(u32, Users)>) -> Self {
        let machines = thread::available_parallelism().map_or(1, usize::from).min(MOST);
        let mut users = all_users();
        loop {
            let free = (0..machines).filter_map(|place| taken(users[place]).map(|(busy, then)| (busy, place, then)));
            if let Some((_, place, then)) = free.min_by_key(|(busy, ..)| *busy) {
                users[place] = then;
                return Self(place);
            }
            users = FREED.wait(users).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let users = &mut all_users()[self.0];
        *users = match *users {
            Users::Threads(threads) => Users::Threads(threads.saturating_sub(1)),
            Users::Alone => Users::Threads(0),
        };
        FREED.notify_all();
    }
}

fn all_users() -> MutexGuard<'static, [Users; MOST]> {
    USERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn machine(place: &Place) -> Result<&'static Lab, &'static StartError> {
    MACHINES[place.0].get_or_init(Lab::start).as_ref()
}

/// A machine that no other thread uses for as long as this lives, see [`Lab::alone_or_skip`].
pub struct Alone {
    lab: &'static Lab,
    _place: Place,
}

impl Deref for Alone {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        self.lab
    }
}

impl Lab {
    /// A machine that the threads of this process share, started at the first call. There are as many as the host has
    /// processors, two at most: each keeps one busy. A thread gets the one that the fewest others have, always the same.
    /// Waits while others use all of them [alone](Self::alone_or_skip).
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start); each machine is tried once, every call gives the same error.
    pub fn shared() -> Result<&'static Self, &'static StartError> {
        PLACE.with_borrow_mut(|place| machine(place.get_or_insert_with(Place::among_others)))
    }

    /// A shared machine for a test; `None` says that this host can't have one and the test is to be skipped.
    ///
    /// # Panics
    ///
    /// If the lab should work here and does not, or if it can't work here and `CI` is `true`.
    pub fn shared_or_skip() -> Option<&'static Self> {
        or_skip(Self::shared())
    }

    /// One of the shared machines for a test that counts what is left over: no other thread uses it as long as the test has
    /// it. Waits until there is one. What this thread had of a shared machine before is over.
    ///
    /// # Panics
    ///
    /// As [`shared_or_skip`](Self::shared_or_skip).
    pub fn alone_or_skip() -> Option<Alone> {
        PLACE.take();
        let place = Place::alone();
        or_skip(machine(&place)).map(|lab| Alone { lab, _place: place })
    }

    /// Whether this host can have a lab: fetches and builds what it is made of, and starts nothing. For tests that start
    /// programs which start labs. `false` says that the test is to be skipped.
    ///
    /// # Panics
    ///
    /// As [`shared_or_skip`](Self::shared_or_skip).
    pub fn available_or_skip() -> bool {
        static AVAILABLE: OnceLock<Result<(), StartError>> = OnceLock::new();
        let available = AVAILABLE.get_or_init(|| {
            let cache = Cache::open()?;
            Images::get(&cache)?;
            Ok(Qemu::available(&cache)?)
        });
        or_skip(available.as_ref()).is_some()
    }
}

/// What there is; or nothing, with one loud line, if this host can't have it.
#[allow(clippy::panic, reason = "a test is to fail")]
fn or_skip<T>(started: Result<T, &StartError>) -> Option<T> {
    static SAID: OnceLock<()> = OnceLock::new();
    match started {
        Ok(value) => Some(value),
        Err(error) if error.is_unsupported_host() && env::var_os("CI").is_none_or(|ci| ci != "true") => {
            SAID.get_or_init(|| {
                // Past the test harness, which keeps what passing tests print.
                let _ = writeln!(io::stderr(), "SKIPPED: NO TEST RUNS ON XEN HERE: {error}");
            });
            None
        }
        Err(error) => panic!("the lab does not start: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Users, all_users};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    /// One test, because all tests of a process have the same machines.
    #[test]
    fn whoever_is_alone_waits_for_the_others_and_lets_them_wait() {
        let machines = thread::available_parallelism().map_or(1, usize::from).min(super::MOST);
        let others: Vec<Place> = (0..machines).map(|_| Place::among_others()).collect();
        assert!(all_users()[..machines].iter().all(|users| *users == Users::Threads(1)), "they spread");
        let (tell, told) = mpsc::channel();
        let waiting = thread::spawn(move || {
            let place = Place::alone();
            tell.send(place.0).expect("the test listens");
            place
        });
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "no machine is free");
        let last = others.into_iter().next_back().expect("there is one").0;
        // With the iterator's rest, all others are gone now; any of them may be taken.
        let place = told.recv().expect("it gets one");
        assert!(place <= last);
        let alone = waiting.join().expect("it ends");
        let beside: Vec<Place> = (1..machines).map(|_| Place::among_others()).collect();
        assert!(beside.iter().all(|beside| beside.0 != alone.0), "nobody shares it");
        drop(alone);
        assert_eq!(all_users()[place], Users::Threads(0));
    }
}
