//! UDP: sockets by port, and a bounded queue of received datagrams for each.

mod leaving;
mod queue;

#[cfg(feature = "datagrams")]
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll};

use smoltcp::wire::{IpProtocol, UDP_HEADER_LEN, UdpPacket};

use super::counters::UdpCounters;
#[cfg(feature = "datagrams")]
use super::cutting::Numbers;
use super::hash::{Index, Keyed};
use super::header;
use super::identification::Identifications;
use super::ip::{IpOut, TxMeta, Usual};
#[cfg(feature = "datagrams")]
use super::quotes::Fate;
use super::wakers::WakerSlot;
use crate::net::address::ListenAddr;
use crate::net::error::{BindError, ReceiveError, SendError};
#[cfg(feature = "datagrams")]
use crate::net::udp_options::UdpOption;
use leaving::Leaving;
use queue::Queue;

/// Bytes of the longest datagram: what fits the longest packet of IPv4.
const MOST: usize = 65_507;
/// Ports for sockets without one of their own (RFC 6335).
const FIRST_PORT: u16 = 49152;
const PORTS: u16 = 16384;
/// Ports that are drawn before one is looked for behind the last of them.
const DRAWS: usize = 16;

struct Socket {
    local: ListenAddr,
    queue: Queue,
    reader: WakerSlot,
    writer: WakerSlot,
    /// Of datagrams to groups.
    #[cfg(feature = "datagrams")]
    multicast: Multicast,
    /// Whether errors are told, and of what.
    #[cfg(feature = "datagrams")]
    errors: Option<Errors>,
}

/// What a socket keeps that wants to know of errors.
#[cfg(feature = "datagrams")]
#[derive(Default)]
struct Errors {
    /// Whom it has sent to, the latest last: who makes up an error has to know one of them.
    sent: VecDeque<SocketAddr>,
    /// What is to be told next.
    pending: Option<(SocketAddr, Fate)>,
}

/// Destinations that a socket remembers.
#[cfg(feature = "datagrams")]
const REMEMBERED: usize = 16;

/// What is done with datagrams that a socket sends to groups.
#[cfg(feature = "datagrams")]
#[derive(Clone, Copy)]
struct Multicast {
    /// How many hops they may take.
    hops: u8,
    /// Whether they come back to sockets here.
    loops: bool,
}

impl Socket {
    /// Remembers whom it has sent to, if it wants to know what becomes of that.
    #[cfg(feature = "datagrams")]
    fn note_sent(&mut self, remote: SocketAddr) {
        if let Some(errors) = &mut self.errors
            && errors.sent.back() != Some(&remote)
        {
            errors.sent.retain(|known| *known != remote);
            if errors.sent.len() >= REMEMBERED {
                errors.sent.pop_front();
            }
            errors.sent.push_back(remote);
        }
    }

    /// Puts a datagram into the queue, if that has room.
    fn keep(&mut self, counters: &mut UdpCounters, payload: &[u8], source: SocketAddr) {
        if self.queue.push(payload, source).is_err() {
            counters.queue_drops += 1;
            return;
        }
        counters.received.count(payload.len());
        self.reader.wake();
    }
}

/// All sockets of an interface.
pub struct Udp {
    sockets: Vec<Option<Socket>>,
    key: Keyed,
    ports: Index,
    /// Numbers that were drawn for ports so far.
    drawn: u32,
    identifications: Identifications,
    /// Sockets that wait for room in the device.
    blocked: bool,
    down: bool,
    counters: UdpCounters,
    /// Packets over IPv6 that were cut into fragments so far.
    #[cfg(feature = "datagrams")]
    cut: u64,
}

