//! Data that arrives: into the receive buffer, in order or behind a gap, and the end of the peer's stream.

use super::arrival::Arrival;
use super::connection::{Connection, Link};
use super::moment::Moment;
use super::sequence::{Range, before, distance, earlier, later};
use crate::net::TcpState;
use crate::time::{Duration, Instant};

/// How long an acknowledgement may wait for data to go with it (RFC 9293, 3.8.6.3, allows half a second).
pub const ACK_DELAY: Duration = Duration::from_millis(10);

impl Connection {
    /// The data and the FIN of an acceptable segment.
    pub fn deliver(&mut self, now: Instant, arrival: &Arrival<'_>, link: &Link) {
        let segment = arrival.segment;
        let takes_data = matches!(self.phase, TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2);
        if segment.span() == 0 || !takes_data {
            // After the peer's end nothing can follow but repetitions.
            self.owed.now |= segment.span() > 0;
            return;
        }
        let whole = Range::new(segment.seq, segment.length);
        self.owed.segment = self.owed.segment.max(segment.length.min(link.mss.into()) as u16);
        if segment.fin && !before(self.edge, whole.end) && self.fin_at.is_none() && !self.has_beyond(whole) {
            self.fin_at = Some(whole.end);
        }
        let end = self.fin_at.map_or(self.edge, |fin| earlier(fin, self.edge));
        let range = Range { start: later(whole.start, self.expected), end: earlier(whole.end, end) };
        self.note_duplicate(whole);
        if !range.is_empty() {
            let skip = distance(whole.start, range.start) as usize;
            let data = arrival.data.get(skip..skip + range.length() as usize).unwrap_or_default();
            self.take_data(range, data);
        } else {
            // As with data: what is missing in front of an early FIN is told at once.
            self.owed.now = true;
        }
        self.note_use(now, link);
        self.take_fin();
        if segment.length > 0 || segment.fin {
            self.owe(now);
        }
    }

    /// Whether there is data behind `range` already: then no FIN can stand there.
    fn has_beyond(&self, range: Range) -> bool {
        let mut held = self.held.iter().flat_map(|held| held.blocks(usize::MAX));
        held.any(|held| before(range.end, held.end)) || before(range.end, self.expected)
    }

    /// What of `range` was there before (RFC 2883).
    pub fn note_duplicate(&mut self, range: Range) {
        if !self.sack || range.is_empty() {
            return;
        }
        let known = Range { start: range.start, end: earlier(range.end, self.expected) };
        if !known.is_empty() {
            self.rare().duplicate = Some(known);
            self.owed.now = true;
        } else if self.held.as_ref().is_some_and(|held| held.contains(range)) {
            self.rare().duplicate = Some(range);
        }
    }

    /// New data. What there is no memory for is dropped: the peer sends it again.
    fn take_data(&mut self, range: Range, data: &[u8]) {
        let gap = distance(self.expected, range.start) as usize;
        let kept = self.kept_length();
        if self.receive.put(self.receive.length() - kept + gap, data).is_err() {
            return;
        }
        if gap > 0 {
            // RFC 5681, 4.2: the sender must learn of the gap at once.
            self.held.get_or_insert_default().insert(range);
            self.owed.now = true;
            return;
        }
        let mut end = range.end;
        if let Some(held) = &mut self.held {
            end = held.take(end);
            // And that it is closed.
            self.owed.now = true;
            if held.is_empty() {
                self.held = None;
            }
        }
        self.receive.advance(distance(self.expected, end) as usize, kept);
        self.expected = end;
    }

    /// The peer's stream has ended and nothing in front of it is missing.
    fn take_fin(&mut self) {
        if self.fin_at != Some(self.expected) || self.finished {
            return;
        }
        self.finished = true;
        self.expected = self.expected.add(1);
        self.edge = later(self.edge, self.expected);
        self.owed.now = true;
        self.phase = match self.phase {
            TcpState::Established => TcpState::CloseWait,
            // Had our FIN been acknowledged, it would be the next state.
            TcpState::FinWait1 => TcpState::Closing,
            TcpState::FinWait2 => TcpState::TimeWait,
            phase => phase,
        };
    }

    /// Decides when what has arrived is acknowledged: two full segments at once, less a little later (RFC 9293, 3.8.6.3).
    pub fn owe(&mut self, now: Instant) {
        let owed = distance(self.owed.told, self.expected);
        if owed >= 2 * u32::from(self.owed.segment.max(1)) {
            self.owed.now = true;
        } else if owed > 0 && self.owed.until.is_none() {
            self.owed.until = Moment::at(now + ACK_DELAY);
        }
    }
}
