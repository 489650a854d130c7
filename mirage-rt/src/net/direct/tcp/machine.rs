//! The seam between the demultiplexer and what speaks TCP for one connection.
//!
//! Outside of a machine, and the same for all machines: the table of connections, half-open connections, TIME_WAIT,
//! listeners, the check of resets and acknowledgements against blind injection, timers, the list of connections with
//! something to send, wakers. A machine keeps the state of the connections behind [`ConnId`]s that the demultiplexer
//! gives out, and touches only the one it is asked about. Applications see none of its types.

use core::net::IpAddr;
use core::ops::Range;

use super::choice::EXTENDED;
use super::segment::{FourTuple, Segment, Seq, SynOptions};
use super::timestamps::{Stamps, Timestamp};
use crate::net::direct::ip::{Blocked, IpOut, Paths};
#[cfg(any(test, not(feature = "smoltcp-tcp")))]
use crate::net::direct::train::Following;
use crate::net::{OptionError, TcpInfo, TcpOption};
use crate::packet::Fragment;
use crate::time::{Duration, Instant};

/// How long a connection that no application holds any more may be silent before it is given up.
pub const LINGER: Duration = Duration::from_secs(60);

/// A connection: a place in a table, and which of the connections that had this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnId {
    pub index: u32,
    pub generation: u32,
}

/// Sizes of a connection's buffers and the budget for all.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    pub receive: usize,
    pub send: usize,
    pub budget: usize,
}

/// A handshake that the cache of half-open connections has led to its end.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    pub tuple: FourTuple,
    /// The sequence number of our SYN.
    pub isn: Seq,
    /// That of the peer's.
    pub peer_isn: Seq,
    /// What the peer's SYN offered.
    pub options: SynOptions,
    /// The window of the peer's SYN.
    pub window: u16,
    /// When our SYN left last, for the first measure of the round trip.
    pub sent: Instant,
    /// It has left more than once.
    pub repeated: bool,
    /// Both sides use timestamps, and our clock starts here.
    pub clock: Option<u32>,
}

impl Handshake {
    /// The timestamp of our SYN.
    pub fn stamp(&self) -> Option<Timestamp> {
        let clock = self.clock.filter(|_| EXTENDED)?;
        let stamps = Stamps { offset: clock, recent: self.options.stamp?.value };
        Some(stamps.at(self.sent))
    }
}

/// There is no memory for another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Our SYN is out.
    Connecting,
    /// Open, or half closed.
    Open,
    /// Both sides are closed and late segments of the peer have to be answered.
    TimeWait {
        /// The next position that we would send.
        next: Seq,
        /// The next one that we expect.
        expected: Seq,
    },
    /// Over: closed on both sides, reset, or given up.
    Closed,
}

/// What an application can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Bytes that can be read at once.
    pub readable: usize,
    /// The peer has closed its side and no bytes are missing: after `readable` comes the end.
    pub finished: bool,
    /// There is room to write, and this side is not closed.
    pub writable: bool,
    /// Bytes that the peer has not acknowledged, our FIN counted as one.
    pub unacknowledged: usize,
}

/// What the peer may validly send; for the checks of RFC 5961.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The next position that is missing.
    pub next: Seq,
    /// Behind the last one that the window allows.
    pub end: Seq,
    /// By how many bits the windows that the peer is told are shifted.
    pub shift: u8,
    /// Behind the last one that we have sent.
    pub sent: Seq,
}

/// What [`TcpMachine::run`] left behind.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// When to run it again.
    pub deadline: Option<Instant>,
    /// There is more to send, and why it could not be.
    pub blocked: Option<Blocked>,
    /// Nothing has changed for the application, nor whether the connection is open.
    pub plain: bool,
}

/// What a segment that was expected has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// There is more to read.
    pub readable: bool,
    /// There is room to write that was not there before.
    pub writable: bool,
    /// [`TcpMachine::run`] has something to do, at once or at a time. An acknowledgement that can wait for an answer to go with
    /// it is nothing to be done at once.
    pub run: bool,
    pub deadline: Option<Instant>,
}

/// What of pages that were offered is wanted, and by whom: bytes by their number from the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub id: ConnId,
    pub bytes: Range<usize>,
}

/// Something that speaks TCP. All methods return at once; none calls the application. A connection that the machine does
/// not know is closed and has nothing to read.
pub trait TcpMachine {
    /// The shift of the windows that this machine offers to peers that can scale.
    fn window_shift(&self) -> u8;

    /// The window that a new connection offers, before it is shifted.
    fn initial_window(&self) -> u16;

    /// Where the clock of the timestamps starts for a connection between these two; `None` when the machine speaks no
    /// timestamps, which nobody must offer for it then.
    fn clock(&self, tuple: &FourTuple) -> Option<u32>;

    /// Whether the machine heeds explicit congestion notification (RFC 3168); else nobody must take up a peer's offer of it.
    fn ecn(&self) -> bool;

    /// Packets can be so long from now on, those of open connections too.
    fn set_device(&mut self, paths: Paths);

    /// Connections that are made from now on have this address, in a network with a prefix of this length.
    fn set_address(&mut self, address: IpAddr, prefix: u8) {
        let _ = (address, prefix);
    }

    /// Whether there is memory for another connection.
    fn has_room(&self) -> bool;

    /// Makes the connection `id` from a handshake. The segment that ended the handshake comes next, by
    /// [`on_segment`](TcpMachine::on_segment).
    fn establish(&mut self, now: Instant, id: ConnId, handshake: &Handshake) -> Result<(), OutOfMemory>;

