//! The host's sockets as a network.

mod error;
mod interface;
mod resolv_conf;
mod sys;
mod tcp;
mod tcp_info;
mod udp;
mod undelivered;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;

use mirage_rt::net::host::{HostStack, HostUdp};
use mirage_rt::net::names::NameSlot;
use mirage_rt::net::{BindError, ConnectError, ListenAddr, PingError, TcpListener, TcpStream, UdpSocket, names};
use mirage_rt::page::{HeapPool, Page, PagePool};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, socket_with};

pub use error::{HostAddressError, HostRefusal};

use crate::UnixPlatform;
use crate::reactor::Reactor;

/// The host's sockets, bound to one of its addresses.
///
/// A socket that is bound to a port alone gets that address; one that is bound to an address must name one of the host's.
pub struct HostSockets {
    reactor: Rc<Reactor>,
    address: IpAddr,
    names: NameSlot,
}

impl HostSockets {
    /// Sockets on `address`, of either family; 0.0.0.0 stands for all of the host's, and :: for those of both families.
    pub fn new(platform: &UnixPlatform, address: impl Into<IpAddr>) -> HostSockets {
        HostSockets { reactor: Rc::clone(platform.reactor()), address: address.into(), names: NameSlot::default() }
    }

    /// Whether the address is one of this host's.
    ///
    /// # Errors
    ///
    /// [`HostAddressError`] when it is not.
    pub fn check_address(&self) -> Result<(), HostAddressError> {
        let local = SocketAddr::new(self.address, 0);
        open(local, SocketType::DGRAM)
            .and_then(|socket| bind(&socket, &local))
            .map_err(|errno| HostAddressError::new(self.address, errno))
    }

    /// The address that a connection to `remote` is to come from; `None` when the host may choose. It does for the default
    /// address, from which nothing leads to other hosts.
    fn source(&self, remote: SocketAddr) -> Option<IpAddr> {
        let chosen = !matches!(self.address, IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST))
            && !self.address.is_unspecified();
        let leads_there =
            remote.is_ipv4() == self.address.is_ipv4() && (remote.ip().is_loopback() || !self.address.is_loopback());
        (chosen && leads_there).then_some(self.address)
    }

    fn local(&self, local: ListenAddr) -> SocketAddr {
        SocketAddr::new(local.address.unwrap_or(self.address), local.port)
    }
}

impl HostStack for HostSockets {
    fn addresses(&self) -> Vec<IpAddr> {
        vec![self.address]
    }

    fn tcp_bind(&self, local: ListenAddr, backlog: usize) -> Result<TcpListener, BindError> {
        let local = self.local(local);
        tcp::Listener::bind(&self.reactor, local, backlog)
            .map(|listener| TcpListener::of_host(Box::new(listener)))
            .map_err(|errno| error::bind(errno, local))
    }

    fn tcp_connect(&self, remote: SocketAddr) -> Result<TcpStream, ConnectError> {
        tcp::Stream::connect(&self.reactor, self.source(remote), remote)
            .map(|stream| TcpStream::of_host(Box::new(stream)))
    }

    fn udp_bind(&self, local: ListenAddr) -> Result<UdpSocket, BindError> {
        let local = self.local(local);
        udp::Udp::bind(&self.reactor, local)
            .map(|socket| UdpSocket::of_host(Box::new(socket)))
            .map_err(|errno| error::bind(errno, local))
    }

    fn icmp_bind(&self, to: IpAddr) -> Result<Box<dyn HostUdp>, PingError> {
        let unspecified =
            if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        let source = self.source(SocketAddr::new(to, 0)).unwrap_or(unspecified);
        // An error about a request ends the wait for its answer.
        udp::Udp::bind_icmp(&self.reactor, SocketAddr::new(source, 0))
            .and_then(|socket| socket.tell_undelivered(true).map(|()| socket))
            .map(|socket| Box::new(socket) as Box<dyn HostUdp>)
            .map_err(error::ping)
    }

    /// What `/etc/resolv.conf` says now.
    fn names(&self) -> Option<names::Options> {
        resolv_conf::read(Path::new(resolv_conf::PATH))
    }

    fn page(&self) -> Option<Page> {
        Page::take(&pages())
    }

    fn name_slot(&self) -> &NameSlot {
        &self.names
    }
}

/// Pages for the applications of a thread.
const PAGES: usize = 1024;

/// Where pages come from that the host's sockets read into and write from: they are no device's, so that any will do.
fn pages() -> Rc<dyn PagePool> {
    thread_local! {
        static POOL: Rc<dyn PagePool> = HeapPool::with_pages(PAGES);
    }
    POOL.with(Rc::clone)
}

/// A non-blocking socket of the family of `address`.
fn open(address: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
}

fn local_addr(socket: impl AsFd) -> Result<SocketAddr, Errno> {
    getsockname(socket)?.try_into()
}

#[cfg(test)]
mod tests;
