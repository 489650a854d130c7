//! The client's side of the protocol as a machine without input and output: it is told the time and what came, and says what
//! is to be sent and what has changed (RFC 2131, section 4.4).

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use super::message::{self, Kind, Reply, Request};
use crate::keys::Cidr;
use crate::net::StaticRoute;
use crate::net::direct::{LEAST_MTU, is_host};
use crate::net::names::Name;
use crate::time::{Duration, Instant};

/// How long the first answer is waited for, give or take a second; each further one twice as long, up to the last
/// (section 4.1).
const FIRST_WAIT: Duration = Duration::from_secs(4);
const LAST_WAIT: Duration = Duration::from_secs(64);
/// How often an offered address is asked for before another offer is looked for, and one that we have before it is believed.
const REQUEST_TRIES: u32 = 4;
/// The least time between two attempts to renew (section 4.4.5).
const RENEWAL_WAIT: Duration = Duration::from_secs(60);
/// A lease of this many seconds does not end.
const FOR_EVER: u32 = u32::MAX;
/// Shorter leases are taken as of this length, so that renewing them does not fill the network.
const SHORTEST_LEASE: u32 = 10;

/// What a server has given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The address, with the length of its network's prefix.
    pub address: Cidr,
    /// The way to everything outside of that network.
    pub gateway: Option<Ipv4Addr>,
    /// The name servers, in the order of preference, no more than 4.
    pub name_servers: Vec<Ipv4Addr>,
    /// The domain of the network's hosts.
    pub domain: Option<Name>,
    /// Domains to look for names in, no more than 8.
    pub search: Vec<Name>,
    /// The most bytes of a packet, when the server says.
    pub mtu: Option<u16>,
    /// Further routes, no more than [`Addressing::MOST_ROUTES`](crate::net::Addressing::MOST_ROUTES).
    pub routes: Vec<StaticRoute>,
    /// The server.
    pub server: Ipv4Addr,
    /// When the address is not ours any more, if it ever is not.
    pub ends: Option<Instant>,
    renews: Option<Instant>,
    rebinds: Option<Instant>,
}

impl Lease {
    /// Whether `other` differs in its times only.
    pub(super) fn gives_the_same(&self, other: &Lease) -> bool {
        let Lease { ends, renews, rebinds, server, .. } = *self;
        *self == Lease { ends, renews, rebinds, server, ..other.clone() }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this to the server at this address, which is everybody's when any will do.
    Send {
        /// The message.
        message: Vec<u8>,
        /// Where to.
        to: Ipv4Addr,
    },
    /// The lease has ended: the address must not be used any more.
    Lost(Loss),
}

/// What an answer has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The address is ours, or stays ours.
    Leased(Lease),
    /// The lease has ended.
    Lost(Loss),
}

/// Why a lease has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// No server has renewed it in time.
    Expired,
    /// A server says that the address is not ours.
    Refused,
    /// A server gives another address.
    Moved,
}

enum State {
    /// Looking for offers.
    Selecting,
    /// Asking for the address of an offer.
    Requesting { address: Ipv4Addr, server: Ipv4Addr },
    /// The address is ours.
    Bound(Lease),
    /// It is if this is still the network that it was got from, which any server is asked (section 4.4.2: INIT-REBOOT).
    Confirming(Lease),
    /// It is, and its server is asked for more time.
    Renewing(Lease),
    /// It is, and any server is.
    Rebinding(Lease),
}

/// The machine.
pub struct Client {
    mac: [u8; 6],
    random: u64,
    /// The number of the exchange, and its start.
    id: u32,
    since: Instant,
    state: State,
    /// How often has been sent in this state, when the last time was, and when the next one is.
    tries: u32,
    sent: Instant,
    next: Instant,
}

impl Client {
    /// A client for the device with the address `mac`, whose random numbers follow from `seed`.
    pub fn new(mac: [u8; 6], seed: u64, now: Instant) -> Client {
        let mut client =
            Client { mac, random: seed, id: 0, since: now, state: State::Selecting, tries: 0, sent: now, next: now };
        client.enter(State::Selecting, now);
        client
    }

