//! Several networks as one: each destination is reached by the network whose route to it has the longest prefix.
//!
//! It is a [`HostStack`], as the host's sockets are, so that a program with one network has nothing of it: neither a question for
//! each packet nor code in its image. The streams that it gives out are those of the network that was chosen.

mod datagrams;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use core::task::{Context, Poll};

use super::address::ListenAddr;
use super::addressing::{Addressing, ConfigureError};
use super::error::{AcceptError, BindError, ConnectError};
use super::host::{Accepted, HostListener, HostStack, HostUdp};
use super::icmp::PingError;
use super::names::{Family, NameSlot};
use super::{Link, Network, Stack, TcpListener, TcpStream, UdpSocket};
use crate::page::Page;
use crate::runtime::Runtime;
use datagrams::Socket;

/// Ports for sockets without one of their own (RFC 6335), and how many are tried before all count as in use.
const FIRST_PORT: u16 = 49152;
const PORT_TRIES: usize = 64;

impl Network {
    /// This network and `other` as one, which can be joined with further ones in turn:
    ///
    #[cfg_attr(feature = "test-utils", doc = "```")]
    #[cfg_attr(not(feature = "test-utils"), doc = "```ignore")]
    /// use mirage_rt::net::switch::{Impairments, Switch};
    /// use mirage_rt::net::{Config, Network};
    ///
    /// # mirage_rt::testing::run(1, async {
    /// let (inside, outside) = (Switch::new(1, Impairments::NONE), Switch::new(2, Impairments::NONE));
    /// let network = |switch: &Switch, address: &str, gateway: Option<&str>| {
    ///     let gateway = gateway.map(|gateway| gateway.parse().expect("an address"));
    ///     let config = Config::from_keys(address.parse().ok(), gateway);
    ///     Network::direct(switch.port(), switch.pool(), config).expect("a host's address")
    /// };
    /// let (lan, wan) = (network(&inside, "10.0.0.1/24", None), network(&outside, "192.0.2.7/24", Some("192.0.2.1")));
    /// let both = wan.joined(&lan);
    /// // At both addresses; connections to 10.0.0.0/24 leave by `lan`, all others by `wan`.
    /// let listener = both.tcp().bind(80).await.expect("the port is free on both");
    /// # drop(listener);
    /// # });
    /// ```
    ///
    /// **Sending.** A connection or datagram leaves by the network that has the longest prefix for its destination: that of its
    /// own addresses, that of a static route, or 0 for its gateway. Among equals the first one is taken; one whose link is down only
    /// when there is no other. Its source is an address of that network. What goes to a group or to 255.255.255.255 leaves by the
    /// first one: a socket that is bound to an address sends by the network that has it, whatever the destination is.
    ///
    /// **Listening.** What is bound to a port alone is bound to it on each network, what is bound to an address on the network that
    /// has it. Answers on a connection leave by the network that it came by.
    ///
    /// **Link-local addresses** of IPv6 mean something else on each network: the scope of a [`SocketAddrV6`] is the number of the
    /// network, from 1, as they were joined. Peers' addresses have it; without one, the first network with IPv6 is taken.
    ///
    /// **Names** are asked for at the servers of each network at once; what is found first counts, and that there is no such name
    /// only when none knows it. [`set_names`](Network::set_names) of the joined network says whom to ask instead.
    ///
    /// Networks of the host's sockets at the same address count as one. The joined network has no Ethernet address, no
    /// [metrics](super::metrics), and no configuration of its own: those are its parts'.
    #[must_use = "the networks are joined in what is returned"]
    pub fn joined(&self, other: &Network) -> Network {
        let mut parts = self.as_parts();
        for part in other.as_parts() {
            if !parts.iter().any(|known| known.is_same(&part)) {
                parts.push(part);
            }
        }
        Network::host(Rc::new(Joined { parts: parts.into(), names: NameSlot::default() }))
    }

    pub(super) fn as_parts(&self) -> Vec<Network> {
        match &self.stack {
            Stack::Host(host) if !host.parts().is_empty() => host.parts().to_vec(),
            _ => Vec::from([self.clone()]),
        }
    }

    /// Whether sockets of both would be in each other's way.
    fn is_same(&self, other: &Network) -> bool {
        match (&self.stack, &other.stack) {
            (Stack::Direct(one), Stack::Direct(other)) => one.is_same(other),
            (Stack::Host(one), Stack::Host(other)) => one.addresses() == other.addresses(),
            _ => false,
        }
    }

