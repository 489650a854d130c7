//! Rates: two samples of dom0's counters while a load goes on.

use std::thread;
use std::time::{Duration, Instant};

use mirage_bench::figures::Samples;
use mirage_lab::{Domain, Sample};

use crate::{Bench, LONG, Result};

/// How far the first counter has come, in bytes or sectors, when a load has begun.
const BEGUN: u64 = 1000;

/// What happened between two samples.
pub struct Rate {
    /// How long that was.
    pub seconds: f64,
    /// Processor time of the guest and of dom0.
    pub guest_ns: f64,
    pub dom0_ns: f64,
    /// By how much each counter grew, in the order of the files.
    pub counts: Vec<u64>,
}

/// Takes a rate while a load on `domain` goes on.
pub fn measure(
    bench: &Bench,
    domain: &Domain,
    files: &[String],
    count: impl Fn(&Sample, usize) -> u64,
) -> Result<Rate> {
    let names: Vec<&str> = files.iter().map(String::as_str).collect();
    // Until the load has begun: its programs start slowly on a busy machine.
    let idle = count(&bench.lab.sample(&names)?, 0);
    let deadline = Instant::now() + LONG;
    let mut begun = bench.lab.sample(&names)?;
    while count(&begun, 0).saturating_sub(idle) < BEGUN {
        if Instant::now() > deadline {
            return Err(format!("no load came to domain {}:\n{}", domain.number(), domain.console().text()).into());
        }
        thread::sleep(Duration::from_millis(20));
        begun = bench.lab.sample(&names)?;
    }
    let before = later(bench, &names, &begun, bench.settle)?;
    let after = later(bench, &names, &before, bench.window)?;
    let cpu = |number: u32| match (before.cpu_ns(number), after.cpu_ns(number)) {
        (Some(before), Some(after)) => Ok(after.saturating_sub(before) as f64),
        _ => Err(format!("domain {number} was gone before its rate was taken:\n{}", domain.console().text())),
    };
    Ok(Rate {
        seconds: after.time.since(before.time).as_secs_f64(),
        guest_ns: cpu(domain.number())?,
        dom0_ns: cpu(0)?,
        counts: (0..files.len()).map(|index| count(&after, index).saturating_sub(count(&before, index))).collect(),
    })
}

/// A sample that is so much later than another one, by the machine's clock: one that counts instructions is slower than ours.
fn later(bench: &Bench, files: &[&str], earlier: &Sample, by: Duration) -> Result<Sample> {
    let mut left = by;
    loop {
        thread::sleep(left);
        let sample = bench.lab.sample(files)?;
        left = by.saturating_sub(sample.time.since(earlier.time));
        if left.is_zero() {
            return Ok(sample);
        }
    }
}

/// How the processor was shared while rates were taken, in percent.
#[derive(Default)]
pub struct Shares {
    guest: Samples,
    dom0: Samples,
}

impl Shares {
    pub fn push(&mut self, rate: &Rate) {
        self.guest.push(rate.guest_ns / rate.seconds / 1e7);
        self.dom0.push(rate.dom0_ns / rate.seconds / 1e7);
    }
}

/// The medians: what the processor did says what limits a rate.
impl std::fmt::Display for Shares {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |samples: &Samples| samples.median().unwrap_or(0.0);
        write!(f, "guest {:.0} %, dom0 {:.0} %", percent(&self.guest), percent(&self.dom0))
    }
}
