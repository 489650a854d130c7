//! Forwarding: what comes to one network and is for a host behind another one is handed on (feature `forward`).
//!
//! A [`Router`] forwards between networks of our own, and asks a function of the program about each packet: so a gateway or a
//! firewall is a few lines.
//!
#![cfg_attr(feature = "test-utils", doc = "```")]
#![cfg_attr(not(feature = "test-utils"), doc = "```ignore")]
//! use mirage_rt::net::forward::{Router, Verdict};
//! use mirage_rt::net::switch::{Impairments, Switch};
//! use mirage_rt::net::{Config, Network};
//!
//! # mirage_rt::testing::run(1, async {
//! let (inside, outside) = (Switch::new(1, Impairments::NONE), Switch::new(2, Impairments::NONE));
//! let network = |switch: &Switch, address: &str| {
//!     Network::direct(switch.port(), switch.pool(), Config::from_keys(address.parse().ok(), None)).expect("a host's address")
//! };
//! let (lan, wan) = (network(&inside, "10.0.0.1/24"), network(&outside, "192.0.2.1/24"));
//! // From outside (1) only answers of web servers, and whatever is inside may leave.
//! let router = Router::start(&[lan, wan], |packet| match (packet.from, packet.ports()) {
//!     (0, _) => Verdict::Pass,
//!     (_, Some([80 | 443, _])) => Verdict::Pass,
//!     _ => Verdict::Drop,
//! });
//! # drop(router);
//! # });
//! ```
//!
//! # What is done
//!
//! IPv4 as RFC 1812 has it: the way is that of the longest prefix of all networks (as of [joined](super::Network::joined) ones), the time
//! to live is counted, packets that are too long are cut into fragments or their senders told, and senders are told of what can't
//! be reached. IPv6 as RFC 8200 has it, without fragments; neighbours are told that this is a router. Nothing is forwarded from or to
//! link-local addresses, groups and all hosts of a network, nor with a source route, nor with a source that is ours. Packets of many TCP
//! segments stay whole where the next device cuts them, and are cut here where it does not.
//!
//! Each packet is copied once, into pages of the network that it leaves by; the queue between is bounded.
//!
//! # What is not
//!
//! Address translation (NAT), groups (multicast), redirects, router advertisements and routing protocols. The router's own
//! addresses are reached by the network that has them only: to others it is a host that can't be reached.

mod ipv4;
#[cfg(feature = "ipv6")]
mod ipv6;
mod packet;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll, Waker};

pub use packet::Packet;

use super::direct::Direct;
use super::direct::transit::{Outgoing, Passed};
use super::joined::choose;
use super::{Network, Stack};
use crate::cell::RefCell;
use crate::packet::PacketMut;
use crate::runtime::Runtime;

/// Frames that wait to be forwarded at most: what the drivers of a few devices take in before other tasks have their turn.
const MOST_WAITING: usize = 512;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is forwarded.
    Pass,
    /// It is dropped, and nobody told.
    Drop,
    /// It is dropped, and its sender told that somebody does not want it (RFC 1812, 5.2.7.1; RFC 4443, 3.1).
    Reject,
}

/// What has become of the packets that were to be forwarded so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// They were handed on.
    pub forwarded: u64,
    /// The filter did not let them pass.
    pub filtered: u64,
    /// They had no hops left.
    pub expired: u64,
    /// No route led to their destination.
    pub unreachable: u64,
    /// They were too long for their way and must not be cut.
    pub too_big: u64,
    /// They were not sound, or of those that are never forwarded.
    pub invalid: u64,
    /// There was no room in the queue or for the next device, or no memory.
    pub dropped: u64,
}

/// A router does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouterError {
    /// A network is the host's sockets, through which no packets can be seen.
    Host,
    /// Another router forwards what comes to a network.
    Busy,
}

impl fmt::Display for RouterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RouterError::Host => {
                "the host's sockets forward nothing: give each network a device of its own, on Unix with --interface"
            }
            RouterError::Busy => "another router forwards what comes to this network: drop it first",
        })
    }
}

impl core::error::Error for RouterError {}

/// Forwards packets between networks until it is dropped.
pub struct Router {
    shared: Rc<Shared>,
}

