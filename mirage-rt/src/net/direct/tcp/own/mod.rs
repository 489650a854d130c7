//! A TCP machine of our own, behind the [seam](super::machine): that of builds without the feature `smoltcp-tcp`, and of tests, which
//! run the stack with it and with the one of smoltcp.
//!
//! A [connection] is state and nothing else; what is done to it stands in a file of its own for each subject:
//!
//! | file | subject | specification |
//! |---|---|---|
//! | [sequence] | arithmetic of positions | RFC 9293, 3.4 |
//! | [memory] | the budget, buffers that grow and shrink | |
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
//! | [chosen] | what the application chooses | RFC 9293, 3.9.1 |
//! | [give], [take], [pages] | pages that the application hands over | |
//! | [rare], [moment] | what few connections have; instants that need not be there | |
//! | [path] | how long packets may be on their way | RFC 1191; RFC 5927, 7; RFC 4821 |
//! | [ecn] | marks instead of losses | RFC 3168 |
//! | [congestion], [cubic], [start] | how much may be under way | RFC 5681; RFC 6928; RFC 9438; RFC 9406 |
//! | [repair] | losses made good, and those that were none | RFC 9937; RFC 3522; RFC 4015; RFC 5682 |
//! | [transmit] | what leaves, and in which order; silly windows, Nagle | RFC 9293, 3.7.4 and 3.8.6.2 |
//!
//! What counts against the budget is the memory that buffers have, and a fixed sum for each connection. Memory comes with
//! the bytes and goes when they are gone: to the next buffer that needs some, or back to the heap. Everything else that
//! a peer can make grow is bounded: [reassembly] holds 32 ranges, [flight] a piece for each 64 bytes of its buffer's memory and
//! 16 more, no more than 2048.
//!
//! # What is not there yet
//!
//! - A connection that began with the MTU that its path was known to have does not try a longer one; those made ten minutes later do.
//! - Received packets in several pages are copied once, to be looked at in one piece, also when their pages are taken.
//! - Pacing. Without SACK a recovery halves the window at once and is not undone.
//! - The list of pieces is walked for each SACK block and each loss; RFC 8985, 6.2, keeps it in the order of time as well.

mod acknowledge;
mod arrival;
mod chosen;
mod congestion;
mod connection;
mod cubic;
mod deliver;
mod ecn;
mod emit;
mod flight;
mod give;
mod keep_alive;
mod memory;
mod moment;
mod options;
mod pages;
mod path;
mod predict;
mod rack;
mod rare;
mod reassembly;
mod repair;
mod ring;
mod rtt;
mod sequence;
mod start;
mod take;
mod timers;
mod transmit;

#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::Range;

use arrival::Arrival;
use connection::{Clock, Connection, Link};
use memory::{Hunger, Memory, Sizes};
pub use options::Options;

use super::machine::{
    self, Buffers, ConnId, Expected, Handshake, News, OutOfMemory, Progress, Readiness, State, TcpMachine, Wanted,
};
use super::segment::{FourTuple, Segment, Seq, SynOptions};
use super::timestamps::Stamps;
use crate::net::direct::hash::Keyed;
use crate::net::direct::header;
use crate::net::direct::ip::{IpOut, Paths};
use crate::net::direct::ipv4;
use crate::net::direct::limit::{Answer, Limit};
use crate::net::direct::train::Following;
use crate::net::{CongestionControl, OptionError, TcpInfo, TcpOption, TcpState};
use crate::packet::Fragment;
use crate::time::{Duration, Instant};

/// When to look for a route again.
const ROUTE_WAIT: Duration = Duration::from_secs(1);
/// And when for memory.
const MEMORY_WAIT: Duration = Duration::from_millis(10);

/// Families of addresses.
const FAMILIES: usize = if cfg!(feature = "ipv6") { 2 } else { 1 };

/// The machine.
pub struct OwnTcp {
    /// What connections of each family have in common.
    links: [Link; FAMILIES],
    connections: Vec<Option<Box<Connection>>>,
    memory: Memory,
    /// For the offsets of timestamps.
    key: Keyed,
    challenges: Limit,
    /// Segments of all connections that were sent again.
    retransmitted: u64,
    /// Connections that keep pages.
    taking: usize,
    /// The pages that may be kept of the next segment.
    offer: Offer,
}

