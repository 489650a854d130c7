//! What happens when time passes: the timers of RFC 6298, RFC 8985 and RFC 9293, and giving up.

use super::arrival::give_up;
use super::connection::{Connection, Link};
use super::moment::Moment;
use crate::net::TcpState;
use crate::net::direct::tcp::machine::LINGER;
use crate::net::direct::tcp::segment::Bare;
use crate::time::{Duration, Instant};

/// How long a peer may be silent while it owes an answer (RFC 9293, 3.8.3, wants 100 seconds at least).
pub const USER_TIMEOUT: Duration = Duration::from_secs(120);
/// The same while the connection is being made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The end of the clock's range.
pub const NEVER: Instant = Instant::from_nanos(u64::MAX);

/// What the timer is for; there is never more than one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// All that is under way is taken for lost (RFC 6298).
    Retransmit,
    /// The last that is under way may be lost (RFC 8985, 7).
    Probe,
    /// The peer's window may be open again (RFC 9293, 3.8.6.1).
    Persist,
}

impl Connection {
    /// Sets the timer anew, by what is under way now.
    pub fn arm(&mut self, now: Instant, link: &Link) {
        let timeout = self.trip.expiry(now);
        let (timer, at) = if !self.flight.is_empty() {
            let probe = if self.may_probe() { self.probe_at(now, link) } else { None };
            match probe {
                Some(probe) if probe < timeout => (Timer::Probe, probe),
                _ => (Timer::Retransmit, timeout),
            }
        } else if self.is_waiting() && self.is_open() {
            (Timer::Persist, timeout)
        } else {
            (self.timer, NEVER)
        };
        (self.timer, self.timer_at) = (timer, Moment::at(at));
    }

    /// RFC 8985, 7.2.
    fn may_probe(&self) -> bool {
        self.sack
            && self.is_open()
            && !self.congestion.has_lost()
            && !self.trip.is_backed_off()
            && self.flight.sacked() == 0
            && !self.probe.is_out()
    }

    /// After something new was sent: the probe moves along, the timeout does not.
    pub fn arm_after_new(&mut self, now: Instant, link: &Link) {
        if self.timer_at.is_none() || self.timer != Timer::Retransmit || self.may_probe() {
            self.arm(now, link);
        }
    }

    /// Does what is due. A reset to be sent is returned when the peer is given up.
    pub fn expire(&mut self, now: Instant, link: &Link) -> Option<Bare> {
        self.note_waiting(now);
        if now >= self.patience_ends() || self.ask(now) {
            let reset = self.is_open().then(|| give_up(self));
            self.close();
            return reset;
        }
        if self.owed.until.is_due(now) {
            self.owed.until = Moment::NONE;
            self.owed.now = true;
        }
        if self.reorder_at.is_due(now) {
            self.reorder_at = Moment::NONE;
            self.find_losses(now, link);
        }
        if self.timer_at.is_due(now) {
            match self.timer {
                Timer::Retransmit => self.retransmit_all(now, link),
                Timer::Probe => {
                    self.due.tail = true;
                    (self.timer, self.timer_at) = (Timer::Retransmit, Moment::at(self.trip.expiry(now)));
                }
                Timer::Persist => {
                    self.due.window = self.window == 0;
                    self.due.small = self.window > 0;
                    self.trip.back_off();
                    self.arm(now, link);
                }
            }
        }
        None
    }

    /// Whether and since when the peer owes an answer.
    pub fn note_waiting(&mut self, now: Instant) {
        if self.is_waiting() {
            self.waiting.or_set(now);
        } else {
            self.waiting = Moment::NONE;
        }
    }

    /// RFC 6298, 5.4 to 5.6: nothing was heard of for the time of the timeout.
    #[cold]
    #[inline(never)]
    fn retransmit_all(&mut self, now: Instant, link: &Link) {
        // A peer that has the first piece and does not acknowledge it has thrown it away (RFC 2018, 8).
        if self.flight.first().is_some_and(|first| first.sacked) {
            self.flight.forget_sacks();
        }
        let under_way = self.flight.total();
        self.suspect_path(now, link);
        self.flight.lose(|_| true);
        self.probe.forget();
        self.reorder_at = Moment::NONE;
        self.repeats = 0;
        // What becomes of a SYN says nothing about how much fits the way.
        if self.is_open() {
            self.congestion.time_out(now, self.una, self.next, under_way);
        }
        self.trip.back_off();
        self.arm(now, link);
    }

    /// When the peer is given up; [`NEVER`] when nothing is waited for.
    fn patience_ends(&self) -> Instant {
        let rare = self.rare.as_deref();
        let patience = match self.phase {
            TcpState::SynSent | TcpState::SynReceived => CONNECT_TIMEOUT,
            _ => rare.and_then(|rare| rare.user_timeout).unwrap_or(USER_TIMEOUT),
        };
        let waiting = self.waiting.get().map_or(NEVER, |since| since + patience);
        let lingering = self.lingering.get().map_or(NEVER, |since| since.max(self.heard) + LINGER);
        waiting.min(lingering)
    }

    /// When to run next, if nothing comes before; [`NEVER`] when nothing is due.
    pub fn deadline(&self) -> Instant {
        if self.phase == TcpState::Closed {
            return NEVER;
        }
        let (timer, reorder, owed) = (self.timer_at, self.reorder_at, self.owed.until);
        let soon = timer.or_never().min(reorder.or_never()).min(owed.or_never());
        if self.rare.is_none() && self.phase == TcpState::Established && self.lingering.is_none() {
            return soon.min(self.waiting.or_never() + USER_TIMEOUT);
        }
        soon.min(self.ask_at().unwrap_or(NEVER)).min(self.patience_ends())
    }
}
