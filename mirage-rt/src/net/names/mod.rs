//! Names of hosts: a stub resolver.
//!
//! A [`Resolver`] asks name servers for the addresses of names, and connects to hosts by name:
//!
//! ```
//! use mirage_rt::net::Network;
//! use mirage_rt::net::names::{Options, Resolver};
//!
//! async fn fetch(network: &Network) -> mirage_rt::Result {
//!     let resolver = Resolver::new(network, Options::new([[10, 0, 0, 53]]));
//!     let stream = resolver.connect("www.example.org:80").await?;
//!     stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
//!     Ok(())
//! }
//! ```
//!
//! Which servers are asked is the program's choice. [`Network::names`] asks those that the network was told of: by the keys `dns`
//! and `search` of a network that build.rs declares with `.names()`, by a DHCP server, or on the host's sockets by the host's
//! configuration. The questions are this resolver's there too, so that names mean the same wherever a program runs. The
//! host's table of names (`/etc/hosts`) is not read.
//!
//! # What is done
//!
//! Questions go out as datagrams with EDNS (RFC 6891) and are repeated as streams when the answer is too long (RFC 7766).
//! Servers are asked in their order, beginning with the one that answered last; one that is silent is asked again later with
//! more time. Aliases are followed, answers and what is not there (RFC 2308) are kept for as long as their zone says, and a
//! name that many tasks want is asked for once. Names without dots are tried in the search domains first.
//! Each question has a number, a port and a socket of its own, at random; an answer counts only when it comes from the
//! server's address and port, has the number and repeats the question (RFC 5452). Answers are not verified by DNSSEC: whoever
//! is on the way to the server can say anything.
//!
//! The time while a machine is suspended does not count: a program that goes on after a long time can
//! [clear](Resolver::clear) what it knew.
//!
//! # IPv4 and IPv6
//!
//! [`lookup`](Resolver::lookup) and [`connect`](Resolver::connect) ask for the kinds of addresses that the network can reach:
//! on the host's sockets both, on a network of our own IPv4 when it has an IPv4 address, IPv6 when it has that.
//! [`connect`](Resolver::connect) is Happy Eyeballs version 2 (RFC 8305) for the kinds in use.

mod cache;
mod error;
mod exchange;
mod flights;
pub mod message;
mod name;
mod of_joined;
mod of_network;
mod order;
mod race;
#[cfg(test)]
pub(crate) mod tests;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::pin::pin;
use core::task::Poll;

pub use error::{LookupError, NamedConnectError};
pub use message::Family;
pub use name::{Name, NameError};
pub use of_network::NameSlot;

use super::direct::counters::Event;
use super::{Network, Stack, TcpStream};
use crate::cell::RefCell;
use crate::runtime::now;
use crate::time::Duration;
use cache::{Cache, Known};
use exchange::Failure;
use flights::{Flights, Outcome, Role};
use message::{MOST_ALIASES, Question, Reply};

/// The port of name servers.
pub const PORT: u16 = 53;
/// Servers that are asked; further ones are not.
pub const MOST_SERVERS: usize = 8;
/// Search domains that are tried; further ones are not.
pub const MOST_SEARCH: usize = 8;

/// Whom a resolver asks, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The servers, in the order of preference, no more than [`MOST_SERVERS`].
    pub servers: Vec<SocketAddr>,
    /// Domains in which names are looked for that are not complete, no more than [`MOST_SEARCH`].
    pub search: Vec<Name>,
    /// A name with fewer dots is tried in the search domains first, one with at least so many first as it is. A dot at
    /// the end says that a name is complete.
    pub ndots: usize,
    /// How long a server is waited for at first; twice as long in each further round.
    pub wait: Duration,
    /// How often each server is asked while none answers.
    pub rounds: u32,
    /// Answers that are kept.
    pub cache: usize,
}

impl Options {
    /// Servers at these addresses, port 53; no search domains, one dot, three rounds that begin with a second, room for 128
    /// answers.
    pub fn new<A: Into<IpAddr>>(servers: impl IntoIterator<Item = A>) -> Options {
        Options {
            servers: servers.into_iter().map(|address| SocketAddr::new(address.into(), PORT)).collect(),
            search: Vec::new(),
            ndots: 1,
            wait: Duration::from_secs(1),
            rounds: 3,
            cache: 128,
        }
    }

    /// What `network` knows by itself: on the host's sockets the host's configuration. Nothing on a network of our own:
    /// what that was told of is [`Network::names`]'s.
    pub fn of(network: &Network) -> Option<Options> {
        match &network.stack {
            Stack::Direct(_) => None,
            Stack::Host(host) => host.names(),
        }
    }
}

