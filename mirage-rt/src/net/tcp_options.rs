//! What the user of a connection may choose.

use core::fmt;

use super::error::HostError;
use crate::time::Duration;

/// When and how often a peer that says nothing is asked whether it is still there (RFC 9293, 3.8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// The silence before the first question.
    pub idle: Duration,
    /// The time between questions.
    pub interval: Duration,
    /// Questions without an answer after which the connection is given up; at least one.
    pub probes: u32,
}

/// How the number of bytes under way grows when losses have told how large it may be, and what a loss makes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CongestionControl {
    /// By the time since the last loss, 0.7 of it after one (RFC 9438): for long and fast ways, and what most peers do.
    #[default]
    Cubic,
    /// A segment for each round trip, half of it after a loss (RFC 5681, RFC 6582).
    NewReno,
}

/// One choice; [`TcpStream`](super::TcpStream) has a method for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpOption {
    /// Small segments leave at once ([`set_nodelay`](super::TcpStream::set_nodelay)).
    NoDelay(bool),
    /// Silent peers are asked ([`set_keep_alive`](super::TcpStream::set_keep_alive)).
    KeepAlive(Option<KeepAlive>),
    /// How long an acknowledgement may take ([`set_user_timeout`](super::TcpStream::set_user_timeout)).
    UserTimeout(Option<Duration>),
    /// What becomes of unsent bytes when the last handle is dropped ([`set_linger`](super::TcpStream::set_linger)).
    Linger(Option<Duration>),
    /// How much is sent at a time ([`set_congestion_control`](super::TcpStream::set_congestion_control)).
    CongestionControl(CongestionControl),
}

/// A connection was not set up as wanted; it goes on as it was.
#[derive(Debug)]
#[non_exhaustive]
pub enum OptionError {
    /// Neither this stack nor its TCP machine can do it.
    Unsupported,
    /// A time is too short or too long, or there are to be no probes.
    OutOfRange,
    /// The connection is over.
    Closed,
    /// Another error of the host.
    Host(HostError),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionError::Unsupported => f.write_str(
                "this network cannot do that for a connection: do without it, or build without mirage-rt's feature smoltcp-tcp",
            ),
            OptionError::OutOfRange => {
                f.write_str("the value is out of range: give times between 1 ms and a day, and at least one probe")
            }
            OptionError::Closed => f.write_str("the connection is over: there is nothing left to choose"),
            OptionError::Host(error) => write!(f, "the host refused the option: {error}"),
        }
    }
}

impl core::error::Error for OptionError {}

impl TcpOption {
    /// Whether all times and numbers are within what every stack takes: whole milliseconds up to a day fit all of them.
    pub(super) fn check(self) -> Result<TcpOption, OptionError> {
        let is_time = |time: Duration| time >= LEAST && time <= MOST;
        let is_good = match self {
            TcpOption::NoDelay(_) | TcpOption::CongestionControl(_) => true,
            TcpOption::KeepAlive(None) | TcpOption::UserTimeout(None) | TcpOption::Linger(None) => true,
            TcpOption::KeepAlive(Some(keep)) => is_time(keep.idle) && is_time(keep.interval) && keep.probes > 0,
            TcpOption::UserTimeout(Some(time)) => is_time(time),
            TcpOption::Linger(Some(time)) => time.is_zero() || is_time(time),
        };
        if is_good { Ok(self) } else { Err(OptionError::OutOfRange) }
    }
}

const LEAST: Duration = Duration::from_millis(1);
const MOST: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        let keep = KeepAlive { idle: LEAST, interval: MOST, probes: 1 };
        for good in [
            TcpOption::KeepAlive(Some(keep)),
            TcpOption::KeepAlive(None),
            TcpOption::UserTimeout(Some(MOST)),
            TcpOption::Linger(Some(Duration::ZERO)),
            TcpOption::NoDelay(false),
            TcpOption::CongestionControl(CongestionControl::NewReno),
        ] {
            assert_eq!(good.check().expect("it is in range"), good);
        }
        for bad in [
            TcpOption::KeepAlive(Some(KeepAlive { probes: 0, ..keep })),
            TcpOption::KeepAlive(Some(KeepAlive { idle: Duration::ZERO, ..keep })),
            TcpOption::UserTimeout(Some(Duration::ZERO)),
            TcpOption::Linger(Some(MOST + LEAST)),
        ] {
            assert!(matches!(bad.check(), Err(OptionError::OutOfRange)), "{bad:?}");
        }
    }
}