impl Udp {
    /// No sockets yet. The key must be random.
    pub fn new(hash: Keyed) -> Udp {
        Udp {
            sockets: Vec::new(),
            key: hash,
            ports: Index::default(),
            drawn: 0,
            identifications: Identifications::new(hash),
            blocked: false,
            down: false,
            counters: UdpCounters::default(),
            #[cfg(feature = "datagrams")]
            cut: 0,
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> UdpCounters {
        self.counters
    }

    /// How many sockets are bound.
    pub fn len(&self) -> usize {
        self.sockets.iter().flatten().count()
    }

    /// Bytes of datagrams that wait, with what they cost.
    #[cfg(feature = "test-utils")]
    pub fn queued(&self) -> usize {
        self.sockets.iter().flatten().map(|socket| socket.queue.bytes()).sum()
    }

    /// A datagram came in; `false` when no socket is bound to its port. Its checksum is right.
    pub fn receive(&mut self, source: IpAddr, destination: IpAddr, payload: &[u8]) -> bool {
        let Ok(datagram) = UdpPacket::new_checked(payload) else {
            self.counters.malformed += 1;
            return true;
        };
        let socket = self.find(datagram.dst_port()).and_then(|index| self.sockets[index].as_mut());
        let Some(socket) = socket else {
            self.counters.port_drops += 1;
            return false;
        };
        if socket.local.address.is_some_and(|address| address != destination) {
            self.counters.port_drops += 1;
            return true;
        }
        socket.keep(&mut self.counters, datagram.payload(), SocketAddr::new(source, datagram.src_port()));
        true
    }

    /// A datagram for a group came in: the socket at its port gets it, if `is_in` says that it is in the group. Its checksum is
    /// right.
    #[cfg(feature = "datagrams")]
    pub fn receive_group(&mut self, source: IpAddr, payload: &[u8], is_in: &dyn Fn(usize) -> bool) {
        let Ok(datagram) = UdpPacket::new_checked(payload) else {
            self.counters.malformed += 1;
            return;
        };
        let source = SocketAddr::new(source, datagram.src_port());
        self.deliver_to_group(source, datagram.dst_port(), datagram.payload(), is_in);
    }

    /// As [`receive_group`](Udp::receive_group), what the datagram carries.
    #[cfg(feature = "datagrams")]
    pub fn deliver_to_group(&mut self, source: SocketAddr, port: u16, bytes: &[u8], is_in: &dyn Fn(usize) -> bool) {
        let index = self.find(port).filter(|index| is_in(*index));
        match index.and_then(|index| self.sockets[index].as_mut()) {
            Some(socket) => socket.keep(&mut self.counters, bytes, source),
            None => self.counters.port_drops += 1,
        }
    }

    /// Makes a choice for a socket.
    #[cfg(feature = "datagrams")]
    pub fn set(&mut self, index: usize, option: UdpOption) {
        if let Some(socket) = self.sockets.get_mut(index).and_then(Option::as_mut) {
            match option {
                UdpOption::MulticastHops(hops) => socket.multicast.hops = hops,
                UdpOption::MulticastLoop(loops) => socket.multicast.loops = loops,
                UdpOption::Unreachable(true) => drop(socket.errors.get_or_insert_default()),
                UdpOption::Unreachable(false) => socket.errors = None,
            }
        }
    }

    /// An error says what has become of a datagram from the port `own` to `remote`.
    #[cfg(feature = "datagrams")]
    pub fn on_unreachable(&mut self, own: u16, remote: SocketAddr, fate: Fate) {
        let socket = self.find(own).and_then(|index| self.sockets[index].as_mut());
        if let Some(socket) = socket
            && let Some(errors) = &mut socket.errors
            && errors.sent.contains(&remote)
        {
            errors.pending = Some((remote, fate));
            socket.reader.wake();
        }
    }

    /// Whether what a socket sends to groups comes back to sockets here.
    #[cfg(feature = "datagrams")]
    pub fn loops(&self, index: usize) -> bool {
        self.sockets.get(index).and_then(Option::as_ref).is_some_and(|socket| socket.multicast.loops)
    }

    /// Which packet to `remote` the next fragments are of. Nobody can guess it, or false pieces could be put among the true ones.
    #[cfg(feature = "datagrams")]
    pub fn packet_number(&mut self, remote: IpAddr) -> u32 {
        if remote.is_ipv4() {
            return self.identifications.next().into();
        }
        self.cut += 1;
        self.key.signed(&self.cut.to_be_bytes()) as u32
    }

    /// The device has room again.
    pub fn on_room(&mut self) {
        if core::mem::take(&mut self.blocked) {
            for socket in self.sockets.iter_mut().flatten() {
                socket.writer.wake();
            }
        }
    }

    /// The device was given up.
    pub fn down(&mut self) {
        self.down = true;
        for socket in self.sockets.iter_mut().flatten() {
            socket.reader.wake();
            socket.writer.wake();
        }
    }

    /// Binds a socket; the address is one of ours.
    pub fn bind(&mut self, local: ListenAddr) -> Result<usize, BindError> {
        let port = match local.port {
            0 => self.free_port().ok_or(BindError::NoPort)?,
            port if self.find(port).is_some() => return Err(BindError::InUse { port }),
            port => port,
        };
        let socket = Socket {
            local: ListenAddr { address: local.address, port },
            queue: Queue::default(),
            reader: WakerSlot::default(),
            writer: WakerSlot::default(),
            #[cfg(feature = "datagrams")]
            multicast: Multicast { hops: 1, loops: true },
            #[cfg(feature = "datagrams")]
            errors: None,
        };
        let index = match self.sockets.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.sockets.push(None);
                self.sockets.len() - 1
            }
        };
        self.sockets[index] = Some(socket);
        self.ports.insert(self.key.hash(&port.to_be_bytes()), index as u32);
        Ok(index)
    }

