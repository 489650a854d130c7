//! Which of a host's addresses to connect to: Happy Eyeballs (RFC 8305). Both kinds of addresses are asked for at once;
//! connections are tried one after the other with a short delay, kinds in turn, and the first that is made is taken.
//!
//! Nothing here knows what the network below can do: it is given the lookups of the kinds in use, in the order in which they
//! are preferred, and a function that connects. A stack with IPv6 gives one lookup more.
//!
//! Addresses of a kind are in the [order](super::order) of RFC 6724, those that are as good in the server's. The kind with the better
//! first address has the first turn, as far as that is known when it starts.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::future::{Future, poll_fn};
use core::net::{IpAddr, SocketAddr};
use core::pin::Pin;
use core::task::{Context, Poll};

use super::error::{LookupError, NamedConnectError};
use super::order::rank;
use crate::net::error::ConnectError;
use crate::runtime::now;
use crate::time::{Duration, Instant, Sleep, sleep_until};

/// How long the preferred kind of addresses is waited for when the other one is there (RFC 8305, section 3).
const RESOLUTION_DELAY: Duration = Duration::from_millis(50);
/// How long an attempt is waited for before the next one starts beside it (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// A lookup of the addresses of one kind.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<Vec<IpAddr>, LookupError>> + 'a>>;

type Attempt<'a, S> = Pin<Box<dyn Future<Output = Result<S, ConnectError>> + 'a>>;

/// One kind of addresses.
struct Kind<'a> {
    lookup: Option<Lookup<'a>>,
    /// Not tried yet.
    addresses: VecDeque<IpAddr>,
}

struct Race<'a, S, C> {
    kinds: Vec<Kind<'a>>,
    /// Our own addresses.
    own: Vec<IpAddr>,
    /// The kind whose turn it is; before the first one, that is decided by what there is.
    turn: Option<usize>,
    attempts: Vec<Attempt<'a, S>>,
    connect: C,
    port: u16,
    /// No attempt starts before.
    next_attempt: Instant,
    /// The end of the resolution delay, from the first addresses on.
    resolved_by: Option<Instant>,
    failure: Option<NamedConnectError>,
}

