//! The demultiplexer: from a segment to its connection, in constant time.
//!
//! A segment is looked up by its addresses and ports and handed to exactly one connection of the [machine]; everything that
//! is not about an open connection is done here: listeners, half-open connections, TIME_WAIT, resets. Connections with
//! something to do stand in a queue, those with something to do later in a heap; nothing walks over all connections.

pub mod choice;
mod cookies;
mod demux;
#[cfg(test)]
pub mod either;
pub mod emit;
mod half_open;
mod isn;
#[cfg(test)]
mod kept;
pub mod machine;
#[cfg(any(test, not(feature = "smoltcp-tcp")))]
pub mod own;
pub mod segment;
#[cfg(any(test, feature = "smoltcp-tcp"))]
pub mod smol;
mod sockets;
mod time_wait;
pub mod timestamps;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::Range;

use cookies::Cookies;
use half_open::HalfOpen;
use isn::Isn;
use machine::{ConnId, OutOfMemory, TcpMachine, Wanted};
use segment::FourTuple;
use time_wait::TimeWait;

use super::counters::TcpCounters;
use super::hash::{Index, Keyed};
use super::ip::Paths;
use super::limit::{Answer, Limit, Seldom};
use super::wakers::WakerSlot;
use crate::deadlines::Deadlines;
use crate::net::TcpInfo;
use crate::net::address::ListenAddr;
use crate::net::metrics::TcpNow;
use crate::packet::Fragment;
use crate::time::{Duration, Instant};

/// How long it is kept at most.
const LINGER_MOST: Duration = Duration::from_secs(180);
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

impl Holder {
    /// Whether what comes is read, now or once the connection is accepted.
    #[inline(always)]
    fn is_reader(self) -> bool {
        matches!(self, Holder::Application | Holder::Listener)
    }
}

/// How a connection ended; [`TCP_ENDS`](super::counters::TCP_ENDS) has the names, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Both sides closed it.
    Done,
    Reset,
    TimedOut,
    Aborted,
    Unreachable,
    Down,
    AddressGone,
}

struct Slot {
    generation: u32,
    tuple: FourTuple,
    holder: Holder,
    end: Option<End>,
    /// This side was shut down.
    shut: bool,
    /// How long it is kept at most when it is nobody's, by its user's wish.
    linger: Option<Box<Duration>>,
    /// In the queue of those with something to do.
    dirty: bool,
    /// In the list of those that wait for a neighbour.
    blocked: bool,
    /// Of challenges to its peer.
    challenges: Seldom,
    reader: WakerSlot,
    writer: WakerSlot,
}

struct Listener {
    local: ListenAddr,
    backlog: usize,
    queue: VecDeque<ConnId>,
    acceptor: WakerSlot,
}

/// All connections of an interface.
pub struct Tcp<M> {
    machine: M,
    paths: Paths,
    isn: Isn,
    cookies: Cookies,
    key: Keyed,
    tuples: Index,
    slots: Vec<Slot>,
    free: Vec<u32>,
    dirty: VecDeque<u32>,
    /// Those that wait until a neighbour is known.
    blocked: Vec<(IpAddr, u32)>,
    timers: Deadlines,
    half_open: HalfOpen,
    time_wait: TimeWait,
    listeners: Vec<Option<Listener>>,
    ports: Index,
    next_port: u16,
    resets: Limit,
    challenges: Limit,
    down: bool,
    /// The connection whose segment of bulk data was just taken in: others may follow it.
    bulk: Option<ConnId>,
    counters: TcpCounters,
}

#[cfg(all(not(test), feature = "test-utils"))]
impl Tcp<choice::Machine> {
    /// Bytes that connections and their buffers have, if that is counted.
    pub fn memory(&self) -> Option<usize> {
        #[cfg(not(feature = "smoltcp-tcp"))]
        return Some(self.machine.memory());
        #[cfg(feature = "smoltcp-tcp")]
        None
    }
}

