//! SYN cookies (RFC 4987): while the table of half-open connections is full of young ones, a connection's state is kept in
//! the position of our SYN, which the peer gives back. Its timestamp, when both sides use them, gives the rest back.

use super::machine::Handshake;
use super::segment::{FourTuple, Segment, Seq, SynOptions, default_mss};
use crate::net::direct::hash::Keyed;
use crate::time::{Duration, Instant};

/// The segment sizes that fit into three bits: the largest one not above what the peer offered is used. The first is what
/// connections use at least, so that none has longer ones than its peer takes.
const SIZES: [u16; 8] = [88, 536, 1024, 1220, 1360, 1400, 1440, 1460];
/// How long a cookie is new; it is good for twice as long.
const PERIOD: Duration = Duration::from_secs(64);
/// The bits that cannot be guessed.
const SECRET: u32 = 0xffff_ff00;

/// Makes cookies and knows its own.
pub struct Cookies {
    key: Keyed,
    /// Until when one that was made can come back. Most of the time none can, and nobody can try to guess one.
    until: Instant,
}

impl Cookies {
    /// The key may be that of the sequence numbers: what is hashed here has another length.
    pub fn new(key: Keyed) -> Cookies {
        Cookies { key, until: Instant::ZERO }
    }

    /// The position for our answer to a SYN.
    pub fn make(&mut self, now: Instant, tuple: &FourTuple, peer_isn: Seq, size: Option<u16>) -> Seq {
        self.until = now + 2 * PERIOD;
        let size = size.unwrap_or(default_mss(tuple.remote().ip()));
        let index = SIZES.iter().rposition(|fits| *fits <= size).unwrap_or(0) as u32;
        let period = period(now);
        Seq(self.hash(tuple, peer_isn, period) & SECRET | (period & 31) << 3 | index)
    }

    /// The handshake that `segment` ends, when it gives a cookie back.
    pub fn check(&self, now: Instant, segment: &Segment) -> Option<Handshake> {
        if now >= self.until || segment.syn || segment.rst {
            return None;
        }
        let cookie = segment.ack?.add(u32::MAX);
        let peer_isn = segment.seq.add(u32::MAX);
        let is_good = |period: u32| {
            period & 31 == cookie.0 >> 3 & 31 && (self.hash(&segment.tuple, peer_isn, period) ^ cookie.0) & SECRET == 0
        };
        let latest = period(now);
        if !is_good(latest) && !is_good(latest.wrapping_sub(1)) {
            return None;
        }
        let mss = SIZES.get((cookie.0 & 7) as usize).copied();
        Some(Handshake {
            tuple: segment.tuple,
            isn: cookie,
            peer_isn,
            options: SynOptions { mss, ..SynOptions::default() },
            window: segment.window,
            sent: now,
            repeated: false,
            clock: None,
        })
    }

    fn hash(&self, tuple: &FourTuple, peer_isn: Seq, period: u32) -> u32 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&tuple.hash_with(&self.key).to_le_bytes());
        bytes[8..12].copy_from_slice(&peer_isn.0.to_le_bytes());
        bytes[12..16].copy_from_slice(&period.to_le_bytes());
        self.key.signed(&bytes) as u32
    }
}

fn period(now: Instant) -> u32 {
    (now.as_nanos() / PERIOD.as_nanos() as u64) as u32
}
