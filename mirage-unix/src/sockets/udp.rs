//! Datagram sockets.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use mirage_rt::net::host::HostUdp;
use mirage_rt::net::{ReceiveError, SendError};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType, bind, recvfrom, sendto};

use super::{error, local_addr, open};
use crate::reactor::{Direction, Reactor, Source};

pub(super) struct Udp {
    source: Source,
    local: SocketAddr,
}

impl Udp {
    pub(super) fn bind(reactor: &Rc<Reactor>, local: SocketAddr) -> Result<Udp, Errno> {
        let socket = open(local, SocketType::DGRAM)?;
        bind(&socket, &local)?;
        let local = local_addr(&socket)?;
        Ok(Udp { source: Source::new(reactor, socket)?, local })
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
        loop {
            // With TRUNC the length is the datagram's, whatever fits.
            let received = ready!(
                self.source
                    .poll_io(Direction::Read, context, |socket| { recvfrom(socket, &mut *buffer, RecvFlags::TRUNC) })
            );
            match received {
                Ok((_, length, Some(sender))) => match sender.try_into() {
                    Ok(sender) => return Poll::Ready(Ok((length, sender))),
                    Err(_) => continue,
                },
                // Datagrams on these sockets have senders; one without could not be answered.
                Ok((_, _, None)) => continue,
                // News of an earlier datagram that did not arrive; nobody waits for them.
                Err(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) => continue,
                Err(errno) => return Poll::Ready(Err(error::receive(errno))),
            }
        }
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        self.source
            .poll_io(Direction::Read, context, |socket| recvfrom(socket, &mut [0u8; 1], RecvFlags::PEEK).map(drop))
            .map(drop)
    }

    fn poll_send(&self, context: &mut Context<'_>, bytes: &[u8], remote: SocketAddr) -> Poll<Result<(), SendError>> {
        self.source
            .poll_io(Direction::Write, context, |socket| sendto(socket, bytes, SendFlags::NOSIGNAL, &remote))
            .map_ok(drop)
            .map_err(|errno| error::send(errno, remote))
    }
}