impl<M: TcpMachine> Tcp<M> {
    /// No connections yet. The keys must be random.
    pub fn new(machine: M, paths: Paths, hash: Keyed, isn: [u64; 2]) -> Tcp<M> {
        Tcp {
            machine,
            paths,
            next_port: isn[0] as u16,
            isn: Isn::new(isn),
            cookies: Cookies::new(Keyed::new(isn)),
            key: hash,
            tuples: Index::default(),
            slots: Vec::new(),
            free: Vec::new(),
            dirty: VecDeque::new(),
            blocked: Vec::new(),
            timers: Deadlines::default(),
            half_open: HalfOpen::new(),
            time_wait: TimeWait::new(),
            listeners: Vec::new(),
            ports: Index::default(),
            resets: Limit::per_second(200, Answer::Reset, hash),
            challenges: Limit::per_second(100, Answer::Challenge, hash),
            down: false,
            bulk: None,
            counters: TcpCounters::default(),
        }
    }

    /// Packets can be so long from now on.
    pub fn set_device(&mut self, paths: Paths) {
        self.paths = paths;
        self.machine.set_device(paths);
    }

    /// Connections that are made from now on have this address, in a network with this prefix.
    pub fn set_address(&mut self, address: IpAddr, prefix: u8) {
        self.machine.set_address(address, prefix);
    }

    /// `gone` is not our address any more: its connections end.
    pub fn drop_address(&mut self, gone: IpAddr) {
        self.half_open.clear();
        // Those of other addresses find out anew what they wait for.
        for (_, index) in core::mem::take(&mut self.blocked) {
            self.slots[index as usize].blocked = false;
            self.mark(index);
        }
        self.end_all(End::AddressGone, Some(gone));
    }

    /// Whether some connection keeps the pages that its segments come in.
    #[inline]
    pub fn wants_pages(&self) -> bool {
        self.machine.wants_pages()
    }

    /// The segments that follow come in so many pages that can be kept; their bytes, or a copy, stand at these addresses.
    pub fn offer_pages(&mut self, bytes: Range<usize>, pages: usize) {
        self.machine.offer_pages(bytes, pages);
    }

    /// And those that follow don't. What is wanted must be given to [`keep_page`](Tcp::keep_page) at once, page by page.
    pub fn end_offer(&mut self) -> Option<Wanted> {
        self.machine.end_offer()
    }

    /// The bytes of a page that was offered that are wanted.
    pub fn keep_page(&mut self, id: ConnId, fragment: Fragment) {
        self.machine.keep_page(id, fragment);
    }

    /// How many connections are half open.
    #[cfg(test)]
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    /// What was counted so far.
    pub fn counters(&self) -> TcpCounters {
        self.counters
    }

    /// What there is now.
    pub fn now(&self) -> TcpNow {
        TcpNow {
            listeners: self.listeners.iter().flatten().count(),
            half_open: self.half_open.len(),
            open: self.tuples.len(),
            time_wait: self.time_wait.len(),
            retransmitted: self.machine.retransmitted(),
        }
    }

    /// How a connection is doing.
    pub fn info(&self, now: Instant, id: ConnId) -> TcpInfo {
        self.machine.info(now, id)
    }

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
            linger: None,
            dirty: false,
            blocked: false,
            challenges: Seldom::default(),
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
        slot.linger = None;
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

    /// The connection between these two.
    fn find(&self, tuple: &FourTuple) -> Option<u32> {
        let is_it = |index: u32| self.slots.get(index as usize).is_some_and(|slot| slot.tuple == *tuple);
        self.tuples.find(tuple.hash(), is_it)
    }

    /// The listener at `port`.
    fn listener_at(&self, port: u16) -> Option<u32> {
        let is_it = |index| self.listener(index).is_some_and(|listener| listener.local.port == port);
        self.ports.find(self.key.hash(&port.to_be_bytes()), is_it)
    }

    fn listener(&self, index: u32) -> Option<&Listener> {
        self.listeners.get(index as usize)?.as_ref()
    }
}