/// Pages that a frame has come in.
#[derive(Default)]
enum Offer {
    #[default]
    None,
    /// With bytes at these addresses; and in how many pages they are.
    Made(Range<usize>, usize),
    /// It is wanted.
    Accepted(Wanted),
}

impl OwnTcp {
    /// A machine without connections. `key` must be random.
    pub fn new(paths: Paths, buffers: Buffers, algorithm: CongestionControl, key: Keyed) -> OwnTcp {
        let (receive, send) = (Sizes::new(buffers.receive), Sizes::new(buffers.send));
        // The shift is for the connection's whole life, in which its buffer may become as large as any.
        let shift = shift(receive.most as usize);
        let window = u16::try_from(buffers.receive).unwrap_or(u16::MAX);
        let mut machine = OwnTcp {
            links: [Link { mss: 0, most: 0, shift, window, algorithm, receive, send, part: 0, prediction: true };
                FAMILIES],
            connections: Vec::new(),
            memory: Memory::new(buffers.budget),
            key,
            challenges: Limit::per_second(100, Answer::OwnChallenge, key),
            retransmitted: 0,
            taking: 0,
            offer: Offer::None,
        };
        machine.set_device(paths);
        machine
    }

    /// Bytes that connections and their buffers have.
    #[cfg(any(test, feature = "test-utils"))]
    pub fn memory(&self) -> usize {
        self.memory.used()
    }

    fn get(&self, id: ConnId) -> Option<&Connection> {
        self.connections.get(id.index as usize)?.as_deref().filter(|connection| connection.generation == id.generation)
    }

    fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        find(&mut self.connections, id)
    }

    /// What connections to `remote` have in common.
    #[inline]
    fn link(&self, remote: IpAddr) -> &Link {
        &self.links[family(remote)]
    }

    /// Buffers of connections to the same family may grow so far for now.
    #[inline]
    fn note_part(&mut self, tuple: &FourTuple) {
        self.links[family(tuple.remote().ip())].part = self.memory.part();
    }

    fn make(&mut self, now: Instant, id: ConnId, tuple: &FourTuple, isn: Seq) -> Result<Connection, OutOfMemory> {
        if !self.memory.has_room() {
            return Err(OutOfMemory);
        }
        self.note_part(tuple);
        let link = self.link(tuple.remote().ip());
        Ok(Connection::connecting(now, id.generation, tuple, isn, link))
    }

    fn keep(&mut self, id: ConnId, connection: Connection) -> Result<(), OutOfMemory> {
        let index = id.index as usize;
        if index >= self.connections.len() {
            self.connections.try_reserve(index + 1 - self.connections.len()).map_err(|_| OutOfMemory)?;
            self.connections.resize_with(index + 1, || None);
        }
        let place = self.connections.get_mut(index).ok_or(OutOfMemory)?;
        let old = place.replace(Box::new(connection));
        self.memory.open();
        self.forget(old);
        Ok(())
    }
}

impl OwnTcp {
    /// A connection is no more.
    fn forget(&mut self, old: Option<Box<Connection>>) {
        if let Some(mut old) = old {
            self.taking -= usize::from(old.is_taking());
            self.memory.release_pages(old.kept_pages());
            self.memory.close([old.receive.take_memory(), old.send.take_memory()]);
        }
    }
}

impl TcpMachine for OwnTcp {
    fn window_shift(&self) -> u8 {
        self.links[0].shift
    }

    fn initial_window(&self) -> u16 {
        self.links[0].window
    }

    fn clock(&self, tuple: &FourTuple) -> Option<u32> {
        Some(tuple.hash_with(&self.key) as u32)
    }

    fn ecn(&self) -> bool {
        true
    }

    fn set_device(&mut self, paths: Paths) {
        for (family, link) in self.links.iter_mut().enumerate() {
            let remote = if family == 0 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            // Connections count with the headers of IPv4.
            let surplus = header::length(remote) - ipv4::HEADER;
            (link.mss, link.most) = (paths.mss(remote), paths.to(remote).most.saturating_sub(surplus));
        }
    }

    fn has_room(&self) -> bool {
        self.memory.has_room()
    }

    fn establish(&mut self, now: Instant, id: ConnId, handshake: &Handshake) -> Result<(), OutOfMemory> {
        let mut connection = self.make(now, id, &handshake.tuple, handshake.isn)?;
        connection.establish(now, handshake, self.link(handshake.tuple.remote().ip()));
        self.keep(id, connection)
    }

