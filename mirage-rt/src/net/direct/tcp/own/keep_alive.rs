//! Peers that say nothing: asked whether they are there, and given up (RFC 9293, 3.8.4).

use super::connection::Connection;
use crate::net::KeepAlive;
use crate::time::Instant;

/// What is known of a peer that is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asking {
    wanted: KeepAlive,
    /// Counted from here even if the peer was silent before.
    since: Instant,
    /// Questions since the peer was last heard, and when the last one left.
    asked: u32,
    at: Instant,
}

impl Connection {
    /// When the peer is to be asked, or given up. While it owes something else, other timers watch it.
    pub fn ask_at(&self) -> Option<Instant> {
        let asking = self.rare.as_deref()?.asking.as_ref()?;
        if !self.is_open() || self.is_waiting() {
            return None;
        }
        Some(if asking.is_unanswered(self.heard) {
            asking.at + asking.wanted.interval
        } else {
            self.heard.max(asking.since) + asking.wanted.idle
        })
    }

    /// Asks the peer when it is time; whether it has not answered often enough.
    #[cold]
    #[inline(never)]
    pub fn ask(&mut self, now: Instant) -> bool {
        if self.ask_at().is_none_or(|at| now < at) {
            return false;
        }
        let heard = self.heard;
        let Some(asking) = &mut self.rare().asking else { return false };
        let asked = if asking.is_unanswered(heard) { asking.asked } else { 0 };
        if asked >= asking.wanted.probes {
            return true;
        }
        (asking.asked, asking.at) = (asked + 1, now);
        self.due.question = true;
        false
    }
}

impl Asking {
    /// It begins to be asked at `now`.
    pub fn new(wanted: KeepAlive, now: Instant) -> Asking {
        Asking { wanted, since: now, asked: 0, at: now }
    }

    fn is_unanswered(&self, heard: Instant) -> bool {
        self.asked > 0 && heard < self.at
    }
}
