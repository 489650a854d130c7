//! Datagrams that were not delivered, as errors of ICMP say: told of what a stack of our own tells (`net/direct/quotes` and
//! `net/direct/udp` in mirage-rt), so that a program sees the same on both.
//!
//! Linux gives a socket that is connected to nobody such errors only by a queue of their own, for which it has to ask.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mirage_rt::net::ReceiveError;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use super::sys;

/// Destinations that a socket remembers.
const REMEMBERED: usize = 16;

/// Errors that are taken from the host at a time.
const AT_A_TIME: usize = 64;

/// What is kept of a socket that wants to know.
#[derive(Default)]
pub(super) struct Undelivered {
    /// Whom it has sent to, the latest last. Linux lets everybody make up an error who guesses the socket's port; here one of
    /// these has to be guessed, too.
    sent: VecDeque<SocketAddr>,
    /// What is to be told next.
    pending: Option<ReceiveError>,
}

impl Undelivered {
    /// Something is being sent to `remote`.
    pub(super) fn note_sent(&mut self, remote: SocketAddr) {
        if self.sent.back() == Some(&remote) {
            return;
        }
        self.sent.retain(|known| *known != remote);
        if self.sent.len() >= REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back(remote);
    }

    /// Takes errors from the host, of which the last one is told; whether the network has sent any. Those that the host has made
    /// itself are the outcome of the call that they come from.
    pub(super) fn take_from(&mut self, socket: BorrowedFd<'_>) -> bool {
        let mut any = false;
        for _ in 0..AT_A_TIME {
            let Ok(Some(notice)) = sys::take_notice(socket) else { break };
            let Some(error) = read_error(notice.control()) else { continue };
            any |= error.origin != libc::SO_EE_ORIGIN_LOCAL;
            if let (Some(fate), Some(remote)) = (error.fate(), read_name(notice.name())) {
                self.pending = self.told(remote, fate).or(self.pending.take());
            }
        }
        any
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    pub(super) fn take(&mut self) -> Option<ReceiveError> {
        self.pending.take()
    }

    /// The error for a datagram to `remote`, with the address as the program has given it.
    fn told(&self, remote: SocketAddr, fate: Fate) -> Option<ReceiveError> {
        let is_it = |known: &&SocketAddr| {
            known.ip().to_canonical() == remote.ip().to_canonical() && known.port() == remote.port()
        };
        let remote = *self.sent.iter().rev().find(is_it)?;
        Some(match fate {
            Fate::Refused => ReceiveError::Refused(remote),
            Fate::Unreachable => ReceiveError::Unreachable(remote),
        })
    }
}

/// What has become of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Refused,
    Unreachable,
}

/// Whether `errno` is news of an earlier datagram, not of the call that it comes from. All that Linux makes of errors of ICMP are here.
pub(super) fn is_news(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::CONNREFUSED
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::NOPROTOOPT
            | Errno::MSGSIZE
            | Errno::OPNOTSUPP
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::ACCESS
            | Errno::PROTO
    )
}

/// An error, as far as it says what has become of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    /// Who has made it: the host, or ICMP of either family.
    origin: u8,
    kind: u8,
    code: u8,
}

impl Told {
    /// `None` when it is nothing to tell.
    fn fate(self) -> Option<Fate> {
        match (self.origin, self.kind, self.code) {
            (libc::SO_EE_ORIGIN_ICMP, 3, 2 | 3) => Some(Fate::Refused),
            // What is too long is another matter: Linux cuts the next one.
            (libc::SO_EE_ORIGIN_ICMP, 3, 4) => None,
            (libc::SO_EE_ORIGIN_ICMP, 3, _) => Some(Fate::Unreachable),
            (libc::SO_EE_ORIGIN_ICMP6, 1, 4) | (libc::SO_EE_ORIGIN_ICMP6, 4, 1) => Some(Fate::Refused),
            (libc::SO_EE_ORIGIN_ICMP6, 1, _) => Some(Fate::Unreachable),
            _ => None,
        }
    }
}

/// Reads the first control message: a length, a level and a kind, then a `struct sock_extended_err`.
fn read_error(control: &[u8]) -> Option<Told> {
    let (_, rest) = control.split_first_chunk::<{ size_of::<usize>() }>()?;
    let (level, rest) = rest.split_first_chunk()?;
    let (kind, error) = rest.split_first_chunk()?;
    if !sys::RECEIVES_ERRORS.contains(&(i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind))) {
        return None;
    }
    // Behind the errno.
    let [_, _, _, _, origin, kind, code, ..] = *error else { return None };
    Some(Told { origin, kind, code })
}

/// Reads a `struct sockaddr_in` or `sockaddr_in6`.
fn read_name(name: &[u8]) -> Option<SocketAddr> {
    let (family, rest) = name.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let address = match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(*rest.first_chunk::<4>()?)),
        // Behind the flow.
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(*rest.get(4..)?.first_chunk::<16>()?)),
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests;
