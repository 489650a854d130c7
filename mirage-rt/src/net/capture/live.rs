//! A capture that is read over TCP while it is made.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::task::{Context, Poll, Waker};

use super::{Capture, MAX_SNAP_LENGTH, RECORD_HEADER, Sink, SinkFailed, file_header};
use crate::boot::AddressFrom;
use crate::net::{BindError, Config, ConfigError, KeepAlive, ListenAddr, Network, TcpListener, TcpStream, log_targets};
use crate::page::PagePool;
use crate::runtime::Runtime;
use crate::time::{Duration, timeout};
use crate::types::network::NetworkDevice;

/// Readers at once; further ones are turned away.
const MOST_READERS: usize = 4;
/// How long a reader may take nothing before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// A reader that has gone without a word is noticed by then.
const KEEP_ALIVE: KeepAlive = KeepAlive { idle: Duration::from_secs(60), interval: Duration::from_secs(10), probes: 3 };
/// Bytes that wait for a reader of a network that build.rs declares with `.capture()`.
const ROOM: usize = 256 << 10;
/// The protocol number of TCP.
const TCP: u8 = 6;

/// A capture that others read over TCP while it is made, as by `nc HOST PORT > trace.pcap` or
/// `nc HOST PORT | tcpdump -r -`. Clones are handles to the same one.
///
/// Each reader gets the file's header and all frames from then on, in a buffer of its own; while it is slow and the buffer full, frames
/// are left out for it and counted. Without readers nothing is written down. The stack never waits. The frames of the readers' own
/// connections are left out, or each would be followed by another; their handshakes are seen by the other readers.
///
/// Whoever can reach the port can read everything that passes the device: serve it on a network that others do not reach, or
/// only while it is needed.
///
#[cfg_attr(feature = "test-utils", doc = "```")]
#[cfg_attr(not(feature = "test-utils"), doc = "```ignore")]
/// use mirage_rt::net::capture::{Capture, Live};
/// use mirage_rt::net::switch::{Impairments, Switch};
/// use mirage_rt::net::{Config, Network};
///
/// # mirage_rt::testing::run(1, async {
/// let switch = Switch::new(1, Impairments::NONE);
/// let live = Live::new(256 << 10);
/// let device = Capture::new(switch.port(), live.clone()).expect("it takes the header");
/// let config = Config::from_keys("10.0.0.1/24".parse().ok(), None);
/// let network = Network::direct(device, switch.pool(), config).expect("a host's address");
/// // On the network itself, or on another one of the program.
/// let at = live.serve(&network, 5555).expect("the port is free");
/// # assert_eq!(at.port(), 5555);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Live {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The file's, once a capture has been made.
    header: RefCell<Vec<u8>>,
    readers: RefCell<Vec<Reader>>,
    /// Bytes that wait for a reader at most.
    most: usize,
    missed: Cell<u64>,
    next_id: Cell<u64>,
}

#[derive(Debug)]
struct Reader {
    id: u64,
    /// The two ends of its connection.
    ends: [SocketAddr; 2],
    bytes: Vec<u8>,
    waker: Option<Waker>,
}

impl Live {
    /// With room for `most` bytes of frames that wait for a reader, for each of them; as many may be on their way to it.
    pub fn new(most: usize) -> Live {
        Live {
            shared: Rc::new(Shared {
                header: RefCell::default(),
                readers: RefCell::default(),
                most,
                missed: Cell::new(0),
                next_id: Cell::new(0),
            }),
        }
    }

    /// Serves the capture at a port of `network` from now on, by a task on the current runtime, and returns where.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    ///
    /// # Panics
    ///
    /// Outside of a running [`Runtime`].
    pub fn serve(&self, network: &Network, at: impl Into<ListenAddr>) -> Result<SocketAddr, BindError> {
        let listener = network.stack.tcp_bind(at.into(), MOST_READERS)?;
        let address = listener.local_addr();
        drop(Runtime::current().spawn(accept(self.clone(), listener)));
        Ok(address)
    }