type Filter = Box<dyn FnMut(&Packet<'_>) -> Verdict>;

struct Shared {
    networks: Vec<Network>,
    stacks: Vec<Direct>,
    queue: Rc<RefCell<Queue>>,
    filter: RefCell<Filter>,
    statistics: Cell<Statistics>,
}

impl Router {
    /// Forwards between `networks`, which are numbered in this order from 0, what `filter` lets pass. A network that is several ones
    /// [joined](Network::joined) counts as these. A task on the current runtime does it from now on.
    ///
    /// # Errors
    ///
    /// See [`RouterError`].
    ///
    /// # Panics
    ///
    /// Outside of a running [`Runtime`].
    pub fn start(
        networks: &[Network],
        filter: impl FnMut(&Packet<'_>) -> Verdict + 'static,
    ) -> Result<Router, RouterError> {
        let networks: Vec<Network> = networks.iter().flat_map(Network::as_parts).collect();
        let stack = |network: &Network| match &network.stack {
            Stack::Direct(direct) => Ok(direct.clone()),
            Stack::Host(_) => Err(RouterError::Host),
        };
        let stacks = networks.iter().map(stack).collect::<Result<Vec<_>, _>>()?;
        if stacks.iter().any(Direct::is_router) {
            return Err(RouterError::Busy);
        }
        let queue = Rc::new(RefCell::new(Queue::default()));
        for (index, stack) in stacks.iter().enumerate() {
            stack.set_transit(Some(Transit { queue: Rc::clone(&queue), index }));
        }
        let filter: Filter = Box::new(filter);
        let (filter, statistics) = (RefCell::new(filter), Cell::default());
        let shared = Rc::new(Shared { networks, stacks, queue, filter, statistics });
        drop(Runtime::current().spawn(run(Rc::clone(&shared))));
        Ok(Router { shared })
    }

    /// What was done so far.
    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.shared.statistics.get();
        statistics.dropped += self.shared.queue.borrow().dropped;
        statistics
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        for stack in &self.shared.stacks {
            stack.set_transit(None);
        }
        self.shared.queue.borrow_mut().end();
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("statistics", &self.statistics()).finish_non_exhaustive()
    }
}

/// Frames that wait, each with the number of the network that it came by.
#[derive(Default)]
struct Queue {
    frames: VecDeque<(usize, PacketMut)>,
    waker: Option<Waker>,
    dropped: u64,
    is_over: bool,
}

impl Queue {
    fn push(&mut self, index: usize, frame: PacketMut) {
        if self.frames.len() >= MOST_WAITING || self.frames.try_reserve(1).is_err() {
            self.dropped += 1;
            return;
        }
        self.frames.push_back((index, frame));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The next frame; `None` when the router is gone.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, PacketMut)>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        match self.frames.pop_front() {
            Some(next) => Poll::Ready(Some(next)),
            None => {
                self.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn end(&mut self) {
        self.is_over = true;
        self.frames.clear();
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The way of frames from one network to the router.
#[derive(Clone)]
pub(super) struct Transit {
    queue: Rc<RefCell<Queue>>,
    index: usize,
}

impl Transit {
    pub(super) fn push(&self, frame: PacketMut) {
        self.queue.borrow_mut().push(self.index, frame);
    }
}

async fn run(shared: Rc<Shared>) {
    let mut scratch = Vec::new();
    while let Some((from, frame)) = poll_fn(|context| shared.queue.borrow_mut().poll(context)).await {
        let fate = shared.forward(from, &frame, &mut scratch);
        let mut statistics = shared.statistics.get();
        *fate.counter(&mut statistics) += 1;
        shared.statistics.set(statistics);
    }
}

/// What has become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Forwarded,
    Filtered,
    Expired,
    Unreachable,
    TooBig,
    Invalid,
    Dropped,
}

impl Fate {
    fn counter(self, statistics: &mut Statistics) -> &mut u64 {
        match self {
            Fate::Forwarded => &mut statistics.forwarded,
            Fate::Filtered => &mut statistics.filtered,
            Fate::Expired => &mut statistics.expired,
            Fate::Unreachable => &mut statistics.unreachable,
            Fate::TooBig => &mut statistics.too_big,
            Fate::Invalid => &mut statistics.invalid,
            Fate::Dropped => &mut statistics.dropped,
        }
    }
}

impl From<Passed> for Fate {
    fn from(passed: Passed) -> Fate {
        match passed {
            Passed::Sent => Fate::Forwarded,
            Passed::NoRoute => Fate::Unreachable,
            Passed::TooBig(_) => Fate::TooBig,
            Passed::Invalid => Fate::Invalid,
            Passed::NoRoom => Fate::Dropped,
        }
    }
}

impl Shared {
    /// Forwards a frame that came by the network `from`.
    fn forward(&self, from: usize, frame: &PacketMut, scratch: &mut Vec<u8>) -> Fate {
        scratch.clear();
        if scratch.try_reserve(frame.len()).is_err() {
            return Fate::Dropped;
        }
        for part in frame.parts() {
            scratch.extend_from_slice(part);
        }
        let Some((_, packet)) = scratch.split_at_mut_checked(super::direct::ethernet::HEADER) else {
            return Fate::Invalid;
        };
        let outgoing = Outgoing { checksum: frame.checksum(), gso: frame.gso() };
        match packet.first().map(|first| first >> 4) {
            Some(4) => self.forward_ipv4(from, packet, outgoing),
            #[cfg(feature = "ipv6")]
            Some(6) => self.forward_ipv6(from, packet, outgoing),
            _ => Fate::Invalid,
        }
    }

    /// The number of the network that leads to `destination`; `None` when none does, or that is an address of ours.
    fn way(&self, destination: IpAddr) -> Option<usize> {
        if self.stacks.iter().any(|stack| stack.has(destination)) {
            return None;
        }
        choose(&self.networks, SocketAddr::new(destination, 0))
    }

    fn judge(&self, packet: &Packet<'_>) -> Verdict {
        (self.filter.borrow_mut())(packet)
    }
}
