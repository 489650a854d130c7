//! smoltcp's TCP, with a socket set for each connection.
//!
//! smoltcp looks at every socket of a set for each packet. A set of one socket makes that constant work. Its interface
//! speaks plain IP here: neighbours, ICMP, UDP and everything else are this crate's own.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State as SmolState};
use smoltcp::time::{Duration as SmolDuration, Instant as SmolInstant};
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint, Ipv4Packet, TcpPacket, TcpSeqNumber};

use super::isn;
use super::machine::{ConnId, Expected, Handshake, OutOfMemory, Progress, Readiness, State, TcpMachine};
use super::segment::{BARE_MOST, Bare, Control, FourTuple, Segment, Seq};
use crate::net::direct::ip::{IpOut, Route, TxMeta};
use crate::net::direct::ipv4;
use crate::packet::PacketMut;
use crate::time::{Duration, Instant};

/// How long a peer may be silent while it owes an answer.
const USER_TIMEOUT: Duration = Duration::from_secs(120);
/// The same while the connection is being made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an acknowledgement may wait for data to go with it.
const ACK_DELAY: SmolDuration = SmolDuration::from_millis(10);
/// Bytes that may be sent before anything was heard of the path (RFC 6928). A buffer no larger than that needs no
/// congestion window on top: the buffer is one.
const INITIAL_WINDOW: usize = 14_600;
/// When to look for pages again.
const PAGE_WAIT: Duration = Duration::from_millis(10);
/// Bytes of a connection besides its buffers, roughly.
const OVERHEAD: usize = 1024;
/// The longest answer that [`TcpMachine::on_segment`] sends, when there is no page for it.
const SCRATCH: usize = 128;

/// Sizes of a connection's buffers and the budget for all.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    pub receive: usize,
    pub send: usize,
    pub budget: usize,
}

/// The machine.
pub struct SmolSets {
    interface: Interface,
    address: IpAddr,
    mtu: usize,
    buffers: Buffers,
    connections: Vec<Option<Box<Connection>>>,
    memory: usize,
}

struct Connection {
    generation: u32,
    set: SocketSet<'static>,
    handle: SocketHandle,
    remote: IpAddr,
    peer_isn: Option<Seq>,
    /// Bytes taken out of the receive buffer.
    consumed: u32,
    sent: Sent,
    /// The peer's latest acknowledgement.
    acked: Seq,
    /// By how much the peer's windows are shifted.
    peer_shift: u8,
    heard: Instant,
    lingering: Option<Duration>,
    timeout: Option<Duration>,
}

/// What was sent last, for the checks of the demultiplexer: smoltcp keeps it to itself.
#[derive(Clone, Copy, Default)]
struct Sent {
    any: bool,
    end: Seq,
    ack: Seq,
    window: u16,
    /// The end of the peer's window.
    edge: Option<Seq>,
}

impl Sent {
    fn note(&mut self, packet: &[u8]) {
        let Some(segment) = packet.get(ipv4::HEADER..) else { return };
        let Ok(header) = TcpPacket::new_checked(segment) else { return };
        let length = segment.len() - usize::from(header.header_len());
        let end =
            Seq(header.seq_number().0 as u32).add(length as u32 + u32::from(header.syn()) + u32::from(header.fin()));
        if !self.any || end.since(self.end) > 0 {
            self.end = end;
        }
        self.any = true;
        self.ack = Seq(header.ack_number().0 as u32);
        self.window = header.window_len();
    }

    /// An acknowledgement without data must have the position behind all that was sent (or the end of the peer's window if
    /// that is closer), else the peer does not hear it. smoltcp gives it the position of what it would send next, which it
    /// turns back to repeat what was lost.
    fn correct(&self, packet: &mut [u8]) {
        let Some(segment) = packet.get_mut(ipv4::HEADER..) else { return };
        let whole = segment.len();
        let Ok(mut header) = TcpPacket::new_checked(segment) else { return };
        if whole != usize::from(header.header_len()) || header.syn() || header.fin() || header.rst() || !self.any {
            return;
        }
        let seq = match self.edge {
            Some(edge) if edge.since(self.end) < 0 => edge,
            _ => self.end,
        };
        header.set_seq_number(TcpSeqNumber(seq.0 as i32));
    }
}

