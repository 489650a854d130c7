//! Stream sockets.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mirage_rt::net::host::{Accepted, HostListener, HostStream};
use mirage_rt::net::{
    AcceptError, CongestionControl, ConnectError, OptionError, ReadError, TcpInfo, TcpOption, TcpState, TcpStream,
    WriteError,
};
use mirage_rt::page::Page;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSlice};
use rustix::net::sockopt::{
    set_socket_keepalive, set_socket_linger, set_socket_reuseaddr, set_tcp_congestion, set_tcp_keepcnt,
    set_tcp_keepidle, set_tcp_keepintvl, set_tcp_nodelay, set_tcp_user_timeout, socket_error,
};
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags, SocketType, acceptfrom_with, bind, connect,
    getpeername, listen, recv, send, sendmsg, shutdown,
};

use super::error::End;
use super::{error, local_addr, open, pages, tcp_info};
use crate::reactor::{Direction, Reactor, Source};

/// Parts that are handed to the host at a time.
pub(super) const MOST_PARTS: usize = 16;

/// Up to so many bytes, parts are copied into one and sent as such: the call `sendmsg` takes a twentieth longer than that.
const GATHERED: usize = 4096;

thread_local! {
    /// Where parts are copied together; at most [`GATHERED`] bytes.
    static GATHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Listener {
    source: Source,
    reactor: Rc<Reactor>,
    local: SocketAddr,
}

impl Listener {
    pub(super) fn bind(reactor: &Rc<Reactor>, local: SocketAddr, backlog: usize) -> Result<Listener, Errno> {
        let socket = open(local, SocketType::STREAM)?;
        // A port whose last connections are in TIME_WAIT can be used again; one with a listener can't.
        set_socket_reuseaddr(&socket, true)?;
        // Connections have it from their listener (Linux, tcp(7)): a call less for each.
        set_tcp_nodelay(&socket, true)?;
        bind(&socket, &local)?;
        listen(&socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let local = local_addr(&socket)?;
        Ok(Listener { source: Source::new(reactor, socket)?, reactor: Rc::clone(reactor), local })
    }
}

impl HostListener for Listener {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<Result<Accepted, AcceptError>> {
        loop {
            let accepted = ready!(self.source.poll_io(Direction::Read, context, |socket| {
                acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)
            }));
            let accepted = match accepted {
                Err(errno) if concerns_one_connection(errno) => continue,
                Err(errno) => Err(errno),
                // Without an address the connection ended before it was looked at.
                Ok((_, None)) => continue,
                Ok((socket, Some(peer))) => Stream::accepted(self, socket, peer.try_into()),
            };
            return Poll::Ready(match accepted {
                Ok(stream) => {
                    let peer = stream.peer;
                    Ok((TcpStream::of_host(Box::new(stream)), peer))
                }
                Err(errno) => Err(error::accept(errno)),
            });
        }
    }
}

/// Linux passes errors of a connection that waits on to accept(); its manual page has the list.
fn concerns_one_connection(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::HOSTUNREACH
            | Errno::OPNOTSUPP
            | Errno::NETUNREACH
            | Errno::TIMEDOUT
            | Errno::PERM
    )
}

pub(super) struct Stream {
    // Gone after an abort.
    source: RefCell<Option<Source>>,
    local: SocketAddr,
    peer: SocketAddr,
    connected: Cell<bool>,
    shut_down: Cell<bool>,
    /// Linux tells it once, to whoever calls first, and after that is an end as if the peer had made it.
    end: Cell<Option<End>>,
}

impl Stream {
    fn accepted(listener: &Listener, socket: OwnedFd, peer: Result<SocketAddr, Errno>) -> Result<Stream, Errno> {
        let local = match listener.local {
            // The peer has chosen one of the host's addresses.
            local if local.ip().is_unspecified() => local_addr(&socket)?,
            local => local,
        };
        Stream::new(&listener.reactor, socket, [local, peer?], true)
    }

    pub(super) fn connect(
        reactor: &Rc<Reactor>,
        source: Option<IpAddr>,
        peer: SocketAddr,
    ) -> Result<Stream, ConnectError> {
        let from = |errno| error::connect_from(errno, peer);
        let to = |errno| error::connect(errno, peer);
        if peer.port() == 0 {
            return Err(ConnectError::Unreachable(peer));
        }
        let socket = open(peer, SocketType::STREAM).map_err(to)?;
        if let Some(source) = source {
            // A port whose last connection is in TIME_WAIT can be used for another peer.
            set_socket_reuseaddr(&socket, true).map_err(from)?;
            bind(&socket, &SocketAddr::from((source, 0))).map_err(from)?;
        }
        let connected = match connect(&socket, &peer) {
            Ok(()) => true,
            Err(Errno::INPROGRESS | Errno::INTR) => false,
            Err(errno) => return Err(to(errno)),
        };
        // What is written is sent without further ado, small writes too.
        set_tcp_nodelay(&socket, true).map_err(to)?;
        let local = local_addr(&socket).map_err(to)?;
        // Registered only now: a socket that never connected reports a hang-up.
        Stream::new(reactor, socket, [local, peer], connected).map_err(to)
    }