    /// What is due, one after the other until there is nothing.
    pub fn poll(&mut self, now: Instant) -> Option<Output> {
        self.advance(now);
        if let Some(lease) = self.lease()
            && lease.ends.is_some_and(|ends| ends <= now)
        {
            self.enter(State::Selecting, now);
            return Some(Output::Lost(Loss::Expired));
        }
        if matches!(self.state, State::Bound(_)) || now < self.next {
            return None;
        }
        if matches!(self.state, State::Requesting { .. }) && self.tries == REQUEST_TRIES {
            self.enter(State::Selecting, now);
        }
        self.sent = now;
        self.next = now + self.wait(now);
        self.tries += 1;
        Some(self.send(now))
    }

    /// This may be another network than before, or its servers may have forgotten us: the lease is to be confirmed (section 3.7).
    /// Without one, an offer is looked for at once.
    pub fn confirm(&mut self, now: Instant) {
        let state = self.lease().cloned().map_or(State::Selecting, State::Confirming);
        self.enter(state, now);
    }

    /// When [`poll`](Self::poll) has something to do; `None` when never, without an answer.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Selecting | State::Requesting { .. } => Some(self.next),
            State::Bound(lease) => lease.renews,
            State::Renewing(lease) => lease.rebinds.into_iter().chain([self.next]).min(),
            State::Confirming(lease) | State::Rebinding(lease) => lease.ends.into_iter().chain([self.next]).min(),
        }
    }

    /// A message came from a server. What is not for us, or makes no sense, changes nothing.
    pub fn receive(&mut self, now: Instant, message: &[u8]) -> Option<Event> {
        let reply = message::read(message).filter(|reply| reply.id == self.id && reply.mac == self.mac)?;
        match (&self.state, reply.kind) {
            (State::Selecting, Kind::Offer) if self.tries > 0 => {
                let (address, server) = (address(&reply)?.address(), reply.server?);
                let (id, since) = (self.id, self.since);
                self.enter(State::Requesting { address, server }, now);
                // It is the same exchange.
                (self.id, self.since) = (id, since);
                None
            }
            (State::Requesting { address, server }, Kind::Ack)
                if reply.yours == *address && reply.server == Some(*server) =>
            {
                self.bind(&reply, now)
            }
            (State::Requesting { server, .. }, Kind::Nak) if reply.server == Some(*server) => {
                self.enter(State::Selecting, now);
                // Not at once: a server that always refuses what it has offered would be asked without end.
                self.next = now + self.wait(now);
                None
            }
            (State::Confirming(lease) | State::Renewing(lease) | State::Rebinding(lease), kind) => match kind {
                Kind::Offer => None,
                Kind::Ack if reply.yours == lease.address.address() => self.bind(&reply, now),
                Kind::Ack => self.lose(Loss::Moved, now),
                Kind::Nak => self.lose(Loss::Refused, now),
            },
            _ => None,
        }
    }

    /// The present lease.
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Selecting | State::Requesting { .. } => None,
            State::Bound(lease) | State::Confirming(lease) | State::Renewing(lease) | State::Rebinding(lease) => {
                Some(lease)
            }
        }
    }

    /// Goes on to renewing and rebinding when their times have come. A lease that nobody confirms counts until it ends (section
    /// 4.4.2).
    fn advance(&mut self, now: Instant) {
        if let State::Confirming(lease) = &self.state
            && self.tries == REQUEST_TRIES
            && self.next <= now
        {
            self.enter(State::Bound(lease.clone()), now);
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match &self.state {
            State::Bound(lease) | State::Renewing(lease) if due(lease.rebinds) => {
                self.enter(State::Rebinding(lease.clone()), now);
            }
            State::Bound(lease) if due(lease.renews) => self.enter(State::Renewing(lease.clone()), now),
            _ => {}
        }
    }

    /// Begins an exchange.
    fn enter(&mut self, state: State, now: Instant) {
        self.id = self.random() as u32;
        self.since = now;
        self.state = state;
        self.tries = 0;
        self.next = now;
    }

    fn lose(&mut self, loss: Loss, now: Instant) -> Option<Event> {
        self.enter(State::Selecting, now);
        Some(Event::Lost(loss))
    }

    fn bind(&mut self, reply: &Reply, now: Instant) -> Option<Event> {
        // The time begins when it was asked for, not when the answer came (section 4.4.1).
        let lease = lease(reply, self.sent)?;
        self.enter(State::Bound(lease.clone()), now);
        Some(Event::Leased(lease))
    }

    /// How long the next answer is waited for.
    fn wait(&mut self, now: Instant) -> Duration {
        let half_of = |until: Option<Instant>| until.map_or(LAST_WAIT, |until| (until - now) / 2).max(RENEWAL_WAIT);
        match &self.state {
            State::Selecting | State::Requesting { .. } | State::Confirming(_) => {
                let wait = FIRST_WAIT.saturating_mul(1 << self.tries.min(8)).min(LAST_WAIT);
                let fuzz = Duration::from_millis(self.random() % 2001);
                wait + fuzz - Duration::from_secs(1)
            }
            State::Bound(lease) | State::Renewing(lease) => half_of(lease.rebinds),
            State::Rebinding(lease) => half_of(lease.ends),
        }
    }

    fn send(&self, now: Instant) -> Output {
        let request = Request {
            wants: !matches!(self.state, State::Selecting),
            id: self.id,
            seconds: u16::try_from((now - self.since).as_secs()).unwrap_or(u16::MAX),
            mac: self.mac,
            client: self.lease().map_or(Ipv4Addr::UNSPECIFIED, |lease| lease.address.address()),
            requested: None,
            server: None,
        };
        match &self.state {
            State::Requesting { address, server } => {
                let request = Request { requested: Some(*address), server: Some(*server), ..request };
                Output::Send { message: request.message(), to: Ipv4Addr::BROADCAST }
            }
            State::Confirming(lease) => {
                // As one that has no address yet (section 4.3.2).
                let (client, requested) = (Ipv4Addr::UNSPECIFIED, Some(lease.address.address()));
                Output::Send { message: Request { client, requested, ..request }.message(), to: Ipv4Addr::BROADCAST }
            }
            State::Renewing(lease) => Output::Send { message: request.message(), to: lease.server },
            _ => Output::Send { message: request.message(), to: Ipv4Addr::BROADCAST },
        }
    }

    /// The next random number (SplitMix64 from a seed that nobody knows).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The address that is offered, when a host can have it. Without a mask its network is of the class that the address was in
/// when there were classes.
fn address(reply: &Reply) -> Option<Cidr> {
    let prefix = match reply.mask.map(u32::from) {
        Some(mask) if mask.leading_ones() + mask.trailing_zeros() == 32 => mask.leading_ones() as u8,
        Some(_) => return None,
        None => match reply.yours.octets() {
            [0..128, ..] => 8,
            [128..192, ..] => 16,
            _ => 24,
        },
    };
    let address = Cidr::new(reply.yours, prefix).ok()?;
    (prefix > 0 && is_host(address, reply.yours)).then_some(address)
}

/// What an acknowledged request, sent at `sent`, gives; `None` when it makes no sense.
fn lease(reply: &Reply, sent: Instant) -> Option<Lease> {
    let (address, server) = (address(reply)?, reply.server?);
    let seconds = reply.lease?;
    let after = |seconds: u32| Some(sent + Duration::from_secs(seconds.into()));
    let (renews, rebinds, ends) = if seconds == FOR_EVER {
        (None, None, None)
    } else {
        let seconds = seconds.max(SHORTEST_LEASE);
        // Half and seven eighths of the time, when the server does not say, or says what makes no sense (section 4.4.5).
        let eighth = seconds / 8;
        let rebinding = reply.rebinding.filter(|rebinding| *rebinding < seconds).unwrap_or(seconds - eighth);
        let renewal = reply.renewal.filter(|renewal| *renewal < rebinding).unwrap_or((seconds / 2).min(rebinding));
        (after(renewal), after(rebinding), after(seconds))
    };
    let is_near =
        |router: &Ipv4Addr| *router != address.address() && address.contains(*router) && is_host(address, *router);
    let mut routes = reply.routes.clone().unwrap_or_default();
    routes.retain(|route| is_near(&route.via));
    let gateway = match &reply.routes {
        Some(_) => routes.iter().find(|route| route.to.prefix() == 0).map(|route| route.via),
        None => reply.router.filter(is_near),
    };
    routes.retain(|route| route.to.prefix() > 0);
    let name_servers = reply.name_servers.iter().copied().filter(|server| !server.is_unspecified()).collect();
    Some(Lease {
        address,
        gateway,
        name_servers,
        domain: reply.domain.clone(),
        search: reply.search.clone(),
        mtu: reply.mtu.filter(|mtu| *mtu >= LEAST_MTU),
        routes,
        server,
        ends,
        renews,
        rebinds,
    })
}