    /// Whether a socket has this port.
    #[cfg(all(feature = "ipv6", feature = "datagrams"))]
    pub fn is_bound(&self, port: u16) -> bool {
        self.find(port).is_some()
    }

    /// The socket at `port`.
    fn find(&self, port: u16) -> Option<usize> {
        let is_it = |index: u32| {
            self.sockets
                .get(index as usize)
                .is_some_and(|socket| socket.as_ref().is_some_and(|socket| socket.local.port == port))
        };
        self.ports.find(self.key.hash(&port.to_be_bytes()), is_it).map(|index| index as usize)
    }

    /// A port for a socket without one of its own, which others cannot foresee (RFC 6056, 3.3.2): what answers a socket of
    /// which they cannot guess the port is hard to make up. When many are taken, the next one that is free.
    fn free_port(&mut self) -> Option<u16> {
        let mut start = 0;
        for _ in 0..DRAWS {
            self.drawn = self.drawn.wrapping_add(1);
            start = self.key.signed(&self.drawn.to_be_bytes()) as u16;
            let port = FIRST_PORT + start % PORTS;
            if self.find(port).is_none() {
                return Some(port);
            }
        }
        (0..PORTS).map(|offset| FIRST_PORT + start.wrapping_add(offset) % PORTS).find(|port| self.find(*port).is_none())
    }

    /// Where a socket is bound.
    pub fn local_addr(&self, index: usize) -> ListenAddr {
        let nowhere = ListenAddr { address: None, port: 0 };
        self.sockets.get(index).and_then(Option::as_ref).map_or(nowhere, |socket| socket.local)
    }

    /// Closes a socket.
    pub fn close(&mut self, index: usize) {
        if let Some(socket) = self.sockets.get_mut(index).and_then(Option::take) {
            self.ports.remove(self.key.hash(&socket.local.port.to_be_bytes()), index as u32);
        }
    }

