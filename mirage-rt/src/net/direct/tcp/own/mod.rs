//! A TCP machine of our own, behind the [seam](super::machine): that of builds without the feature `smoltcp-tcp`, and of tests, which
//! run the stack with it and with the one of smoltcp.
//!
//! A [connection] is state and nothing else; what is done to it stands in a file of its own for each subject:
//!
//! | file | subject | specification |
//! |---|---|---|
//! | [sequence] | arithmetic of positions | RFC 9293, 3.4 |
//! | [ring], [reassembly] | buffers, data out of order, SACK blocks | RFC 2018, RFC 2883 |
//! | [options], [emit] | headers read and written | RFC 9293, 3.1; RFC 7323 |
//! | [arrival] | which segments count; resets, challenges, PAWS | RFC 9293, 3.10.7; RFC 5961; RFC 7323, 5 |
//! | [predict] | the usual segment, in one go | |
//! | [acknowledge] | acknowledgements and windows | RFC 9293, 3.10.7.4; RFC 6582 |
//! | [deliver] | data, the peer's FIN, delayed acknowledgements | RFC 9293, 3.8.6.3; RFC 5681, 4.2 |
//! | [flight], [rack] | what is under way and what of it is lost | RFC 8985 |
//! | [timestamps](super::timestamps) | clocks, for both machines; options in SYN cookies | RFC 7323; RFC 6191 |
//! | [rtt], [timers] | the timeout, probes, giving up | RFC 6298; RFC 8985, 7; RFC 9293, 3.8.6.1; RFC 5482 |
//! | [keep_alive] | peers that say nothing | RFC 9293, 3.8.4 |
//! | [path] | how long packets may be on their way | RFC 1191; RFC 5927, 7; RFC 4821 |
//! | [ecn] | marks instead of losses | RFC 3168 |
//! | [congestion], [cubic] | how much may be under way | RFC 5681; RFC 6928; RFC 9438 |
//! | [transmit] | what leaves, and in which order; silly windows, Nagle | RFC 9293, 3.7.4 and 3.8.6.2 |
//!
//! A connection takes part of the budget when it is made, for as much as its buffers may hold; the memory itself comes with
//! the bytes and goes when they are gone: to the next buffer that needs some, or back to the heap when as much as a quarter of
//! the budget lies there unused. Everything else that a peer can make grow is bounded: [reassembly] holds 32
//! ranges, [flight] 2048 pieces.
//!
//! # What is not there yet
//!
//! - A share of its own of the budget for what is under way: up to 48 KiB of pieces for a connection are not counted.
//! - ECN on connections that are opened from here: offers of peers are taken up, none is made. What is known of a path's MTU
//!   is known for one connection, and routers' messages are heard for IPv4 only.
//! - Buffers that grow and shrink with use within the budget: their limits are fixed when a connection is made.
//! - The application's own choice of the congestion control.
//! - Packets taken over from or handed to applications without a copy.
//! - Proportional rate reduction (RFC 6937), pacing, F-RTO (RFC 5682), HyStart++ (RFC 9406), undoing of a needless reduction.
//! - The list of pieces is walked for each SACK block and each loss; RFC 8985, 6.2, keeps it in the order of time as well.

mod acknowledge;
mod arrival;
mod congestion;
mod connection;
mod cubic;
mod deliver;
mod ecn;
mod emit;
mod flight;
mod keep_alive;
mod options;
mod path;
mod predict;
mod rack;
mod reassembly;
mod ring;
mod rtt;
mod sequence;
mod timers;
mod transmit;

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::IpAddr;

use arrival::Arrival;
pub use congestion::Algorithm;
use connection::{Clock, Connection, Link};
use options::Options;
use ring::Spare;

use super::machine::{Buffers, ConnId, Expected, Handshake, News, OutOfMemory, Progress, Readiness, State, TcpMachine};
use super::segment::{FourTuple, Segment, Seq, SynOptions};
use super::timestamps::Stamps;
use crate::net::direct::hash::Keyed;
use crate::net::direct::header;
use crate::net::direct::ip::{IpOut, Paths};
use crate::net::direct::ipv4;
use crate::net::direct::limit::Limit;
use crate::net::{OptionError, TcpInfo, TcpOption, TcpState};
use crate::time::{Duration, Instant};