    /// How many frames were left out, for all readers together.
    pub fn missed(&self) -> u64 {
        self.shared.missed.get()
    }

    /// How many read it now.
    pub fn readers(&self) -> usize {
        self.shared.readers.borrow().len()
    }

    /// Begins to keep frames for a reader; `None` when there are enough.
    fn admit(&self, ends: [SocketAddr; 2]) -> Option<Place> {
        let mut readers = self.shared.readers.borrow_mut();
        if readers.len() >= MOST_READERS {
            return None;
        }
        let id = self.shared.next_id.replace(self.shared.next_id.get() + 1);
        readers.push(Reader { id, ends, bytes: self.shared.header.borrow().clone(), waker: None });
        Some(Place { live: self.clone(), id })
    }
}

impl Network {
    /// As [`start`](Network::start), with a capture of all that passes `device`, which is served at `port` of the network itself:
    /// for platforms.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`].
    ///
    /// # Panics
    ///
    /// Outside of a running [`Runtime`].
    pub fn start_captured<D: NetworkDevice + 'static>(
        device: D,
        pool: Rc<dyn PagePool>,
        config: Config,
        address: AddressFrom,
        port: u16,
    ) -> Result<Network, ConfigError> {
        let live = Live::new(ROOM);
        live.shared.header.replace(file_header(MAX_SNAP_LENGTH).to_vec());
        let device = Capture::begun(device, live.clone(), MAX_SNAP_LENGTH);
        let network = Network::start(device, pool, config, address)?;
        match live.serve(&network, port) {
            Ok(_) => {
                log::warn!(target: log_targets::CAPTURE, "all that passes this network can be read at port {port} by everybody")
            }
            Err(error) => log::error!(target: log_targets::CAPTURE, "the packet capture can't be read: {error}"),
        }
        Ok(network)
    }
}