impl Connection {
    fn socket(&self) -> &Socket<'static> {
        self.set.get(self.handle)
    }

    fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
    }

    /// Whether the peer's FIN came and nothing in front of it is missing.
    fn finished(&self) -> bool {
        matches!(
            self.socket().state(),
            SmolState::CloseWait | SmolState::LastAck | SmolState::Closing | SmolState::TimeWait
        )
    }

    fn unacknowledged(&self) -> usize {
        let socket = self.socket();
        let flag = matches!(
            socket.state(),
            SmolState::SynSent | SmolState::SynReceived | SmolState::FinWait1 | SmolState::Closing | SmolState::LastAck
        );
        socket.send_queue() + usize::from(flag)
    }

    /// Takes down what a segment says. When it is an acknowledgement from in front of what is expected next, smoltcp would
    /// not hear it; but after a probe of a window that has just opened, both sides can stand where all they say is of
    /// that kind. So it gets a copy of what is news, with the position that it expects.
    fn note(&mut self, packet: &[u8], segment: &Segment) -> Option<Renumbered> {
        if segment.syn {
            if self.peer_isn.is_none() {
                self.peer_isn = Some(segment.seq);
                let payload = packet.get(ipv4::HEADER..).unwrap_or_default();
                self.peer_shift = segment.options(payload).window_shift.unwrap_or(0);
            }
            return None;
        }
        let ack = segment.ack.filter(|_| !segment.rst)?;
        let edge = ack.add(u32::from(segment.window) << self.peer_shift);
        if self.sent.edge.is_none_or(|known| edge.since(known) > 0) {
            self.sent.edge = Some(edge);
        }
        let news = ack.since(self.acked) > 0;
        if news {
            self.acked = ack;
        }
        let expected = self.expected();
        if news && segment.span() == 0 && segment.seq.since(expected) < 0 {
            Renumbered::new(packet, expected)
        } else {
            None
        }
    }

    /// The next position that is missing.
    fn expected(&self) -> Seq {
        let received = self.consumed.wrapping_add(self.socket().recv_queue() as u32);
        self.peer_isn.unwrap_or_default().add(1).add(received).add(u32::from(self.finished()))
    }

    /// smoltcp ends a connection that is silent for its timeout even when nobody waits for anything, and counts from the
    /// last packet: so the timeout is on only while there is something to wait for, and longer by the silence before.
    fn set_timeout(&mut self, now: Instant) {
        let wanted = match self.socket().state() {
            SmolState::SynSent => Some(CONNECT_TIMEOUT),
            _ => match self.lingering {
                Some(most) => Some(most),
                None => (self.unacknowledged() > 0).then_some(USER_TIMEOUT),
            },
        };
        if wanted == self.timeout {
            return;
        }
        self.timeout = wanted;
        // Whatever is written to an empty buffer starts the count anew.
        let silence = if self.socket().send_queue() > 0 { Duration::ZERO } else { now - self.heard };
        self.socket_mut().set_timeout(wanted.map(|wanted| smol_duration(wanted.saturating_add(silence))));
    }
}

/// A copy of a packet without data, with another position.
struct Renumbered {
    bytes: [u8; SCRATCH],
    length: usize,
}

impl Renumbered {
    fn new(packet: &[u8], seq: Seq) -> Option<Renumbered> {
        let mut copy = Renumbered { bytes: [0; SCRATCH], length: packet.len() };
        copy.bytes.get_mut(..packet.len())?.copy_from_slice(packet);
        let header = usize::from(Ipv4Packet::new_checked(packet).ok()?.header_len());
        let segment = copy.bytes.get_mut(header..copy.length)?;
        TcpPacket::new_checked(segment).ok()?.set_seq_number(TcpSeqNumber(seq.0 as i32));
        Some(copy)
    }

    fn packet(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl SmolSets {
    pub fn new(address: IpAddr, prefix: u8, mtu: usize, buffers: Buffers) -> SmolSets {
        let interface = interface(address, prefix, mtu, 0);
        SmolSets { interface, address, mtu, buffers, connections: Vec::new(), memory: 0 }
    }

    fn get(&self, id: ConnId) -> Option<&Connection> {
        self.connections.get(id.index as usize)?.as_deref().filter(|connection| connection.generation == id.generation)
    }

    fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        find(&mut self.connections, id)
    }

    /// Bytes that a connection takes of the budget.
    fn cost(&self) -> usize {
        self.buffers.receive + self.buffers.send + OVERHEAD
    }

    /// A closed socket in a set of its own.
    fn socket(&mut self) -> Result<(SocketSet<'static>, SocketHandle), OutOfMemory> {
        if self.memory + self.cost() > self.buffers.budget {
            return Err(OutOfMemory);
        }
        let receive = SocketBuffer::new(zeroed(self.buffers.receive)?);
        let send = SocketBuffer::new(zeroed(self.buffers.send)?);
        let mut socket = Socket::new(receive, send);
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(Some(ACK_DELAY));
        if self.buffers.send > INITIAL_WINDOW {
            socket.set_congestion_control(CongestionControl::Reno);
        }
        let mut storage = Vec::new();
        storage.try_reserve_exact(1).map_err(|_| OutOfMemory)?;
        storage.push(SocketStorage::EMPTY);
        let mut set = SocketSet::new(storage);
        let handle = set.add(socket);
        Ok((set, handle))
    }

    fn keep(&mut self, id: ConnId, connection: Connection) -> Result<(), OutOfMemory> {
        let index = id.index as usize;
        if index >= self.connections.len() {
            self.connections.try_reserve(index + 1 - self.connections.len()).map_err(|_| OutOfMemory)?;
            self.connections.resize_with(index + 1, || None);
        }
        if self.connections[index].replace(Box::new(connection)).is_none() {
            self.memory += self.cost();
        }
        Ok(())
    }
}

impl TcpMachine for SmolSets {
    fn window_shift(&self) -> u8 {
        let bits = usize::BITS - self.buffers.receive.leading_zeros();
        bits.saturating_sub(16) as u8
    }