    /// Makes the connection `id`, whose SYN with the position `isn` leaves with the next [`run`](TcpMachine::run).
    fn connect(&mut self, now: Instant, id: ConnId, tuple: &FourTuple, isn: Seq) -> Result<(), OutOfMemory>;

    /// As [`on_segment`](TcpMachine::on_segment), of a connection that somebody reads or will, for a segment that is just what was
    /// expected: it needs no check and ends nothing. `None` when it is otherwise; then nothing has changed.
    fn predict(&mut self, now: Instant, id: ConnId, packet: &[u8], segment: &Segment) -> Option<News> {
        let _ = (now, id, packet, segment);
        None
    }

    /// A segment that follows one which [`predict`](TcpMachine::predict) has taken in, at the same time and with nothing in
    /// between, and is like that one but for its position, its timestamp and its data. Whether [`run`](TcpMachine::run) has something
    /// to do at once; `None` when it is not what was expected, and then nothing has changed.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    fn follow(&mut self, now: Instant, id: ConnId, following: &Following<'_>) -> Option<bool> {
        let _ = (now, id, following);
        None
    }

    /// A segment of `id`'s peer: `packet` is the whole IP packet, its checksums are right. At most one answer leaves at
    /// once; what else there is to be sent waits for [`run`](TcpMachine::run).
    fn on_segment(&mut self, now: Instant, id: ConnId, packet: &[u8], segment: &Segment, out: &mut dyn IpOut);

    /// A router says that a segment of `id` with the position `seq` is longer than the `mtu` bytes that its way takes. It may be
    /// a stranger's invention. Whether it was believed; a machine that does not look for the MTU of paths believes nothing.
    fn on_too_big(&mut self, now: Instant, id: ConnId, seq: Seq, mtu: usize) -> bool;

    /// Sends what there is to be sent and does what is due.
    fn run(&mut self, now: Instant, id: ConnId, out: &mut dyn IpOut) -> Progress;

    /// Where `id` stands.
    fn state(&self, id: ConnId) -> State;

    /// What can be done with `id`.
    fn readiness(&self, id: ConnId) -> Readiness;

    /// How `id` is doing at `now`.
    fn info(&self, now: Instant, id: ConnId) -> TcpInfo;

    /// How many segments of all connections were sent again so far.
    fn retransmitted(&self) -> u64;

    /// What `id`'s peer may send.
    fn expected(&self, id: ConnId) -> Expected;

    /// The timestamps of `id`, if its sides use them.
    fn stamps(&self, id: ConnId) -> Option<Stamps>;

    /// The bytes that can be read at once: the first ones, as far as they are contiguous.
    fn peek(&mut self, id: ConnId) -> &[u8];

    /// Takes bytes away that were peeked at; no more than there are.
    fn consume(&mut self, id: ConnId, length: usize);

    /// Copies bytes out and takes them away; how many.
    fn read(&mut self, id: ConnId, buffer: &mut [u8]) -> usize;

    /// Whether some connection keeps the pages that its segments come in.
    fn wants_pages(&self) -> bool {
        false
    }

    /// The segments that follow come in so many pages that can be kept; their bytes, or a copy, stand at these addresses.
    fn offer_pages(&mut self, bytes: Range<usize>, pages: usize) {
        let _ = (bytes, pages);
    }

    /// And those that follow don't. What is wanted must be given to [`keep_page`](TcpMachine::keep_page) at once, page by page.
    fn end_offer(&mut self) -> Option<Wanted> {
        None
    }

    /// The bytes of a page that was offered that are wanted.
    fn keep_page(&mut self, id: ConnId, fragment: Fragment) {
        let _ = (id, fragment);
    }

    /// Takes the page that comes first of what can be read; `None` when that is other bytes, or nothing. From now on `id` keeps
    /// pages, if the machine does.
    fn take_page(&mut self, id: ConnId) -> Option<Fragment> {
        let _ = id;
        None
    }

    /// Takes over bytes to be sent; how many there was room for.
    fn write(&mut self, id: ConnId, bytes: &[u8]) -> usize;

    /// Takes over some or all of a page's bytes to be sent, as many as there is room for; whether there was any. What is
    /// left stays in `fragment`. A machine that keeps no pages copies.
    fn give_page(&mut self, id: ConnId, fragment: &mut Option<Fragment>) -> bool {
        let Some(given) = fragment.take() else { return false };
        let length = self.write(id, given.bytes());
        rest(given, length, fragment)
    }

    /// Closes this side behind what was written.
    fn shutdown(&mut self, id: ConnId);

    /// Makes a choice for `id`; never [`TcpOption::Linger`], which is no business of a machine.
    fn set(&mut self, now: Instant, id: ConnId, option: TcpOption) -> Result<(), OptionError>;

    /// From now on the connection is given up when nothing was heard of the peer for [`LINGER`], even when nothing waits
    /// for it. Since when that is so.
    fn linger(&mut self, now: Instant, id: ConnId) -> Instant;

    /// Forgets `id` and frees its memory.
    fn free(&mut self, id: ConnId);
}

/// Of `given`, the first `length` bytes were copied: what is left of it, and whether there were any.
pub fn rest(mut given: Fragment, length: usize, fragment: &mut Option<Fragment>) -> bool {
    given.pull_front(length);
    *fragment = Some(given).filter(|given| !given.is_empty());
    length > 0 || fragment.is_none()
}