    fn connect(&mut self, now: Instant, id: ConnId, tuple: &FourTuple, isn: Seq) -> Result<(), OutOfMemory> {
        let mut connection = self.make(now, id, tuple, isn)?;
        connection.clock = Clock::new(self.clock(tuple));
        self.keep(id, connection)
    }

    fn on_segment(&mut self, now: Instant, id: ConnId, packet: &[u8], segment: &Segment, out: &mut dyn IpOut) {
        self.note_part(&segment.tuple);
        let link = &self.links[family(segment.tuple.remote().ip())];
        let Some(connection) = find(&mut self.connections, id) else { return };
        let Some((header, data)) = split(packet, segment) else { return };
        let syn = if segment.syn { segment.options(header) } else { SynOptions::default() };
        let options = Options::parse(header.get(20..).unwrap_or_default());
        let arrival = Arrival { segment, options, syn, data, marked: ecn::is_marked(packet) };
        connection.make_room(segment, &mut self.memory);
        if let Some(reset) = connection.hear(now, &arrival, link, &mut self.challenges) {
            reset.send(&segment.tuple, out);
        }
        connection.rest_buffers(false, &mut self.memory);
    }

    fn predict(&mut self, now: Instant, id: ConnId, packet: &[u8], segment: &Segment) -> Option<News> {
        self.note_part(&segment.tuple);
        let link = &self.links[family(segment.tuple.remote().ip())];
        let connection = find(&mut self.connections, id)?;
        if segment.ece || segment.cwr || ecn::is_marked(packet) {
            return None;
        }
        let (header, data) = split(packet, segment)?;
        let wanted = self.offer.place(data).filter(|(_, pages)| connection.may_keep(data.len(), *pages, &self.memory));
        if wanted.is_none() {
            connection.make_room(segment, &mut self.memory);
        }
        let news = connection.predict(now, segment, header, data, wanted.is_some(), link);
        connection.rest_buffers(false, &mut self.memory);
        if let Some((bytes, _)) = wanted.filter(|_| news.is_some()) {
            self.offer = Offer::Accepted(Wanted { id, bytes });
        }
        news
    }

    #[inline(always)]
    fn follow(&mut self, now: Instant, id: ConnId, following: &Following<'_>) -> Option<bool> {
        let connection = find(&mut self.connections, id)?;
        let data = following.data;
        let wanted = self.offer.place(data).filter(|(_, pages)| connection.may_keep(data.len(), *pages, &self.memory));
        let link = &self.links[family(connection.remote())];
        let run = connection.follow(now, following, wanted.is_some(), link, &mut self.memory)?;
        if let Some((bytes, _)) = wanted {
            self.offer = Offer::Accepted(Wanted { id, bytes });
        }
        Some(run)
    }

    fn wants_pages(&self) -> bool {
        self.taking > 0
    }

    fn offer_pages(&mut self, bytes: Range<usize>, pages: usize) {
        self.offer = Offer::Made(bytes, pages);
    }

    fn end_offer(&mut self) -> Option<Wanted> {
        match core::mem::take(&mut self.offer) {
            Offer::Accepted(wanted) => Some(wanted),
            _ => None,
        }
    }

    fn keep_page(&mut self, id: ConnId, fragment: Fragment) {
        if let Some(connection) = find(&mut self.connections, id) {
            connection.keep(fragment, &mut self.memory);
        }
    }

    fn take_page(&mut self, id: ConnId) -> Option<Fragment> {
        let connection = find(&mut self.connections, id)?;
        if !connection.is_taking() {
            connection.start_taking();
            self.taking += 1;
        }
        connection.take(&mut self.memory)
    }

    fn on_too_big(&mut self, now: Instant, id: ConnId, seq: Seq, mtu: usize) -> bool {
        let Some(connection) = find(&mut self.connections, id) else { return false };
        let link = &self.links[family(connection.remote())];
        connection.is_too_big(now, seq, mtu, link)
    }