    fn initial_window(&self) -> u16 {
        u16::try_from(self.buffers.receive).unwrap_or(u16::MAX)
    }

    /// A socket that listens is shown the peer's SYN once more, on an interface that makes it take the position of our
    /// SYN; its own SYN goes nowhere, as the peer has it already.
    fn establish(&mut self, now: Instant, id: ConnId, handshake: &Handshake) -> Result<(), OutOfMemory> {
        let (mut set, handle) = self.socket()?;
        let socket = set.get_mut::<Socket<'_>>(handle);
        socket.listen(endpoint(handshake.tuple.local)?).map_err(|_| OutOfMemory)?;
        let mut interface = interface(self.address, 32, self.mtu, isn::seed(handshake.isn));
        let reversed = FourTuple { local: handshake.tuple.remote, remote: handshake.tuple.local };
        let syn = Bare {
            control: Control::Syn,
            seq: handshake.peer_isn,
            ack: None,
            window: handshake.window,
            options: handshake.options,
        };
        let mut packet = [0; BARE_MOST];
        let length = syn.emit(&reversed, &mut packet).ok_or(OutOfMemory)?;
        let mut sink = Sink { receive: packet.get(..length), mtu: self.mtu, sent: Sent::default() };
        let then = smol_instant(handshake.sent);
        interface.poll_ingress_single(then, &mut sink, &mut set);
        interface.poll_egress(then, &mut sink, &mut set);
        if sink.sent.end != handshake.isn.add(1) {
            log::error!(target: "net", "smoltcp did not take the sequence number it was given; a connection is refused");
            return Err(OutOfMemory);
        }
        let connection = Connection {
            generation: id.generation,
            set,
            handle,
            remote: handshake.tuple.remote.ip(),
            peer_isn: Some(handshake.peer_isn),
            consumed: 0,
            sent: sink.sent,
            acked: handshake.isn,
            peer_shift: handshake.options.window_shift.unwrap_or(0),
            heard: now,
            lingering: None,
            timeout: None,
        };
        self.keep(id, connection)
    }

    fn connect(&mut self, now: Instant, id: ConnId, tuple: &FourTuple, isn: Seq) -> Result<(), OutOfMemory> {
        let (mut set, handle) = self.socket()?;
        let mut interface = interface(self.address, 32, self.mtu, isn::seed(isn));
        let socket = set.get_mut::<Socket<'_>>(handle);
        socket
            .connect(interface.context(), endpoint(tuple.remote)?, endpoint(tuple.local)?)
            .map_err(|_| OutOfMemory)?;
        let connection = Connection {
            generation: id.generation,
            set,
            handle,
            remote: tuple.remote.ip(),
            peer_isn: None,
            consumed: 0,
            sent: Sent { end: isn, ..Sent::default() },
            acked: isn,
            peer_shift: 0,
            heard: now,
            lingering: None,
            timeout: None,
        };
        self.keep(id, connection)
    }

    fn on_segment(&mut self, now: Instant, id: ConnId, packet: &[u8], segment: &Segment, out: &mut dyn IpOut) {
        let Some(connection) = find(&mut self.connections, id) else { return };
        let Some(route) = out.route(connection.remote) else { return };
        connection.heard = now;
        let mtu = self.mtu;
        let then = smol_instant(now);
        if let Some(copy) = connection.note(packet, segment) {
            let mut device =
                Adapter { receive: Some(copy.packet()), out, route: &route, sent: &mut connection.sent, mtu };
            self.interface.poll_ingress_single(then, &mut device, &mut connection.set);
        }
        let mut device = Adapter { receive: Some(packet), out, route: &route, sent: &mut connection.sent, mtu };
        self.interface.poll_ingress_single(then, &mut device, &mut connection.set);
    }

