//! The demultiplexer: from a segment to its connection, in constant time.
//!
//! A segment is looked up by its addresses and ports and handed to exactly one connection of the [machine]; everything that
//! is not about an open connection is done here: listeners, half-open connections, TIME_WAIT, resets. Connections with
//! something to do stand in a queue, those with something to do later in a heap; nothing walks over all connections.

mod half_open;
mod isn;
pub mod machine;
pub mod segment;
pub mod smol;
mod time_wait;
mod timers;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll};

use half_open::{Found, HalfOpen, Offer};
use isn::Isn;
use machine::{ConnId, Handshake, OutOfMemory, State, TcpMachine};
use segment::{Bare, FourTuple, Segment, Seq};
use time_wait::{Late, TimeWait};
use timers::Timers;

use super::hash::{Keyed, Table};
use super::ip::{Blocked, IpOut};
use super::ipv4;
use super::limit::Limit;
use super::wakers::WakerSlot;
use crate::net::address::ListenAddr;
use crate::net::error::{AcceptError, BindError, ConnectError, ReadError, WriteError};
use crate::time::{Duration, Instant};

/// How long a connection that no application holds any more may be silent before it is given up.
const LINGER: Duration = Duration::from_secs(60);
/// Ports for sockets without one of their own (RFC 6335).
const FIRST_PORT: u16 = 49152;
const PORTS: u16 = 16384;

/// Who has a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Nobody: the slot is free.
    None,
    /// A listener, until it is accepted.
    Listener,
    /// The application.
    Application,
    /// Nobody any more: it is being closed.
    Orphan,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Both sides closed it.
    Done,
    Reset,
    TimedOut,
    Aborted,
    Unreachable,
    Down,
}

struct Slot {
    generation: u32,
    tuple: FourTuple,
    holder: Holder,
    end: Option<End>,
    /// This side was shut down.
    shut: bool,
    /// In the queue of those with something to do.
    dirty: bool,
    /// In the list of those that wait for a neighbour.
    blocked: bool,
    reader: WakerSlot,
    writer: WakerSlot,
}

struct Listener {
    local: ListenAddr,
    backlog: usize,
    queue: VecDeque<ConnId>,
    acceptor: WakerSlot,
}

/// What was done, for tests and for whoever wants to see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Segments that came in.
    pub segments: u64,
    /// Times that a connection was run.
    pub runs: u64,
    /// Resets sent to segments that belong to no connection.
    pub resets: u64,
}

/// All connections of an interface.
pub struct Tcp<M> {
    machine: M,
    address: IpAddr,
    mss: u16,
    isn: Isn,
    tuples: Table<FourTuple, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    dirty: VecDeque<u32>,
    /// Those that wait until a neighbour is known.
    blocked: Vec<(IpAddr, u32)>,
    timers: Timers,
    half_open: HalfOpen,
    time_wait: TimeWait,
    listeners: Vec<Option<Listener>>,
    ports: Table<u16, u32>,
    next_port: u16,
    resets: Limit,
    challenges: Limit,
    down: bool,
    counters: Counters,
}

impl<M: TcpMachine> Tcp<M> {
    /// No connections yet. `mtu` is that of the interface; the keys must be random.
    pub fn new(machine: M, address: IpAddr, mtu: usize, hash: Keyed, isn: [u64; 2]) -> Tcp<M> {
        Tcp {
            machine,
            address,
            mss: mss(mtu),
            next_port: isn[0] as u16,
            isn: Isn::new(isn),
            tuples: Table::with_hasher(hash),
            slots: Vec::new(),
            free: Vec::new(),
            dirty: VecDeque::new(),
            blocked: Vec::new(),
            timers: Timers::default(),
            half_open: HalfOpen::new(hash),
            time_wait: TimeWait::new(hash),
            listeners: Vec::new(),
            ports: Table::with_hasher(hash),
            resets: Limit::per_second(200),
            challenges: Limit::per_second(100),
            down: false,
            counters: Counters::default(),
        }
    }