/// Finds hosts by their names. Clones are handles to the same resolver; they share what it knows.
#[derive(Clone)]
pub struct Resolver {
    inner: Rc<Inner>,
}

struct Inner {
    network: Network,
    /// What it asks, when that is its own; else what is the network's.
    own: Option<State>,
}

/// Whom to ask, and what came of it so far.
#[derive(Clone)]
struct State {
    options: Rc<Options>,
    known: Rc<Learned>,
}

/// What was learned of servers.
struct Learned {
    /// The server that answered last.
    preferred: Cell<usize>,
    cache: RefCell<Cache>,
    flights: Flights,
}

impl State {
    fn new(mut options: Options) -> State {
        options.servers.truncate(MOST_SERVERS);
        options.search.truncate(MOST_SEARCH);
        let cache = RefCell::new(Cache::new(options.cache));
        let known = Rc::new(Learned { preferred: Cell::new(0), cache, flights: Flights::default() });
        State { options: Rc::new(options), known }
    }
}

impl Resolver {
    /// A resolver that asks as `options` say, over `network`.
    pub fn new(network: &Network, options: Options) -> Resolver {
        Resolver { inner: Rc::new(Inner { network: network.clone(), own: Some(State::new(options)) }) }
    }

    /// The addresses of `host`: a name, or an address, which is returned as it is. IPv6 addresses come first, of those
    /// kinds that the network can use; there is at least one, and no more than 16 of a kind. `localhost` and names in it
    /// are the loopback address (RFC 6761).
    ///
    /// # Errors
    ///
    /// See [`LookupError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the question up; other tasks that wait for the same answer ask themselves.
    pub async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, LookupError> {
        if let [only] = self.inner.families() {
            return self.lookup_family(host, *only).await;
        }
        match both(self.lookup_family(host, Family::V6), self.lookup_family(host, Family::V4)).await {
            (Ok(mut addresses), Ok(more)) => {
                addresses.extend(more);
                Ok(addresses)
            }
            (Ok(addresses), Err(_)) | (Err(_), Ok(addresses)) => Ok(addresses),
            (Err(error), Err(LookupError::NoAddress(_))) | (Err(_), Err(error)) => Err(error),
        }
    }

    /// As [`lookup`](Self::lookup), for one kind of addresses, whether or not the network can use it.
    ///
    /// # Errors
    ///
    /// See [`LookupError`].
    ///
    /// # Cancel safety
    ///
    /// As [`lookup`](Self::lookup).
    pub async fn lookup_family(&self, host: &str, family: Family) -> Result<Vec<IpAddr>, LookupError> {
        self.inner.find(host, family).await
    }

    /// Connects to a host and port: `example.org:80`, `10.0.0.1:80` or `[2001:db8::1]:80`. Of several addresses, all are
    /// tried, the best one first (RFC 6724), a quarter of a second one after the other, until one takes the connection (Happy
    /// Eyeballs, RFC 8305).
    ///
    /// # Errors
    ///
    /// See [`NamedConnectError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives all attempts up.
    pub async fn connect(&self, target: &str) -> Result<TcpStream, NamedConnectError> {
        let (host, port) = split(target).ok_or_else(|| NamedConnectError::Target(target.to_string()))?;
        let families = self.inner.families();
        let lookups: Vec<race::Lookup<'_>> =
            families.iter().map(|family| Box::pin(self.inner.find(host, *family)) as race::Lookup<'_>).collect();
        let tcp = self.inner.network.tcp();
        race::connect(lookups, self.inner.network.addresses(), port, move |address| {
            let tcp = tcp.clone();
            async move { tcp.connect(address).await }
        })
        .await
    }

    /// Forgets all answers.
    pub fn clear(&self) {
        self.inner.state().known.cache.borrow_mut().clear();
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("options", &self.inner.state().options).finish_non_exhaustive()
    }
}

impl Inner {
    /// The kinds of addresses to which connections can be made, the preferred one first.
    fn families(&self) -> &'static [Family] {
        self.network.families()
    }

    async fn find(&self, host: &str, family: Family) -> Result<Vec<IpAddr>, LookupError> {
        if let Some(address) = literal(host, family) {
            let is_it = address.is_ipv4() == (family == Family::V4);
            return if is_it { Ok(vec![address]) } else { Err(LookupError::NoAddress(host.to_string())) };
        }
        if let Some(parts) = self.parts() {
            return of_joined::find(parts, host, family).await;
        }
        let wrong = |error| LookupError::Name { text: host.to_string(), error };
        let name: Name = host.parse().map_err(wrong)?;
        let dots = host.bytes().filter(|byte| *byte == b'.').count();
        let state = self.state();
        let search = if host.ends_with('.') { &[][..] } else { &state.options.search };
        let as_it_is_first = search.is_empty() || dots >= state.options.ndots;
        // A name that would become too long in a domain is not in it.
        let searched = search.iter().filter_map(|domain| name.below(domain).ok());
        let candidates = as_it_is_first.then(|| name.clone()).into_iter().chain(searched);
        let candidates = candidates.chain((!as_it_is_first).then(|| name.clone()));
        for name in candidates {
            match self.resolve(&state, Question { name, family }).await? {
                Known::Addresses(addresses) => return Ok(addresses),
                Known::NoAddress => return Err(LookupError::NoAddress(host.to_string())),
                Known::NoSuchName => {}
            }
        }
        Err(LookupError::NoSuchName(host.to_string()))
    }