    fn run(&mut self, now: Instant, id: ConnId, out: &mut dyn IpOut) -> Progress {
        let nothing = Progress { deadline: None, blocked: None };
        let Some(connection) = find(&mut self.connections, id) else { return nothing };
        let Some(route) = out.route(connection.remote) else { return nothing };
        connection.set_timeout(now);
        let then = smol_instant(now);
        let mut idle = false;
        loop {
            let Some(at) = self.interface.poll_at(then, &connection.set) else { return nothing };
            if at > then {
                return Progress { deadline: Some(instant(at)), blocked: None };
            }
            // It wants to send and does not: there are no pages.
            if idle {
                return Progress { deadline: Some(now + PAGE_WAIT), blocked: None };
            }
            if let Err(blocked) = out.ready(&route) {
                return Progress { deadline: None, blocked: Some(blocked) };
            }
            let mut device = Adapter { receive: None, out, route: &route, sent: &mut connection.sent, mtu: self.mtu };
            let result = self.interface.poll_egress(then, &mut device, &mut connection.set);
            idle = result == PollResult::None;
        }
    }

    fn state(&self, id: ConnId) -> State {
        let Some(connection) = self.get(id) else { return State::Closed };
        let socket = connection.socket();
        match socket.state() {
            SmolState::SynSent => State::Connecting,
            SmolState::TimeWait => State::TimeWait { next: connection.sent.end, expected: self.expected(id).next },
            // A listening socket is one whose handshake was reset.
            SmolState::Listen => State::Closed,
            // The reset after a timeout is still to be sent.
            SmolState::Closed if socket.remote_endpoint().is_some() => State::Open,
            SmolState::Closed => State::Closed,
            _ => State::Open,
        }
    }

    fn readiness(&self, id: ConnId) -> Readiness {
        let Some(connection) = self.get(id) else {
            return Readiness { readable: 0, finished: false, writable: false, unacknowledged: 0 };
        };
        let socket = connection.socket();
        Readiness {
            readable: socket.recv_queue(),
            finished: connection.finished(),
            writable: socket.can_send(),
            unacknowledged: connection.unacknowledged(),
        }
    }

    fn expected(&self, id: ConnId) -> Expected {
        let Some(connection) = self.get(id) else {
            return Expected { next: Seq(0), end: Seq(0), sent: Seq(0) };
        };
        let shift = if connection.sent.any { self.window_shift() } else { 0 };
        Expected {
            next: connection.expected(),
            end: connection.sent.ack.add(u32::from(connection.sent.window) << shift),
            sent: connection.sent.end,
        }
    }

    fn peek(&mut self, id: ConnId) -> &[u8] {
        let most = self.buffers.receive;
        match self.get_mut(id) {
            Some(connection) => connection.socket_mut().peek(most).unwrap_or_default(),
            None => &[],
        }
    }

    fn consume(&mut self, id: ConnId, length: usize) {
        let Some(connection) = self.get_mut(id) else { return };
        let mut left = length;
        // The buffer is a ring: what is contiguous, twice.
        for _ in 0..2 {
            let taken = connection.socket_mut().recv(|bytes| {
                let taken = bytes.len().min(left);
                (taken, taken)
            });
            let taken = taken.unwrap_or(0);
            connection.consumed = connection.consumed.wrapping_add(taken as u32);
            left -= taken;
        }
    }

    fn read(&mut self, id: ConnId, buffer: &mut [u8]) -> usize {
        let Some(connection) = self.get_mut(id) else { return 0 };
        let length = connection.socket_mut().recv_slice(buffer).unwrap_or(0);
        connection.consumed = connection.consumed.wrapping_add(length as u32);
        length
    }

    fn write(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        let Some(connection) = self.get_mut(id) else { return 0 };
        connection.socket_mut().send_slice(bytes).unwrap_or(0)
    }

    fn shutdown(&mut self, id: ConnId) {
        if let Some(connection) = self.get_mut(id) {
            connection.socket_mut().close();
        }
    }

    fn linger(&mut self, now: Instant, id: ConnId, most: Duration) {
        if let Some(connection) = self.get_mut(id) {
            connection.lingering = Some(most);
            connection.set_timeout(now);
        }
    }

