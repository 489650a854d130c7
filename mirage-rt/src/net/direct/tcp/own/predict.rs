//! Header prediction, after V. Jacobson ("4BSD TCP header prediction", 1990): nearly all segments of an open connection are
//! the next data, an acknowledgement of what is under way, or both, and nearly all that has to leave is one segment. These
//! are handled here in one go. Whatever is otherwise in the least changes nothing here and goes the usual way; the
//! tests run each conversation with prediction and without it.

use super::connection::{Connection, Link};
use super::emit::Header;
use super::memory::{Hunger, Memory, Purpose};
use super::moment::Moment;
use super::sequence::{Range, before, distance};
use super::timers::NEVER;
use super::transmit::Segment as Leaving;
use crate::net::TcpState;
use crate::net::direct::ip::{IpOut, Route};
use crate::net::direct::tcp::emit::{self, Fields};
use crate::net::direct::tcp::machine::{News, OutOfMemory, Progress};
use crate::net::direct::tcp::segment::Segment;
use crate::net::direct::tcp::timestamps::Timestamp;
use crate::net::direct::train::Following;
use crate::time::Instant;

/// The first bytes of the options of a segment that has a timestamp and nothing else, as all have it (RFC 7323, appendix A).
const STAMP: [u8; 4] = [1, 1, 8, 10];

impl Connection {
    /// Whether nothing is amiss: no loss, no gap, nobody who is about to leave.
    fn is_plain(&self, link: &Link) -> bool {
        link.prediction
            && self.phase == TcpState::Established
            && !self.shut
            && self.fin_at.is_none()
            && self.held.is_none()
            && self.lingering.is_none()
            && !self.is_rare()
            // Else longer segments are to be tried in time.
            && self.path_most == u16::MAX
            && self.hunger == Hunger::None
            && self.flight.is_plain()
            && !self.congestion.has_lost()
            && !self.probe.is_out()
    }

    /// Takes in a segment with this header and data, if it is what was expected. The data's page comes next if it `keeps` it.
    pub fn predict(
        &mut self,
        now: Instant,
        segment: &Segment,
        header: &[u8],
        data: &[u8],
        keeps: bool,
        link: &Link,
    ) -> Option<News> {
        let ack = segment.ack.filter(|_| !(segment.syn || segment.fin || segment.rst))?;
        let advanced = ack.since(self.una);
        let is_next = segment.seq == self.expected && advanced >= 0 && !before(self.next, ack);
        // An acknowledgement without news may be one of several that tell of a loss, unless it is the first of all.
        let has_news = advanced > 0 || !data.is_empty() || self.told_by.1 == self.isn;
        if !is_next || !has_news || !self.is_plain(link) || self.is_idle(now) {
            return None;
        }
        let stamp = self.predicted_stamp(header)?;
        let (length, limit) = (data.len() as u32, self.receive.limit());
        if length > distance(self.expected, self.edge)
            || length > 0 && !keeps && self.receive.put(self.receive.length() - self.kept_length(), data).is_err()
        {
            return None;
        }
        self.heard = now;
        if let Some(stamp) = stamp
            && !before(self.owed.told, segment.seq)
        {
            self.clock.hear(now, stamp.value);
        }
        self.take_window(now, segment, ack, u32::from(segment.window) << self.peer_shift);
        if advanced > 0 {
            self.repeats = 0;
            self.advance_plain(now, ack, advanced as u32, link);
        }
        if length > 0 {
            if !keeps {
                self.receive.advance(data.len(), self.kept_length());
            }
            self.note_data(now, length, link);
        }
        Some(News {
            readable: length > 0,
            writable: advanced > 0 && self.send.room() > 0,
            run: self.owed.now || self.unsent() > 0 || self.receive.limit() != limit,
            // An earlier deadline that is still set does no harm.
            deadline: self.next_deadline(),
        })
    }

    /// Takes in a segment that follows one which was predicted, as far as it is what was expected: whether there is something to do at
    /// once. The data's page comes next if it `keeps` it. That nothing is amiss was found out for the first.
    #[inline]
    pub fn follow(
        &mut self,
        now: Instant,
        following: &Following<'_>,
        keeps: bool,
        link: &Link,
        memory: &mut Memory,
    ) -> Option<bool> {
        let data = following.data;
        let (length, limit) = (data.len() as u32, self.receive.limit());
        let is_older = |value: u32| (value.wrapping_sub(self.clock.recent) as i32) < 0;
        if following.seq != self.expected
            || length > distance(self.expected, self.edge)
            || following.stamp.is_some_and(is_older)
        {
            return None;
        }
        if !keeps {
            let kept = self.kept_length();
            let at = self.receive.length() - kept;
            self.receive.supply(at + data.len(), memory, Purpose::Receive);
            self.receive.put(at, data).ok()?;
            self.receive.advance(data.len(), kept);
        }
        if let Some(value) = following.stamp
            && !before(self.owed.told, following.seq)
        {
            self.clock.hear(now, value);
        }
        self.note_data(now, length, link);
        Some(self.owed.now || self.receive.limit() != limit)
    }

