//! smoltcp's TCP, with a socket set for each connection.
//!
//! smoltcp looks at every socket of a set for each packet. A set of one socket makes that constant work. Its interface
//! speaks plain IP here: neighbours, ICMP, UDP and everything else are this crate's own.

mod adapter;
mod connection;
mod seed;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State as SmolState};
use smoltcp::time::{Duration as SmolDuration, Instant as SmolInstant};
use smoltcp::wire::{HardwareAddress, IpCidr, IpEndpoint};

use adapter::{Adapter, Swallow};
use connection::{Connection, Sent, Shown};

use super::machine::{Buffers, ConnId, Expected, Handshake, OutOfMemory, Progress, Readiness, State, TcpMachine};
use super::segment::{BARE_MOST, Bare, Control, FourTuple, Segment, Seq, SynOptions};
use super::timestamps::Stamps;
use crate::net::direct::header;
use crate::net::direct::ip::{IpOut, Path, Paths, Route};
use crate::net::{OptionError, TcpInfo, TcpOption, TcpState, log_targets};
use crate::time::{Duration, Instant};

/// How long a peer may be silent while it owes an answer.
const USER_TIMEOUT: Duration = Duration::from_secs(120);
/// The same while the connection is being made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an acknowledgement may wait for data to go with it.
const ACK_DELAY: Duration = Duration::from_millis(10);
/// Buffers are so many times as large while most of the budget is free: the fewer connections, the faster each.
const GENEROUS: [usize; 3] = [32, 16, 4];
/// Sockets kept for the next connections, so that their buffers need not be made again.
const SPARE: usize = 4;
/// When to look for a route again.
const ROUTE_WAIT: Duration = Duration::from_secs(1);
/// When to look for pages again.
const PAGE_WAIT: Duration = Duration::from_millis(10);
/// Bytes of a connection besides its buffers, roughly.
const OVERHEAD: usize = 1024;
/// Bytes of the longest SYN.
const SCRATCH: usize = 128;

/// Families of addresses.
const FAMILIES: usize = if cfg!(feature = "ipv6") { 2 } else { 1 };

/// The machine.
pub struct SmolSets {
    faces: [Face; FAMILIES],
    buffers: Buffers,
    connections: Vec<Option<Box<Connection>>>,
    /// Bytes of the budget that connections take.
    memory: usize,
    /// Sockets without a connection.
    spare: Vec<Parts>,
    /// For segments that are shown to smoltcp in another form.
    scratch: Vec<u8>,
    /// For the longest packet.
    large: Vec<u8>,
    /// Segments that were sent again.
    retransmitted: u64,
}

/// What smoltcp takes for the network, in one family.
struct Face {
    interface: Interface,
    address: IpAddr,
    prefix: u8,
    path: Path,
    /// Bytes of the longest packet that smoltcp is to make: the MTU, or as many segments as the device cuts.
    longest: usize,
}

impl Face {
    fn new(address: IpAddr, prefix: u8, mtu: usize) -> Face {
        let path = Path { mtu, most: 0 };
        Face { interface: interface(address, prefix, mtu, 0), address, prefix, path, longest: mtu }
    }

    /// An interface of one family has many addresses of IPv6, which come and go; a connection always has the same.
    #[inline(always)]
    fn set_address(&mut self, address: IpAddr) {
        if cfg!(feature = "ipv6") && self.address != address {
            self.address = address;
            set_address(&mut self.interface, address, self.prefix);
        }
    }
}

/// The place of a family.
#[inline(always)]
fn family(address: IpAddr) -> usize {
    usize::from(cfg!(feature = "ipv6") && address.is_ipv6())
}

/// Bytes of an IP and a TCP header without options.
#[inline(always)]
fn headers(remote: IpAddr) -> usize {
    header::length(remote) + 20
}

/// A socket in a set of its own.
struct Parts {
    set: SocketSet<'static>,
    handle: SocketHandle,
    /// Bytes that it takes of the budget.
    cost: usize,
}

impl SmolSets {
    pub fn new(address: IpAddr, prefix: u8, paths: Paths, buffers: Buffers) -> SmolSets {
        let mtu = paths.ipv4.mtu;
        let mut machine = SmolSets {
            faces: [
                Face::new(address, prefix, mtu),
                #[cfg(feature = "ipv6")]
                Face::new(core::net::Ipv6Addr::UNSPECIFIED.into(), 128, mtu),
            ],
            buffers,
            connections: Vec::new(),
            memory: 0,
            spare: Vec::new(),
            scratch: Vec::new(),
            large: alloc::vec![0; mtu],
            retransmitted: 0,
        };
        machine.set_device(paths);
        machine
    }