/// Buffers are so many times as large while most of the budget is free: the fewer connections, the faster each.
const GENEROUS: [usize; 3] = [32, 16, 4];
/// Bytes of a connection besides its buffers, roughly.
const OVERHEAD: usize = 1024;
/// Bytes of memory without a buffer that are kept for the next ones at most.
const SPARE: usize = 512 << 10;
/// When to look for a route again.
const ROUTE_WAIT: Duration = Duration::from_secs(1);

/// The machine.
pub struct OwnTcp {
    link: Link,
    paths: Paths,
    buffers: Buffers,
    connections: Vec<Option<Box<Connection>>>,
    /// Bytes of the budget that connections take.
    memory: usize,
    /// For the offsets of timestamps.
    key: Keyed,
    challenges: Limit,
    /// Segments of all connections that were sent again.
    retransmitted: u64,
    /// Memory for the buffers of connections.
    spare: Spare,
}

impl OwnTcp {
    /// A machine without connections. `key` must be random.
    pub fn new(paths: Paths, buffers: Buffers, algorithm: Algorithm, key: Keyed) -> OwnTcp {
        let shift = shift(GENEROUS[0] * buffers.receive);
        let window = u16::try_from(buffers.receive).unwrap_or(u16::MAX);
        OwnTcp {
            link: Link { mss: 0, most: 0, shift, window, algorithm, prediction: true },
            paths,
            buffers,
            connections: Vec::new(),
            memory: 0,
            key,
            challenges: Limit::per_second(100),
            retransmitted: 0,
            spare: Spare::new((buffers.budget / 4).min(SPARE)),
        }
    }

    fn get(&self, id: ConnId) -> Option<&Connection> {
        self.connections.get(id.index as usize)?.as_deref().filter(|connection| connection.generation == id.generation)
    }

    fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        find(&mut self.connections, id)
    }

    /// What connections to `remote` have in common.
    fn link(&self, remote: IpAddr) -> Link {
        // Connections count with the headers of IPv4.
        let surplus = header::length(remote) - ipv4::HEADER;
        let most = self.paths.to(remote).most.saturating_sub(surplus);
        Link { mss: self.paths.mss(remote), most, ..self.link }
    }

    /// Bytes that a connection takes of the budget whose buffers are `times` as large as the smallest.
    fn cost(&self, times: usize) -> usize {
        times.saturating_mul(self.buffers.receive.saturating_add(self.buffers.send)).saturating_add(OVERHEAD)
    }

    /// How large the buffers of the next connection may be, in multiples of the smallest.
    fn times(&self) -> Result<usize, OutOfMemory> {
        let is_affordable = |times: &usize| self.memory.saturating_add(self.cost(*times)) <= self.buffers.budget / 4;
        match GENEROUS.into_iter().find(is_affordable) {
            Some(times) => Ok(times),
            None if self.has_room() => Ok(1),
            None => Err(OutOfMemory),
        }
    }

    fn make(&mut self, now: Instant, id: ConnId, tuple: &FourTuple, isn: Seq) -> Result<Connection, OutOfMemory> {
        let times = self.times()?;
        // No window is larger than a gigabyte (RFC 7323, 2.3), and no buffer need be.
        let limits = [self.buffers.receive, self.buffers.send].map(|limit| limit.saturating_mul(times).min(1 << 30));
        let link = self.link(tuple.remote().ip());
        let mut connection = Connection::connecting(now, id.generation, tuple, isn, limits, &link);
        connection.clock = self.clock(tuple).map(|offset| Clock { offset, recent: None });
        connection.cost = self.cost(times);
        Ok(connection)
    }

    fn keep(&mut self, id: ConnId, connection: Connection) -> Result<(), OutOfMemory> {
        let index = id.index as usize;
        if index >= self.connections.len() {
            self.connections.try_reserve(index + 1 - self.connections.len()).map_err(|_| OutOfMemory)?;
            self.connections.resize_with(index + 1, || None);
        }
        let place = self.connections.get_mut(index).ok_or(OutOfMemory)?;
        self.memory += connection.cost;
        if let Some(old) = place.replace(Box::new(connection)) {
            self.memory -= old.cost;
        }
        Ok(())
    }
}