    /// How many connections are half open.
    #[cfg(test)]
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    /// What was done so far.
    #[cfg(test)]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    // Below: segments and time.

    /// A segment came in: `packet` is the IP packet, `segment` its header; checksums are right.
    pub fn on_segment(&mut self, now: Instant, packet: &[u8], segment: &Segment, out: &mut dyn IpOut) {
        self.counters.segments += 1;
        if let Some(index) = self.tuples.get(&segment.tuple).copied() {
            return self.on_own_segment(now, index, packet, segment, out);
        }
        if let Some(late) = self.time_wait.on_segment(now, segment) {
            match late {
                Late::Answer(answer) => answer.send(&segment.tuple, out),
                Late::Ignore => {}
                Late::Reopen(behind) => self.on_syn(now, packet, segment, Some(behind), out),
            }
            return;
        }
        let offer = self.offer();
        match self.half_open.on_segment(now, segment, &offer, out) {
            Some(Found::Complete(handshake, listener)) => {
                self.on_complete(now, &handshake, listener, packet, segment, out);
            }
            Some(Found::Wrong) => self.reset(now, segment, out),
            Some(Found::Ignore) => {}
            None if segment.syn && segment.ack.is_none() => self.on_syn(now, packet, segment, None, out),
            None => self.reset(now, segment, out),
        }
    }

    /// A segment of a connection that there is.
    fn on_own_segment(&mut self, now: Instant, index: u32, packet: &[u8], segment: &Segment, out: &mut dyn IpOut) {
        let id = self.id(index);
        if self.machine.state(id) != State::Connecting && !self.is_acceptable(now, id, segment, out) {
            return;
        }
        self.machine.on_segment(now, id, packet, segment, out);
        self.settle(index, if segment.rst { End::Reset } else { End::Done }, out);
        self.mark(index);
    }

    /// The checks of RFC 5961: nobody who cannot see the connection shall end it or put data into it.
    fn is_acceptable(&mut self, now: Instant, id: ConnId, segment: &Segment, out: &mut dyn IpOut) -> bool {
        let expected = self.machine.expected(id);
        let challenge = if segment.rst {
            if segment.seq == expected.next {
                return true;
            }
            segment.seq.since(expected.next) > 0 && segment.seq.since(expected.end) < 0
        } else if segment.syn {
            true
        } else {
            match segment.ack {
                Some(ack) if ack.since(expected.sent) <= 0 => return true,
                Some(_) => true,
                None => false,
            }
        };
        if challenge && self.challenges.allow(now) {
            let window = expected.end.since(expected.next).max(0) as u32 >> self.machine.window_shift();
            let window = u16::try_from(window).unwrap_or(u16::MAX);
            Bare { seq: expected.sent, ack: Some(expected.next), window, ..Bare::default() }.send(&segment.tuple, out);
        }
        false
    }

    /// A SYN for no connection that there is; our own must come from behind `behind`.
    fn on_syn(&mut self, now: Instant, packet: &[u8], segment: &Segment, behind: Option<Seq>, out: &mut dyn IpOut) {
        let local = segment.tuple.local;
        let listener = self.ports.get(&local.port()).copied().filter(|index| {
            self.listener(*index)
                .is_some_and(|listener| listener.local.address.is_none_or(|address| address == local.ip()))
        });
        let Some(index) = listener else { return self.reset(now, segment, out) };
        // The peer tries again; by then there may be room.
        if self.listener(index).is_none_or(|listener| listener.queue.len() >= listener.backlog) {
            return;
        }
        let isn = match behind {
            // RFC 9293, 3.6.1: a new connection's positions must lie behind those of the old one.
            Some(next) => next.add(1 << 16),
            None => self.isn.next(now, &segment.tuple),
        };
        let payload = ipv4::Ipv4::parse(packet).map(|packet| packet.payload()).unwrap_or_default();
        let handshake = Handshake {
            tuple: segment.tuple,
            isn,
            peer_isn: segment.seq,
            options: segment.options(payload),
            window: segment.window,
            sent: now,
        };
        let offer = self.offer();
        self.half_open.insert(&handshake, index, &offer, out);
    }