    fn new(
        reactor: &Rc<Reactor>,
        socket: OwnedFd,
        [local, peer]: [SocketAddr; 2],
        connected: bool,
    ) -> Result<Stream, Errno> {
        Ok(Stream {
            source: RefCell::new(Some(Source::new(reactor, socket)?)),
            local,
            peer,
            connected: Cell::new(connected),
            shut_down: Cell::new(false),
            end: Cell::new(None),
        })
    }

    /// The error of a read, and its end if the connection's was another.
    fn outcome_of_read(&self, result: Result<usize, Errno>) -> Result<usize, ReadError> {
        match (result, self.end.get()) {
            (Ok(0), Some(end)) => Err(end.of_read()),
            (Ok(length), _) => Ok(length),
            (Err(errno), _) => {
                self.note(errno);
                Err(error::read(errno))
            }
        }
    }

    fn error_of_write(&self, errno: Errno) -> WriteError {
        match self.end.get() {
            Some(end) => end.of_write(),
            None if errno == Errno::PIPE && self.shut_down.get() => WriteError::Closed,
            None => {
                self.note(errno);
                error::write(errno)
            }
        }
    }

    /// Keeps the end that an error tells, if it does.
    fn note(&self, errno: Errno) {
        self.end.set(self.end.get().or(End::of(errno)));
    }
}

impl HostStream for Stream {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    fn poll_connected(&self, context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        if self.connected.get() {
            return Poll::Ready(Ok(()));
        }
        let source = self.source.borrow();
        let Some(source) = source.as_ref() else {
            return Poll::Ready(Err(error::connect(Errno::CONNABORTED, self.peer)));
        };
        let result = ready!(source.poll_io(Direction::Write, context, |socket| {
            socket_error(socket)??;
            match getpeername(socket) {
                Err(Errno::NOTCONN) => Err(Errno::AGAIN),
                result => result.map(drop),
            }
        }));
        Poll::Ready(match result {
            Ok(()) => {
                self.connected.set(true);
                Ok(())
            }
            Err(errno) => Err(error::connect(errno, self.peer)),
        })
    }

    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, ReadError>> {
        let source = self.source.borrow();
        let Some(source) = source.as_ref() else { return Poll::Ready(Err(ReadError::Aborted)) };
        let room = buffer.len();
        let read = |socket: BorrowedFd<'_>| recv(socket, &mut *buffer, RecvFlags::empty()).map(|(length, _)| length);
        let result = ready!(source.poll_stream(context, room, read));
        Poll::Ready(self.outcome_of_read(result))
    }

    fn page(&self) -> Option<Page> {
        Page::take(&pages())
    }

    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, WriteError>> {
        let source = self.source.borrow();
        let Some(source) = source.as_ref() else { return Poll::Ready(Err(WriteError::Closed)) };
        source
            .poll_io(Direction::Write, context, |socket| send(socket, bytes, SendFlags::NOSIGNAL))
            .map_err(|errno| self.error_of_write(errno))
    }

