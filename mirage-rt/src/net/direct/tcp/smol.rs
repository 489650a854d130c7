//! smoltcp's TCP, with a socket set for each connection.
//!
//! smoltcp looks at every socket of a set for each packet. A set of one socket makes that constant work. Its interface
//! speaks plain IP here: neighbours, ICMP, UDP and everything else are this crate's own.

mod adapter;
mod connection;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State as SmolState};
use smoltcp::time::{Duration as SmolDuration, Instant as SmolInstant};
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint};

use adapter::{Adapter, Swallow};
use connection::{Connection, Sent, Shown};

use super::isn;
use super::machine::{ConnId, Expected, Handshake, OutOfMemory, Progress, Readiness, State, TcpMachine};
use super::segment::{BARE_MOST, Bare, Control, FourTuple, Segment, Seq};
use crate::net::direct::ip::{IpOut, Route};
use crate::time::{Duration, Instant};

/// How long a peer may be silent while it owes an answer.
const USER_TIMEOUT: Duration = Duration::from_secs(120);
/// The same while the connection is being made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an acknowledgement may wait for data to go with it.
const ACK_DELAY: SmolDuration = SmolDuration::from_millis(10);
/// Buffers are so many times as large while most of the budget is free: the fewer connections, the faster each.
const GENEROUS: usize = 4;
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
    prefix: u8,
    mtu: usize,
    buffers: Buffers,
    connections: Vec<Option<Box<Connection>>>,
    memory: usize,
    /// For segments that are shown to smoltcp in another form.
    scratch: Vec<u8>,
}

impl SmolSets {
    pub fn new(address: IpAddr, prefix: u8, mtu: usize, buffers: Buffers) -> SmolSets {
        let interface = interface(address, prefix, mtu, 0);
        SmolSets { interface, address, prefix, mtu, buffers, connections: Vec::new(), memory: 0, scratch: Vec::new() }
    }

    fn get(&self, id: ConnId) -> Option<&Connection> {
        self.connections.get(id.index as usize)?.as_deref().filter(|connection| connection.generation == id.generation)
    }

    fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        find(&mut self.connections, id)
    }

    /// The size of a generous buffer, with which the shift of windows is the same as with the smallest: peers are told of
    /// the shift before there is a buffer.
    fn most_receive(&self) -> usize {
        let same_shift = (1 << bits(self.buffers.receive).max(16)) - 1;
        (GENEROUS * self.buffers.receive).min(same_shift)
    }

    /// Bytes that a connection with the smallest buffers takes of the budget.
    fn least_cost(&self) -> usize {
        self.buffers.receive + self.buffers.send + OVERHEAD
    }

    /// A closed socket in a set of its own, and what it takes of the budget.
    fn socket(&mut self) -> Result<(SocketSet<'static>, SocketHandle, usize), OutOfMemory> {
        if !self.has_room() {
            return Err(OutOfMemory);
        }
        let is_free = self.memory + GENEROUS * self.least_cost() <= self.buffers.budget / 4;
        let generous = if is_free { buffers(self.most_receive(), GENEROUS * self.buffers.send).ok() } else { None };
        let (receive, send) = match generous {
            Some(buffers) => buffers,
            None => buffers(self.buffers.receive, self.buffers.send)?,
        };
        let cost = receive.capacity() + send.capacity() + OVERHEAD;
        let mut socket = Socket::new(receive, send);
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(Some(ACK_DELAY));
        let mut storage = Vec::new();
        storage.try_reserve_exact(1).map_err(|_| OutOfMemory)?;
        storage.push(SocketStorage::EMPTY);
        let mut set = SocketSet::new(storage);
        let handle = set.add(socket);
        Ok((set, handle, cost))
    }

    fn keep(&mut self, id: ConnId, connection: Connection) -> Result<(), OutOfMemory> {
        let index = id.index as usize;
        if index >= self.connections.len() {
            self.connections.try_reserve(index + 1 - self.connections.len()).map_err(|_| OutOfMemory)?;
            self.connections.resize_with(index + 1, || None);
        }
        self.memory += connection.cost;
        if let Some(old) = self.connections[index].replace(Box::new(connection)) {
            self.memory -= old.cost;
        }
        Ok(())
    }
}

impl TcpMachine for SmolSets {
    fn window_shift(&self) -> u8 {
        bits(self.buffers.receive).saturating_sub(16) as u8
    }

    fn initial_window(&self) -> u16 {
        u16::try_from(self.buffers.receive).unwrap_or(u16::MAX)
    }

    fn set_mtu(&mut self, mtu: usize) {
        if mtu != self.mtu {
            // smoltcp asks the device once. Nothing of a connection is in the interface.
            self.mtu = mtu;
            self.interface = interface(self.address, self.prefix, mtu, 0);
        }
    }

    fn has_room(&self) -> bool {
        self.memory + self.least_cost() <= self.buffers.budget
    }

