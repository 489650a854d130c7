//! What a domain prints, line by line, while it prints it.

use crate::lab::Dom0Time;
use crate::link::Answers;
use crate::protocol::{DomainState, Kind, take_u64};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What is kept of a console, in bytes: a guest that prints for ever loses its oldest lines.
const KEPT: usize = 4 << 20;
const LONGEST_LINE: usize = 64 * 1024;

/// One line of a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The text without its end; what is no UTF-8 is replaced.
    pub text: String,
    /// When the last of it came.
    pub time: Dom0Time,
}

/// A reader of a console. Each has a place of its own, so that several can read the same console.
///
/// As an iterator it waits for each line and ends with the console.
#[derive(Clone)]
pub struct Console {
    shared: Arc<Shared>,
    next: u64,
}

#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Line>,
    bytes: usize,
    /// How many lines were dropped before the first one kept.
    dropped: u64,
    partial: Vec<u8>,
    first_byte: Option<FirstByte>,
    last: Option<Instant>,
    ended: bool,
}

/// What was true when a domain printed for the first time.
#[derive(Clone, Debug)]
pub(crate) struct FirstByte {
    pub(crate) time: Dom0Time,
    pub(crate) states: Vec<DomainState>,
}

/// A console did not show what was waited for.
#[derive(Clone, Debug)]
pub struct ConsoleError {
    /// What was waited for.
    pub wanted: String,
    /// How long.
    pub after: Duration,
    /// Whether the domain has stopped, so that no more can come.
    pub ended: bool,
    /// The last lines it printed.
    pub seen: String,
}

impl fmt::Display for ConsoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = if self.ended { "the domain has stopped" } else { "it did not come in time" };
        write!(
            f,
            "no {:?} on the console after {} ms ({why}); the last lines:\n{}",
            self.wanted,
            self.after.as_millis(),
            self.seen
        )
    }
}

impl std::error::Error for ConsoleError {}

impl Shared {
    /// Collects what comes until the console is not followed any more.
    pub(crate) fn collect(answers: Answers) -> Arc<Self> {
        let shared = Arc::new(Self::default());
        let collector = shared.clone();
        thread::spawn(move || {
            let far = Duration::from_secs(365 * 24 * 3600);
            let mut states = Vec::new();
            while let Ok(frame) = answers.next(Instant::now() + far) {
                match frame.kind {
                    Kind::States => states = DomainState::parse_all(&String::from_utf8_lossy(&frame.payload)),
                    Kind::Console => collector.append(&frame.payload, &states),
                    _ => break,
                }
            }
            collector.end();
        });
        shared
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, mut payload: &[u8], states: &[DomainState]) {
        let time = Dom0Time::from_nanoseconds(take_u64(&mut payload).unwrap_or(0));
        let mut state = self.lock();
        state.last = Some(Instant::now());
        state.first_byte.get_or_insert_with(|| FirstByte { time, states: states.to_vec() });
        for &byte in payload {
            if byte == b'\n' || state.partial.len() == LONGEST_LINE {
                state.complete(time);
            }
            if byte != b'\n' {
                state.partial.push(byte);
            }
        }
        self.changed.notify_all();
    }

    /// Says that no more comes: the domain has stopped.
    pub(crate) fn end(&self) {
        let mut state = self.lock();
        let last = state.lines.back().map(|line| line.time);
        if let Some(time) = last.or(state.first_byte.as_ref().map(|first| first.time))
            && !state.partial.is_empty()
        {
            state.complete(time);
        }
        state.ended = true;
        self.changed.notify_all();
    }

    /// What was true at the first byte.
    pub(crate) fn first_byte(&self) -> Option<FirstByte> {
        self.lock().first_byte.clone()
    }