/// Connects to `port` of whichever address takes the connection first. `lookups` has the preferred kind first, `own` the
/// addresses that we have, as far as they are known.
///
/// # Cancel safety
///
/// Dropping the future gives all attempts up.
pub async fn connect<'a, S, F, C>(
    lookups: Vec<Lookup<'a>>,
    own: Vec<IpAddr>,
    port: u16,
    connect: C,
) -> Result<S, NamedConnectError>
where
    C: FnMut(SocketAddr) -> F + Unpin,
    F: Future<Output = Result<S, ConnectError>> + 'a,
{
    let kinds = lookups.into_iter().map(|lookup| Kind { lookup: Some(lookup), addresses: VecDeque::new() }).collect();
    let mut race = Race {
        kinds,
        own,
        turn: None,
        attempts: Vec::new(),
        connect,
        port,
        next_attempt: Instant::ZERO,
        resolved_by: None,
        failure: None,
    };
    let mut timer: Option<Sleep> = None;
    poll_fn(|context| {
        loop {
            if let Poll::Ready(result) = race.step(context) {
                return Poll::Ready(result);
            }
            let Some(deadline) = race.deadline() else { return Poll::Pending };
            let timer = timer.insert(sleep_until(deadline));
            if Pin::new(timer).poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}

impl<'a, S, F, C> Race<'a, S, C>
where
    C: FnMut(SocketAddr) -> F,
    F: Future<Output = Result<S, ConnectError>> + 'a,
{
    /// Does what can be done now.
    fn step(&mut self, context: &mut Context<'_>) -> Poll<Result<S, NamedConnectError>> {
        self.poll_lookups(context);
        loop {
            if let Some(stream) = self.poll_attempts(context) {
                return Poll::Ready(Ok(stream));
            }
            if !self.may_start() {
                break;
            }
            let Some(address) = self.next_address() else { break };
            self.next_attempt = now() + ATTEMPT_DELAY;
            let attempt = (self.connect)(SocketAddr::new(address, self.port));
            self.attempts.push(Box::pin(attempt));
        }
        let looking = self.kinds.iter().any(|kind| kind.lookup.is_some());
        if looking || !self.attempts.is_empty() || self.has_address() {
            return Poll::Pending;
        }
        // Without kinds there is no failure either.
        Poll::Ready(Err(self.failure.take().unwrap_or(NamedConnectError::Lookup(LookupError::NoServers))))
    }

    fn poll_lookups(&mut self, context: &mut Context<'_>) {
        for kind in &mut self.kinds {
            let Some(lookup) = &mut kind.lookup else { continue };
            let Poll::Ready(found) = lookup.as_mut().poll(context) else { continue };
            kind.lookup = None;
            match found {
                Ok(mut addresses) => {
                    addresses.sort_by_key(|to| rank(&self.own, *to));
                    kind.addresses = addresses.into();
                    self.resolved_by.get_or_insert(now() + RESOLUTION_DELAY);
                }
                // A connection's failure says more, and so does any other than the lack of one kind.
                Err(error) => match &self.failure {
                    None | Some(NamedConnectError::Lookup(LookupError::NoAddress(_))) => {
                        self.failure = Some(error.into());
                    }
                    Some(_) => {}
                },
            }
        }
    }

    /// The stream of an attempt that succeeded. After one that failed, the next one may start at once.
    fn poll_attempts(&mut self, context: &mut Context<'_>) -> Option<S> {
        let mut index = 0;
        while let Some(attempt) = self.attempts.get_mut(index) {
            match attempt.as_mut().poll(context) {
                Poll::Ready(Ok(stream)) => return Some(stream),
                Poll::Ready(Err(error)) => {
                    drop(self.attempts.remove(index));
                    self.failure = Some(error.into());
                    self.next_attempt = now();
                }
                Poll::Pending => index += 1,
            }
        }
        None
    }

    fn has_address(&self) -> bool {
        self.kinds.iter().any(|kind| !kind.addresses.is_empty())
    }

    /// Whether the delays are over.
    fn may_start(&self) -> bool {
        now() >= self.next_attempt && (!self.waits_for_preferred() || self.resolved_by.is_some_and(|by| now() >= by))
    }

    /// Whether a kind is still looked up that comes before all that have addresses; only at the start.
    fn waits_for_preferred(&self) -> bool {
        let first = self.kinds.iter().position(|kind| !kind.addresses.is_empty());
        self.attempts.is_empty()
            && first.is_some_and(|first| self.kinds.iter().take(first).any(|kind| kind.lookup.is_some()))
    }

    /// The next address to be tried: kinds take turns.
    fn next_address(&mut self) -> Option<IpAddr> {
        let count = self.kinds.len();
        let first = self.turn.unwrap_or_else(|| self.best());
        for offset in 0..count {
            let index = (first + offset) % count;
            if let Some(address) = self.kinds.get_mut(index).and_then(|kind| kind.addresses.pop_front()) {
                self.turn = Some((index + 1) % count);
                return Some(address);
            }
        }
        None
    }

    /// The kind with the best address; of several, the preferred one.
    fn best(&self) -> usize {
        let firsts = self.kinds.iter().enumerate().filter_map(|(index, kind)| Some((index, *kind.addresses.front()?)));
        firsts.min_by_key(|(_, to)| rank(&self.own, *to)).map_or(0, |(index, _)| index)
    }

    /// When a delay ends that something waits for.
    fn deadline(&self) -> Option<Instant> {
        if !self.has_address() {
            return None;
        }
        let resolved_by = self.resolved_by.filter(|_| self.waits_for_preferred());
        Some(self.next_attempt.max(resolved_by.unwrap_or(Instant::ZERO)))
    }
}
