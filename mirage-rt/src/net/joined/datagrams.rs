//! Datagram sockets at one port, one on each network.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll};

use super::{choose, everywhere, with_scope, without_scope};
use crate::net::error::{ReceiveError, SendError};
use crate::net::host::HostUdp;
use crate::net::udp_options::{JoinError, UdpOption};
use crate::net::{Network, UdpSocket};

pub(super) struct Socket {
    parts: Rc<[Network]>,
    sockets: Vec<UdpSocket>,
    /// Those whose network was found to be given up.
    gone: Vec<Cell<bool>>,
    /// The one that is asked first.
    turn: Cell<usize>,
}

impl Socket {
    /// `sockets` has one of each network.
    pub(super) fn new(parts: &Rc<[Network]>, sockets: Vec<UdpSocket>) -> Socket {
        let gone = sockets.iter().map(|_| Cell::new(false)).collect();
        Socket { parts: Rc::clone(parts), sockets, gone, turn: Cell::new(0) }
    }

    /// Has all sockets do something that not each network can: an error is told when none could.
    fn some(&self, act: impl Fn(&UdpSocket) -> Result<(), JoinError>) -> Result<(), JoinError> {
        let (mut done, mut error) = (false, JoinError::Unsupported);
        for socket in &self.sockets {
            match act(socket) {
                Ok(()) => done = true,
                Err(failed) => error = failed,
            }
        }
        if done { Ok(()) } else { Err(error) }
    }
}

impl HostUdp for Socket {
    fn local_addr(&self) -> SocketAddr {
        everywhere(self.sockets.first().map(UdpSocket::local_addr))
    }

    /// A network that was given up ends the socket only when it is the last one.
    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<(usize, SocketAddr), ReceiveError>> {
        let (count, mut waits) = (self.sockets.len(), false);
        for offset in 0..count {
            let index = (self.turn.get() + offset) % count;
            match self.sockets.get(index).map(|socket| socket.poll_receive_from(context, buffer)) {
                Some(Poll::Ready(Err(ReceiveError::Down))) => self.gone[index].set(true),
                None => {}
                Some(Poll::Pending) => waits = true,
                Some(Poll::Ready(received)) => {
                    self.turn.set((index + 1) % count);
                    return Poll::Ready(received.map(|(length, from)| (length, with_scope(from, index))));
                }
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(Err(ReceiveError::Down)) }
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        let (mut readable, mut gone) = (false, true);
        for (socket, is_gone) in self.sockets.iter().zip(&self.gone) {
            // One whose network was given up is always ready, and has nothing.
            readable |= socket.poll_readable(context).is_ready() && !is_gone.get();
            gone &= is_gone.get();
        }
        if readable || gone { Poll::Ready(()) } else { Poll::Pending }
    }

    fn join(&self, group: IpAddr) -> Result<(), JoinError> {
        #[cfg(feature = "datagrams")]
        return self.some(|socket| socket.join(group));
        #[cfg(not(feature = "datagrams"))]
        self.some(|_| Err(JoinError::NoFamily(group)))
    }

    fn leave(&self, group: IpAddr) -> Result<(), JoinError> {
        #[cfg(feature = "datagrams")]
        return self.some(|socket| socket.leave(group));
        #[cfg(not(feature = "datagrams"))]
        self.some(|_| Err(JoinError::NotJoined(group)))
    }

    fn set(&self, option: UdpOption) -> Result<(), JoinError> {
        #[cfg(feature = "datagrams")]
        return self.some(|socket| socket.set(option));
        #[cfg(not(feature = "datagrams"))]
        {
            let _ = option;
            self.some(|_| Err(JoinError::Unsupported))
        }
    }

    fn poll_send(&self, context: &mut Context<'_>, bytes: &[u8], remote: SocketAddr) -> Poll<Result<(), SendError>> {
        match choose(&self.parts, remote).and_then(|index| self.sockets.get(index)) {
            Some(socket) => socket.poll_send_to(context, bytes, without_scope(remote)),
            None => Poll::Ready(Err(SendError::Unreachable(remote))),
        }
    }
}