    fn get(&self, id: ConnId) -> Option<&Connection> {
        self.connections.get(id.index as usize)?.as_deref().filter(|connection| connection.generation == id.generation)
    }

    fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        find(&mut self.connections, id)
    }

    /// Bytes that a connection takes of the budget whose buffers are `times` as large as the smallest.
    fn cost(&self, times: usize) -> usize {
        times * (self.buffers.receive + self.buffers.send) + OVERHEAD
    }

    /// A closed socket, with buffers as large as the budget and the memory allow.
    fn socket(&mut self) -> Result<Parts, OutOfMemory> {
        for times in GENEROUS {
            let cost = self.cost(times);
            if self.memory + cost <= self.buffers.budget / 4
                && let Ok(parts) = self.socket_of(times, cost)
            {
                return Ok(parts);
            }
        }
        if !self.has_room() {
            return Err(OutOfMemory);
        }
        self.socket_of(1, self.cost(1))
    }

    #[inline(never)]
    fn socket_of(&mut self, times: usize, cost: usize) -> Result<Parts, OutOfMemory> {
        if let Some(place) = self.spare.iter().position(|spare| spare.cost == cost) {
            return Ok(self.spare.swap_remove(place));
        }
        // Others are of no use now, and their memory may be needed.
        self.spare.clear();
        let receive = SocketBuffer::new(zeroed(times * self.buffers.receive)?);
        let send = SocketBuffer::new(zeroed(times * self.buffers.send)?);
        let mut socket = Socket::new(receive, send);
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let mut storage = Vec::new();
        storage.try_reserve_exact(1).map_err(|_| OutOfMemory)?;
        storage.push(SocketStorage::EMPTY);
        let mut set = SocketSet::new(storage);
        let handle = set.add(socket);
        Ok(Parts { set, handle, cost })
    }

    /// What smoltcp is told of what fits a segment of a peer that takes `mss` bytes.
    fn shown_mss(&self, remote: IpAddr, mss: u16) -> u16 {
        let face = &self.faces[family(remote)];
        if face.longest <= face.path.mtu { mss } else { self::mss(remote, face.longest).max(mss) }
    }

    /// Keeps a socket for another connection.
    #[inline(never)]
    fn recycle(&mut self, mut parts: Parts) {
        if self.spare.len() == SPARE || self.spare.try_reserve(1).is_err() {
            return;
        }
        let socket = parts.set.get_mut::<Socket<'_>>(parts.handle);
        socket.abort();
        socket.set_timeout(None);
        socket.set_nagle_enabled(false);
        self.spare.push(parts);
    }

    /// Packets to addresses like `remote` can be so long from now on.
    fn set_path(&mut self, remote: IpAddr, path: Path) {
        let face = &mut self.faces[family(remote)];
        if path == face.path {
            return;
        }
        face.path = path;
        let Path { mtu, most } = path;
        let headers = headers(remote);
        // Whole segments, so that the last one of each packet is no small one.
        let segment = mtu.saturating_sub(headers).max(1);
        face.longest = headers + most.saturating_sub(headers) / segment * segment;
        let needed = face.longest.max(mtu);
        if needed > self.large.len()
            && let Ok(large) = zeroed(needed)
        {
            self.large = large;
        }
        if face.longest <= mtu || self.large.len() < face.longest {
            // smoltcp believes in peers that take more than they do, as long as something cuts what it makes.
            let open =
                self.connections.iter().flatten().filter(|connection| family(connection.remote) == family(remote));
            let least = open.map(|connection| headers + usize::from(connection.peer_mss)).min();
            face.longest = least.map_or(mtu, |least| least.min(mtu)).min(self.large.len());
        }
        // smoltcp asks the device once. Nothing of a connection is in the interface.
        face.interface = interface(face.address, face.prefix, face.longest, 0);
        for connection in self.connections.iter_mut().flatten() {
            if family(connection.remote) == family(remote) {
                connection.sent.mss = mss(remote, mtu).min(connection.peer_mss);
            }
        }
    }

    fn keep(&mut self, id: ConnId, connection: Connection) -> Result<(), OutOfMemory> {
        let index = id.index as usize;
        if index >= self.connections.len() {
            self.connections.try_reserve(index + 1 - self.connections.len()).map_err(|_| OutOfMemory)?;
            self.connections.resize_with(index + 1, || None);
        }
        self.memory += connection.parts.cost;
        if let Some(old) = self.connections[index].replace(Box::new(connection)) {
            self.memory -= old.parts.cost;
        }
        Ok(())
    }
}