    /// Bits of the longest prefix with which a route leads to `destination`; `None` when none does.
    pub(super) fn match_length(&self, destination: IpAddr) -> Option<u8> {
        match &self.stack {
            Stack::Direct(direct) => direct.match_length(destination),
            // The host's routes are its own business; they may lead anywhere.
            Stack::Host(host) => Some(if host.addresses().contains(&destination) { 128 } else { 0 }),
        }
    }

    /// The network by which packets for `destination` leave: this one, or of several the one that is chosen.
    #[cfg(feature = "datagrams")]
    pub(super) fn towards(&self, destination: IpAddr) -> Option<&Network> {
        match &self.stack {
            Stack::Host(host) if !host.parts().is_empty() => {
                choose(host.parts(), SocketAddr::new(destination, 0)).and_then(|index| host.parts().get(index))
            }
            _ => Some(self),
        }
    }
}

/// The number of the network by which packets for `destination` leave.
pub(super) fn choose(parts: &[Network], destination: SocketAddr) -> Option<usize> {
    if let Some(index) = scope(destination) {
        return (index < parts.len()).then_some(index);
    }
    let mut best: Option<(usize, (bool, u8))> = None;
    for (index, part) in parts.iter().enumerate() {
        let Some(length) = part.match_length(destination.ip()) else { continue };
        let rank = (part.link().up, length);
        if best.is_none_or(|(_, known)| rank > known) {
            best = Some((index, rank));
        }
    }
    best.map(|(index, _)| index)
}

/// The number of the network that a link-local address says it is of, if it does.
fn scope(address: SocketAddr) -> Option<usize> {
    match address {
        SocketAddr::V6(address) if address.ip().is_unicast_link_local() => (address.scope_id() as usize).checked_sub(1),
        _ => None,
    }
}

/// The address of a peer on network `index`.
fn with_scope(address: SocketAddr, index: usize) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, index as u32 + 1).into()
        }
        _ => address,
    }
}

