//! How a loss is made good, and what is done when it was none: proportional rate reduction (RFC 9937), the Eifel algorithm by
//! timestamps (RFC 3522 and 4015), duplicates that the peer tells of (RFC 3708), and F-RTO (RFC 5682).

use super::arrival::Arrival;
use super::congestion::Before;
use super::connection::{Connection, Link};
use super::moment::Moment;
use super::sequence::before;
use crate::net::direct::tcp::segment::Seq;
use crate::time::Instant;

/// A loss that is being made good, or was until a short while ago.
#[derive(Clone, Copy, Debug)]
pub struct Repair {
    /// How it was when the loss was found, and when that was.
    pub before: Before,
    pub since: Instant,
    /// Bytes that were under way then; those that have arrived since, and those that were sent.
    under_way: u32,
    delivered: u32,
    sent: u32,
    /// The window gets smaller in proportion to what arrives.
    proportional: bool,
    /// When something was sent again for the first time, and how often since, less what the peer got twice.
    at: Moment,
    repeats: u32,
    /// The first acknowledgement after that has come.
    decided: bool,
    doubt: Doubt,
    /// It is made good: when something behind this is acknowledged, it is forgotten.
    over: Option<Seq>,
}

/// Whether the timer has expired for nothing: the steps of F-RTO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// There is none.
    None,
    /// The first piece was sent again, and nothing was heard since.
    First,
    /// It has arrived, and two new segments were sent instead of further ones again.
    Second,
}

/// What an acknowledgement has brought.
#[derive(Clone, Copy, Debug, Default)]
pub struct Brought {
    /// Bytes in order, and all of them.
    pub advanced: u32,
    pub delivered: u32,
    /// The peer got something twice.
    pub duplicate: bool,
    /// Something has arrived that was sent once, before the present loss was found.
    pub old: bool,
    /// When the latest of it was sent that was sent once.
    pub latest: Option<Instant>,
}

impl Repair {
    pub fn new(now: Instant, before: Before, under_way: u32, by_timer: bool) -> Repair {
        Repair {
            before,
            since: now,
            under_way: under_way.max(1),
            delivered: 0,
            sent: 0,
            proportional: !by_timer,
            at: Moment::NONE,
            repeats: 0,
            decided: false,
            doubt: if by_timer { Doubt::First } else { Doubt::None },
            over: None,
        }
    }

    /// So many bytes were sent.
    pub fn note_sent(&mut self, bytes: u32) {
        self.sent = self.sent.saturating_add(bytes);
    }

    /// Something was sent again.
    pub fn note_repeated(&mut self, now: Instant) {
        self.at.or_set(now);
        self.repeats += 1;
    }

    /// How many bytes may be sent now, of which `pipe` are believed to be in the network and `threshold` should be, after
    /// `delivered` more have arrived (RFC 9937, 6.2). `safe` says that all is well apart from what is known to be lost.
    pub fn allowance(&mut self, delivered: u32, pipe: u32, threshold: u32, mss: u32, safe: bool) -> Option<u32> {
        if !self.proportional || self.over.is_some() {
            return None;
        }
        self.delivered = self.delivered.saturating_add(delivered);
        Some(if pipe > threshold {
            let share = u64::from(self.delivered) * u64::from(threshold);
            (share.div_ceil(self.under_way.into()) as u32).saturating_sub(self.sent)
        } else {
            let balance = self.delivered.saturating_sub(self.sent).max(delivered);
            balance.saturating_add(if safe { mss } else { 0 }).min(threshold - pipe)
        })
    }

    /// It is made good, and all before `next` was sent by now.
    pub fn end(&mut self, next: Seq) {
        self.over.get_or_insert(next);
        self.doubt = Doubt::None;
    }
}

impl Connection {
    /// Whether it is not clear yet that the timer has expired for a reason.
    pub fn is_in_doubt(&mut self) -> bool {
        self.congestion.repair().is_some_and(|repair| repair.doubt == Doubt::Second)
    }

    /// Looks whether what was taken for a loss was one, after an acknowledgement.
    #[cold]
    #[inline(never)]
    pub fn doubt_loss(&mut self, now: Instant, arrival: &Arrival<'_>, brought: &Brought, link: &Link) {
        let (una, unsent, clock) = (self.una, self.unsent(), self.clock);
        let Some(repair) = self.congestion.repair() else { return };
        if repair.over.is_some() && repair.at.is_none() {
            // All has arrived, and nothing was sent again.
            return self.undo_loss();
        }
        if repair.over.is_some_and(|over| before(over, una)) {
            return self.congestion.forget_repair();
        }
        if brought.duplicate {
            repair.repeats = repair.repeats.saturating_sub(1);
            if repair.repeats == 0 && !repair.at.is_none() {
                // All that was sent again has come twice.
                return self.undo_loss();
            }
        }
        if brought.advanced > 0
            && !core::mem::replace(&mut repair.decided, true)
            && let (Some(at), Some(stamp)) = (repair.at.get(), arrival.options.timestamp.filter(|_| clock.on))
            && before(Seq(stamp.echo), Seq(clock.value(at)))
        {
            // It answers what was sent first. So long a round trip can take (RFC 4015, 3.3).
            let took = u64::from(clock.value(now).wrapping_sub(stamp.echo)) * 1_000_000;
            let sent = Instant::from_nanos(now.as_nanos().saturating_sub(took));
            self.trip.measure(sent, now);
            self.flight.rack().be_late(now, sent);
            return self.undo_loss();
        }
        match repair.doubt {
            Doubt::None => {}
            Doubt::First if brought.advanced > 0 && repair.over.is_none() && unsent > 0 => {
                repair.doubt = Doubt::Second;
                self.flight.find_all();
                let two = 2 * self.segment(link) as u32;
                self.congestion.set_window(self.flight.pipe() + two);
            }
            Doubt::First => repair.doubt = Doubt::None,
            Doubt::Second if brought.old => self.undo_loss(),
            Doubt::Second => {
                // It was needed: the others are lost as well (RFC 5682, 3.1, step 3a).
                repair.doubt = Doubt::None;
                let since = repair.since;
                self.flight.lose(|piece| piece.at < since);
                self.congestion.set_window(3 * self.segment(link) as u32);
            }
        }
    }

    /// Nothing was lost: all is as before.
    fn undo_loss(&mut self) {
        self.congestion.undo();
        self.flight.find_all();
        self.flight.recovered();
        self.due.first = false;
    }
}