/// A record is for all readers, or for none when it is of a reader's own connection.
impl Sink for Live {
    fn write(&mut self, record: &[u8]) -> Result<(), SinkFailed> {
        // What is written first is the file's header.
        if self.shared.header.borrow().is_empty() {
            self.shared.header.replace(record.to_vec());
            return Ok(());
        }
        let mut readers = self.shared.readers.borrow_mut();
        let frame = record.get(RECORD_HEADER..).unwrap_or_default();
        if let Some(segment) = Segment::of(frame)
            && readers.iter().any(|reader| segment.is_between(&reader.ends))
        {
            return Ok(());
        }
        for reader in &mut *readers {
            let has_room = reader.bytes.len() + record.len() <= self.shared.most;
            if has_room && reader.bytes.try_reserve(record.len()).is_ok() {
                reader.bytes.extend_from_slice(record);
            } else {
                self.shared.missed.set(self.shared.missed.get() + 1);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkFailed> {
        for reader in &mut *self.shared.readers.borrow_mut() {
            if !reader.bytes.is_empty()
                && let Some(waker) = reader.waker.take()
            {
                waker.wake();
            }
        }
        Ok(())
    }

    fn is_wanted(&self) -> bool {
        self.shared.header.borrow().is_empty() || !self.shared.readers.borrow().is_empty()
    }
}

/// Who reads; it is forgotten when this is dropped.
struct Place {
    live: Live,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.live.shared.readers.borrow_mut().retain(|reader| reader.id != self.id);
    }
}

impl Place {
    /// What has come for the reader.
    fn poll(&self, context: &mut Context<'_>) -> Poll<Vec<u8>> {
        let mut readers = self.live.shared.readers.borrow_mut();
        match readers.iter_mut().find(|reader| reader.id == self.id) {
            Some(reader) if !reader.bytes.is_empty() => Poll::Ready(core::mem::take(&mut reader.bytes)),
            Some(reader) => {
                reader.waker = Some(context.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(Vec::new()),
        }
    }
}

async fn accept(live: Live, mut listener: TcpListener) {
    // An error is the end of the network, or the host's, which has said what is wrong.
    while let Ok((stream, peer)) = listener.accept().await {
        match live.admit([stream.local_addr(), peer]) {
            Some(place) => {
                log::info!(target: log_targets::CAPTURE, "{peer} reads the packet capture");
                drop(Runtime::current().spawn(feed(place, stream)));
            }
            None => {
                log::warn!(target: log_targets::CAPTURE, "{peer} can't read the packet capture: {MOST_READERS} others do")
            }
        }
    }
}

/// Sends a reader what there is until it is gone.
async fn feed(place: Place, stream: TcpStream) {
    // A machine that can't still notices the next time that something is sent.
    let _ = stream.set_keep_alive(Some(KEEP_ALIVE));
    let mut listens = true;
    while let Some(bytes) = poll_fn(|context| poll_next(&place, &stream, &mut listens, context)).await {
        if send(&stream, &bytes).await.is_none() {
            return;
        }
    }
}

/// What there is to be sent; `None` when the reader has gone. That it sends no more does not mean that it reads no more.
fn poll_next(
    place: &Place,
    stream: &TcpStream,
    listens: &mut bool,
    context: &mut Context<'_>,
) -> Poll<Option<Vec<u8>>> {
    let mut said = [0; 64];
    while *listens {
        match stream.poll_read(context, &mut said) {
            Poll::Ready(Ok(0)) => *listens = false,
            Poll::Ready(Ok(_)) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(None),
            Poll::Pending => break,
        }
    }
    place.poll(context).map(Some)
}

/// Sends all; `None` when the reader has gone or takes nothing.
async fn send(stream: &TcpStream, mut bytes: &[u8]) -> Option<()> {
    while !bytes.is_empty() {
        match timeout(PATIENCE, stream.write(bytes)).await {
            Ok(Ok(length)) => bytes = bytes.get(length..)?,
            Ok(Err(_)) => return None,
            Err(_) => {
                stream.abort();
                return None;
            }
        }
    }
    Some(())
}

/// Of a frame with a segment of TCP, where that comes from and goes to.
struct Segment {
    source: IpAddr,
    destination: IpAddr,
    /// Unknown in a later fragment, and when the frame was cut before them.
    ports: Option<[u16; 2]>,
}

impl Segment {
    fn of(frame: &[u8]) -> Option<Segment> {
        let packet = frame.get(14..)?;
        let (source, destination, ports_at) = match frame.get(12..14)? {
            [0x08, 0x00] => {
                let header = packet.first_chunk::<20>().filter(|header| header[9] == TCP)?;
                let address =
                    |at: usize| IpAddr::V4(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]));
                let is_first = header[6] & 0x1f == 0 && header[7] == 0;
                (address(12), address(16), is_first.then_some(4 * usize::from(header[0] & 15)))
            }
            [0x86, 0xdd] => {
                let header = packet.first_chunk::<40>().filter(|header| header[6] == TCP)?;
                let address = |at: usize| {
                    let bytes = header.get(at..).and_then(|rest| rest.first_chunk::<16>());
                    bytes.map(|bytes| IpAddr::V6(Ipv6Addr::from(*bytes)))
                };
                (address(8)?, address(24)?, Some(40))
            }
            _ => return None,
        };
        let ports = ports_at.and_then(|at| packet.get(at..)?.first_chunk::<4>());
        let ports = ports.map(|[a, b, c, d]| [u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])]);
        Some(Segment { source, destination, ports })
    }

    /// Whether it is, or may be, of the connection between `ends`.
    fn is_between(&self, [one, other]: &[SocketAddr; 2]) -> bool {
        let is = |from: &SocketAddr, to: &SocketAddr| {
            self.source == from.ip()
                && self.destination == to.ip()
                && self.ports.is_none_or(|ports| ports == [from.port(), to.port()])
        };
        is(one, other) || is(other, one)
    }
}
