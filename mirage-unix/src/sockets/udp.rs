//! Datagram sockets.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use mirage_rt::net::host::HostUdp;
use mirage_rt::net::{JoinError, ReceiveError, SendError, UdpOption};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_ip_add_membership, set_ip_drop_membership, set_ip_multicast_if, set_ip_multicast_loop, set_ip_multicast_ttl,
    set_ipv6_add_membership, set_ipv6_drop_membership, set_ipv6_multicast_hops, set_ipv6_multicast_if,
    set_ipv6_multicast_loop, set_socket_broadcast, set_socket_reuseaddr, socket_error,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, ipproto, recvfrom, sendto, socket_with,
};

use super::undelivered::{Undelivered, is_news};
use super::{error, interface, local_addr, open, sys};
use crate::reactor::{Direction, Reactor, Source};

pub(super) struct Udp {
    source: Source,
    local: SocketAddr,
    /// The interface that has the address, with which IPv6 names the place of a group; 0 when the host may choose.
    interface: u32,
    reactor: Rc<Reactor>,
    groups: RefCell<Vec<Group>>,
    /// When it wants to know.
    undelivered: RefCell<Option<Undelivered>>,
}

/// A group that the socket is in.
struct Group {
    address: IpAddr,
    /// What is bound to one address gets nothing that went to another: then the group has a socket of its own.
    own: Option<Source>,
}

impl Udp {
    pub(super) fn bind(reactor: &Rc<Reactor>, local: SocketAddr) -> Result<Udp, Errno> {
        Udp::of(reactor, open(local, SocketType::DGRAM)?, local)
    }

    /// A socket for messages of ICMP.
    pub(super) fn bind_icmp(reactor: &Rc<Reactor>, local: SocketAddr) -> Result<Udp, Errno> {
        let (family, protocol) = match local {
            SocketAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            SocketAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        Udp::of(reactor, socket_with(family, SocketType::DGRAM, flags, Some(protocol))?, local)
    }

    fn of(reactor: &Rc<Reactor>, socket: OwnedFd, local: SocketAddr) -> Result<Udp, Errno> {
        bind(&socket, &local)?;
        let mut interface = 0;
        match local {
            SocketAddr::V4(local) => {
                set_socket_broadcast(&socket, true)?;
                set_ip_multicast_if(&socket, local.ip())?;
            }
            SocketAddr::V6(local) => {
                interface = interface::of(*local.ip());
                if interface > 0 {
                    set_ipv6_multicast_if(&socket, interface)?;
                }
            }
        }
        let local = local_addr(&socket)?;
        let (source, reactor) = (Source::new(reactor, socket)?, Rc::clone(reactor));
        Ok(Udp { source, local, interface, reactor, groups: RefCell::default(), undelivered: RefCell::default() })
    }

    /// Chooses whether it tells of datagrams that were not delivered.
    pub(super) fn tell_undelivered(&self, tell: bool) -> Result<(), Errno> {
        sys::receive_errors(self.source.as_fd(), self.local.is_ipv6(), tell)?;
        let mut undelivered = self.undelivered.borrow_mut();
        if tell {
            undelivered.get_or_insert_default();
        } else {
            *undelivered = None;
            // One that came before would be the outcome of the next call.
            let _ = socket_error(&self.source);
        }
        Ok(())
    }

    /// Looks for news of datagrams; whether there were any. They may be none that anybody is told.
    fn take_news(&self) -> bool {
        let mut undelivered = self.undelivered.borrow_mut();
        undelivered.as_mut().is_some_and(|undelivered| undelivered.take_from(self.source.as_fd()))
    }

    /// The error that is to be told next.
    fn next_error(&self) -> Option<ReceiveError> {
        self.undelivered.borrow_mut().as_mut().and_then(Undelivered::take)
    }

    fn has_error(&self) -> bool {
        self.undelivered.borrow().as_ref().is_some_and(Undelivered::is_pending)
    }

    /// A socket at this one's port that gets what is sent to `group`.
    fn open_group(&self, group: IpAddr) -> Result<Source, Errno> {
        let mut at = SocketAddr::new(group, self.local.port());
        if let SocketAddr::V6(at) = &mut at {
            // A group that is each link's own can't be bound to without its link.
            at.set_scope_id(self.interface);
        }
        let socket = open(at, SocketType::DGRAM)?;
        // Others on this host may be in the group at the same port.
        set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &at)?;
        self.add_membership(&socket, group)?;
        Source::new(&self.reactor, socket)
    }

    fn add_membership(&self, socket: impl AsFd, group: IpAddr) -> Result<(), Errno> {
        match (group, self.local.ip()) {
            (IpAddr::V4(group), IpAddr::V4(local)) => set_ip_add_membership(socket, &group, &local),
            (IpAddr::V6(group), IpAddr::V6(_)) => set_ipv6_add_membership(socket, &group, self.interface),
            _ => Err(Errno::AFNOSUPPORT),
        }
    }