impl TcpMachine for SmolSets {
    fn window_shift(&self) -> u8 {
        shift(GENEROUS[0] * self.buffers.receive)
    }

    fn initial_window(&self) -> u16 {
        u16::try_from(self.buffers.receive).unwrap_or(u16::MAX)
    }

    /// smoltcp echoes timestamps but has none to look at.
    fn clock(&self, _: &FourTuple) -> Option<u32> {
        None
    }

    fn ecn(&self) -> bool {
        false
    }

    fn set_device(&mut self, paths: Paths) {
        self.set_path(IpAddr::V4(Ipv4Addr::UNSPECIFIED), paths.ipv4);
        #[cfg(feature = "ipv6")]
        self.set_path(core::net::Ipv6Addr::UNSPECIFIED.into(), paths.ipv6);
    }

    fn set_address(&mut self, address: IpAddr, prefix: u8) {
        let face = &mut self.faces[family(address)];
        (face.address, face.prefix) = (address, prefix);
        face.interface = interface(address, prefix, face.longest, 0);
    }

    fn has_room(&self) -> bool {
        self.memory + self.cost(1) <= self.buffers.budget
    }

    /// A socket that listens is shown the peer's SYN once more, on an interface that makes it take the position of our
    /// SYN; its own SYN goes nowhere, as the peer has it already.
    fn establish(&mut self, now: Instant, id: ConnId, handshake: &Handshake) -> Result<(), OutOfMemory> {
        let mut parts = self.socket()?;
        let socket = parts.set.get_mut::<Socket<'_>>(parts.handle);
        let own_shift = shift(socket.recv_capacity());
        socket.listen(endpoint(handshake.tuple.local())?).map_err(|_| OutOfMemory)?;
        let (own, remote) = (handshake.tuple.local().ip(), handshake.tuple.remote().ip());
        let (mtu, longest) = (self.faces[family(remote)].path.mtu, self.faces[family(remote)].longest);
        let mut interface = interface(own, 32, longest, seed::seed(handshake.isn));
        let reversed = handshake.tuple.reversed();
        let syn = Bare {
            control: Control::Syn,
            seq: handshake.peer_isn,
            ack: None,
            window: handshake.window,
            options: SynOptions {
                mss: handshake.options.mss.map(|mss| self.shown_mss(remote, mss)),
                ..handshake.options
            },
            stamp: None,
        };
        let mut packet = [0; BARE_MOST];
        let length = syn.emit(&reversed, &mut packet).ok_or(OutOfMemory)?;
        let mut sent = Sent::default();
        let route = void_route(own, longest);
        let (mut swallow, mut large) = (Swallow, [0; SCRATCH]);
        let mut sink = void(packet.get(..length), &mut sent, &route, &mut swallow, &mut large);
        let then = smol_instant(handshake.sent);
        interface.poll_ingress_single(then, &mut sink, &mut parts.set);
        interface.poll_egress(then, &mut sink, &mut parts.set);
        if sent.end != handshake.isn.add(1) {
            log::error!(target: log_targets::TCP, "smoltcp did not take the sequence number it was given; a connection is refused");
            return Err(OutOfMemory);
        }
        let mut connection = Connection::new(now, id, parts, &handshake.tuple, handshake.isn);
        let told = self.window_shift();
        let window = u32::from(self.initial_window());
        let mss = mss(remote, mtu);
        connection.sent = Sent { shift: told, narrow: told.saturating_sub(own_shift), window, mss, ..sent };
        connection.hear_syn(handshake.peer_isn, &handshake.options);
        self.keep(id, connection)
    }

