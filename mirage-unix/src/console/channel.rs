//! A further console: a socket that the program makes, for one peer at a time, or a terminal that is there.

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use mirage_rt::types::console::{ConsoleDevice, ConsoleError};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, recv,
    send, socket_with,
};

use crate::platform::host_error;
use crate::reactor::{Direction, Reactor, Source};

/// Peers that wait until the one before them has gone.
const QUEUE: i32 = 4;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// A further console.
pub(crate) struct Channel {
    kind: Kind,
}

enum Kind {
    /// Nobody is at the other end: nothing is read, and what is written is gone.
    Nobody,
    Terminal(Source),
    Socket(Socket),
}

struct Socket {
    reactor: Rc<Reactor>,
    listener: Source,
    peer: RefCell<Option<Rc<Source>>>,
    path: PathBuf,
}

/// A console could not be opened.
#[derive(Debug)]
pub(crate) enum ChannelError {
    /// The path is in use for something that is neither a terminal nor a socket.
    Taken(PathBuf),
    /// The system refused.
    Host(PathBuf, io::Error),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken(path) => {
                write!(f, "{} is neither a socket nor a terminal: name one, or a path where nothing is", path.display())
            }
            Self::Host(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ChannelError {}

impl Channel {
    /// A console at whose other end nobody is.
    pub(crate) fn nobody() -> Channel {
        Channel { kind: Kind::Nobody }
    }

    /// The terminal at `path`, or a new socket there. A socket that was left there, and that nobody serves, is replaced.
    pub(crate) fn open(reactor: &Rc<Reactor>, path: &Path) -> Result<Channel, ChannelError> {
        let failed = |error| ChannelError::Host(path.to_path_buf(), error);
        let kind = match fs::metadata(path) {
            Ok(found) if found.file_type().is_char_device() => {
                let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                let terminal = rustix::fs::open(path.as_os_str().as_bytes(), flags, Mode::empty());
                let terminal = terminal.and_then(|terminal| Source::new(reactor, terminal));
                Kind::Terminal(terminal.map_err(host_error).map_err(failed)?)
            }
            Ok(found) if found.file_type().is_socket() => {
                if std::os::unix::net::UnixStream::connect(path).is_ok() {
                    return Err(failed(io::ErrorKind::AddrInUse.into()));
                }
                fs::remove_file(path).map_err(failed)?;
                Kind::Socket(Socket::new(reactor, path).map_err(host_error).map_err(failed)?)
            }
            Ok(_) => return Err(ChannelError::Taken(path.to_path_buf())),
            Err(_) => Kind::Socket(Socket::new(reactor, path).map_err(host_error).map_err(failed)?),
        };
        Ok(Channel { kind })
    }
}

impl Socket {
    fn new(reactor: &Rc<Reactor>, path: &Path) -> Result<Socket, Errno> {
        let address = SocketAddrUnix::new(path.as_os_str().as_bytes())?;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        bind(&listener, &address)?;
        listen(&listener, QUEUE)?;
        let listener = Source::new(reactor, listener)?;
        Ok(Socket { reactor: Rc::clone(reactor), listener, peer: RefCell::default(), path: path.to_path_buf() })
    }

    /// The peer that is there, or the next one in the queue if there is one.
    fn peer(&self) -> Option<Rc<Source>> {
        let mut peer = self.peer.borrow_mut();
        if peer.is_none() {
            let accepted = accept(&self.listener).ok()?;
            *peer = Source::new(&self.reactor, accepted).ok().map(Rc::new);
        }
        peer.clone()
    }

    fn poll_peer(&self, context: &mut Context<'_>) -> Poll<Option<Rc<Source>>> {
        if let Some(peer) = self.peer() {
            return Poll::Ready(Some(peer));
        }
        match ready!(self.listener.poll_io(Direction::Read, context, |listener| accept(listener))) {
            Ok(accepted) => *self.peer.borrow_mut() = Source::new(&self.reactor, accepted).ok().map(Rc::new),
            Err(_) => return Poll::Ready(None),
        }
        Poll::Ready(self.peer.borrow().clone())
    }

    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, ConsoleError>> {
        loop {
            let Some(peer) = ready!(self.poll_peer(context)) else { return Poll::Ready(Err(ConsoleError::Io)) };
            let received =
                peer.poll_io(Direction::Read, context, |socket| recv(socket, &mut *buffer, RecvFlags::empty()));
            match ready!(received) {
                Ok((count @ 1.., _)) => return Poll::Ready(Ok(count)),
                // This peer has gone; the next one may come.
                Ok(_) | Err(_) => drop(self.peer.borrow_mut().take()),
            }
        }
    }

    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<usize> {
        // Without a peer it is as with a terminal at which nobody sits.
        let Some(peer) = self.peer() else { return Poll::Ready(bytes.len()) };
        let sent = peer.poll_io(Direction::Write, context, |socket| send(socket, bytes, SendFlags::NOSIGNAL));
        Poll::Ready(ready!(sent).unwrap_or_else(|_| {
            drop(self.peer.borrow_mut().take());
            bytes.len()
        }))
    }
}

fn accept(listener: impl AsFd) -> Result<OwnedFd, Errno> {
    accept_with(listener, FLAGS)
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A path that is gone already is as good.
        let _ = fs::remove_file(&self.path);
    }
}

impl ConsoleDevice for Channel {
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, ConsoleError>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        match &self.kind {
            Kind::Nobody => Poll::Pending,
            Kind::Socket(socket) => socket.poll_read(context, buffer),
            Kind::Terminal(terminal) => {
                let read = terminal.poll_io(Direction::Read, context, |file| rustix::io::read(file, &mut *buffer));
                // A terminal that hangs up fails so.
                Poll::Ready(
                    ready!(read).or_else(|errno| if errno == Errno::IO { Ok(0) } else { Err(ConsoleError::Io) }),
                )
            }
        }
    }

    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, ConsoleError>> {
        match &self.kind {
            Kind::Nobody => Poll::Ready(Ok(bytes.len())),
            Kind::Socket(socket) => socket.poll_write(context, bytes).map(Ok),
            Kind::Terminal(terminal) => {
                let written = terminal.poll_io(Direction::Write, context, |file| rustix::io::write(file, bytes));
                written.map_err(|_| ConsoleError::Io)
            }
        }
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<Result<(), ConsoleError>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use mirage_rt::console::Console;

    use super::*;
    use crate::UnixPlatform;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("mirage-console-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_socket_serves_one_peer_after_the_other() {
        let path = path("socket");
        let platform = UnixPlatform::new().expect("a test may open descriptors");
        let console = Console::new(Rc::new(Channel::open(platform.reactor(), &path).expect("the path is free")));
        let peer_path = path.clone();
        let peers = std::thread::spawn(move || {
            for name in ["one", "two"] {
                let mut peer = UnixStream::connect(&peer_path).expect("the console listens");
                writeln!(peer, "I am {name}").expect("the console reads");
                let mut answer = [0; 10];
                peer.read_exact(&mut answer).expect("the console answers");
                assert_eq!(&answer, b"hello you\n");
            }
        });
        let runtime = mirage_rt::Runtime::new(platform);
        runtime.run(async move {
            for name in ["one", "two"] {
                assert_eq!(console.read_line().await, Ok(Some(format!("I am {name}"))));
                console.write_all(b"hello you\n").await.expect("a socket takes bytes");
            }
        });
        peers.join().expect("both were answered");
        assert!(!path.exists(), "the socket is removed");
    }

    #[test]
    fn what_is_neither_socket_nor_terminal_is_left_alone() {
        let path = path("file");
        fs::write(&path, "precious").expect("a test may write files");
        let platform = UnixPlatform::new().expect("a test may open descriptors");
        let error = Channel::open(platform.reactor(), &path).err().expect("it is refused").to_string();
        assert!(error.contains("neither a socket nor a terminal"), "{error}");
        assert_eq!(fs::read(&path).expect("it is still there"), b"precious");
        let _ = fs::remove_file(&path);
    }

    #[test]
    fn without_a_peer_writing_goes_on() {
        let path = path("alone");
        let platform = UnixPlatform::new().expect("a test may open descriptors");
        let channels = [Channel::nobody(), Channel::open(platform.reactor(), &path).expect("the path is free")];
        let runtime = mirage_rt::Runtime::new(platform);
        runtime.run(async move {
            for channel in channels {
                Console::new(Rc::new(channel)).write_all(&[b'x'; 100_000]).await.expect("nobody is no error");
            }
        });
    }
}
