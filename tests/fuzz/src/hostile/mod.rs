//! Drivers against backends that do what they like: wrong indices, ids, offsets and lengths, data that changes between two
//! reads, states that jump, backends that die and come back, and xenstore with nonsense in it.
//!
//! A step is one act: of the backend, or of whoever uses the device. A driver must not panic, must not reach memory that is
//! not its own (the model's pages are all that it has), and must not hang: every wait has a limit in virtual time, and the
//! model ends a run in which nothing can happen any more. What it may do is give the device up, for a reason that it knows.

mod block;
mod console;
mod network;
mod store;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::resume_unwind;
use std::thread;

use mirage_rt::runtime::yield_now;
use mirage_rt::time::{Duration, timeout};
use mirage_xen::model::Machine;

use crate::random::Random;

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Steps that were made.
    pub steps: u64,
    /// Devices that were connected, and lived until they were broken or parted from.
    pub lives: u64,
    /// Attempts to connect that failed with an error.
    pub refused: u64,
    /// How often a device was given up for each reason.
    pub reasons: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.steps += other.steps;
        self.lives += other.lives;
        self.refused += other.refused;
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
    }

    /// Counts a reason by its name, without what it says besides.
    fn count(&mut self, device: &str, reason: &dyn fmt::Debug) {
        let text = format!("{reason:?}");
        let name = text.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
        *self.reasons.entry(format!("{device} {name}")).or_default() += 1;
    }

    /// The reasons that exist and were not reached.
    pub fn missing(&self) -> Vec<&'static str> {
        REASONS.iter().copied().filter(|reason| !self.reasons.contains_key(*reason)).collect()
    }
}

/// Every reason for which a device can be given up.
pub const REASONS: &[&str] = &[
    "block EventChannel",
    "block Id",
    "block InUse",
    "block NotUnderWay",
    "block Operation",
    "block Producer",
    "block Status",
    "console Consumer",
    "console Producer",
    "network EventChannel",
    "network ReceiveBounds",
    "network ReceiveExtra",
    "network ReceiveExtras",
    "network ReceiveId",
    "network ReceiveInUse",
    "network ReceiveProducer",
    "network TransmitId",
    "network TransmitInUse",
    "network TransmitNull",
    "network TransmitProducer",
    "xenstore LongMessage",
    "xenstore Reported",
    "xenstore RequestIndices",
    "xenstore ResponseIndices",
];

/// A kind of device that is treated badly.
type Run = fn(&mut Random, u64) -> Tally;

const DEVICES: [(&str, Run); 4] =
    [("network", network::run), ("block", block::run), ("console", console::run), ("xenstore", store::run)];

/// Steps after which a guest gets another machine: pages that a backend never lets go of are lost to it.
const STEPS_OF_A_MACHINE: u64 = 50_000;

/// Makes about `steps` steps in all, shared among the devices. The same seed makes the same ones.
pub fn run(seed: u64, steps: u64) -> Tally {
    run_with(seed, steps, |_, _| {})
}

/// As [`run`], and tells after each piece which device it was and what it came to. Each device has a thread.
///
/// # Panics
///
/// When a driver does.
pub fn run_with(seed: u64, steps: u64, tell: impl Fn(&str, &Tally) + Sync) -> Tally {
    let steps = steps.div_ceil(DEVICES.len() as u64);
    let one = |number: usize| {
        let (name, device) = DEVICES[number];
        let (mut tally, mut left) = (Tally::default(), steps);
        let mut random = Random::new(seed ^ (number as u64) << 56);
        while left > 0 {
            let piece = device(&mut random, left.min(STEPS_OF_A_MACHINE));
            left = left.saturating_sub(piece.steps);
            tell(name, &piece);
            tally.add(piece);
        }
        tally
    };
    thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..DEVICES.len()).map(|number| scope.spawn(move || one(number))).collect();
        threads.into_iter().fold(Tally::default(), |mut all, thread| {
            all.add(thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
            all
        })
    })
}

/// Lets both sides do what they can.
async fn settle() {
    for _ in 0..3 {
        yield_now().await;
    }
}

/// Ends the backends of a life, and gives the tasks of its drivers the time to end.
async fn bury(machine: &Machine) {
    mirage_xen::model::restless::calm();
    mirage_rt::time::sleep(Duration::from_secs(3)).await;
    machine.world.end_services(1);
}

/// Nonsense in a node of xenstore.
fn nonsense(random: &mut Random) -> String {
    match random.below(6) {
        0 => String::new(),
        1 => random.below(10).to_string(),
        2 => random.awkward().to_string(),
        3 => format!("-{}", random.below(10)),
        4 => "\u{1F980} 00:16:3e".repeat(random.below(30) as usize),
        _ => format!(" {}\n", random.number()),
    }
}

/// The future's output, unless it takes longer than a second of virtual time.
async fn briefly<F: Future>(future: F) -> Option<F::Output> {
    timeout(Duration::from_secs(1), future).await.ok()
}