    fn connect(&mut self, now: Instant, id: ConnId, tuple: &FourTuple, isn: Seq) -> Result<(), OutOfMemory> {
        let mut parts = self.socket()?;
        let remote = tuple.remote().ip();
        let face = &self.faces[family(remote)];
        let (mtu, longest) = (face.path.mtu, face.longest);
        let mut interface = interface(tuple.local().ip(), 32, longest, seed::seed(isn));
        let socket = parts.set.get_mut::<Socket<'_>>(parts.handle);
        let own_shift = shift(socket.recv_capacity());
        socket
            .connect(interface.context(), endpoint(tuple.remote())?, endpoint(tuple.local())?)
            .map_err(|_| OutOfMemory)?;
        let mut connection = Connection::new(now, id, parts, tuple, isn);
        connection.sent.shift = own_shift;
        connection.sent.mss = mss(remote, mtu);
        self.keep(id, connection)
    }

    fn on_segment(&mut self, now: Instant, id: ConnId, packet: &[u8], segment: &Segment, out: &mut dyn IpOut) {
        let Some(connection) = find(&mut self.connections, id) else { return };
        let Some(route) = out.route(connection.remote) else { return };
        connection.heard = now;
        let remote = connection.remote;
        let face = &mut self.faces[family(remote)];
        face.set_address(segment.tuple.local().ip());
        let most_segment = mss(remote, face.longest);
        let shown = connection.hear(packet, segment, most_segment, &mut self.scratch);
        let (mtu, then) = (face.longest, smol_instant(now));
        let large = &mut self.large[..];
        let mut show = |connection: &mut Connection, packet| {
            let sent = &mut connection.sent;
            let receive = Some(packet);
            let mut device = Adapter { receive, out, route: &route, sent, mtu, large, into_the_void: false };
            face.interface.poll_ingress_single(then, &mut device, &mut connection.parts.set);
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

    /// smoltcp takes the size of segments from the peer's SYN, and from nothing else.
    fn on_too_big(&mut self, _: Instant, _: ConnId, _: Seq, _: usize) -> bool {
        false
    }

    fn run(&mut self, now: Instant, id: ConnId, out: &mut dyn IpOut) -> Progress {
        let nothing = Progress { deadline: None, blocked: None, plain: false };
        let Some(connection) = find(&mut self.connections, id) else { return nothing };
        let Some(route) = out.route(connection.remote) else {
            // There may be a router again later.
            return Progress { deadline: Some(now + ROUTE_WAIT), blocked: None, plain: false };
        };
        connection.set_timeout(now);
        let then = smol_instant(now);
        let face = &mut self.faces[family(connection.remote)];
        if let Some(local) = connection.socket().local_endpoint() {
            face.set_address(local.addr.into());
        }
        let mtu = face.longest;
        let mut idle = false;
        loop {
            if let Some(until) = connection.waits_until(now) {
                return Progress { deadline: Some(until), blocked: None, plain: false };
            }
            let Some(at) = face.interface.poll_at(then, &connection.parts.set) else { return nothing };
            if at > then {
                return Progress { deadline: Some(instant(at)), blocked: None, plain: false };
            }
            // It wants to send and does not: there are no pages.
            if idle {
                return Progress { deadline: Some(now + PAGE_WAIT), blocked: None, plain: false };
            }
            if let Err(blocked) = out.ready(&route) {
                return Progress { deadline: None, blocked: Some(blocked), plain: false };
            }
            let (sent, large) = (&mut connection.sent, &mut self.large[..]);
            let mut device = Adapter { receive: None, out, route: &route, sent, mtu, large, into_the_void: false };
            let result = face.interface.poll_egress(then, &mut device, &mut connection.parts.set);
            self.retransmitted += u64::from(connection.notice_loss());
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

    fn info(&self, now: Instant, id: ConnId) -> TcpInfo {
        self.get(id).map_or(TcpInfo::new(TcpState::Closed, 0, 0), |connection| connection.info(now))
    }

    fn retransmitted(&self) -> u64 {
        self.retransmitted
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
            return Expected { next: Seq(0), end: Seq(0), shift: 0, sent: Seq(0) };
        };
        let sent = &connection.sent;
        Expected { next: connection.expected(), end: sent.ack.add(sent.window), shift: sent.shift, sent: sent.end }
    }

    fn stamps(&self, _: ConnId) -> Option<Stamps> {
        None
    }

    fn peek(&mut self, id: ConnId) -> &[u8] {
        match self.get_mut(id) {
            Some(connection) => connection.socket_mut().peek(usize::MAX).unwrap_or_default(),
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

    fn set(&mut self, now: Instant, id: ConnId, option: TcpOption) -> Result<(), OptionError> {
        let connection = self.get_mut(id).ok_or(OptionError::Closed)?;
        match option {
            TcpOption::NoDelay(nodelay) => connection.socket_mut().set_nagle_enabled(!nodelay),
            TcpOption::UserTimeout(most) => {
                connection.user_timeout = most.unwrap_or(USER_TIMEOUT);
                connection.set_timeout(now);
            }
            TcpOption::KeepAlive(None) => {}
            // smoltcp asks silent peers without end, and has one time for silence and for lost segments; its congestion control is
            // none without std.
            TcpOption::KeepAlive(Some(_)) | TcpOption::Linger(_) | TcpOption::CongestionControl(_) => {
                return Err(OptionError::Unsupported);
            }
        }
        Ok(())
    }

    fn linger(&mut self, now: Instant, id: ConnId) -> Instant {
        let Some(connection) = self.get_mut(id) else { return now };
        let since = *connection.lingering.get_or_insert(now);
        connection.set_timeout(now);
        since
    }

    fn free(&mut self, id: ConnId) {
        if self.get(id).is_some()
            && let Some(old) = self.connections[id.index as usize].take()
        {
            self.memory -= old.parts.cost;
            self.recycle(old.parts);
        }
    }
}

fn find(connections: &mut [Option<Box<Connection>>], id: ConnId) -> Option<&mut Connection> {
    connections.get_mut(id.index as usize)?.as_deref_mut().filter(|connection| connection.generation == id.generation)
}

#[inline(never)]
fn zeroed(length: usize) -> Result<Vec<u8>, OutOfMemory> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| OutOfMemory)?;
    bytes.resize(length, 0);
    Ok(bytes)
}

/// The most bytes of data in a packet of `mtu` bytes.
fn mss(remote: IpAddr, mtu: usize) -> u16 {
    u16::try_from(mtu.saturating_sub(headers(remote))).unwrap_or(u16::MAX)
}

/// By how many bits smoltcp shifts the windows of a buffer.
fn shift(capacity: usize) -> u8 {
    (usize::BITS - capacity.leading_zeros()).saturating_sub(16).min(14) as u8
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

/// smoltcp may be built without IPv6; the layers below let none through then.
fn endpoint(address: SocketAddr) -> Result<IpEndpoint, OutOfMemory> {
    match address.ip() {
        IpAddr::V4(ip) => Ok(IpEndpoint::new(ip.into(), address.port())),
        #[cfg(feature = "ipv6")]
        IpAddr::V6(ip) => Ok(IpEndpoint::new(ip.into(), address.port())),
        #[cfg(not(feature = "ipv6"))]
        IpAddr::V6(_) => Err(OutOfMemory),
    }
}

/// A device that leads nowhere.
fn void<'a>(
    receive: Option<&'a [u8]>,
    sent: &'a mut Sent,
    route: &'a Route,
    out: &'a mut Swallow,
    large: &'a mut [u8],
) -> Adapter<'a> {
    Adapter { receive, out, route, sent, mtu: route.mtu, large, into_the_void: true }
}

fn void_route(address: IpAddr, mtu: usize) -> Route {
    Route { source: address, next_hop: address, mtu, offload: false }
}

/// An interface for one address whose generator starts at `seed`.
#[inline(never)]
fn interface(address: IpAddr, prefix: u8, mtu: usize, seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let (mut sent, route) = (Sent::default(), void_route(address, mtu));
    let mut sink = Swallow;
    let mut device = void(None, &mut sent, &route, &mut sink, &mut []);
    let mut interface = Interface::new(config, &mut device, SmolInstant::ZERO);
    set_address(&mut interface, address, prefix);
    interface
}

#[inline(always)]
fn set_address(interface: &mut Interface, address: IpAddr, prefix: u8) {
    interface.update_ip_addrs(|addresses| {
        addresses.clear();
        let cidr = match address {
            IpAddr::V4(address) => IpCidr::new(address.into(), prefix),
            #[cfg(feature = "ipv6")]
            IpAddr::V6(address) => IpCidr::new(address.into(), 128),
            #[cfg(not(feature = "ipv6"))]
            IpAddr::V6(_) => return,
        };
        // There is room for one: the list is empty.
        let _ = addresses.push(cidr);
    });
}

#[cfg(test)]
mod tests;