    /// A handshake is done.
    fn on_complete(
        &mut self,
        now: Instant,
        handshake: &Handshake,
        listener: u32,
        packet: &[u8],
        segment: &Segment,
        out: &mut dyn IpOut,
    ) {
        // As with the SYN: while there is no room, the peer's answer is not heard, and our SYN is repeated.
        if self.listener(listener).is_none_or(|listener| listener.queue.len() >= listener.backlog) {
            return;
        }
        let Ok(id) = self.open(handshake.tuple, Holder::Listener) else { return };
        if self.machine.establish(now, id, handshake).is_err() {
            self.release(id.index);
            return;
        }
        self.half_open.remove(&handshake.tuple);
        self.tuples.insert(handshake.tuple, id.index);
        if let Some(listener) = self.listeners.get_mut(listener as usize).and_then(Option::as_mut) {
            listener.queue.push_back(id);
            listener.acceptor.wake();
        }
        self.on_own_segment(now, id.index, packet, segment, out);
    }

    /// ICMP says that a segment with the position `seq` got nowhere. Only a connection that is being made is ended by it:
    /// for others it may be a passing trouble, or a stranger's invention.
    pub fn on_unreachable(&mut self, tuple: &FourTuple, seq: Seq, refused: bool) {
        let Some(index) = self.tuples.get(tuple).copied() else { return };
        let id = self.id(index);
        if self.machine.state(id) == State::Connecting && self.machine.expected(id).sent == seq.add(1) {
            self.end(index, if refused { End::Reset } else { End::Unreachable });
        }
    }

    /// Sending by way of `hop` is worth another try.
    pub fn on_neighbour(&mut self, hop: IpAddr) {
        let mut at = 0;
        while at < self.blocked.len() {
            if self.blocked[at].0 == hop {
                let (_, index) = self.blocked.swap_remove(at);
                self.slots[index as usize].blocked = false;
                self.mark(index);
            } else {
                at += 1;
            }
        }
    }

    /// Does what is due and sends what there is to be sent, for at most `budget` connections. Returns whether more could be
    /// done at once.
    pub fn run(&mut self, now: Instant, budget: usize, out: &mut dyn IpOut) -> bool {
        let offer = self.offer();
        self.half_open.run(now, &offer, out);
        while let Some(index) = self.timers.pop(now) {
            self.mark(index);
        }
        for _ in 0..budget {
            let Some(index) = self.dirty.pop_front() else { return false };
            self.slots[index as usize].dirty = false;
            if !self.run_one(now, index, out) {
                self.slots[index as usize].dirty = true;
                self.dirty.push_front(index);
                return false;
            }
        }
        !self.dirty.is_empty()
    }

    /// Runs a connection; `false` when the device has no room.
    fn run_one(&mut self, now: Instant, index: u32, out: &mut dyn IpOut) -> bool {
        let slot = &self.slots[index as usize];
        if slot.holder == Holder::None || slot.end.is_some() {
            return true;
        }
        let id = self.id(index);
        if slot.holder == Holder::Orphan {
            self.machine.linger(now, id, LINGER);
        }
        self.counters.runs += 1;
        let progress = self.machine.run(now, id, out);
        match progress.blocked {
            Some(Blocked::Device) => return false,
            Some(Blocked::Neighbour(hop)) => {
                let slot = &mut self.slots[index as usize];
                if !slot.blocked {
                    slot.blocked = true;
                    self.blocked.push((hop, index));
                }
            }
            None => {}
        }
        if let Some(deadline) = progress.deadline {
            self.timers.set(index, deadline);
        }
        if let State::TimeWait { next, expected } = self.machine.state(id) {
            let tuple = self.slots[index as usize].tuple;
            self.time_wait.insert(now, tuple, next, expected);
            self.end(index, End::Done);
        } else {
            self.settle(index, End::TimedOut, out);
        }
        true
    }

