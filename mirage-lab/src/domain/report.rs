//! When a domain was made, what it did first, how it ended.

use crate::lab::Dom0Time;
use crate::protocol::{DomainState, take_u64};
use std::time::Duration;

/// When a domain was made, on dom0's clock.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// `xl create` was started.
    pub create_started: Dom0Time,
    /// `xl create` had come back.
    pub create_returned: Dom0Time,
}

/// The first thing a domain printed.
#[derive(Clone, Copy, Debug)]
pub struct FirstOutput {
    /// When it came.
    pub time: Dom0Time,
    /// What the domain's processor had run by then.
    pub cpu: Duration,
}

/// Why a domain stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It powered off.
    Poweroff,
    /// It asked to be started again; a triple fault is this too.
    Reboot,
    /// It crashed, or says so.
    Crash,
    /// Its watchdog ended it.
    Watchdog,
    /// Another of Xen's reasons.
    Other(u8),
    /// It was destroyed before its reason was read.
    Gone,
}

/// How a domain ended.
#[derive(Clone, Debug)]
pub struct ExitReport {
    /// Why it stopped.
    pub reason: StopReason,
    /// The exit status that it left in xenstore (`data/mirage/exit-code`).
    pub code: Option<u8>,
    /// When dom0 learnt of it.
    pub time: Dom0Time,
    /// What its processor had run in its life; zero if it was gone.
    pub cpu: Duration,
    /// What it had printed.
    pub console: String,
}

impl ExitReport {
    /// The status that a process in its place would have ended with: its own after a power-off, else 101.
    pub fn status(&self) -> u8 {
        match (self.reason, self.code) {
            (StopReason::Poweroff, code) => code.or_else(|| self.code_on_console()).unwrap_or(0),
            _ => 101,
        }
    }

    /// The status that it printed last: a domain that ends before it can reach xenstore has no other way.
    fn code_on_console(&self) -> Option<u8> {
        self.console.lines().rev().find_map(|line| line.trim_end().strip_prefix("mirage: exit ")?.parse().ok())
    }
}

/// Reads what the agent says of a domain's end.
pub(super) fn report(mut payload: &[u8], console: String) -> ExitReport {
    let time = Dom0Time::from_nanoseconds(take_u64(&mut payload).unwrap_or(0));
    let text = String::from_utf8_lossy(payload);
    let (state, code) = text.split_once('\n').unwrap_or((&text, ""));
    let state = DomainState::parse(state);
    let reason = match state.and_then(|state| state.shutdown) {
        None => StopReason::Gone,
        Some(0) => StopReason::Poweroff,
        Some(1) => StopReason::Reboot,
        Some(3) => StopReason::Crash,
        Some(4) => StopReason::Watchdog,
        Some(other) => StopReason::Other(other),
    };
    let cpu = Duration::from_nanos(state.map_or(0, |state| state.cpu_ns));
    ExitReport { reason, code: code.trim().parse().ok(), time, cpu, console }
}

#[cfg(test)]
mod tests {
    use super::{StopReason, report};

    #[test]
    fn reports_are_read() {
        let payload = |text: &str| [&7_u64.to_le_bytes()[..], text.as_bytes()].concat();
        let stopped = report(&payload("3 1500 16384 0 0 0\n64"), String::new());
        assert_eq!(
            (stopped.reason, stopped.code, stopped.status(), stopped.cpu.as_nanos()),
            (StopReason::Poweroff, Some(64), 64, 1500)
        );
        let crashed = report(&payload("3 1500 16384 3 0 0\n"), String::new());
        assert_eq!((crashed.reason, crashed.status()), (StopReason::Crash, 101));
        let gone = report(&payload("\n"), String::new());
        assert_eq!((gone.reason, gone.status()), (StopReason::Gone, 101));
    }
}