impl TcpMachine for OwnTcp {
    fn window_shift(&self) -> u8 {
        self.link.shift
    }

    fn initial_window(&self) -> u16 {
        self.link.window
    }

    fn clock(&self, tuple: &FourTuple) -> Option<u32> {
        Some(tuple.hash_with(&self.key) as u32)
    }

    fn ecn(&self) -> bool {
        true
    }

    fn set_device(&mut self, paths: Paths) {
        self.paths = paths;
    }

    fn has_room(&self) -> bool {
        self.memory.saturating_add(self.cost(1)) <= self.buffers.budget
    }

    fn establish(&mut self, now: Instant, id: ConnId, handshake: &Handshake) -> Result<(), OutOfMemory> {
        let mut connection = self.make(now, id, &handshake.tuple, handshake.isn)?;
        connection.establish(now, handshake, &self.link(handshake.tuple.remote().ip()));
        self.keep(id, connection)
    }

    fn connect(&mut self, now: Instant, id: ConnId, tuple: &FourTuple, isn: Seq) -> Result<(), OutOfMemory> {
        let connection = self.make(now, id, tuple, isn)?;
        self.keep(id, connection)
    }

    fn on_segment(&mut self, now: Instant, id: ConnId, packet: &[u8], segment: &Segment, out: &mut dyn IpOut) {
        let link = self.link(segment.tuple.remote().ip());
        let Some(connection) = find(&mut self.connections, id) else { return };
        let Some((header, data)) = split(packet, segment) else { return };
        let syn = if segment.syn { segment.options(header) } else { SynOptions::default() };
        let options = Options::parse(header.get(20..).unwrap_or_default());
        let arrival = Arrival { segment, options, syn, data, marked: ecn::is_marked(packet) };
        connection.receive.supply(data.len(), &mut self.spare);
        if let Some(reset) = connection.hear(now, &arrival, &link, &mut self.challenges) {
            reset.send(&segment.tuple, out);
        }
        connection.rest_buffers(false, &mut self.spare);
    }

    fn predict(&mut self, now: Instant, id: ConnId, packet: &[u8], segment: &Segment) -> Option<News> {
        let link = self.link(segment.tuple.remote().ip());
        let connection = find(&mut self.connections, id)?;
        if segment.ece || segment.cwr || ecn::is_marked(packet) {
            return None;
        }
        let (header, data) = split(packet, segment)?;
        connection.receive.supply(data.len(), &mut self.spare);
        let news = connection.predict(now, segment, header, data, &link);
        connection.rest_buffers(false, &mut self.spare);
        news
    }

    fn on_too_big(&mut self, now: Instant, id: ConnId, seq: Seq, mtu: usize) -> bool {
        let Some(remote) = self.get(id).map(|connection| connection.remote) else { return false };
        let link = self.link(remote);
        self.get_mut(id).is_some_and(|connection| connection.is_too_big(now, seq, mtu, &link))
    }

    fn run(&mut self, now: Instant, id: ConnId, out: &mut dyn IpOut) -> Progress {
        let nothing = Progress { deadline: None, blocked: None, plain: false };
        let Some(remote) = self.get(id).map(|connection| connection.remote) else { return nothing };
        let link = self.link(remote);
        let Some(connection) = find(&mut self.connections, id) else { return nothing };
        let Some(route) = out.route(remote) else {
            // There may be a router again later.
            return Progress { deadline: Some(now + ROUTE_WAIT), ..nothing };
        };
        // Nothing to do and nothing heard for a while: the time of a timer that is not needed any more.
        if connection.is_quiet(now) {
            connection.rest_buffers(true, &mut self.spare);
        }
        if let Some(progress) = connection.send_plain(now, &link, &route, out) {
            return progress;
        }
        let before = connection.retransmissions;
        let progress = connection.run(now, &link, &route, out);
        self.retransmitted += connection.retransmissions - before;
        progress
    }