    /// The next datagram of a socket.
    pub fn poll_receive(
        &mut self,
        index: usize,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<(usize, SocketAddr), ReceiveError>> {
        let down = self.down;
        let Some(socket) = self.sockets.get_mut(index).and_then(Option::as_mut) else {
            return Poll::Ready(Err(ReceiveError::Down));
        };
        #[cfg(feature = "datagrams")]
        if let Some((remote, fate)) = socket.errors.as_mut().and_then(|errors| errors.pending.take()) {
            return Poll::Ready(Err(match fate {
                Fate::Refused => ReceiveError::Refused(remote),
                Fate::Unreachable => ReceiveError::Unreachable(remote),
            }));
        }
        match socket.queue.pop(buffer) {
            Some(received) => Poll::Ready(Ok(received)),
            None if down => Poll::Ready(Err(ReceiveError::Down)),
            None => {
                socket.reader.register(context.waker());
                Poll::Pending
            }
        }
    }

    /// Ready when a datagram waits.
    pub fn poll_readable(&mut self, index: usize, context: &mut Context<'_>) -> Poll<()> {
        let down = self.down;
        let Some(socket) = self.sockets.get_mut(index).and_then(Option::as_mut) else { return Poll::Ready(()) };
        if down || !socket.queue.is_empty() {
            return Poll::Ready(());
        }
        #[cfg(feature = "datagrams")]
        if socket.errors.as_ref().is_some_and(|errors| errors.pending.is_some()) {
            return Poll::Ready(());
        }
        socket.reader.register(context.waker());
        Poll::Pending
    }

    /// Sends a datagram.
    pub fn poll_send(
        &mut self,
        index: usize,
        context: &mut Context<'_>,
        bytes: &[u8],
        remote: SocketAddr,
        out: &mut dyn IpOut,
    ) -> Poll<Result<(), SendError>> {
        if self.down {
            return Poll::Ready(Err(SendError::Down));
        }
        let route = out.route(remote.ip()).filter(|_| remote.port() != 0);
        let Some(route) = route else { return Poll::Ready(Err(SendError::Unreachable(remote))) };
        let Some(socket) = self.sockets.get_mut(index).and_then(Option::as_mut) else {
            return Poll::Ready(Err(SendError::Down));
        };
        // It may be bound to an address that is gone, or is not certain to be ours yet.
        if socket.local.address.is_some_and(|address| !out.may_send_from(address)) {
            return Poll::Ready(Err(SendError::Unreachable(remote)));
        }
        #[cfg(all(feature = "ipv6", feature = "datagrams"))]
        let route = out.narrowed(route, remote.ip());
        let ip_header = header::length(remote.ip());
        let fitting = route.mtu.saturating_sub(ip_header + UDP_HEADER_LEN);
        let most = if cfg!(feature = "datagrams") { MOST } else { fitting };
        if bytes.len() > most {
            return Poll::Ready(Err(SendError::TooLong { most }));
        }
        if !out.has_room() {
            self.blocked = true;
            socket.writer.register(context.waker());
            return Poll::Pending;
        }
        // A neighbour that does not answer, and pages that are all in use, cost datagrams, not time.
        // A socket that has an address sends from it, and to addresses of its kind.
        let source = socket.local.address.unwrap_or(route.source);
        if source.is_ipv4() != remote.is_ipv4() {
            return Poll::Ready(Err(SendError::Unreachable(remote)));
        }
        #[cfg(feature = "datagrams")]
        if bytes.len() > fitting {
            socket.note_sent(remote);
            let hops = if remote.ip().is_multicast() { socket.multicast.hops } else { header::HOPS };
            let ports = [socket.local.port, remote.port()];
            let number = self.packet_number(remote.ip());
            super::cutting::send(&route, source, remote.ip(), ports, bytes, Numbers { number, hops }, out);
            return Poll::Ready(Ok(()));
        }
        let Some(mut packet) = out.alloc() else { return Poll::Ready(Ok(())) };
        if let (IpAddr::V4(local), IpAddr::V4(host)) = (source, remote.ip())
            && route.is_to_host()
        {
            let leaving = Leaving {
                addresses: (local.to_bits(), host.to_bits()),
                ports: u32::from(socket.local.port) << 16 | u32::from(remote.port()),
                number: self.identifications.next(),
            };
            #[cfg(feature = "datagrams")]
            socket.note_sent(remote);
            if leaving.write(&mut packet, bytes, route.offload).is_some() {
                out.send_usual(&route, packet, Usual::Datagram);
            }
            return Poll::Ready(Ok(()));
        }
        let length = UDP_HEADER_LEN + bytes.len();
        let whole = packet.resize_head(ip_header + length);
        if let Some(payload) = header::emit(whole, source, remote.ip(), IpProtocol::Udp) {
            let mut datagram = UdpPacket::new_unchecked(payload);
            datagram.set_src_port(socket.local.port);
            datagram.set_dst_port(remote.port());
            datagram.set_len(length as u16);
            datagram.set_checksum(0);
            datagram.payload_mut().copy_from_slice(bytes);
            if remote.is_ipv4() {
                header::permit_cutting(packet.head_mut(), self.identifications.next());
            }
            #[cfg(feature = "datagrams")]
            socket.note_sent(remote);
            #[cfg(feature = "datagrams")]
            if remote.ip().is_multicast() {
                header::set_hops(packet.head_mut(), socket.multicast.hops);
            }
            out.send(&route, packet, TxMeta { fill_checksum: true, segment: None });
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(udp: &mut Udp) -> Result<u16, BindError> {
        udp.bind(ListenAddr { address: None, port: 0 }).map(|index| udp.local_addr(index).port)
    }

    #[test]
    fn nobody_can_foresee_a_port() {
        let mut udp = Udp::new(Keyed::new([1, 2]));
        let mut other = Udp::new(Keyed::new([1, 3]));
        let ports: Vec<u16> = (0..200).map(|_| bind(&mut udp).expect("some are free")).collect();
        let others: Vec<u16> = (0..200).map(|_| bind(&mut other).expect("some are free")).collect();
        assert!(ports.iter().all(|port| *port >= FIRST_PORT));
        // Neither from the one before nor on another host.
        let near = ports.windows(2).filter(|two| two[1].wrapping_sub(two[0]) < 100).count();
        let same = ports.iter().zip(&others).filter(|(port, other)| port == other).count();
        assert!(near < 10 && same < 3, "{near} are near, {same} are the same: {ports:?}");
    }

    #[test]
    fn the_last_port_that_is_free_is_found() {
        let mut udp = Udp::new(Keyed::new([1, 2]));
        let mut ports: Vec<u16> = (0..PORTS).map(|_| bind(&mut udp).expect("some are free")).collect();
        assert!(matches!(bind(&mut udp), Err(BindError::NoPort)));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), usize::from(PORTS));
        let index = udp.find(50_000).expect("all are bound");
        udp.close(index);
        assert!(matches!(bind(&mut udp), Ok(50_000)));
    }
}
