//! Sections of `soak` that need no lab: nonsense from outside, for as long as it takes to be sure.

use std::error::Error;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mirage_fuzz::targets::TARGETS;
use mirage_fuzz::{driver, hostile};

/// What a section found, or why it failed.
pub type Outcome = Result<String, Box<dyn Error>>;

/// Where everything follows from.
const SEED: u64 = 20_261_126;

/// Ten million steps (200,000 in the short form) of backends that do what they like; fails when there is a reason to give up
/// a device that was not reached. Panics and hangs end the program.
///
/// # Errors
///
/// The reasons that are missing.
pub fn hostile(quick: bool) -> Outcome {
    let steps = if quick { 200_000 } else { 10_000_000 };
    let done = AtomicU64::new(0);
    let tally = hostile::run_with(SEED, steps, |device, piece| {
        let done = done.fetch_add(piece.steps, Ordering::Relaxed) + piece.steps;
        eprintln!("  {done} of {steps} steps: {device}, {} devices", piece.lives);
    });
    let mut text = format!(
        "seed {SEED}: {} steps, {} devices lived, {} were refused; given up for:",
        tally.steps, tally.lives, tally.refused
    );
    for (reason, count) in &tally.reasons {
        write!(text, "\n{count:9} {reason}")?;
    }
    match tally.missing() {
        missing if missing.is_empty() => Ok(text),
        missing => Err(format!("{text}\nnever: {missing:?}").into()),
    }
}

/// Each parser with changed inputs for a minute (a second in the short form).
///
/// # Errors
///
/// When the corpus can't be read.
pub fn parsers(quick: bool) -> Outcome {
    let limit = Duration::from_secs(if quick { 1 } else { 60 });
    driver::keep_inputs_of_panics();
    let mut text = format!("seed {SEED}, {} s each:", limit.as_secs());
    for target in TARGETS {
        let runs = driver::soak(target, &driver::corpus(target)?, SEED, limit);
        write!(text, "\n{runs:9} inputs for {}", target.name)?;
    }
    Ok(text)
}