    /// The next `length` bytes have come.
    #[inline(always)]
    fn note_data(&mut self, now: Instant, length: u32, link: &Link) {
        self.expected = self.expected.add(length);
        self.note_use(now, link);
        self.owed.segment = self.owed.segment.max(length.min(link.mss.into()) as u16);
        self.owe(now);
    }

    /// The timestamp of a header that has what was agreed on; no more, and no less.
    fn predicted_stamp(&self, header: &[u8]) -> Option<Option<Timestamp>> {
        let options = header.get(20..)?;
        let clock = &self.clock;
        if !clock.on {
            return options.is_empty().then_some(None);
        }
        let words = options.first_chunk::<12>().filter(|_| options.len() == 12)?;
        let word = |at: usize| u32::from_be_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]);
        let stamp = Timestamp { value: word(4), echo: word(8) };
        let is_fresh = !clock.at.is_none() && stamp.value.wrapping_sub(clock.recent) as i32 >= 0;
        (words.first_chunk() == Some(&STAMP) && is_fresh).then_some(Some(stamp))
    }

    /// Sends what there is, if that is one segment or nothing and no timer has expired.
    pub fn send_plain(&mut self, now: Instant, link: &Link, route: &Route, out: &mut dyn IpOut) -> Option<Progress> {
        if !self.is_plain(link) || self.due.is_any() || now >= self.deadline() {
            return None;
        }
        let unsent = self.unsent();
        let leaving = match unsent {
            0 => {
                self.owed.now |= self.is_window_news(link);
                self.owed.now.then_some(0)
            }
            _ => {
                let under_way = self.flight.total();
                let room = distance(self.next, self.una.add(self.window));
                let is_whole = unsent as usize <= self.segment(link) && unsent <= room && !self.is_flight_full();
                self.rest(now);
                if !is_whole
                    || self.nagle && under_way > 0
                    || self.repeats > 0
                    || under_way + unsent > self.congestion.window()
                {
                    return None;
                }
                Some(unsent)
            }
        };
        self.limited = false;
        if let Some(length) = leaving {
            // What is in the way of it is for the usual way to tell.
            if out.ready(route).is_err() || self.emit_plain(now, length, link, route, out).is_err() {
                return None;
            }
        }
        if self.timer_at.is_none() {
            self.arm(now, link);
        }
        if self.flight.is_empty() {
            self.waiting = Moment::NONE;
        } else {
            self.waiting.or_set(now);
        }
        Some(Progress { deadline: self.next_deadline(), blocked: None, plain: true })
    }

    fn next_deadline(&self) -> Option<Instant> {
        let deadline = self.deadline();
        (deadline < NEVER).then_some(deadline)
    }

    /// The next `length` bytes, which are all that there are, or an acknowledgement.
    #[inline]
    fn emit_plain(
        &mut self,
        now: Instant,
        length: u32,
        link: &Link,
        route: &Route,
        out: &mut dyn IpOut,
    ) -> Result<(), OutOfMemory> {
        if self.ecn.echo || self.ecn.reduced || self.given().is_some() {
            let leaving = if length > 0 { Leaving::New { length, fin: false } } else { Leaving::Ack };
            return self.emit(now, leaving, link, route, out);
        }
        let range = Range::new(self.next, length);
        let (flags, ect) = if length > 0 { (emit::ACK | emit::PSH, self.ecn.on) } else { (emit::ACK, false) };
        let fields = Fields { seq: range.start, ack: self.expected, flags, window: self.offer(link) };
        let header = Header { fields, options: self.stamp(now), ect };
        let data = self.send.get(distance(self.data_start, range.start) as usize, length as usize);
        header.send(&self.tuple, data, length as usize, route, out)?;
        self.owed.now = false;
        self.owed.until = Moment::NONE;
        self.owed.told = self.expected;
        if length > 0 {
            if let Some(repair) = self.congestion.repair() {
                repair.note_sent(length);
            }
            self.note_new(now, range, link);
        }
        Ok(())
    }
}
