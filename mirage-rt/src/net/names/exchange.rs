//! One question, one server: by a datagram, and by a stream when the answer does not fit one.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::error::LookupError;
use super::message::{self, LONGEST, Question, Reply, Useless};
use crate::net::address::ListenAddr;
use crate::net::direct::counters::Event;
use crate::net::error::{BindError, ConnectError, ReadError, ReceiveError, SendError, WriteError};
use crate::net::{Network, Stack, TcpStream, UdpSocket, log_targets};
use crate::runtime::Runtime;
use crate::time::{Duration, timeout};

/// Bytes of the longest datagram that we ask for: what reaches everybody without being cut in pieces. IPv6 promises 1280
/// bytes with headers.
const DATAGRAM: u16 = 1232;
/// Bytes of IP and UDP headers.
const HEADERS: u16 = 28;
/// Bytes of the longest datagram that every server may send (RFC 1035, 4.2.1).
const PLAIN_DATAGRAM: u16 = 512;
/// How long a question by a stream may take.
const STREAM_TIME: Duration = Duration::from_secs(5);
/// Ports for questions on a stack of our own: half of all, above those that servers have.
const FIRST_PORT: u16 = 0x8000;
/// How often another port is tried.
const PORT_TRIES: usize = 8;
/// Datagrams from the server's address that belong to no question, after which we do not listen any longer: somebody is
/// guessing, and has to guess anew if we ask by a stream.
const MOST_FOREIGN: usize = 16;

/// A server gave no answer.
#[derive(Debug)]
pub enum Failure {
    /// It did not answer in time.
    Timeout,
    /// It answered nonsense.
    Malformed,
    /// It can't be reached.
    Unreachable,
    /// No server can be asked.
    Fatal(LookupError),
}