    /// The answer to a question: what is known, what another task just learns, or what a server says.
    async fn resolve(&self, state: &State, question: Question) -> Outcome {
        loop {
            if let Some(known) = state.known.cache.borrow_mut().get(&question, now()) {
                self.network.count(Event::Cached);
                return Ok(known);
            }
            match state.known.flights.join(&question).ok_or(LookupError::Busy)? {
                Role::Lead(lead) => return lead.finish(self.ask_and_follow(state, &question).await),
                Role::Follow(follow) => {
                    if let Some(outcome) = follow.outcome().await {
                        return outcome;
                    }
                }
            }
        }
    }

    /// Asks servers until there are addresses at the end of all aliases, or are not.
    async fn ask_and_follow(&self, state: &State, question: &Question) -> Outcome {
        let (mut asked, mut steps, mut holds) = (question.clone(), 0, u32::MAX);
        let (known, ttl) = loop {
            match self.ask(state, &asked).await? {
                Reply::Addresses { addresses, ttl } => break (Known::Addresses(addresses), ttl),
                Reply::NoSuchName { ttl } => break (Known::NoSuchName, ttl.unwrap_or(0)),
                Reply::NoAddress { ttl } => break (Known::NoAddress, ttl.unwrap_or(0)),
                Reply::Alias { target, steps: more, ttl } => {
                    steps += more;
                    holds = holds.min(ttl);
                    if steps > MOST_ALIASES {
                        return Err(LookupError::TooManyAliases(question.name.to_string()));
                    }
                    asked.name = target;
                }
                // exchange::ask returns none of these, self.ask no failures.
                Reply::Truncated | Reply::FormatError | Reply::Failed(_) => break (Known::NoAddress, 0),
            }
        };
        state.known.cache.borrow_mut().put(question.clone(), known.clone(), ttl.min(holds), now());
        Ok(known)
    }

    /// What the first server says that answers.
    async fn ask(&self, state: &State, question: &Question) -> Result<Reply, LookupError> {
        let State { options, known } = state;
        let servers = &options.servers;
        let mut failure = LookupError::NoServers;
        for round in 0..options.rounds {
            let wait = options.wait.saturating_mul(1 << round.min(8));
            let mut silent = false;
            let first = known.preferred.get();
            for offset in 0..servers.len() {
                let index = (first + offset) % servers.len();
                let Some(server) = servers.get(index).copied() else { continue };
                let name = || question.name.to_string();
                self.network.count(Event::Question);
                failure = match exchange::ask(&self.network, server, question, wait).await {
                    Ok(Reply::Failed(code)) => LookupError::Failed { name: name(), server, code },
                    Ok(reply) => {
                        known.preferred.set(index);
                        return Ok(reply);
                    }
                    Err(Failure::Malformed) => LookupError::Failed { name: name(), server, code: 1 },
                    Err(Failure::Unreachable) => LookupError::Unreachable { name: name(), server },
                    Err(Failure::Timeout) => {
                        silent = true;
                        self.network.count(Event::Timeout);
                        LookupError::NoAnswer { name: name(), server }
                    }
                    Err(Failure::Fatal(error)) => return Err(error),
                };
            }
            // Who has said no says it again.
            if !silent {
                break;
            }
        }
        Err(failure)
    }
}

/// The address that a text is or stands for without a server.
fn literal(host: &str, family: Family) -> Option<IpAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    let name: Name = host.parse().ok()?;
    let is_local = name.labels().last() == Some(b"localhost");
    is_local.then_some(match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    })
}

/// The host and port of `host:port`.
fn split(target: &str) -> Option<(&str, u16)> {
    let (host, port) = target.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').filter(|host| host.parse::<Ipv6Addr>().is_ok())?,
        None if host.contains(':') => return None,
        None => host,
    };
    Some((host, port))
}

/// What comes of two futures at once.
async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    poll_fn(|context| {
        if first.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(context)
        {
            first = Some(output);
        }
        if second.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(context)
        {
            second = Some(output);
        }
        match (first.take(), second.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (first, second) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}
