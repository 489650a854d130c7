//! How long packets may be on their way to the peer: by what routers say (RFC 1191), and by what gets lost when they say
//! nothing (after RFC 4821, 5.2 and 7.7: a black hole).

use super::connection::{Connection, Link};
use super::moment::Moment;
use super::sequence::before;
use crate::net::direct::header;
use crate::net::direct::tcp::segment::Seq;
use crate::time::{Duration, Instant};

/// No way is believed to take less: a peer of a stranger's making must not have us send bytes one by one (RFC 5927, 7.2).
const LEAST_MTU: usize = 296;
/// After this time a longer packet is tried again (RFC 1191, 6.3).
const AGAIN: Duration = Duration::from_secs(600);
/// The same when long packets were lost and nobody has said why: perhaps the way was broken and all were.
const DOUBTFUL: Duration = Duration::from_secs(5);
/// So many timeouts of a long packet in a row make it a suspect (RFC 8899, 4.3, leaves the number open).
const SUSPECT: u8 = 2;
/// What is tried instead: jumbo frames to plain ones, tunnels, the least that IPv6 guarantees, and IPv4.
const STEPS: [usize; 5] = [4352, 1500, 1400, 1280, 576];

/// What is known of the way, besides how much fits it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path {
    /// When longer packets are tried again.
    again: Moment,
    /// Timeouts in a row whose first segment was a long one.
    timeouts: u8,
    /// What got through when longer ones did not, once it was seen to.
    good: Option<u16>,
    /// The last change was for a suspicion, which nothing has confirmed yet.
    doubtful: bool,
}

impl Path {
    /// Whether nothing is to be remembered of it.
    pub fn is_whole(&self) -> bool {
        self.again.is_none() && self.timeouts == 0 && self.good.is_none() && !self.doubtful
    }
}

impl Connection {
    /// A router says that a packet is too long for a way of `mtu` bytes: whether it is believed. What is quoted must be under
    /// way (RFC 5927, 7.2), and a way never gets longer so.
    #[cold]
    #[inline(never)]
    pub fn is_too_big(&mut self, now: Instant, seq: Seq, mtu: usize, link: &Link) -> bool {
        let most = self.fitting(mtu.max(LEAST_MTU));
        let is_under_way = !before(seq, self.una) && before(seq, self.next);
        if !self.is_open() || !is_under_way || most >= self.most_segment(link) {
            return false;
        }
        self.rare().path.doubtful = false;
        self.shorten(most, Some(now + AGAIN), link);
        // What was under way and is longer got nowhere. That says nothing of how much fits the way (RFC 1191, 6.4).
        let segment = self.segment(link) as u32;
        self.due.first |= self.flight.lose(|piece| !before(piece.range.start, seq) && piece.range.length() > segment);
        true
    }

    /// Bytes of data and options in a packet of `mtu` bytes.
    fn fitting(&self, mtu: usize) -> u16 {
        u16::try_from(mtu.saturating_sub(header::length(self.remote()) + 20)).unwrap_or(u16::MAX)
    }

    #[cold]
    #[inline(never)]
    fn shorten(&mut self, most: u16, again: Option<Instant>, link: &Link) {
        self.path_most = most;
        let path = &mut self.rare().path;
        (path.again, path.timeouts) = (again.map_or(Moment::NONE, Moment::at), 0);
        let segment = self.segment(link) as u16;
        self.congestion.set_segment(segment);
    }

    /// All that is under way is taken for lost: is it because it is too long?
    #[cold]
    #[inline(never)]
    pub fn suspect_path(&mut self, now: Instant, link: &Link) {
        let Some(first) = self.flight.first().filter(|_| self.is_open()) else { return };
        let now_most = self.most_segment(link);
        let options = usize::from(now_most).saturating_sub(self.segment(link));
        let lost = (first.range.length() as usize + options).min(now_most.into());
        // Another length is worth a try only if that piece would get shorter by it, be it a full one or not: writes of an
        // application that are too long for the way would else be sent again as they are for ever.
        let shorter = |most: &u16| usize::from(*most) < lost;
        let Some(step) = STEPS.into_iter().map(|mtu| self.fitting(mtu)).find(shorter) else { return };
        let path = &mut self.rare().path;
        path.timeouts = path.timeouts.saturating_add(1);
        let (timeouts, good) = (path.timeouts, path.good);
        if timeouts < SUSPECT {
            return;
        }
        if let Some(good) = good.filter(shorter) {
            // It was not the way that was broken: long packets do not get through.
            self.rare().path.doubtful = false;
            return self.shorten(good, Some(now + AGAIN), link);
        }
        self.rare().path.doubtful = true;
        self.shorten(step, None, link);
    }

    /// Something was acknowledged.
    pub fn trust_path(&mut self, now: Instant) {
        let Some(rare) = &mut self.rare else { return };
        rare.path.timeouts = 0;
        if rare.path.doubtful && rare.path.again.is_none() {
            rare.path.good = Some(self.path_most);
            rare.path.again = Moment::at(now + DOUBTFUL);
        }
    }

    /// Tries longer packets again when it is time.
    pub fn retry_path(&mut self, now: Instant, link: &Link) {
        if self.rare.as_ref().is_some_and(|rare| rare.path.again.is_due(now)) {
            // What is acknowledged from now on says nothing of longer packets, before one is.
            self.rare().path.doubtful = false;
            self.shorten(u16::MAX, None, link);
        }
    }
}