impl From<LookupError> for Failure {
    fn from(error: LookupError) -> Failure {
        Failure::Fatal(error)
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Failure {
        match error {
            SendError::Down => Failure::Fatal(LookupError::Down),
            _ => Failure::Unreachable,
        }
    }
}

impl From<ReceiveError> for Failure {
    fn from(error: ReceiveError) -> Failure {
        match error {
            ReceiveError::Down => Failure::Fatal(LookupError::Down),
            ReceiveError::Refused(_) | ReceiveError::Unreachable(_) | ReceiveError::Host(_) => Failure::Unreachable,
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Failure {
        match error {
            ConnectError::Down => Failure::Fatal(LookupError::Down),
            _ => Failure::Unreachable,
        }
    }
}

impl From<WriteError> for Failure {
    fn from(_: WriteError) -> Failure {
        Failure::Unreachable
    }
}

impl From<ReadError> for Failure {
    fn from(_: ReadError) -> Failure {
        Failure::Unreachable
    }
}

/// Asks `server`, waiting for a datagram for `wait`. The reply is not [`Reply::Truncated`] and not
/// [`Reply::FormatError`].
pub async fn ask(network: &Network, server: SocketAddr, question: &Question, wait: Duration) -> Result<Reply, Failure> {
    let size = network.link().mtu.map_or(DATAGRAM, |mtu| mtu.saturating_sub(HEADERS).clamp(PLAIN_DATAGRAM, DATAGRAM));
    let mut edns = Some(size);
    let mut reply = by_datagram(network, server, question, edns, wait).await?;
    if reply == Reply::FormatError {
        // A server from before EDNS (RFC 6891, section 7).
        edns = None;
        reply = by_datagram(network, server, question, edns, wait).await?;
    }
    if reply == Reply::Truncated {
        network.count(Event::OverTcp);
        reply = by_stream(network, server, question, edns).await?;
    }
    match reply {
        Reply::Truncated | Reply::FormatError => Err(Failure::Malformed),
        reply => Ok(reply),
    }
}

/// Two random numbers.
fn random() -> Result<[u16; 2], LookupError> {
    let mut bytes = [0; 4];
    Runtime::current().fill_random(&mut bytes).map_err(LookupError::Random)?;
    let [a, b, c, d] = bytes;
    Ok([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}

/// A socket for one question, at a port that nobody can guess (RFC 5452, section 9.2).
async fn socket(network: &Network, server: SocketAddr) -> Result<UdpSocket, LookupError> {
    let failed = |error| LookupError::Socket(Rc::new(error));
    if let Stack::Host(_) = network.stack {
        // Not the address that the network listens at: from 127.0.0.1 nobody else can be reached. The port is the host's
        // choice, which is a random one.
        let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        return network.udp().bind(ListenAddr { address: Some(any), port: 0 }).await.map_err(failed);
    }
    for _ in 0..PORT_TRIES {
        let [port, _] = random()?;
        match network.udp().bind(FIRST_PORT | port).await {
            Err(BindError::InUse { .. }) => {}
            bound => return bound.map_err(failed),
        }
    }
    Err(failed(BindError::NoPort))
}

async fn by_datagram(
    network: &Network,
    server: SocketAddr,
    question: &Question,
    edns: Option<u16>,
    wait: Duration,
) -> Result<Reply, Failure> {
    let socket = socket(network, server).await?;
    let [id, _] = random()?;
    socket.send_to(&question.message(id, edns), server).await?;
    let mut buffer = vec![0; usize::from(edns.unwrap_or(PLAIN_DATAGRAM))];
    timeout(wait, answer(&socket, server, id, question, &mut buffer)).await.unwrap_or(Err(Failure::Timeout))
}

/// The first datagram that answers the question. What does not come from the server, or is no answer to the question, is
/// passed over.
async fn answer(
    socket: &UdpSocket,
    server: SocketAddr,
    id: u16,
    question: &Question,
    buffer: &mut [u8],
) -> Result<Reply, Failure> {
    let mut foreign = 0;
    while foreign < MOST_FOREIGN {
        let (length, from) = socket.receive_from(buffer).await?;
        if (from.ip(), from.port()) != (server.ip(), server.port()) {
            continue;
        }
        // One that is longer than we said is not the server's.
        let Some(bytes) = buffer.get(..length) else {
            foreign += 1;
            continue;
        };
        match message::read(bytes, id, question) {
            Ok(reply) => return Ok(reply),
            Err(Useless::Foreign) => foreign += 1,
            Err(Useless::Malformed) => return Err(Failure::Malformed),
        }
    }
    log::warn!(target: log_targets::NAMES, "{server} is said to send answers that nobody asked for; it is asked over TCP");
    Ok(Reply::Truncated)
}

async fn by_stream(
    network: &Network,
    server: SocketAddr,
    question: &Question,
    edns: Option<u16>,
) -> Result<Reply, Failure> {
    let [id, _] = random()?;
    let message = question.message(id, edns);
    // The length goes in front (RFC 1035, 4.2.2), in the same segment (RFC 7766, section 8).
    let length = message.len() as u16;
    let framed = [&length.to_be_bytes()[..], &message].concat();
    let exchange = async {
        let stream = network.tcp().connect(server).await?;
        stream.write_all(&framed).await?;
        let mut length = [0; 2];
        read_exact(&stream, &mut length).await?;
        let length = usize::from(u16::from_be_bytes(length));
        let mut answer = Vec::new();
        if length > LONGEST || answer.try_reserve_exact(length).is_err() {
            return Err(Failure::Malformed);
        }
        answer.resize(length, 0);
        read_exact(&stream, &mut answer).await?;
        message::read(&answer, id, question).map_err(|_| Failure::Malformed)
    };
    timeout(STREAM_TIME, exchange).await.unwrap_or(Err(Failure::Timeout))
}

async fn read_exact(stream: &TcpStream, mut buffer: &mut [u8]) -> Result<(), Failure> {
    while !buffer.is_empty() {
        match stream.read(buffer).await? {
            0 => return Err(Failure::Malformed),
            length => buffer = buffer.get_mut(length..).unwrap_or_default(),
        }
    }
    Ok(())
}
