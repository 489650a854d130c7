//! What leaves, and in which order: what was lost, then what is new, then what only acknowledges.

use super::connection::{Connection, Link};
use super::emit::Header;
use super::moment::Moment;
use super::pages::Leaving;
use super::sequence::{Range, distance};
use super::timers::NEVER;
use crate::net::TcpState;
use crate::net::direct::ip::{IpOut, Route};
use crate::net::direct::ipv4;
use crate::net::direct::tcp::emit::{self, Fields, Written};
use crate::net::direct::tcp::machine::{OutOfMemory, Progress};
use crate::net::direct::tcp::segment::{Seq, SynOptions};
use crate::time::{Duration, Instant};

/// When to look for pages again.
const PAGE_WAIT: Duration = Duration::from_millis(10);
/// Bytes of an IP and a TCP header with all options.
const HEADERS: usize = ipv4::HEADER + 60;

/// The next segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Our SYN, for the first time or again.
    Syn { repeated: bool },
    /// This once more.
    Repeat(Range),
    /// So many bytes that were never sent, perhaps with our FIN.
    New { length: u32, fin: bool },
    /// Nothing, from in front of the peer's window, which it must answer (RFC 9293, 3.10.7.4): to ask for its window, or
    /// whether it is there. RFC 9293, 3.8.6.1, has a byte of new data ask for the window; without it, as other
    /// systems do it, nothing is under way that a closed window would have to be believed to have refused.
    Question,
    /// Nothing but an acknowledgement.
    Ack,
}

impl Connection {
    /// Does what is due and sends what there is to be sent.
    pub fn run(&mut self, now: Instant, link: &Link, route: &Route, out: &mut dyn IpOut) -> Progress {
        if let Some(reset) = self.expire(now, link) {
            reset.send(&self.tuple, out);
        }
        self.limited = false;
        self.retry_path(now, link);
        let mut progress = Progress { deadline: None, blocked: None, plain: false };
        while let Some(segment) = self.choose(now, link, out) {
            if let Err(blocked) = out.ready(route) {
                progress.blocked = Some(blocked);
                break;
            }
            if self.emit(now, segment, link, route, out).is_err() {
                progress.deadline = Some(now + PAGE_WAIT);
                break;
            }
        }
        if self.timer_at.is_none() && self.phase != TcpState::Closed {
            self.arm(now, link);
        }
        self.note_waiting(now);
        let deadline = self.deadline().min(progress.deadline.unwrap_or(NEVER));
        progress.deadline = (deadline < NEVER).then_some(deadline);
        progress
    }

    /// What to send next.
    fn choose(&mut self, now: Instant, link: &Link, out: &dyn IpOut) -> Option<Segment> {
        match self.phase {
            TcpState::Closed => return None,
            TcpState::SynSent | TcpState::SynReceived => {
                let is_lost = self.flight.next_lost(1).is_some();
                if self.flight.is_empty() && self.next == self.isn {
                    return Some(Segment::Syn { repeated: false });
                }
                return (is_lost || self.due.syn).then_some(Segment::Syn { repeated: true }).or(self.ack());
            }
            _ => {}
        }
        self.rest(now);
        let tail = core::mem::take(&mut self.due.tail).then(|| self.tail_probe(link)).flatten();
        tail.or_else(|| self.lost(link))
            .or_else(|| self.fresh(link, out))
            .or_else(|| {
                let is_asked = core::mem::take(&mut self.due.window) | core::mem::take(&mut self.due.question);
                (is_asked && self.flight.is_empty()).then_some(Segment::Question)
            })
            .or_else(|| {
                self.owed.now |= self.is_window_news(link);
                self.ack()
            })
    }

    fn ack(&self) -> Option<Segment> {
        (self.owed.now && self.phase != TcpState::SynSent).then_some(Segment::Ack)
    }

    /// After a pause nothing is known of how much fits the way (RFC 5681, 4.1).
    pub fn rest(&mut self, now: Instant) {
        if self.flight.is_empty() && self.unsent() > 0 && now > self.trip.expiry(self.sent_at) {
            self.congestion.rest();
            self.sent_at = now;
        }
    }