    fn run(&mut self, now: Instant, id: ConnId, out: &mut dyn IpOut) -> Progress {
        let nothing = Progress { deadline: None, blocked: None, plain: false };
        let Some(connection) = find(&mut self.connections, id) else { return nothing };
        let remote = connection.remote();
        let link = &self.links[family(remote)];
        let Some(route) = out.route(remote) else {
            // There may be a router again later.
            return Progress { deadline: Some(now + ROUTE_WAIT), ..nothing };
        };
        // Nothing to do and nothing heard for a while: the time of a timer that is not needed any more.
        if connection.is_quiet(now) {
            connection.rest_buffers(true, &mut self.memory);
        }
        if let Some(progress) = connection.send_plain(now, link, &route, out) {
            return progress;
        }
        let before = connection.retransmissions;
        let mut progress = connection.run(now, link, &route, out);
        self.retransmitted += u64::from(connection.retransmissions.wrapping_sub(before));
        match connection.hunger {
            Hunger::None => {}
            Hunger::Waiting if self.memory.has_some() => connection.hunger = Hunger::None,
            _ => {
                connection.hunger = Hunger::Waiting;
                let again = now + MEMORY_WAIT;
                progress.deadline = Some(progress.deadline.map_or(again, |deadline| deadline.min(again)));
                // Who waits for memory would only find out that there is still none.
                progress.plain = connection.state() == State::Open;
            }
        }
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
            connection.info(now, self.link(connection.remote()))
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
            Some(connection) => connection.peek(),
            None => &[],
        }
    }

    fn consume(&mut self, id: ConnId, length: usize) {
        if let Some(connection) = find(&mut self.connections, id) {
            connection.consume(length, &mut self.memory);
            connection.rest_buffers(false, &mut self.memory);
        }
    }

    fn read(&mut self, id: ConnId, buffer: &mut [u8]) -> usize {
        let Some(connection) = find(&mut self.connections, id) else { return 0 };
        let length = connection.read(buffer, &mut self.memory);
        connection.rest_buffers(false, &mut self.memory);
        length
    }

    fn write(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        let Some(connection) = find(&mut self.connections, id) else { return 0 };
        if bytes.len() > connection.send.room() {
            connection.fit_send(self.links[0].send, self.memory.part());
        }
        connection.write(bytes, &mut self.memory)
    }

    fn give_page(&mut self, id: ConnId, fragment: &mut Option<Fragment>) -> bool {
        let (Some(connection), Some(given)) = (find(&mut self.connections, id), fragment.take()) else { return false };
        if given.len() < pages::LEAST {
            let length = self.write(id, given.bytes());
            return machine::rest(given, length, fragment);
        }
        if given.len() > connection.send.room() {
            connection.fit_send(self.links[0].send, self.memory.part());
            if connection.send.room() == 0 {
                *fragment = Some(given);
                return false;
            }
        }
        *fragment = if connection.can_write() { connection.give(given).err() } else { Some(given) };
        fragment.is_none()
    }

    fn shutdown(&mut self, id: ConnId) {
        if let Some(connection) = self.get_mut(id) {
            connection.shut = true;
        }
    }

    fn set(&mut self, now: Instant, id: ConnId, option: TcpOption) -> Result<(), OptionError> {
        self.get_mut(id).ok_or(OptionError::Closed)?.set(now, option)
    }

    fn linger(&mut self, now: Instant, id: ConnId) -> Instant {
        let Some(connection) = self.get_mut(id) else { return now };
        connection.lingering.or_set(now);
        connection.lingering.or_never()
    }

    fn free(&mut self, id: ConnId) {
        if self.get(id).is_some()
            && let Some(place) = self.connections.get_mut(id.index as usize)
        {
            let old = place.take();
            self.forget(old);
        }
    }
}

impl Offer {
    /// Where `data` stands among the bytes, if it does, and in how many pages they are. It is told by its address, for the way
    /// of a packet to here is long, and some are copied on it.
    #[inline]
    fn place(&self, data: &[u8]) -> Option<(Range<usize>, usize)> {
        let Offer::Made(bytes, pages) = self else { return None };
        let start = data.as_ptr().addr().checked_sub(bytes.start)?;
        let end = start + data.len();
        (end <= bytes.len()).then_some((start..end, *pages))
    }
}

/// The place of a family among [`OwnTcp::links`].
#[inline(always)]
fn family(remote: IpAddr) -> usize {
    match remote {
        IpAddr::V6(_) => FAMILIES - 1,
        IpAddr::V4(_) => 0,
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