    /// A socket that listens is shown the peer's SYN once more, on an interface that makes it take the position of our
    /// SYN; its own SYN goes nowhere, as the peer has it already.
    fn establish(&mut self, now: Instant, id: ConnId, handshake: &Handshake) -> Result<(), OutOfMemory> {
        let (mut set, handle, cost) = self.socket()?;
        let socket = set.get_mut::<Socket<'_>>(handle);
        socket.listen(endpoint(handshake.tuple.local())?).map_err(|_| OutOfMemory)?;
        let mut interface = interface(self.address, 32, self.mtu, isn::seed(handshake.isn));
        let reversed = handshake.tuple.reversed();
        let syn = Bare {
            control: Control::Syn,
            seq: handshake.peer_isn,
            ack: None,
            window: handshake.window,
            options: handshake.options,
        };
        let mut packet = [0; BARE_MOST];
        let length = syn.emit(&reversed, &mut packet).ok_or(OutOfMemory)?;
        let mut sent = Sent::default();
        let route = void_route(self.address, self.mtu);
        let mut swallow = Swallow;
        let mut sink = void(packet.get(..length), &mut sent, &route, &mut swallow);
        let then = smol_instant(handshake.sent);
        interface.poll_ingress_single(then, &mut sink, &mut set);
        interface.poll_egress(then, &mut sink, &mut set);
        if sent.end != handshake.isn.add(1) {
            log::error!(target: "net", "smoltcp did not take the sequence number it was given; a connection is refused");
            return Err(OutOfMemory);
        }
        let mut connection = Connection::new(now, id, set, handle, &handshake.tuple, handshake.isn, cost);
        connection.sent = sent;
        connection.hear_syn(handshake.peer_isn, &handshake.options);
        self.keep(id, connection)
    }

    fn connect(&mut self, now: Instant, id: ConnId, tuple: &FourTuple, isn: Seq) -> Result<(), OutOfMemory> {
        let (mut set, handle, cost) = self.socket()?;
        let mut interface = interface(self.address, 32, self.mtu, isn::seed(isn));
        let socket = set.get_mut::<Socket<'_>>(handle);
        socket
            .connect(interface.context(), endpoint(tuple.remote())?, endpoint(tuple.local())?)
            .map_err(|_| OutOfMemory)?;
        let connection = Connection::new(now, id, set, handle, tuple, isn, cost);
        self.keep(id, connection)
    }

    fn on_segment(&mut self, now: Instant, id: ConnId, packet: &[u8], segment: &Segment, out: &mut dyn IpOut) {
        let Some(connection) = find(&mut self.connections, id) else { return };
        let Some(route) = out.route(connection.remote) else { return };
        connection.heard = now;
        let shown = connection.hear(packet, segment, &mut self.scratch);
        let (mtu, then) = (self.mtu, smol_instant(now));
        let mut show = |connection: &mut Connection, packet| {
            let sent = &mut connection.sent;
            let mut device = Adapter { receive: Some(packet), out, route: &route, sent, mtu, into_the_void: false };
            self.interface.poll_ingress_single(then, &mut device, &mut connection.set);
        };
        if matches!(shown, Shown::AfterScratch | Shown::AsScratch) {
            show(connection, &self.scratch);
        }
        if matches!(shown, Shown::AfterScratch | Shown::AsItIs) {
            show(connection, packet);
        }
        if let Some(fin) = connection.late_fin() {
            let mut packet = [0; BARE_MOST];
            if let Some(length) = fin.emit(&segment.tuple.reversed(), &mut packet) {
                show(connection, &packet[..length]);
            }
        }
    }

    fn run(&mut self, now: Instant, id: ConnId, out: &mut dyn IpOut) -> Progress {
        let nothing = Progress { deadline: None, blocked: None };
        let Some(connection) = find(&mut self.connections, id) else { return nothing };
        let Some(route) = out.route(connection.remote) else { return nothing };
        connection.set_timeout(now);
        let then = smol_instant(now);
        let mtu = self.mtu;
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
            let mut device =
                Adapter { receive: None, out, route: &route, sent: &mut connection.sent, mtu, into_the_void: false };
            let result = self.interface.poll_egress(then, &mut device, &mut connection.set);
            connection.notice_loss();
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
            writable: connection.room() > 0,
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
        let most = self.most_receive();
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
        let bytes = &bytes[..bytes.len().min(connection.room())];
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
        if self.get(id).is_some()
            && let Some(old) = self.connections[id.index as usize].take()
        {
            self.memory -= old.cost;
        }
    }
}

fn find(connections: &mut [Option<Box<Connection>>], id: ConnId) -> Option<&mut Connection> {
    connections.get_mut(id.index as usize)?.as_deref_mut().filter(|connection| connection.generation == id.generation)
}

fn buffers(receive: usize, send: usize) -> Result<(SocketBuffer<'static>, SocketBuffer<'static>), OutOfMemory> {
    Ok((SocketBuffer::new(zeroed(receive)?), SocketBuffer::new(zeroed(send)?)))
}

fn zeroed(length: usize) -> Result<Vec<u8>, OutOfMemory> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| OutOfMemory)?;
    bytes.resize(length, 0);
    Ok(bytes)
}

/// Bits of a number.
fn bits(number: usize) -> u32 {
    usize::BITS - number.leading_zeros()
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

/// A device that leads nowhere.
fn void<'a>(receive: Option<&'a [u8]>, sent: &'a mut Sent, route: &'a Route, out: &'a mut Swallow) -> Adapter<'a> {
    Adapter { receive, out, route, sent, mtu: route.mtu, into_the_void: true }
}

fn void_route(address: IpAddr, mtu: usize) -> Route {
    Route { source: address, next_hop: address, mtu }
}

/// An interface for one address whose generator starts at `seed`.
#[inline(never)]
fn interface(address: IpAddr, prefix: u8, mtu: usize, seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let (mut sent, route) = (Sent::default(), void_route(address, mtu));
    let mut interface = Interface::new(config, &mut void(None, &mut sent, &route, &mut Swallow), SmolInstant::ZERO);
    interface.update_ip_addrs(|addresses| {
        if let IpAddr::V4(address) = address {
            // There is room for one: the list is new.
            let _ = addresses.push(IpCidr::new(address.into(), prefix));
        }
    });
    interface
}

#[cfg(test)]
mod tests;
