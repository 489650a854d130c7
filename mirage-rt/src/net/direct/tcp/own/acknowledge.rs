//! What the peer acknowledges: the window moves, round trips are measured, losses are found.

use super::arrival::Arrival;
use super::congestion::Acknowledged;
use super::connection::{Connection, Link};
use super::flight::Piece;
use super::moment::Moment;
use super::rack::Rack;
use super::repair::Brought;
use super::sequence::{Range, before, distance};
use crate::net::TcpState;
use crate::net::direct::tcp::segment::{Segment, Seq};
use crate::time::{Duration, Instant};

/// So many acknowledgements without news mean a loss, for peers without SACK (RFC 5681, 3.2).
const DUPLICATES: u16 = 3;

impl Connection {
    /// The acknowledgement and the window of a segment; `ack` is not beyond what was sent.
    pub fn acknowledge(&mut self, now: Instant, arrival: &Arrival<'_>, ack: Seq, link: &Link) {
        let window = u32::from(arrival.segment.window) << self.peer_shift;
        let is_same_window = window == self.window;
        if before(ack, self.una) {
            return;
        }
        self.count_repeats(arrival, ack, is_same_window);
        self.take_window(now, arrival.segment, ack, window);
        self.advance(now, ack, arrival, link);
    }

    /// The peer repeats itself (RFC 5681, 2).
    fn count_repeats(&mut self, arrival: &Arrival<'_>, ack: Seq, is_same_window: bool) {
        let is_bare = arrival.segment.span() == 0;
        if ack == self.una && is_bare && is_same_window && !self.flight.is_empty() {
            self.repeats = self.repeats.saturating_add(1);
        } else if ack != self.una {
            self.repeats = 0;
        }
    }

    /// SND.WL1 and SND.WL2 keep an older segment from bringing an older window back (RFC 9293, 3.10.7.4).
    pub fn take_window(&mut self, now: Instant, segment: &Segment, ack: Seq, window: u32) {
        let seq = segment.seq;
        let (by_seq, by_ack) = self.told_by;
        if before(by_seq, seq) || by_seq == seq && !before(ack, by_ack) {
            if self.window == 0 && window > 0 {
                self.trip.advance();
            }
            self.window = window;
            self.most_window = self.most_window.max(window);
            self.told_by = (seq, ack);
        }
        // A peer that keeps its window closed is alive as long as it says so.
        if self.window == 0 && !self.waiting.is_none() {
            self.waiting = Moment::at(now);
        }
    }

    /// Everything before `ack` has arrived, and what the SACK blocks say.
    pub fn advance(&mut self, now: Instant, ack: Seq, arrival: &Arrival<'_>, link: &Link) {
        let advanced = distance(self.una, ack);
        let is_plain = self.flight.is_plain() && !self.congestion.has_lost() && !self.probe.is_out();
        let is_told = self.repeats > 0 && !self.sack || !arrival.options.sacks().is_empty();
        if link.prediction && is_plain && !is_told && !self.is_rare() {
            if advanced > 0 {
                self.advance_plain(now, ack, advanced, link);
                self.move_on();
            }
            return;
        }
        let was_recovering = self.congestion.has_lost();
        let under_way = self.flight.total();
        let brought = Brought { advanced, ..self.take_arrived(now, ack, arrival) };
        let is_duplicate = brought.duplicate;
        if advanced > 0 {
            self.take_away(now, ack);
        }
        self.grow_window(now, advanced, brought.latest);
        if was_recovering && !self.congestion.has_lost() {
            self.flight.recovered();
            self.due.first = false;
        }
        let is_repaired = self.congestion.repair().is_some();
        if is_repaired {
            self.doubt_loss(now, arrival, &brought, link);
        }
        let is_bare = arrival.segment.span() == 0 && arrival.options.sacks().is_empty();
        if self.probe.acknowledge(ack, is_duplicate, is_bare) {
            // What the probe has repaired need not be sent again.
            self.congestion.lose(self.una, self.next, under_way);
        }
        if self.sack && !self.is_in_doubt() {
            let lost = self.flight.lost();
            self.find_losses(now, link);
            let is_safe = advanced > 0 && self.flight.lost() <= lost;
            self.congestion.reduce_in_proportion(brought.delivered, self.flight.pipe(), is_safe);
        } else if !self.sack {
            self.guess_losses(advanced, link);
        }
        if advanced > 0 {
            self.arm(now, link);
            self.move_on();
        }
    }

    /// As [`advance`](Self::advance), while nothing is known of what is under way but when it was sent.
    #[inline(never)]
    pub fn advance_plain(&mut self, now: Instant, ack: Seq, advanced: u32, link: &Link) {
        let latest = self.flight.acknowledge_plain(now, ack, &self.trip);
        if let Some(at) = latest {
            self.trip.measure(at, now);
        }
        self.take_away(now, ack);
        self.reorder_at = Moment::NONE;
        if self.limited {
            self.grow_window(now, advanced, latest);
        }
        if self.is_waiting() {
            self.arm(now, link);
        } else {
            self.timer_at = Moment::NONE;
        }
    }

    /// More may be under way now, if the congestion window was what held us back.
    pub fn grow_window(&mut self, now: Instant, bytes: u32, latest: Option<Instant>) {
        let trip = self.trip.smoothed().unwrap_or_default();
        let sample = latest.map(|at| now.nanos_since(at));
        let (una, next, limited) = (self.una, self.next, self.limited);
        self.congestion.acknowledge(now, &Acknowledged { bytes, una, next, limited, trip, sample });
    }