    fn poll_write_vectored(&self, context: &mut Context<'_>, parts: &[&[u8]]) -> Poll<Result<usize, WriteError>> {
        let mut filled = parts.iter().filter(|part| !part.is_empty());
        if let (Some(one), None) = (filled.next(), filled.next()) {
            // The shorter call.
            return self.poll_write(context, one);
        }
        let source = self.source.borrow();
        let Some(source) = source.as_ref() else { return Poll::Ready(Err(WriteError::Closed)) };
        let parts = || parts.iter().filter(|part| !part.is_empty()).take(MOST_PARTS);
        let written = if parts().map(|part| part.len()).sum::<usize>() <= GATHERED {
            // Nothing is borrowed meanwhile: a waker is foreign code.
            let mut gathered = GATHER.take();
            gathered.clear();
            parts().for_each(|part| gathered.extend_from_slice(part));
            let written =
                source.poll_io(Direction::Write, context, |socket| send(socket, &gathered, SendFlags::NOSIGNAL));
            GATHER.set(gathered);
            written
        } else {
            let mut slices = [IoSlice::new(&[]); MOST_PARTS];
            slices.iter_mut().zip(parts()).for_each(|(slice, part)| *slice = IoSlice::new(part));
            let slices = slices.get(..parts().count()).unwrap_or_default();
            source.poll_io(Direction::Write, context, |socket| {
                sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)
            })
        };
        written.map_err(|errno| self.error_of_write(errno))
    }

    fn shutdown(&self) -> Result<(), WriteError> {
        let source = self.source.borrow();
        let Some(source) = source.as_ref() else { return Err(WriteError::Closed) };
        match shutdown(source.as_fd(), Shutdown::Write) {
            Ok(()) => {}
            // There is nothing left to shut down: both sides have ended, or the connection has in another way.
            Err(Errno::NOTCONN) => {
                if let Ok(Err(errno)) = socket_error(source.as_fd()) {
                    self.note(errno);
                }
                if let Some(end) = self.end.get() {
                    return Err(end.of_write());
                }
            }
            Err(errno) => return Err(self.error_of_write(errno)),
        }
        self.shut_down.set(true);
        Ok(())
    }

    fn set(&self, option: TcpOption) -> Result<(), OptionError> {
        let source = self.source.borrow();
        let Some(source) = source.as_ref() else { return Err(OptionError::Closed) };
        set_option(source.as_fd(), option).map_err(error::option)
    }

    fn info(&self) -> Option<TcpInfo> {
        match self.source.borrow().as_ref() {
            Some(source) => tcp_info::of(source.as_fd()),
            None => Some(TcpInfo::new(TcpState::Closed, 0, 0)),
        }
    }

    fn abort(&self) {
        let source = self.source.borrow_mut().take();
        if let Some(source) = source {
            // With a linger time of zero, closing resets the connection. Without it (which can't fail on a stream socket) it
            // would still be closed.
            let _ = set_socket_linger(source.as_fd(), Some(Duration::ZERO));
        }
    }
}

/// Makes a choice that was checked; see tcp(7) and socket(7).
fn set_option(socket: BorrowedFd<'_>, option: TcpOption) -> Result<(), Errno> {
    match option {
        TcpOption::NoDelay(nodelay) => set_tcp_nodelay(socket, nodelay),
        TcpOption::KeepAlive(None) => set_socket_keepalive(socket, false),
        TcpOption::KeepAlive(Some(keep)) => {
            set_tcp_keepidle(socket, whole_seconds(keep.idle))?;
            set_tcp_keepintvl(socket, whole_seconds(keep.interval))?;
            set_tcp_keepcnt(socket, keep.probes)?;
            set_socket_keepalive(socket, true)
        }
        // Zero is the host's own.
        TcpOption::UserTimeout(most) => {
            let milliseconds = most.map_or(0, |most| most.as_millis());
            set_tcp_user_timeout(socket, u32::try_from(milliseconds).unwrap_or(u32::MAX))
        }
        TcpOption::Linger(most @ (None | Some(Duration::ZERO))) => set_socket_linger(socket, most),
        TcpOption::CongestionControl(CongestionControl::Cubic) => set_tcp_congestion(socket, "cubic"),
        TcpOption::CongestionControl(CongestionControl::NewReno) => set_tcp_congestion(socket, "reno"),
        // Closing would wait for that long, and all tasks with it.
        _ => Err(Errno::OPNOTSUPP),
    }
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() + u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::tcp_nodelay;

    use super::*;
    use crate::UnixPlatform;

    #[test]
    fn both_ends_send_at_once_and_know_their_addresses() {
        let platform = UnixPlatform::new().expect("a test may open descriptors");
        let mut context = Context::from_waker(std::task::Waker::noop());
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let at = address.parse().expect("an address");
            let listener = Listener::bind(platform.reactor(), at, 1).expect("a port is free");
            let (ip, port) = (listener.local.ip(), listener.local.port());
            let reached = if ip.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
            let client = Stream::connect(platform.reactor(), None, SocketAddr::new(reached, port));
            let client = client.expect("it listens");
            while client.poll_connected(&mut context).is_pending() {}
            let (socket, peer) = acceptfrom_with(&listener.source, SocketFlags::NONBLOCK).expect("it has come");
            let peer = peer.expect("it is connected").try_into();
            let server = Stream::accepted(&listener, socket, peer).expect("it can be watched");
            assert_eq!((server.local, server.peer), (client.peer, client.local), "{address}");
            for end in [&server, &client] {
                let source = end.source.borrow();
                let source = source.as_ref().expect("it is open");
                assert_eq!(tcp_nodelay(source).ok(), Some(true), "{address}");
            }
        }
    }
}
