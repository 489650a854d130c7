//! Timestamps (RFC 7323): the option itself, our clock, and what a SYN cookie keeps in it.

use super::segment::SynOptions;
use crate::time::Instant;

/// The option (RFC 7323, 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp {
    /// The sender's clock.
    pub value: u32,
    /// The latest that it has heard of the other's.
    pub echo: u32,
}

/// The timestamps of a connection whose two sides use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// Where our clock starts.
    pub offset: u32,
    /// The peer's latest (TS.Recent).
    pub recent: u32,
}

impl Stamps {
    /// The option of a segment that leaves now.
    pub fn at(&self, now: Instant) -> Timestamp {
        Timestamp { value: clock(self.offset, now), echo: self.recent }
    }
}

/// What the clock of a connection says that starts at `offset`: milliseconds. Each connection has an offset of its own, so
/// that no clock tells for how long the host runs.
pub fn clock(offset: u32, now: Instant) -> u32 {
    offset.wrapping_add((now.as_nanos() / 1_000_000) as u32)
}

/// The low bits of a clock that a cookie takes.
const KEPT: u32 = 63;
/// In these bits: the shift of windows, and this when there is none.
const SHIFT: u32 = 15;
/// And that SACK may be used, and explicit congestion notification.
const SACK: u32 = 16;
const ECN: u32 = 32;

/// The last value of our clock up to `value` that keeps what the peer has offered and a cookie has no place for. The peer
/// echoes it.
pub fn keep(value: u32, options: &SynOptions) -> u32 {
    let shift = options.window_shift.map_or(SHIFT, |shift| u32::from(shift.min(14)));
    let bits = shift | if options.sack { SACK } else { 0 } | if options.ecn { ECN } else { 0 };
    let kept = value & !KEPT | bits;
    if kept.wrapping_sub(value) as i32 > 0 { kept.wrapping_sub(KEPT + 1) } else { kept }
}

/// What was kept in the value that `echo` is.
pub fn kept(echo: u32) -> SynOptions {
    let shift = echo & SHIFT;
    SynOptions {
        window_shift: (shift != SHIFT).then_some(shift as u8),
        sack: echo & SACK != 0,
        ecn: echo & ECN != 0,
        ..SynOptions::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookies_clock_is_never_fast_and_keeps_all() {
        for window_shift in [None, Some(0), Some(7), Some(14)] {
            for (sack, ecn) in [(false, false), (false, true), (true, false), (true, true)] {
                let options = SynOptions { window_shift, sack, ecn, ..SynOptions::default() };
                for value in (0..200u32).chain([u32::MAX, u32::MAX - 40]) {
                    let kept_value = keep(value, &options);
                    assert!(value.wrapping_sub(kept_value) <= KEPT, "{value} {kept_value}");
                    assert_eq!(kept(kept_value), options);
                }
            }
        }
    }
}
