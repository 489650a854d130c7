//! A runtime for tests: virtual time, seeded random numbers, a console that is kept.
//!
//! Time moves only when every task waits: then the clock jumps to the next deadline. Nothing depends on how fast the machine
//! is, and a test that waits for ever fails at once instead.

extern crate std;

use alloc::rc::Rc;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::Future;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::platform::{Hooks, Look, Platform, Unpark, install};
use crate::runtime::Runtime;
use crate::time::{Duration, Instant, UnixTime};
use crate::types::random::RandomError;

std::thread_local! {
    static CURRENT: RefCell<Option<Runtime>> = const { RefCell::new(None) };
}

fn with(act: Look<'_>) {
    CURRENT.with(|current| current.borrow().as_ref().map(act));
}

fn set(runtime: Option<Runtime>) -> Option<Runtime> {
    CURRENT.with(|current| current.replace(runtime))
}

/// The platform below a test's runtime.
pub struct VirtualPlatform {
    now: Cell<Instant>,
    random: Cell<u64>,
    console: RefCell<Vec<u8>>,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Unpark for Woken {
    fn unpark(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl VirtualPlatform {
    /// A platform whose random numbers follow from `seed`.
    pub fn new(seed: u64) -> Rc<VirtualPlatform> {
        install(Hooks { with, set });
        Rc::new(VirtualPlatform {
            now: Cell::new(Instant::ZERO),
            random: Cell::new(seed),
            console: RefCell::default(),
            woken: Arc::default(),
        })
    }

    /// What was written to the console so far.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&self.console.borrow()).into_owned()
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.now.set(self.now.get() + duration);
    }
}

impl Platform for VirtualPlatform {
    fn now(&self) -> Instant {
        self.now.get()
    }

    fn wall_clock(&self) -> Option<UnixTime> {
        const START: u64 = 1_700_000_000_000_000_000;
        Some(UnixTime::from_nanos(START + self.now.get().as_nanos()))
    }

    fn fill_random(&self, buffer: &mut [u8]) -> Result<(), RandomError> {
        for part in buffer.chunks_mut(8) {
            // SplitMix64: good enough for tests, and the same on every run.
            let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
            self.random.set(state);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            part.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..part.len()]);
        }
        Ok(())
    }

    fn write_console(&self, bytes: &[u8]) {
        self.console.borrow_mut().extend_from_slice(bytes);
    }

    /// Moves the clock to `deadline`.
    ///
    /// # Panics
    ///
    /// When there is no deadline and nothing was woken: the test would wait for ever.
    fn park(&self, deadline: Option<Instant>) {
        if self.woken.0.swap(false, Ordering::Acquire) {
            return;
        }
        match deadline {
            Some(deadline) => self.now.set(deadline.max(self.now.get())),
            None => panic!("every task waits and no timer is set: this test would never end"),
        }
    }

    fn poll_events(&self) {
        self.woken.0.store(false, Ordering::Release);
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        self.woken.clone()
    }
}

/// Runs `future` on a runtime of its own with virtual time and random numbers from `seed`, and prints the seed (a test's
/// output is shown when it fails).
pub fn run<F: Future>(seed: u64, future: F) -> F::Output {
    std::println!("seed {seed}");
    Runtime::new(VirtualPlatform::new(seed)).run(future)
}