    /// Goes through what has arrived, `advanced` left out.
    fn take_arrived(&mut self, now: Instant, ack: Seq, arrival: &Arrival<'_>) -> Brought {
        let missing = self.flight.total() - self.flight.sacked();
        let since = self.congestion.repair().map(|repair| repair.since);
        let (trip, clock) = (&self.trip, &self.clock);
        let echo = arrival.options.timestamp.filter(|_| clock.on).map(|stamp| Seq(stamp.echo));
        let mut latest: Option<Instant> = None;
        let mut old = false;
        let mut arrived = |rack: &mut Rack, piece: &Piece| {
            if !piece.repeated {
                latest = latest.max(Some(piece.at));
                old |= since.is_some_and(|since| piece.at < since);
            }
            let echoes_earlier = echo.is_some_and(|echo| before(echo, Seq(clock.value(piece.at))));
            rack.arrive(now, piece, trip, echoes_earlier);
        };
        let una = self.una;
        self.flight.acknowledge(ack, &mut arrived);
        let mut is_duplicate = false;
        if self.sack {
            let blocks = arrival.options.sacks();
            for (number, block) in blocks.iter().enumerate() {
                let is_within_next = || blocks.get(1).is_some_and(|next| next.contains(*block));
                if number == 0 && (!before(ack, block.end) || is_within_next()) {
                    // RFC 2883, 4: the first block may tell of what came twice. Nobody else's data lies so far back.
                    is_duplicate = distance(block.end, self.next) < 1 << 30;
                } else if !before(block.start, ack) && !before(self.next, block.end) {
                    self.flight.sack(*block, &mut arrived);
                }
            }
        }
        if let Some(at) = latest {
            self.trip.measure(at, now);
        }
        if is_duplicate {
            self.flight.duplicate(una, self.next);
        }
        let delivered = missing.saturating_sub(self.flight.total() - self.flight.sacked());
        Brought { advanced: 0, delivered, duplicate: is_duplicate, old, latest }
    }

    /// Takes away what has arrived.
    pub fn take_away(&mut self, now: Instant, ack: Seq) {
        let bytes = (distance(self.data_start, ack) as usize).min(self.send.length());
        self.consume_sent(bytes);
        self.data_start = self.data_start.add(bytes as u32);
        self.una = ack;
        self.trip.advance();
        self.trust_path(now);
        self.waiting = Moment::at(now);
    }

    /// By RACK.
    pub fn find_losses(&mut self, now: Instant, link: &Link) {
        let under_way = self.flight.total();
        let recovering = self.congestion.is_recovering();
        let segment = self.segment(link) as u32;
        let found = self.flight.detect(now, &self.trip, segment, recovering);
        self.reorder_at = found.again.map_or(Moment::NONE, Moment::at);
        if found.lost {
            self.probe.forget();
            self.due.first |= self.congestion.lose_for_now(now, self.una, self.next, under_way);
        }
    }

    /// By counting, for peers without SACK: fast retransmit, and NewReno's partial acknowledgements (RFC 6582, 3.2).
    fn guess_losses(&mut self, advanced: u32, link: &Link) {
        let segment = self.segment(link) as u32;
        let is_partial = advanced > 0 && self.congestion.is_recovering();
        let is_third = self.repeats == DUPLICATES && !self.congestion.has_lost();
        if !is_partial && !is_third {
            return;
        }
        let under_way = self.flight.total();
        if self.flight.lose_first(segment) {
            self.due.first = true;
            if is_third {
                self.congestion.lose(self.una, self.next, under_way);
            }
        }
    }

    /// Bytes that are believed to be in the network. Each acknowledgement without news means that one segment has left it.
    pub fn pipe(&self, link: &Link) -> u32 {
        let left = if self.sack { 0 } else { u32::from(self.repeats).saturating_mul(self.segment(link) as u32) };
        self.flight.pipe().saturating_sub(left)
    }

    /// The states that end when our FIN is acknowledged.
    fn move_on(&mut self) {
        if !self.is_fin_sent() || self.una != self.next {
            return;
        }
        match self.phase {
            TcpState::FinWait1 => self.phase = TcpState::FinWait2,
            TcpState::Closing => self.phase = TcpState::TimeWait,
            TcpState::LastAck => self.close(),
            _ => {}
        }
    }

    /// The way of `range`: its bytes of data by their place in the buffer, and whether our FIN is behind them.
    pub fn content(&self, range: Range) -> (usize, usize, bool) {
        let data_end = self.data_end();
        let offset = distance(self.data_start, range.start) as usize;
        let end = if before(data_end, range.end) { data_end } else { range.end };
        (offset, distance(range.start, end) as usize, before(data_end, range.end))
    }

    /// When the peer should have answered to what was sent until `since`, by what was measured.
    pub fn probe_at(&self, since: Instant, link: &Link) -> Option<Instant> {
        // A single segment's acknowledgement may be delayed (RFC 8985, 7.2); others' a little, by peers as we are.
        let delay = if self.flight.total() as usize <= self.segment(link) { LONE_DELAY } else { DELAY };
        self.trip.probe_expiry(since, delay)
    }
}

const LONE_DELAY: Duration = Duration::from_millis(200);
const DELAY: Duration = Duration::from_millis(12);
