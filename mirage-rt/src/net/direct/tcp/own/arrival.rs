//! Segments that arrive: RFC 9293, 3.10.7, with the checks of RFC 5961 against blind injection and of RFC 7323 against old
//! duplicates (PAWS).

use super::connection::{Connection, Link};
use super::moment::Moment;
use super::options::Options;
use super::sequence::{Range, before, is_acceptable};
use crate::net::TcpState;
use crate::net::direct::limit::Limit;
use crate::net::direct::tcp::segment::{Bare, Control, Segment, Seq, SynOptions};
use crate::net::direct::tcp::timestamps::Timestamp;
use crate::time::{Duration, Instant};

/// A peer that repeats what says nothing new is answered so often: two sides that take each other's acknowledgements for
/// wrong must not do so without end.
const ANSWER_PAUSE: Duration = Duration::from_millis(100);
/// A timestamp is not compared with one that is older: it may have wrapped around (RFC 7323, 5.5).
const OLD: Duration = Duration::from_secs(24 * 24 * 3600);

/// A segment that has arrived.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    pub segment: &'a Segment,
    pub options: Options,
    /// What a SYN offers; nothing for others.
    pub syn: SynOptions,
    pub data: &'a [u8],
    /// A router has marked the packet (RFC 3168).
    pub marked: bool,
}

impl Connection {
    /// Takes a segment in; what is to be answered waits for the next run, except a reset, which is returned.
    pub fn hear(&mut self, now: Instant, arrival: &Arrival<'_>, link: &Link, challenges: &mut Limit) -> Option<Bare> {
        match self.phase {
            TcpState::Closed => None,
            TcpState::SynSent => self.hear_in_syn_sent(now, arrival, link),
            _ => {
                self.hear_synchronized(now, arrival, link, challenges);
                None
            }
        }
    }

    /// RFC 9293, 3.10.7.3.
    #[cold]
    #[inline(never)]
    fn hear_in_syn_sent(&mut self, now: Instant, arrival: &Arrival<'_>, link: &Link) -> Option<Bare> {
        let segment = arrival.segment;
        let is_ours = segment.ack.is_none_or(|ack| before(self.isn, ack) && !before(self.next, ack));
        if !is_ours {
            return Bare::reset_for(segment);
        }
        if segment.rst {
            if segment.ack.is_some() {
                self.close();
            }
            return None;
        }
        if !segment.syn {
            return None;
        }
        self.heard = now;
        let was_repeated = !self.flight.is_plain();
        self.hear_syn(now, segment.seq, &arrival.syn, link);
        // An answer takes the offer with one flag of its two (RFC 3168, 6.1.1); when both have called, nobody does.
        self.ecn.on = segment.ack.is_some() && segment.ece && !segment.cwr && !was_repeated;
        if was_repeated {
            self.has_lost_syn();
        }
        // A window in a SYN is not shifted (RFC 7323, 2.2).
        self.window = u32::from(segment.window);
        self.most_window = self.window;
        self.told_by = (segment.seq, segment.ack.unwrap_or(self.isn));
        // Data that comes with a SYN is not kept: the peer sends it again.
        match segment.ack {
            Some(ack) => {
                self.phase = TcpState::Established;
                self.owed.now = true;
                self.advance(now, ack, arrival, link);
            }
            None => {
                self.phase = TcpState::SynReceived;
                self.due.syn = true;
            }
        }
        None
    }