    /// A new segment if there is one, else the last one again (RFC 8985, 7.3).
    #[cold]
    #[inline(never)]
    fn tail_probe(&mut self, link: &Link) -> Option<Segment> {
        let segment = self.segment(link) as u32;
        let length = self.unsent().min(segment);
        let room = distance(self.next, self.una.add(self.window));
        let chosen = if length > 0 && length <= room && !self.is_flight_full() {
            Segment::New { length, fin: false }
        } else {
            let range = self.flight.last(segment)?;
            self.flight.cut_last(range);
            Segment::Repeat(range)
        };
        let is_new = matches!(chosen, Segment::New { .. });
        self.probe.send(if is_new { self.next.add(length) } else { self.next }, !is_new);
        Some(chosen)
    }

    fn lost(&mut self, link: &Link) -> Option<Segment> {
        let range = self.flight.next_lost(self.segment(link) as u32)?;
        let pipe = self.pipe(link);
        if pipe > 0 && !self.due.first && pipe + range.length() > self.congestion.window() {
            self.limited = true;
            return None;
        }
        Some(Segment::Repeat(range))
    }

    /// Whether there are so many pieces under way that nothing new may follow.
    #[inline]
    pub fn is_flight_full(&self) -> bool {
        self.flight.is_full(self.send_memory())
    }

    /// What was never sent, as far as the windows allow.
    fn fresh(&mut self, link: &Link, out: &dyn IpOut) -> Option<Segment> {
        let unsent = self.unsent();
        let fin = self.shut && !self.is_fin_sent();
        let window = distance(self.next, self.una.add(self.window));
        if self.is_flight_full() || unsent == 0 && !fin || window == 0 {
            return None;
        }
        let segment = self.segment(link) as u32;
        let allowed = self.congestion.window().saturating_sub(self.pipe(link));
        // A packet that the device cuts takes many pages, and would repeat a flag that is for one.
        let is_long = unsent > segment && !self.ecn.reduced && out.has_pages();
        let most = if is_long { self.longest(unsent.min(window), link) } else { segment };
        let length = unsent.min(window).min(most);
        // No cut segment because of the congestion window: its rest comes when there is room.
        let length = if length > allowed {
            self.limited = true;
            allowed / segment * segment
        } else {
            length
        };
        if length == unsent {
            let is_held = self.nagle && length < segment && !self.flight.is_empty() && !fin;
            // The FIN takes a place in the window too.
            return (!is_held).then_some(Segment::New { length, fin: fin && length < window });
        }
        if length >= segment {
            return Some(Segment::New { length: length / segment * segment, fin: false });
        }
        // RFC 9293, 3.8.6.2.1: no silly windows. Half of the largest is worth it, and the timer overrides.
        let is_worth = length > 0 && length == window && (length >= self.most_window / 2 || self.due.small);
        is_worth.then_some(Segment::New { length, fin: false })
    }

    /// Bytes of data of the longest packet, of which `wanted` are there: whole segments.
    fn longest(&self, wanted: u32, link: &Link) -> u32 {
        let segment = self.segment(link);
        let longest = (link.most.saturating_sub(HEADERS) / segment * segment).max(segment);
        let Some(given) = self.given() else { return longest as u32 };
        let wanted = longest.min(wanted as usize);
        let fit = given.pages().fit(&self.send, distance(self.data_start, self.next) as usize, wanted);
        (if fit < wanted { (fit / segment * segment).max(segment) } else { longest }) as u32
    }

    pub fn emit(
        &mut self,
        now: Instant,
        segment: Segment,
        link: &Link,
        route: &Route,
        out: &mut dyn IpOut,
    ) -> Result<(), OutOfMemory> {
        if let Segment::Syn { repeated } = segment {
            return self.emit_syn(now, repeated, link, route, out);
        }
        let (range, fin) = match segment {
            Segment::Repeat(range) => (range, self.content(range).2),
            Segment::New { length, fin } => (Range::new(self.next, length + u32::from(fin)), fin),
            Segment::Question => (Range::new(Seq(self.una.0.wrapping_sub(1)), 0), false),
            Segment::Ack | Segment::Syn { .. } => (Range::new(self.next, 0), false),
        };
        let mut options = self.stamp(now);
        let size = usize::from(self.most_segment(link)).saturating_sub(options.length()).max(1);
        let (offset, length, _) = if range.is_empty() { (0, 0, false) } else { self.content(range) };
        if length == 0 {
            // Blocks go with acknowledgements only: beside data they would have to take its place.
            let duplicate = self.rare.as_mut().and_then(|rare| rare.duplicate.take());
            if self.sack && (duplicate.is_some() || self.held.is_some()) {
                let most = options.blocks_left();
                options.sacks(duplicate.into_iter().chain(self.held.iter().flat_map(|held| held.blocks(most))));
            }
        }
        let push = length > 0 && offset + length == self.send.length();
        let window = self.offer(link);
        // Only what was never sent before may be marked (RFC 3168, 6.1.5).
        let ect = self.ecn.on && length > 0 && matches!(segment, Segment::New { .. });
        let cwr = ect && self.ecn.reduced;
        let flag = |is_set: bool, flag: u8| u8::from(is_set) * flag;
        let marks = flag(self.ecn.echo, emit::ECE) | flag(cwr, emit::CWR);
        let flags = emit::ACK | flag(fin, emit::FIN) | flag(push, emit::PSH) | marks;
        let header = Header { fields: Fields { seq: range.start, ack: self.expected, flags, window }, options, ect };
        match self.given().filter(|_| length > 0) {
            Some(given) => {
                let leaving = Leaving { header: &header, tuple: &self.tuple, offset, length, size };
                given.pages().send(&self.send, &leaving, route, out)?;
            }
            None => header.send(&self.tuple, self.send.get(offset, length), size, route, out)?,
        }
        self.ecn.reduced &= !cwr;
        self.note_sent(now, segment, range, length, link);
        Ok(())
    }