    fn state(&self, id: ConnId) -> State {
        self.get(id).map_or(State::Closed, Connection::state)
    }

    fn readiness(&self, id: ConnId) -> Readiness {
        let nothing = Readiness { readable: 0, finished: false, writable: false, unacknowledged: 0 };
        self.get(id).map_or(nothing, Connection::readiness)
    }

    fn info(&self, now: Instant, id: ConnId) -> TcpInfo {
        self.get(id).map_or(TcpInfo::new(TcpState::Closed, 0, 0), |connection| {
            connection.info(now, &self.link(connection.remote))
        })
    }

    fn retransmitted(&self) -> u64 {
        self.retransmitted
    }

    fn expected(&self, id: ConnId) -> Expected {
        let nothing = Expected { next: Seq(0), end: Seq(0), shift: 0, sent: Seq(0) };
        self.get(id).map_or(nothing, Connection::expected)
    }

    fn stamps(&self, id: ConnId) -> Option<Stamps> {
        self.get(id).and_then(Connection::stamps)
    }

    fn peek(&mut self, id: ConnId) -> &[u8] {
        match self.get_mut(id) {
            Some(connection) => connection.receive.get(0, usize::MAX)[0],
            None => &[],
        }
    }

    fn consume(&mut self, id: ConnId, length: usize) {
        if let Some(connection) = find(&mut self.connections, id) {
            connection.consume(length);
            connection.rest_buffers(false, &mut self.spare);
        }
    }

    fn read(&mut self, id: ConnId, buffer: &mut [u8]) -> usize {
        let Some(connection) = find(&mut self.connections, id) else { return 0 };
        let length = connection.read(buffer);
        connection.rest_buffers(false, &mut self.spare);
        length
    }

    fn write(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        let Some(connection) = find(&mut self.connections, id) else { return 0 };
        connection.send.supply(bytes.len(), &mut self.spare);
        connection.write(bytes)
    }

    fn shutdown(&mut self, id: ConnId) {
        if let Some(connection) = self.get_mut(id) {
            connection.shut = true;
        }
    }

    fn set(&mut self, now: Instant, id: ConnId, option: TcpOption) -> Result<(), OptionError> {
        self.get_mut(id).ok_or(OptionError::Closed)?.set(now, option)
    }

    fn linger(&mut self, now: Instant, id: ConnId, most: Duration) {
        if let Some(connection) = self.get_mut(id) {
            let (since, _) = *connection.lingering.get_or_insert((now, most));
            connection.lingering = Some((since, most));
        }
    }

    fn free(&mut self, id: ConnId) {
        if self.get(id).is_some()
            && let Some(old) = self.connections.get_mut(id.index as usize).and_then(Option::take)
        {
            self.memory -= old.cost;
        }
    }
}

fn find(connections: &mut [Option<Box<Connection>>], id: ConnId) -> Option<&mut Connection> {
    connections.get_mut(id.index as usize)?.as_deref_mut().filter(|connection| connection.generation == id.generation)
}

/// The TCP header of an IP packet, and the data behind it.
fn split<'a>(packet: &'a [u8], segment: &Segment) -> Option<(&'a [u8], &'a [u8])> {
    let start = header::length_in(packet);
    let header = 4 * usize::from(packet.get(start + 12)? >> 4);
    let (headers, data) = packet.split_at_checked(start + header)?;
    Some((headers.get(start..)?, data.get(..segment.length as usize)?))
}

/// By how many bits windows must be shifted to tell of `capacity` bytes (RFC 7323, 2.3, allows 14).
fn shift(capacity: usize) -> u8 {
    (usize::BITS - capacity.leading_zeros()).saturating_sub(16).min(14) as u8
}