    /// Receives from `source` what comes from anybody.
    fn receive_from(
        &self,
        source: &Source,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<(usize, SocketAddr), ReceiveError>> {
        loop {
            // With TRUNC the length is the datagram's, whatever fits.
            let received = ready!(source.poll_io(Direction::Read, context, |socket| recvfrom(
                socket,
                &mut *buffer,
                RecvFlags::TRUNC
            )));
            match received {
                Ok((_, length, Some(sender))) => match sender.try_into() {
                    Ok(sender) => return Poll::Ready(Ok((length, sender))),
                    Err(_) => continue,
                },
                // Datagrams on these sockets have senders; one without could not be answered.
                Ok((_, _, None)) => continue,
                // It stands before datagrams that wait.
                Err(errno) if is_news(errno) => {
                    self.take_news();
                    if let Some(error) = self.next_error() {
                        return Poll::Ready(Err(error));
                    }
                }
                Err(errno) => return Poll::Ready(Err(error::receive(errno))),
            }
        }
    }
}

impl HostUdp for Udp {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<(usize, SocketAddr), ReceiveError>> {
        // A send may have met it.
        if let Some(error) = self.next_error() {
            return Poll::Ready(Err(error));
        }
        let groups = self.groups.borrow();
        for source in groups.iter().filter_map(|group| group.own.as_ref()) {
            if let Poll::Ready(received) = self.receive_from(source, context, buffer) {
                return Poll::Ready(received);
            }
        }
        self.receive_from(&self.source, context, buffer)
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.has_error() {
            return Poll::Ready(());
        }
        let groups = self.groups.borrow();
        let own = groups.iter().filter_map(|group| group.own.as_ref());
        for source in own.chain([&self.source]) {
            let peek = |socket: BorrowedFd<'_>| recvfrom(socket, &mut [0u8; 1], RecvFlags::PEEK).map(drop);
            while let Poll::Ready(peeked) = source.poll_io(Direction::Read, context, peek) {
                let news = peeked.is_err_and(is_news);
                if news {
                    self.take_news();
                }
                if !news || self.has_error() {
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }

    fn join(&self, group: IpAddr) -> Result<(), JoinError> {
        if !group.is_multicast() {
            return Err(JoinError::NotAGroup(group));
        }
        if group.is_ipv4() != self.local.is_ipv4() {
            return Err(JoinError::NoFamily(group));
        }
        let mut groups = self.groups.borrow_mut();
        if groups.iter().any(|known| known.address == group) {
            return Ok(());
        }
        let own = if self.local.ip().is_unspecified() {
            self.add_membership(&self.source, group).map(|()| None)
        } else {
            self.open_group(group).map(Some)
        };
        groups.push(Group { address: group, own: own.map_err(error::join)? });
        Ok(())
    }

    fn leave(&self, group: IpAddr) -> Result<(), JoinError> {
        let mut groups = self.groups.borrow_mut();
        let index = groups.iter().position(|known| known.address == group).ok_or(JoinError::NotJoined(group))?;
        let left = groups.swap_remove(index);
        match (left.own, group, self.local.ip()) {
            (None, IpAddr::V4(group), IpAddr::V4(local)) => set_ip_drop_membership(&self.source, &group, &local),
            (None, IpAddr::V6(group), _) => set_ipv6_drop_membership(&self.source, &group, self.interface),
            _ => Ok(()),
        }
        .map_err(error::join)
    }

    fn set(&self, option: UdpOption) -> Result<(), JoinError> {
        match (option, self.local.is_ipv4()) {
            (UdpOption::Unreachable(tell), _) => self.tell_undelivered(tell),
            (UdpOption::MulticastHops(hops), true) => set_ip_multicast_ttl(&self.source, hops.into()),
            (UdpOption::MulticastHops(hops), false) => set_ipv6_multicast_hops(&self.source, hops.into()),
            (UdpOption::MulticastLoop(loops), true) => set_ip_multicast_loop(&self.source, loops),
            (UdpOption::MulticastLoop(loops), false) => set_ipv6_multicast_loop(&self.source, loops),
            _ => return Err(JoinError::Unsupported),
        }
        .map_err(error::join)
    }

    fn poll_send(&self, context: &mut Context<'_>, bytes: &[u8], remote: SocketAddr) -> Poll<Result<(), SendError>> {
        if let Some(undelivered) = &mut *self.undelivered.borrow_mut() {
            // Before: what goes to this host itself is answered within the call.
            undelivered.note_sent(remote);
        }
        loop {
            let send = |socket: BorrowedFd<'_>| sendto(socket, bytes, SendFlags::NOSIGNAL, &remote);
            return match ready!(self.source.poll_io(Direction::Write, context, send)) {
                Ok(_) => Poll::Ready(Ok(())),
                // That was about an earlier datagram, and this one was not sent. It is for whoever receives.
                Err(errno) if is_news(errno) && self.take_news() => continue,
                Err(errno) => Poll::Ready(Err(error::send(errno, remote))),
            };
        }
    }
}