    fn free(&mut self, id: ConnId) {
        if self.get(id).is_some() {
            self.connections[id.index as usize] = None;
            self.memory -= self.cost();
        }
    }
}

fn find(connections: &mut [Option<Box<Connection>>], id: ConnId) -> Option<&mut Connection> {
    connections.get_mut(id.index as usize)?.as_deref_mut().filter(|connection| connection.generation == id.generation)
}

fn zeroed(length: usize) -> Result<Vec<u8>, OutOfMemory> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| OutOfMemory)?;
    bytes.resize(length, 0);
    Ok(bytes)
}

fn smol_instant(at: Instant) -> SmolInstant {
    SmolInstant::from_micros((at.as_nanos() / 1000) as i64)
}

fn instant(at: SmolInstant) -> Instant {
    Instant::from_nanos(u64::try_from(at.total_micros()).unwrap_or(0).saturating_mul(1000))
}

fn smol_duration(duration: Duration) -> SmolDuration {
    SmolDuration::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX / 4))
}

/// smoltcp is built without IPv6; the layers below let none through.
fn endpoint(address: SocketAddr) -> Result<IpEndpoint, OutOfMemory> {
    match address.ip() {
        IpAddr::V4(ip) => Ok(IpEndpoint::new(ip.into(), address.port())),
        IpAddr::V6(_) => Err(OutOfMemory),
    }
}

/// An interface for one address whose generator starts at `seed`.
fn interface(address: IpAddr, prefix: u8, mtu: usize, seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut device = Sink { receive: None, mtu, sent: Sent::default() };
    let mut interface = Interface::new(config, &mut device, SmolInstant::ZERO);
    interface.update_ip_addrs(|addresses| {
        if let IpAddr::V4(address) = address {
            // There is room for one: the list is new.
            let _ = addresses.push(IpCidr::new(address.into(), prefix));
        }
    });
    interface
}

/// The demultiplexer has checked what comes in, and [`IpOut`] completes the checksums of what goes out.
fn capabilities(mtu: usize) -> DeviceCapabilities {
    let mut checksum = ChecksumCapabilities::ignored();
    checksum.ipv4 = Checksum::Tx;
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = mtu;
    capabilities.checksum = checksum;
    capabilities
}

/// What smoltcp takes for its device: one packet in, any number out by [`IpOut`].
struct Adapter<'a> {
    receive: Option<&'a [u8]>,
    out: &'a mut dyn IpOut,
    route: &'a Route,
    sent: &'a mut Sent,
    mtu: usize,
}

impl Device for Adapter<'_> {
    type RxToken<'a>
        = Received<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Transmit<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: SmolInstant) -> Option<(Received<'_>, Transmit<'_>)> {
        let packet = self.receive.take()?;
        let transmit = Transmit { packet: None, out: self.out, route: self.route, sent: self.sent };
        Some((Received(packet), transmit))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Transmit<'_>> {
        let packet = self.out.alloc()?;
        Some(Transmit { packet: Some(packet), out: self.out, route: self.route, sent: self.sent })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_bytes: F) -> R {
        use_bytes(self.0)
    }
}

struct Transmit<'a> {
    /// Taken beforehand for what smoltcp sends by itself; an answer takes one when there is an answer.
    packet: Option<PacketMut>,
    out: &'a mut dyn IpOut,
    route: &'a Route,
    sent: &'a mut Sent,
}

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        if let Some(mut packet) = self.packet.or_else(|| self.out.alloc())
            && packet.resize_head(length).len() == length
        {
            let result = fill(packet.head_mut());
            self.sent.correct(packet.head_mut());
            self.sent.note(packet.head());
            self.out.send(self.route, packet, TxMeta { fill_checksum: true });
            return result;
        }
        // No page: the packet is lost, but smoltcp must be able to write it.
        if length <= SCRATCH {
            return fill(&mut [0; SCRATCH][..length]);
        }
        fill(&mut alloc::vec![0; length])
    }
}

/// A device that swallows what is sent and remembers its header.
struct Sink<'a> {
    receive: Option<&'a [u8]>,
    mtu: usize,
    sent: Sent,
}

impl Device for Sink<'_> {
    type RxToken<'a>
        = Received<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Swallow<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: SmolInstant) -> Option<(Received<'_>, Swallow<'_>)> {
        let packet = self.receive.take()?;
        Some((Received(packet), Swallow(&mut self.sent)))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Swallow<'_>> {
        Some(Swallow(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

struct Swallow<'a>(&'a mut Sent);

impl TxToken for Swallow<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let mut scratch = [0; SCRATCH];
        if let Some(bytes) = scratch.get_mut(..length) {
            let result = fill(bytes);
            self.0.note(bytes);
            return result;
        }
        fill(&mut alloc::vec![0; length])
    }
}