    /// When [`run`](Tcp::run) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.next().into_iter().chain(self.half_open.deadline()).min()
    }

    /// Whether connections are still to be closed.
    pub fn is_busy(&self) -> bool {
        !self.tuples.is_empty()
    }

    /// The device was given up: everything ends.
    pub fn down(&mut self) {
        self.down = true;
        for index in 0..self.slots.len() as u32 {
            if self.slots[index as usize].holder != Holder::None {
                self.end(index, End::Down);
            }
        }
        for listener in self.listeners.iter_mut().flatten() {
            listener.acceptor.wake();
        }
    }

    /// Looks what the machine has made of a connection; `cause` is why it would be closed now.
    fn settle(&mut self, index: u32, cause: End, out: &mut dyn IpOut) {
        let id = self.id(index);
        if self.machine.state(id) == State::Closed {
            return self.end(index, cause);
        }
        let ready = self.machine.readiness(id);
        let slot = &mut self.slots[index as usize];
        if slot.holder == Holder::Orphan && ready.readable > 0 {
            // Nobody will ever read this: the peer must know.
            self.send_reset(id, out);
            return self.end(index, End::Aborted);
        }
        if ready.readable > 0 || ready.finished {
            slot.reader.wake();
        }
        if ready.writable || ready.unacknowledged == 0 {
            slot.writer.wake();
        }
    }

    /// The connection is over.
    fn end(&mut self, index: u32, end: End) {
        let id = self.id(index);
        let slot = &mut self.slots[index as usize];
        if slot.end.is_some() {
            return;
        }
        slot.end = Some(end);
        slot.reader.wake();
        slot.writer.wake();
        self.tuples.remove(&slot.tuple);
        self.timers.remove(index);
        let orphan = slot.holder == Holder::Orphan;
        // What was received in full can still be read.
        if end != End::Done || self.machine.readiness(id).readable == 0 {
            self.machine.free(id);
        }
        if orphan {
            self.release(index);
        }
    }

    fn reset(&mut self, now: Instant, segment: &Segment, out: &mut dyn IpOut) {
        if let Some(answer) = Bare::reset_for(segment)
            && self.resets.allow(now)
        {
            self.counters.resets += 1;
            answer.send(&segment.tuple, out);
        }
    }

    fn offer(&self) -> Offer {
        Offer { mss: self.mss, window: self.machine.initial_window(), window_shift: self.machine.window_shift() }
    }

    // Slots.

    fn id(&self, index: u32) -> ConnId {
        ConnId { index, generation: self.slots[index as usize].generation }
    }

    /// The slot of a handle. Handles are the only ones who free it, so it is always there.
    fn slot(&mut self, id: ConnId) -> &mut Slot {
        &mut self.slots[id.index as usize]
    }

    /// A slot for a new connection.
    fn open(&mut self, tuple: FourTuple, holder: Holder) -> Result<ConnId, OutOfMemory> {
        let slot = |generation| Slot {
            generation,
            tuple,
            holder,
            end: None,
            shut: false,
            dirty: false,
            blocked: false,
            reader: WakerSlot::default(),
            writer: WakerSlot::default(),
        };
        let index = match self.free.pop() {
            Some(index) => {
                let old = &mut self.slots[index as usize];
                // It may still stand in the queue and the list from its last use.
                let (dirty, blocked) = (old.dirty, old.blocked);
                *old = Slot { dirty, blocked, ..slot(old.generation.wrapping_add(1)) };
                index
            }
            None => {
                self.slots.try_reserve(1).map_err(|_| OutOfMemory)?;
                self.slots.push(slot(0));
                self.slots.len() as u32 - 1
            }
        };
        Ok(self.id(index))
    }

    fn release(&mut self, index: u32) {
        self.machine.free(self.id(index));
        self.timers.remove(index);
        let slot = &mut self.slots[index as usize];
        slot.holder = Holder::None;
        slot.reader = WakerSlot::default();
        slot.writer = WakerSlot::default();
        self.free.push(index);
    }

    /// Puts a connection into the queue of those with something to do.
    fn mark(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        if !slot.dirty && slot.holder != Holder::None {
            slot.dirty = true;
            self.dirty.push_back(index);
        }
    }

    // Above: the application.

    fn listener(&self, index: u32) -> Option<&Listener> {
        self.listeners.get(index as usize)?.as_ref()
    }

    /// Listens; see [`crate::net::Tcp::bind_with_backlog`].
    pub fn bind(&mut self, local: ListenAddr, backlog: usize) -> Result<u32, BindError> {
        if let Some(address) = local.address.filter(|address| *address != self.address) {
            return Err(BindError::NotOurs(address));
        }
        let port = match local.port {
            0 => self.free_port(|tcp, port| !tcp.ports.contains_key(&port)).ok_or(BindError::NoPort)?,
            port if self.ports.contains_key(&port) => return Err(BindError::InUse { port }),
            port => port,
        };
        let listener = Listener {
            local: ListenAddr { address: local.address, port },
            backlog,
            queue: VecDeque::new(),
            acceptor: WakerSlot::default(),
        };
        let index = match self.listeners.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.listeners.push(None);
                self.listeners.len() - 1
            }
        };
        self.listeners[index] = Some(listener);
        self.ports.insert(port, index as u32);
        Ok(index as u32)
    }

    /// Where a listener listens.
    pub fn listener_addr(&self, index: u32) -> SocketAddr {
        match self.listener(index) {
            Some(listener) => SocketAddr::new(listener.local.address.unwrap_or(self.address), listener.local.port),
            None => SocketAddr::new(self.address, 0),
        }
    }

    /// The next connection of a listener.
    pub fn poll_accept(
        &mut self,
        index: u32,
        context: &mut Context<'_>,
    ) -> Poll<Result<(ConnId, SocketAddr), AcceptError>> {
        loop {
            let Some(listener) = self.listeners.get_mut(index as usize).and_then(Option::as_mut) else {
                return Poll::Ready(Err(AcceptError::Down));
            };
            let Some(id) = listener.queue.pop_front() else {
                if self.down {
                    return Poll::Ready(Err(AcceptError::Down));
                }
                listener.acceptor.register(context.waker());
                return Poll::Pending;
            };
            let slot = self.slot(id);
            // One that was reset while it waited is of no use to anybody.
            if slot.end.is_some_and(|end| end != End::Done) {
                self.release(id.index);
                continue;
            }
            slot.holder = Holder::Application;
            return Poll::Ready(Ok((id, slot.tuple.remote)));
        }
    }

    /// Closes a listener and resets what waits at it.
    pub fn close_listener(&mut self, index: u32, out: &mut dyn IpOut) {
        let Some(listener) = self.listeners.get_mut(index as usize).and_then(Option::take) else { return };
        self.ports.remove(&listener.local.port);
        self.half_open.remove_listener(index);
        for id in listener.queue {
            self.abort(id, out);
            self.release(id.index);
        }
    }

    /// Starts a connection; [`poll_connected`](Tcp::poll_connected) says when it is there.
    pub fn connect(&mut self, now: Instant, remote: SocketAddr, out: &dyn IpOut) -> Result<ConnId, ConnectError> {
        if self.down {
            return Err(ConnectError::Down);
        }
        let route = out.route(remote.ip()).filter(|_| remote.port() != 0);
        let Some(route) = route else { return Err(ConnectError::Unreachable(remote)) };
        let tuple = |port| FourTuple { local: SocketAddr::new(route.source, port), remote };
        let port = self
            .free_port(|tcp, port| {
                let tuple = tuple(port);
                !tcp.ports.contains_key(&port) && !tcp.tuples.contains_key(&tuple) && !tcp.time_wait.contains(&tuple)
            })
            .ok_or(ConnectError::NoPort)?;
        let tuple = tuple(port);
        let id = self.open(tuple, Holder::Application).map_err(|_| ConnectError::OutOfMemory)?;
        let isn = self.isn.next(now, &tuple);
        if self.machine.connect(now, id, &tuple, isn).is_err() {
            self.release(id.index);
            return Err(ConnectError::OutOfMemory);
        }
        self.tuples.insert(tuple, id.index);
        self.mark(id.index);
        Ok(id)
    }

    /// A port for a socket without one of its own. Each search starts behind a number that grows in steps that others
    /// cannot foresee (RFC 6056).
    fn free_port(&mut self, is_free: impl Fn(&Self, u16) -> bool) -> Option<u16> {
        let step = self.isn.next(
            Instant::ZERO,
            &FourTuple {
                local: SocketAddr::new(self.address, self.next_port),
                remote: SocketAddr::new(self.address, 0),
            },
        );
        self.next_port = self.next_port.wrapping_add(1 + (step.0 % 500) as u16);
        let start = self.next_port;
        let port = (0..PORTS)
            .map(|offset| FIRST_PORT + start.wrapping_add(offset) % PORTS)
            .find(|port| is_free(self, *port))?;
        Some(port)
    }

    /// Ready when the connection is made.
    pub fn poll_connected(&mut self, id: ConnId, context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        let connecting = self.machine.state(id) == State::Connecting;
        let slot = self.slot(id);
        let peer = slot.tuple.remote;
        match slot.end {
            Some(End::Reset) => Poll::Ready(Err(ConnectError::Refused(peer))),
            Some(End::Down) => Poll::Ready(Err(ConnectError::Down)),
            Some(End::Unreachable) => Poll::Ready(Err(ConnectError::Unreachable(peer))),
            Some(End::TimedOut) => Poll::Ready(Err(ConnectError::TimedOut(peer))),
            Some(End::Done | End::Aborted) => Poll::Ready(Ok(())),
            None if connecting => {
                slot.writer.register(context.waker());
                Poll::Pending
            }
            None => Poll::Ready(Ok(())),
        }
    }

    /// The two ends of a connection: ours and the peer's.
    pub fn addresses(&mut self, id: ConnId) -> (SocketAddr, SocketAddr) {
        let tuple = self.slot(id).tuple;
        (tuple.local, tuple.remote)
    }

    /// Reads into `buffer`, which is not empty.
    pub fn poll_read(
        &mut self,
        id: ConnId,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, ReadError>> {
        let length = self.machine.read(id, buffer);
        if length > 0 {
            self.taken(id);
            return Poll::Ready(Ok(length));
        }
        self.poll_end(id, context).map_ok(|()| 0)
    }

    /// Shows the first bytes to `look`, none at the end.
    pub fn poll_peek(
        &mut self,
        id: ConnId,
        context: &mut Context<'_>,
        look: &mut dyn FnMut(&[u8]),
    ) -> Poll<Result<(), ReadError>> {
        let bytes = self.machine.peek(id);
        if !bytes.is_empty() {
            look(bytes);
            return Poll::Ready(Ok(()));
        }
        let end = self.poll_end(id, context);
        if let Poll::Ready(Ok(())) = end {
            look(&[]);
        }
        end
    }

    /// Takes away bytes that were looked at.
    pub fn consume(&mut self, id: ConnId, length: usize) {
        self.machine.consume(id, length);
        self.taken(id);
    }

    /// There is nothing to read: ready when that is for good.
    fn poll_end(&mut self, id: ConnId, context: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        let finished = self.machine.readiness(id).finished;
        let slot = self.slot(id);
        match slot.end {
            Some(End::Done) => Poll::Ready(Ok(())),
            Some(End::Reset | End::Unreachable) => Poll::Ready(Err(ReadError::Reset)),
            Some(End::TimedOut) => Poll::Ready(Err(ReadError::TimedOut)),
            Some(End::Aborted) => Poll::Ready(Err(ReadError::Aborted)),
            Some(End::Down) => Poll::Ready(Err(ReadError::Down)),
            None if finished => Poll::Ready(Ok(())),
            None => {
                slot.reader.register(context.waker());
                Poll::Pending
            }
        }
    }

    /// Bytes were read: the peer may send more, or the connection's memory is not needed any more.
    fn taken(&mut self, id: ConnId) {
        if self.slot(id).end.is_none() {
            self.mark(id.index);
        } else if self.machine.readiness(id).readable == 0 {
            self.machine.free(id);
        }
    }

    /// Takes over some of `bytes`, which are not empty.
    pub fn poll_write(
        &mut self,
        id: ConnId,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, WriteError>> {
        let slot = self.slot(id);
        match slot.end {
            Some(End::Reset | End::Unreachable) => return Poll::Ready(Err(WriteError::Reset)),
            Some(End::TimedOut) => return Poll::Ready(Err(WriteError::TimedOut)),
            Some(End::Down) => return Poll::Ready(Err(WriteError::Down)),
            Some(End::Done | End::Aborted) => return Poll::Ready(Err(WriteError::Closed)),
            None if slot.shut => return Poll::Ready(Err(WriteError::Closed)),
            None => {}
        }
        let length = self.machine.write(id, bytes);
        if length > 0 {
            self.mark(id.index);
            return Poll::Ready(Ok(length));
        }
        self.slot(id).writer.register(context.waker());
        Poll::Pending
    }

    /// Closes this side.
    pub fn shutdown(&mut self, id: ConnId) -> Result<(), WriteError> {
        let slot = self.slot(id);
        match slot.end {
            Some(End::Done) | None => {}
            Some(End::Reset | End::Unreachable) => return Err(WriteError::Reset),
            Some(End::TimedOut) => return Err(WriteError::TimedOut),
            Some(End::Aborted) => return Err(WriteError::Closed),
            Some(End::Down) => return Err(WriteError::Down),
        }
        if slot.end.is_none() && !slot.shut {
            slot.shut = true;
            // Whoever waits to write waits in vain.
            slot.writer.wake();
            self.machine.shutdown(id);
            self.mark(id.index);
        }
        Ok(())
    }

    /// Ready when the peer has acknowledged all that was written, and the end if this side was shut down.
    pub fn poll_sent(&mut self, id: ConnId, context: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        let waiting = self.machine.readiness(id).unacknowledged > 0;
        let slot = self.slot(id);
        match slot.end {
            Some(End::Done) => Poll::Ready(Ok(())),
            Some(End::Reset | End::Unreachable) => Poll::Ready(Err(WriteError::Reset)),
            Some(End::TimedOut) => Poll::Ready(Err(WriteError::TimedOut)),
            Some(End::Aborted) => Poll::Ready(Err(WriteError::Closed)),
            Some(End::Down) => Poll::Ready(Err(WriteError::Down)),
            None if waiting => {
                slot.writer.register(context.waker());
                Poll::Pending
            }
            None => Poll::Ready(Ok(())),
        }
    }

    /// Resets the connection.
    pub fn abort(&mut self, id: ConnId, out: &mut dyn IpOut) {
        if self.slot(id).end.is_some() {
            return;
        }
        self.send_reset(id, out);
        self.end(id.index, End::Aborted);
    }

    /// Tells the peer that the connection is no more.
    fn send_reset(&mut self, id: ConnId, out: &mut dyn IpOut) {
        let tuple = self.slot(id).tuple;
        if self.machine.state(id) == State::Open {
            let expected = self.machine.expected(id);
            Bare { control: segment::Control::Rst, seq: expected.sent, ack: Some(expected.next), ..Bare::default() }
                .send(&tuple, out);
        }
    }

    /// The last handle of the application is gone.
    pub fn drop_handle(&mut self, id: ConnId, out: &mut dyn IpOut) {
        if self.slot(id).end.is_some() {
            return self.release(id.index);
        }
        let unread = self.machine.readiness(id).readable > 0;
        self.slot(id).holder = Holder::Orphan;
        if self.machine.state(id) == State::Connecting {
            self.end(id.index, End::Aborted);
        } else if unread {
            self.send_reset(id, out);
            self.end(id.index, End::Reset);
        } else {
            self.machine.shutdown(id);
            self.mark(id.index);
        }
    }
}

/// The most bytes of a segment, without options, on a link with this MTU.
fn mss(mtu: usize) -> u16 {
    u16::try_from(mtu.saturating_sub(ipv4::HEADER + 20)).unwrap_or(u16::MAX)
}