    pub fn stamp(&self, now: Instant) -> Written {
        let mut options = Written::none();
        if self.clock.on {
            options.timestamp(self.clock.stamps().at(now));
        }
        options
    }

    /// Takes down what has left.
    fn note_sent(&mut self, now: Instant, segment: Segment, range: Range, length: usize, link: &Link) {
        // The peer may not listen to what comes from in front of its window; and a gap is told in a segment of its own.
        let is_heard = matches!(segment, Segment::New { .. } | Segment::Ack);
        if is_heard && (length == 0 || self.held.is_none()) {
            self.owed.now = false;
            self.owed.until = Moment::NONE;
        }
        self.owed.told = self.expected;
        if let Some(repair) = self.congestion.repair() {
            repair.note_sent(length as u32);
            if matches!(segment, Segment::Repeat(_)) {
                repair.note_repeated(now);
            }
        }
        match segment {
            Segment::New { fin, .. } => {
                if fin {
                    self.phase = if self.phase == TcpState::CloseWait { TcpState::LastAck } else { TcpState::FinWait1 };
                }
                self.note_new(now, range, link);
            }
            Segment::Repeat(range) => {
                self.retransmissions += 1;
                self.due.first = false;
                self.flight.repeat(range, now);
            }
            Segment::Syn { .. } | Segment::Question | Segment::Ack => {}
        }
    }

    /// `range`, the next that there is, has left.
    pub fn note_new(&mut self, now: Instant, range: Range, link: &Link) {
        self.flight.push(range, now);
        self.next = range.end;
        self.due.small = false;
        self.sent_at = now;
        self.arm_after_new(now, link);
    }

    #[cold]
    #[inline(never)]
    fn emit_syn(
        &mut self,
        now: Instant,
        repeated: bool,
        link: &Link,
        route: &Route,
        out: &mut dyn IpOut,
    ) -> Result<(), OutOfMemory> {
        let is_answer = self.phase == TcpState::SynReceived;
        let shift = if !is_answer || self.shift > 0 { Some(link.shift) } else { None };
        let offer = SynOptions { mss: Some(link.mss), window_shift: shift, sack: self.sack, ..SynOptions::default() };
        let mut options = Written::none();
        options.syn(&offer);
        if self.clock.on {
            options.timestamp(self.clock.stamps().at(now));
        }
        let (ack, flags) = match (is_answer, repeated) {
            (true, _) => (self.expected, emit::SYN | emit::ACK),
            (false, true) => (Seq(0), emit::SYN),
            // Explicit congestion notification is offered once: something on the way may not let it pass (RFC 3168, 6.1.1.1).
            (false, false) => (Seq(0), emit::SYN | emit::ECE | emit::CWR),
        };
        let header = Header { fields: Fields { seq: self.isn, ack, flags, window: link.window }, options, ect: false };
        header.send(&self.tuple, [&[], &[]], 0, route, out)?;
        let range = Range::new(self.isn, 1);
        if repeated {
            self.retransmissions += 1;
            self.flight.repeat(range, now);
        } else {
            self.flight.push(range, now);
            self.next = range.end;
            self.arm(now, link);
        }
        self.due.syn = false;
        self.owed.now = false;
        Ok(())
    }
}
