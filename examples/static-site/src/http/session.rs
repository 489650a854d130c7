//! One connection's requests and answers, as a state machine without input or output.
//!
//! The connection writes received bytes into [`Session::space`], says how many with [`Session::received`], and asks
//! [`Session::step`] what to do next. Requests may arrive in pieces or several at once; answers to those that are there are
//! collected into one write.

use alloc::vec::Vec;

use super::date::Clock;
use super::request::{self, Head, Method};
use super::response::{self, Delivery};
use super::site::{self, Answer, Files};
use super::status::Status;

/// The most bytes of a request's head; more are refused with 431, or 414 when even the first line does not end.
pub const MAX_HEAD: usize = 8 * 1024;

/// Room for received bytes that a connection starts with: most requests fit.
const FIRST_SPACE: usize = 1024;

/// Contents up to this size are collected with their heads while more requests are there.
const SMALL: usize = 4 * 1024;

/// Room for answers that a connection keeps: the heads of most fit.
const KEPT_OUTPUT: usize = 1024;

/// Answers are collected up to this size, then written.
const BATCH: usize = 8 * 1024;

/// What the connection is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Receive more. `idle` tells whether it is between requests: then silence is no fault of the client.
    Receive {
        /// No byte of the next request is there.
        idle: bool,
    },
    /// Write all of [`Session::output`] and then these bytes, then call [`Session::written`].
    Send(&'static [u8]),
    /// End the connection.
    Close {
        /// The client may still be sending: what it sends must be read away for a while, or the answer could be lost to a
        /// reset of the connection.
        drain: bool,
    },
}

/// The state of one connection.
#[derive(Default)]
pub struct Session {
    // Received bytes are input[start..end].
    input: Vec<u8>,
    start: usize,
    end: usize,
    // The received bytes up to here have been looked at without finding a whole head.
    seen: usize,
    output: Vec<u8>,
    closing: Option<Closing>,
}

#[derive(Clone, Copy)]
struct Closing {
    drain: bool,
}

impl Session {
    /// A new connection.
    pub fn new() -> Self {
        Session::default()
    }

    /// Where to put received bytes. Never empty after [`Step::Receive`], but for want of memory.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.seen = self.seen.saturating_sub(self.start);
            self.start = 0;
        }
        if self.end == self.input.len() && self.end < MAX_HEAD {
            let length = if self.end == 0 { FIRST_SPACE } else { (2 * self.end).min(MAX_HEAD) };
            if self.input.try_reserve_exact(length - self.end).is_ok() {
                self.input.resize(length, 0);
            }
        }
        self.input.get_mut(self.end..).unwrap_or_default()
    }

    /// The first `length` bytes of [`space`](Self::space) were received.
    pub fn received(&mut self, length: usize) {
        self.end = (self.end + length).min(self.input.len());
    }

    /// Forgets what was received: a place for what is read only to be thrown away. Empty for want of memory.
    pub fn forget(&mut self) -> &mut [u8] {
        (self.start, self.end, self.seen) = (0, 0, 0);
        self.space()
    }

    /// The next thing to do.
    pub fn step(&mut self, files: &impl Files, clock: &impl Clock) -> Step {
        while self.closing.is_none() && self.output.len() < BATCH {
            match self.next_request(files, clock) {
                None => break,
                Some(content)
                    if content.len() <= SMALL
                        && self.start != self.end
                        && self.output.try_reserve(content.len()).is_ok() =>
                {
                    self.output.extend_from_slice(content);
                }
                Some(content) => return Step::Send(content),
            }
        }
        match self.closing {
            _ if !self.output.is_empty() => Step::Send(&[]),
            Some(Closing { drain }) => Step::Close { drain: drain || self.start != self.end },
            None => Step::Receive { idle: self.start == self.end },
        }
    }

    /// What [`Step::Send`] writes first.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// Everything of [`Step::Send`] is written.
    pub fn written(&mut self) {
        self.output.clear();
        // An idle connection keeps little memory: there may be many.
        self.output.shrink_to(KEPT_OUTPUT);
        if self.start == self.end && self.input.len() > FIRST_SPACE {
            (self.input, self.start, self.end, self.seen) = (Vec::new(), 0, 0, 0);
        }
    }

    /// Refuses whatever the client was sending, after the answers so far.
    pub fn refuse(&mut self, status: Status, clock: &impl Clock) {
        if self.closing.is_none() {
            self.closing = Some(Closing { drain: true });
            let delivery = Delivery { date: clock.date(), head_only: false, keep_alive: false, http_1_0: false };
            self.answer(&Answer::status(status), delivery);
        }
    }

    /// Answers the next request that is completely there: its head goes to the output, its content is returned.
    fn next_request(&mut self, files: &impl Files, clock: &impl Clock) -> Option<&'static [u8]> {
        self.skip_empty_lines();
        let received = self.input.get(self.start..self.end).unwrap_or_default();
        let full = received.len() >= MAX_HEAD;
        let lines = match self.whole_lines(received) {
            [] if !full && received.first().is_none_or(|&first| starts_a_method(first)) => {
                self.seen = self.end;
                return None;
            }
            [] => received,
            lines => lines,
        };
        let head = request::parse(if full { received } else { lines });
        // By reference: what is known of a request is large to be moved.
        let (request, length) = match &head {
            Head::Complete(request, length) => (request, *length),
            Head::Refused(status) => {
                self.refuse(*status, clock);
                return None;
            }
            Head::Incomplete if !full => {
                self.seen = self.end;
                return None;
            }
            Head::Incomplete => {
                let in_first_line = !received.contains(&b'\n');
                self.refuse(if in_first_line { Status::UriTooLong } else { Status::HeaderFieldsTooLarge }, clock);
                return None;
            }
        };
        let delivery = Delivery {
            date: clock.date(),
            head_only: request.method == Method::Head,
            keep_alive: request.keep_alive,
            http_1_0: request.http_1_0,
        };
        let answer = site::answer(request, files);
        if !request.keep_alive {
            self.closing = Some(Closing { drain: request.has_body });
        }
        self.start += length;
        self.seen = self.start;
        Some(self.answer(&answer, delivery))
    }

    /// The lines of the head that are complete, if any was completed since the last look. Only these are parsed: what is
    /// answered does not depend on the pieces in which a line arrives, and a line that arrives byte by byte costs little.
    fn whole_lines<'a>(&self, received: &'a [u8]) -> &'a [u8] {
        let news = self.seen.saturating_sub(self.start).min(received.len());
        match received.iter().skip(news).rposition(|&byte| byte == b'\n') {
            Some(last) => received.get(..=news + last).unwrap_or_default(),
            None => &[],
        }
    }

    fn answer(&mut self, answer: &Answer<'_>, delivery: Delivery) -> &'static [u8] {
        let before = self.output.len();
        match response::write(answer, delivery, &mut self.output) {
            Ok(content) => content,
            Err(_) => {
                // Without memory even for a head the connection ends after the last whole answer.
                self.output.truncate(before);
                self.closing = Some(Closing { drain: true });
                &[]
            }
        }
    }

    /// Some clients send an empty line after a body (RFC 9112, section 2.2). It is no start of a request.
    fn skip_empty_lines(&mut self) {
        while self.start < self.end && matches!(self.input.get(self.start), Some(b'\r' | b'\n')) {
            self.start += 1;
        }
    }
}

/// Whether a method can start with this byte (a tchar of RFC 9110, section 5.6.2). A client that speaks another protocol, as
/// TLS, is refused by its first byte.
fn starts_a_method(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(all(test, not(mirage_target)))]
mod tests;