    /// Waits until nothing has come for a while: a stopped domain's last lines are still on their way through xenconsoled.
    pub(crate) fn settle(&self, quiet: Duration, limit: Duration) {
        let start = Instant::now();
        let mut state = self.lock();
        while !state.ended && start.elapsed() < limit {
            let since = state.last.map_or(start, |last| last.max(start)).elapsed();
            let Some(left) = quiet.checked_sub(since).filter(|left| !left.is_zero()) else { break };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All that is kept, as text.
    pub(crate) fn text(&self, most_lines: usize) -> String {
        let state = self.lock();
        let skipped = state.lines.len().saturating_sub(most_lines);
        let mut text = String::new();
        for line in state.lines.iter().skip(skipped) {
            text.push_str(&line.text);
            text.push('\n');
        }
        text.push_str(&String::from_utf8_lossy(&state.partial));
        text
    }
}

impl State {
    fn complete(&mut self, time: Dom0Time) {
        let bytes = std::mem::take(&mut self.partial);
        let text = String::from_utf8_lossy(&bytes).trim_end_matches('\r').to_owned();
        self.bytes += text.len();
        self.lines.push_back(Line { text, time });
        while self.bytes > KEPT
            && let Some(line) = self.lines.pop_front()
        {
            self.bytes -= line.text.len();
            self.dropped += 1;
        }
    }
}

impl Console {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, next: 0 }
    }

    /// The next line; `None` if none comes within the limit or the domain has stopped.
    pub fn next_line(&mut self, limit: Duration) -> Option<Line> {
        let deadline = Instant::now().checked_add(limit);
        let mut state = self.shared.lock();
        loop {
            self.next = self.next.max(state.dropped);
            if let Some(line) = state.lines.get((self.next - state.dropped) as usize) {
                self.next += 1;
                return Some(line.clone());
            }
            if state.ended {
                return None;
            }
            state = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return None,
                Some(left) => self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Waits for a line that contains this text, from this reader's place on, and gives it.
    ///
    /// # Errors
    ///
    /// If there is none within the limit, with what there was.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<Line, ConsoleError> {
        let start = Instant::now();
        while let Some(line) = self.next_line(limit.saturating_sub(start.elapsed())) {
            if line.text.contains(text) {
                return Ok(line);
            }
        }
        let ended = self.shared.lock().ended;
        Err(ConsoleError { wanted: text.to_owned(), after: start.elapsed(), ended, seen: self.shared.text(40) })
    }

    /// All that was printed so far (the last 4 MiB of it), wherever this reader is.
    pub fn text(&self) -> String {
        self.shared.text(usize::MAX)
    }
}

impl Iterator for Console {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        self.next_line(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::{Console, KEPT, Shared};
    use std::sync::Arc;
    use std::time::Duration;

    fn append(shared: &Shared, time: u64, text: &str) {
        shared.append(&[&time.to_le_bytes()[..], text.as_bytes()].concat(), &[]);
    }

    #[test]
    fn lines_are_put_together() {
        let shared = Arc::new(Shared::default());
        append(&shared, 1, "one\r\nt");
        append(&shared, 2, "wo\nthree");
        let mut console = Console::new(shared.clone());
        let mut other = console.clone();
        let lines: Vec<_> = std::iter::from_fn(|| console.next_line(Duration::ZERO)).map(|line| line.text).collect();
        assert_eq!(lines, ["one", "two"]);
        shared.end();
        assert_eq!(console.next().map(|line| line.text).as_deref(), Some("three"));
        assert_eq!(console.next(), None);
        assert_eq!(other.wait_for("wo", Duration::ZERO).map(|line| line.text).ok().as_deref(), Some("two"));
        let error = other.wait_for("four", Duration::ZERO).expect_err("there are three");
        assert!(error.ended && error.seen.ends_with("three\n"));
        assert_eq!(shared.first_byte().map(|first| first.time), Some(super::Dom0Time::from_nanoseconds(1)));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let shared = Arc::new(Shared::default());
        let line = "x".repeat(99);
        let mut console = Console::new(shared.clone());
        for _ in 0..KEPT / 50 {
            append(&shared, 1, &line);
            append(&shared, 1, "\n");
        }
        append(&shared, 1, "last\n");
        assert!(console.text().len() <= KEPT + KEPT / 50);
        assert!(console.wait_for("last", Duration::ZERO).is_ok());
        append(&shared, 1, &"y".repeat(1 << 20));
        assert!(console.next_line(Duration::ZERO).is_some(), "a line without an end is cut");
    }
}