/// The same, as the network itself knows it.
fn without_scope(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

/// The networks.
struct Joined {
    parts: Rc<[Network]>,
    /// For servers that are named for all of them.
    names: NameSlot,
}

impl Joined {
    /// What `bind` makes of each network, at one port.
    fn bind_all<T>(
        &self,
        local: ListenAddr,
        bind: &dyn Fn(&Network, ListenAddr) -> Result<T, BindError>,
    ) -> Result<Vec<T>, BindError> {
        let at = |port: u16| -> Result<Vec<T>, BindError> {
            let bind_part = |part: &Network| {
                // Only the host's sockets tell all addresses from the one that they stand for.
                let address = local.address.filter(|_| matches!(part.stack, Stack::Host(_)));
                bind(part, ListenAddr { address, port })
            };
            self.parts.iter().map(bind_part).collect()
        };
        if local.port != 0 {
            return at(local.port);
        }
        for _ in 0..PORT_TRIES {
            let mut random = [0; 2];
            Runtime::current().fill_random(&mut random).map_err(|error| BindError::Host(error.into()))?;
            match at(FIRST_PORT | u16::from_be_bytes(random)) {
                Err(BindError::InUse { .. }) => {}
                bound => return bound,
            }
        }
        Err(BindError::NoPort)
    }

    /// What `bind` makes of the network that has the address `address`.
    fn bind_one<T>(&self, address: IpAddr, bind: &dyn Fn(&Network) -> Result<T, BindError>) -> Result<T, BindError> {
        for part in &*self.parts {
            match bind(part) {
                Err(BindError::NotOurs(_)) => {}
                bound => return bound,
            }
        }
        Err(BindError::NotOurs(address))
    }
}

impl HostStack for Joined {
    fn addresses(&self) -> Vec<IpAddr> {
        self.parts.iter().flat_map(Network::addresses).collect()
    }

    fn tcp_bind(&self, local: ListenAddr, backlog: usize) -> Result<TcpListener, BindError> {
        match local.address.filter(|address| !address.is_unspecified()) {
            Some(address) => self.bind_one(address, &|part| part.stack.tcp_bind(local, backlog)),
            None => {
                let listeners = self.bind_all(local, &|part, local| part.stack.tcp_bind(local, backlog))?;
                Ok(TcpListener::of_host(Box::new(Listener { listeners, turn: Cell::new(0) })))
            }
        }
    }

    fn tcp_connect(&self, remote: SocketAddr) -> Result<TcpStream, ConnectError> {
        let part = choose(&self.parts, remote).and_then(|index| self.parts.get(index));
        part.ok_or(ConnectError::Unreachable(remote))?.stack.tcp_connect(without_scope(remote))
    }

    fn udp_bind(&self, local: ListenAddr) -> Result<UdpSocket, BindError> {
        match local.address.filter(|address| !address.is_unspecified()) {
            Some(address) => self.bind_one(address, &|part| part.stack.udp_bind(local)),
            None => {
                let sockets = self.bind_all(local, &|part, local| part.stack.udp_bind(local))?;
                Ok(UdpSocket::of_host(Box::new(Socket::new(&self.parts, sockets))))
            }
        }
    }

    /// Nobody asks for it: echo requests go to the network that leads to their destination.
    fn icmp_bind(&self, to: IpAddr) -> Result<Box<dyn HostUdp>, PingError> {
        Err(PingError::Unreachable(to))
    }

    /// Whichever network it is of, another one takes it, too.
    fn page(&self) -> Option<Page> {
        self.parts.iter().find_map(Network::page)
    }

    fn name_slot(&self) -> &NameSlot {
        &self.names
    }

    fn families(&self) -> &'static [Family] {
        let has = |family| self.parts.iter().any(|part| part.families().contains(&family));
        match (has(Family::V6), has(Family::V4)) {
            (true, true) => &[Family::V6, Family::V4],
            (true, false) => &[Family::V6],
            (false, _) => &[Family::V4],
        }
    }

    /// Up while one of them is; the least MTU.
    fn link(&self) -> Link {
        let links = || self.parts.iter().map(Network::link);
        Link {
            up: links().any(|link| link.up),
            mtu: links().filter_map(|link| link.mtu).min(),
            changes: links().map(|link| link.changes).sum(),
        }
    }

    fn poll_link_changed(&self, context: &mut Context<'_>, since: Link) -> Poll<Link> {
        let link = self.link();
        if link.changes != since.changes {
            return Poll::Ready(link);
        }
        for part in &*self.parts {
            // It waits: nothing can have changed meanwhile.
            let _ = part.poll_link_changed(context, part.link());
        }
        Poll::Pending
    }

    fn poll_addresses_changed(&self, context: &mut Context<'_>, since: &[IpAddr]) -> Poll<Vec<IpAddr>> {
        let addresses = self.addresses();
        if addresses != since {
            return Poll::Ready(addresses);
        }
        for part in &*self.parts {
            let _ = part.poll_addresses_changed(context, &part.addresses());
        }
        Poll::Pending
    }

    fn configure(&self, _: Addressing) -> Result<(), ConfigureError> {
        Err(ConfigureError::Joined)
    }

    fn parts(&self) -> &[Network] {
        &self.parts
    }
}

/// Listeners at one port, one on each network.
struct Listener {
    listeners: Vec<TcpListener>,
    /// The one that is asked first.
    turn: Cell<usize>,
}

impl HostListener for Listener {
    fn local_addr(&self) -> SocketAddr {
        everywhere(self.listeners.first().map(TcpListener::local_addr))
    }

    /// A network that was given up ends the listener only when it is the last one.
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<Result<Accepted, AcceptError>> {
        let (count, mut error, mut waits) = (self.listeners.len(), None, false);
        for offset in 0..count {
            let index = (self.turn.get() + offset) % count;
            match self.listeners.get(index).map(|listener| listener.poll_accept(context)) {
                Some(Poll::Ready(Ok((stream, peer)))) => {
                    self.turn.set((index + 1) % count);
                    return Poll::Ready(Ok((stream, with_scope(peer, index))));
                }
                Some(Poll::Ready(Err(failed))) => error = Some(failed),
                Some(Poll::Pending) => waits = true,
                None => {}
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(Err(error.unwrap_or(AcceptError::Down))) }
    }
}

/// As what the address of something is shown that is bound on all networks.
fn everywhere(one: Option<SocketAddr>) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), one.map_or(0, |address| address.port()))
}
