//! The states of the domains, from the helper that asks the hypervisor.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

const HELPER: &str = "/usr/bin/mirage-lab-domains";

/// The helper, started at its first use and kept: starting a program costs milliseconds here.
pub struct Domains {
    helper: Mutex<Option<Helper>>,
}

struct Helper {
    // Held so that the helper is this process's child for as long as it is asked.
    _child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Domains {
    /// Nothing is started yet.
    pub fn new() -> Self {
        Self { helper: Mutex::new(None) }
    }

    /// One line per domain, see `DomainState::parse`.
    pub fn survey(&self) -> io::Result<String> {
        let mut helper = self.helper.lock().unwrap_or_else(PoisonError::into_inner);
        if helper.is_none() {
            *helper = Some(Helper::start()?);
        }
        let Some(running) = helper.as_mut() else {
            return Err(io::Error::other("the helper did not start"));
        };
        let answer = running.ask();
        if answer.is_err() {
            *helper = None;
        }
        answer
    }
}

impl Helper {
    fn start() -> io::Result<Self> {
        let mut child = Command::new(HELPER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("{HELPER}: {error}")))?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the helper has no pipes"));
        };
        Ok(Self { _child: child, questions, answers: BufReader::new(answers) })
    }

    fn ask(&mut self) -> io::Result<String> {
        self.questions.write_all(b"\n")?;
        let mut text = String::new();
        loop {
            let before = text.len();
            if self.answers.read_line(&mut text)? == 0 {
                return Err(io::Error::other("the helper that asks the hypervisor ended"));
            }
            if text.get(before..) == Some("\n") {
                text.truncate(before);
                return Ok(text);
            }
        }
    }
}