    /// RFC 9293, 3.10.7.4: all states with both SYNs.
    fn hear_synchronized(&mut self, now: Instant, arrival: &Arrival<'_>, link: &Link, challenges: &mut Limit) {
        let segment = arrival.segment;
        if !segment.rst && self.is_old_duplicate(now, arrival.options.timestamp) {
            // An acknowledgement that a later one has overtaken is no sign of trouble.
            let is_overtaken = segment.span() == 0 && segment.ack.is_some_and(|ack| !before(self.una, ack));
            if !is_overtaken {
                self.answer(now, segment);
            }
            return;
        }
        if !is_acceptable(self.expected, self.edge, segment.seq, segment.span()) {
            if !segment.rst {
                self.hear_unacceptable(now, arrival, link);
            }
            return;
        }
        if segment.rst {
            // RFC 5961, 3.2: only the position that is expected next ends the connection.
            if segment.seq == self.expected {
                self.close();
            } else {
                self.challenge(now, challenges);
            }
            return;
        }
        if segment.syn {
            // RFC 5961, 4.2.
            return self.challenge(now, challenges);
        }
        let Some(ack) = segment.ack else { return };
        // RFC 5961, 5.2.
        let oldest = Seq(self.una.0.wrapping_sub(self.most_window));
        if before(self.next, ack) || before(ack, oldest) {
            return self.challenge(now, challenges);
        }
        if self.is_idle(now) {
            self.shrink(link);
        }
        self.heard = now;
        self.take_stamp(now, segment, arrival.options.timestamp);
        if self.phase == TcpState::SynReceived {
            if !before(self.isn, ack) {
                return;
            }
            self.phase = TcpState::Established;
        }
        if self.ecn.on {
            self.hear_marks(arrival, link);
        }
        self.acknowledge(now, arrival, ack, link);
        self.deliver(now, arrival, link);
    }

    /// Nothing of the segment lies in the window: it is answered, so that a peer that has not heard us does. What it
    /// acknowledges counts all the same: after a probe of a window that has just opened, all that both sides say can be of
    /// that kind. A zero window takes acknowledgements too (RFC 9293, 3.10.7.4).
    #[cold]
    #[inline(never)]
    fn hear_unacceptable(&mut self, now: Instant, arrival: &Arrival<'_>, link: &Link) {
        let segment = arrival.segment;
        self.answer(now, segment);
        self.note_duplicate(Range::new(segment.seq, segment.length));
        if let Some(ack) = segment.ack.filter(|_| !segment.syn && !before(self.edge, segment.seq))
            && !before(self.next, ack)
            && !before(ack, self.una)
            && segment.seq.since(self.expected) > -(1 << 30)
        {
            self.heard = now;
            if self.phase == TcpState::SynReceived {
                return;
            }
            self.acknowledge(now, arrival, ack, link);
        }
    }

    /// An acknowledgement of what is known: at once for what takes room, seldom for what does not.
    fn answer(&mut self, now: Instant, segment: &Segment) {
        if segment.span() == 0 {
            let answered = &mut self.rare().answered;
            if answered.get().is_some_and(|answered| now < answered + ANSWER_PAUSE) {
                return;
            }
            *answered = Moment::at(now);
        }
        self.owed.now = true;
    }

    /// An acknowledgement that only the real peer can make use of (RFC 5961, 7: limited in number, for this connection and for all).
    #[cold]
    #[inline(never)]
    fn challenge(&mut self, now: Instant, challenges: &mut Limit) {
        if self.challenges.allow(now) && challenges.allow(now) {
            self.owed.now = true;
        }
    }

    /// PAWS (RFC 7323, 5.3): a segment from before the latest.
    fn is_old_duplicate(&self, now: Instant, stamp: Option<Timestamp>) -> bool {
        let clock = &self.clock;
        clock.on
            && stamp.is_some_and(|stamp| before(Seq(stamp.value), Seq(clock.recent)))
            && clock.at.get().is_some_and(|at| now - at < OLD)
    }

    /// RFC 7323, 4.3: the timestamp to be echoed is that of the segment that made the last acknowledgement move.
    fn take_stamp(&mut self, now: Instant, segment: &Segment, stamp: Option<Timestamp>) {
        if let Some(stamp) = stamp.filter(|_| self.clock.on)
            && !before(self.owed.told, segment.seq)
        {
            self.clock.hear(now, stamp.value);
        }
    }
}

/// The reset that ends a connection that was given up.
pub fn give_up(connection: &Connection) -> Bare {
    Bare { control: Control::Rst, seq: connection.next, ack: Some(connection.expected), ..Bare::default() }
}
