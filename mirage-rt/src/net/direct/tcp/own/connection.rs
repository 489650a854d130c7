//! One connection: its state, and what its application does with it.

use alloc::boxed::Box;
use core::net::IpAddr;

use super::congestion::Congestion;
use super::ecn::Ecn;
use super::flight::Flight;
use super::memory::{Hunger, Memory, Purpose, Sizes, Use};
use super::moment::Moment;
use super::rack::Probe;
use super::rare::Rare;
use super::reassembly::Reassembly;
use super::ring::Ring;
use super::rtt::RoundTrip;
use super::sequence::{distance, later};
use super::timers::Timer;
use crate::net::direct::limit::Seldom;
use crate::net::direct::tcp::machine::{Expected, Handshake, Readiness, State};
use crate::net::direct::tcp::segment::{FourTuple, Segment, Seq, SynOptions, default_mss};
use crate::net::direct::tcp::timestamps::{self, Stamps};
use crate::net::{CongestionControl, TcpInfo, TcpState};
use crate::time::Instant;

/// What all connections of an interface have in common.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The most bytes of data and options in a segment.
    pub mss: u16,
    /// Bytes of the longest packet that the device cuts into segments; 0 when it cuts none.
    pub most: usize,
    /// By how many bits windows are shifted that we tell.
    pub shift: u8,
    /// The window that a SYN offers.
    pub window: u16,
    pub algorithm: CongestionControl,
    /// Bytes of buffers, and how many one may hold at most now.
    pub receive: Sizes,
    pub send: Sizes,
    pub part: u32,
    /// Whether [prediction](super::predict) is tried; only tests go without it, to compare.
    pub prediction: bool,
}

/// The timestamps of a connection (RFC 7323).
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// When the peer's latest has come; [`Moment::NONE`] as long as there is none.
    pub at: Moment,
    /// The peer's latest (TS.Recent).
    pub recent: u32,
    /// Our clock starts here, so that it does not tell for how long the host runs.
    pub offset: u32,
    /// Both sides use them.
    pub on: bool,
}

impl Clock {
    /// One of ours that starts at `offset`, if the peer has one too.
    pub fn new(offset: Option<u32>) -> Clock {
        Clock { offset: offset.unwrap_or_default(), on: offset.is_some(), ..Clock::default() }
    }

    /// Our clock.
    pub fn value(&self, now: Instant) -> u32 {
        timestamps::clock(self.offset, now)
    }

    pub fn hear(&mut self, now: Instant, value: u32) {
        (self.recent, self.at) = (value, Moment::at(now));
    }

    pub fn stamps(&self) -> Stamps {
        Stamps { offset: self.offset, recent: self.recent }
    }
}

/// What is to be acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owed {
    /// An acknowledgement must leave.
    pub now: bool,
    /// Until when it may wait for something to go with it.
    pub until: Moment,
    /// Up to where the peer was last told that we have everything.
    pub told: Seq,
    /// Bytes of the peer's longest segment so far, no more than fit one of ours.
    pub segment: u16,
}

/// The connection (the TCB of RFC 9293, 3.3.1).
pub struct Connection {
    pub generation: u32,
    pub tuple: FourTuple,
    pub phase: TcpState,

    /// The position of our SYN (ISS), the first that is not acknowledged (SND.UNA), the next to be sent (SND.NXT).
    pub isn: Seq,
    pub una: Seq,
    pub next: Seq,
    /// The bytes from `data_start` on: those not acknowledged and those not sent.
    pub send: Ring,
    pub data_start: Seq,
    /// Our FIN is to follow them.
    pub shut: bool,
    /// The application has written, and there was no memory for it.
    pub hunger: Hunger,
    /// The peer's window (SND.WND), the largest it ever was, and the segment that told it (SND.WL1, SND.WL2).
    pub window: u32,
    pub most_window: u32,
    pub told_by: (Seq, Seq),
    pub peer_mss: u16,
    pub peer_shift: u8,
    /// Small segments wait until nothing is under way (RFC 9293, 3.7.4).
    pub nagle: bool,

    /// The next position that is missing (RCV.NXT).
    pub expected: Seq,
    /// The end of the window that the peer was told; it never moves back.
    pub edge: Seq,
    pub shift: u8,
    pub receive: Ring,
    pub usage: Use,
    pub held: Option<Box<Reassembly>>,
    /// Where the peer's stream ends, once that was heard; and whether all in front of it is there.
    pub fin_at: Option<Seq>,
    pub finished: bool,
    pub owed: Owed,

    pub sack: bool,
    pub clock: Clock,

    pub flight: Flight,
    pub trip: RoundTrip,
    pub probe: Probe,
    pub congestion: Congestion,
    /// Bytes of data and options that are known to fit the way.
    pub path_most: u16,
    pub ecn: Ecn,
    /// Of challenges to the peer.
    pub challenges: Seldom,
    /// Acknowledgements without news in a row, for peers without SACK.
    pub repeats: u16,
    /// The congestion window was what held us back.
    pub limited: bool,
    pub timer: Timer,
    pub timer_at: Moment,
    /// When RACK is to look again.
    pub reorder_at: Moment,
    /// A timer has found that these must leave.
    pub due: Due,

    /// When something of the peer came last, and since when it owes an answer.
    pub heard: Instant,
    pub waiting: Moment,
    pub sent_at: Instant,
    /// Since when nobody reads or writes it.
    pub lingering: Moment,
    /// Segments that were sent again.
    pub retransmissions: u32,
    pub rare: Option<Box<Rare>>,
}

/// What timers want to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Due {
    /// A probe of a tail loss (RFC 8985, 7).
    pub tail: bool,
    /// A probe of a closed window (RFC 9293, 3.8.6.1).
    pub window: bool,
    /// A question whether the peer is there (RFC 9293, 3.8.4).
    pub question: bool,
    /// What fits the window, however small it is (RFC 9293, 3.8.6.2.1).
    pub small: bool,
    /// Our SYN with an acknowledgement.
    pub syn: bool,
    /// The first segment of a new loss, however much is under way (RFC 6675, 5, step 4.3; RFC 6582, 3.2).
    pub first: bool,
}

impl Due {
    pub fn is_any(&self) -> bool {
        self.tail | self.window | self.question | self.small | self.syn | self.first
    }
}

impl Connection {
    /// A connection whose SYN is still to be sent.
    #[cold]
    #[inline(never)]
    pub fn connecting(now: Instant, generation: u32, tuple: &FourTuple, isn: Seq, link: &Link) -> Connection {
        Connection {
            generation,
            tuple: *tuple,
            phase: TcpState::SynSent,
            isn,
            una: isn,
            next: isn,
            send: Ring::new(link.send.first(link.part)),
            data_start: isn.add(1),
            shut: false,
            hunger: Hunger::None,
            window: 0,
            most_window: 0,
            told_by: (Seq(0), Seq(0)),
            peer_mss: 536,
            peer_shift: 0,
            nagle: false,
            expected: Seq(0),
            edge: Seq(0),
            shift: link.shift,
            receive: Ring::new(link.receive.first(link.part)),
            usage: Use::default(),
            held: None,
            fin_at: None,
            finished: false,
            owed: Owed::default(),
            sack: true,
            clock: Clock::default(),
            flight: Flight::default(),
            trip: RoundTrip::default(),
            probe: Probe::default(),
            congestion: Congestion::new(link.algorithm, link.mss),
            path_most: u16::MAX,
            ecn: Ecn::default(),
            challenges: Seldom::default(),
            repeats: 0,
            limited: false,
            timer: Timer::Retransmit,
            timer_at: Moment::NONE,
            reorder_at: Moment::NONE,
            due: Due::default(),
            heard: now,
            waiting: Moment::NONE,
            sent_at: now,
            lingering: Moment::NONE,
            retransmissions: 0,
            rare: None,
        }
    }

    /// The demultiplexer has led a handshake to its end.
    pub fn establish(&mut self, now: Instant, handshake: &Handshake, link: &Link) {
        self.clock = Clock::new(handshake.clock);
        self.hear_syn(now, handshake.peer_isn, &handshake.options, link);
        self.told_by = (handshake.peer_isn, handshake.isn);
        self.window = u32::from(handshake.window);
        self.most_window = self.window;
        self.una = handshake.isn.add(1);
        self.next = self.una;
        if handshake.repeated {
            self.has_lost_syn();
        } else if handshake.sent < now {
            // A cookie does not know when its SYN left.
            self.trip.measure(handshake.sent, now);
        }
        self.phase = TcpState::Established;
    }

    /// Our SYN had to be repeated: the way is full, or longer than was believed (RFC 6298, 5.7; RFC 5681, 3.1).
    pub fn has_lost_syn(&mut self) {
        self.trip.be_careful();
        self.congestion.start_small();
    }

    /// Takes down what the peer's SYN says (RFC 9293, 3.7.1; RFC 7323; RFC 2018).
    #[cold]
    #[inline(never)]
    pub fn hear_syn(&mut self, now: Instant, isn: Seq, options: &SynOptions, link: &Link) {
        self.expected = isn.add(1);
        self.owed.told = self.expected;
        self.edge = self.expected.add(u32::from(link.window));
        self.start_use(now);
        self.peer_mss = options.mss.unwrap_or(default_mss(self.remote())).max(LEAST_MSS);
        self.peer_shift = options.window_shift.unwrap_or(0).min(14);
        if options.window_shift.is_none() {
            // Then neither side shifts.
            self.shift = 0;
        }
        self.sack = options.sack;
        self.ecn.on = options.ecn;
        match options.stamp {
            Some(stamp) => self.clock.hear(now, stamp.value),
            None => self.clock.on = false,
        }
        self.congestion = Congestion::new(link.algorithm, self.segment(link) as u16);
    }

    /// The peer's address.
    pub fn remote(&self) -> IpAddr {
        self.tuple.remote().ip()
    }

    /// Bytes of data in a full segment, when it has no options but the timestamp.
    pub fn segment(&self, link: &Link) -> usize {
        let options = if self.clock.on { 12 } else { 0 };
        usize::from(self.most_segment(link)).saturating_sub(options).max(1)
    }

    /// Bytes of data and options in a full segment.
    pub fn most_segment(&self, link: &Link) -> u16 {
        self.peer_mss.min(link.mss).min(self.path_most)
    }

    /// Behind the last byte that was written.
    pub fn data_end(&self) -> Seq {
        self.data_start.add(self.send.length() as u32)
    }

    /// Whether our FIN was sent.
    pub fn is_fin_sent(&self) -> bool {
        self.next.since(self.data_end()) > 0
    }

    /// Bytes that were not sent.
    pub fn unsent(&self) -> u32 {
        distance(self.next, self.data_end())
    }

    /// Whether something waits for the peer: bytes, or our FIN.
    pub fn is_waiting(&self) -> bool {
        !self.flight.is_empty() || self.unsent() > 0 || self.shut && self.is_open() && !self.is_fin_sent()
    }

    /// Whether both SYNs are acknowledged and the connection is not over.
    pub fn is_open(&self) -> bool {
        !matches!(self.phase, TcpState::SynSent | TcpState::SynReceived | TcpState::TimeWait | TcpState::Closed)
    }

    /// It is over; what was received can still be read.
    #[cold]
    #[inline(never)]
    pub fn close(&mut self) {
        self.phase = TcpState::Closed;
        self.timer_at = Moment::NONE;
        self.reorder_at = Moment::NONE;
        self.owed = Owed { told: self.owed.told, ..Owed::default() };
        self.due = Due::default();
        self.flight = Flight::default();
        self.send.set_limit(0);
        self.consume_sent(usize::MAX);
        self.data_start = self.next;
    }

    pub fn state(&self) -> State {
        match self.phase {
            TcpState::SynSent | TcpState::SynReceived => State::Connecting,
            TcpState::TimeWait => State::TimeWait { next: self.next, expected: self.expected },
            TcpState::Closed => State::Closed,
            _ => State::Open,
        }
    }

    pub fn readiness(&self) -> Readiness {
        let fin =
            self.shut && matches!(self.state(), State::Connecting | State::Open) && self.phase != TcpState::FinWait2;
        Readiness {
            readable: self.receive.length(),
            finished: self.finished,
            writable: self.can_write() && self.send.room() > 0 && self.hunger == Hunger::None,
            unacknowledged: self.send.length() + usize::from(fin) + usize::from(self.state() == State::Connecting),
        }
    }

    /// How it is doing.
    #[cold]
    #[inline(never)]
    pub fn info(&self, now: Instant, link: &Link) -> TcpInfo {
        let ready = self.readiness();
        TcpInfo {
            in_flight: Some(self.flight.total() as usize),
            segment_size: Some(self.segment(link)),
            congestion_window: Some(self.congestion.window() as usize),
            slow_start_threshold: self.congestion.threshold().map(|threshold| threshold as usize),
            send_window: Some(self.window as usize),
            receive_window: Some(distance(self.expected, self.edge) as usize),
            round_trip: self.trip.smoothed(),
            retransmission_timeout: Some(self.trip.timeout()),
            retransmissions: Some(self.retransmissions.into()),
            silence: Some(now - self.heard),
            ..TcpInfo::new(self.phase, ready.readable, ready.unacknowledged)
        }
    }

    pub fn can_write(&self) -> bool {
        !self.shut && matches!(self.phase, TcpState::Established | TcpState::CloseWait)
    }

    pub fn expected(&self) -> Expected {
        Expected { next: self.expected, end: self.edge, shift: self.shift, sent: self.next }
    }

    pub fn stamps(&self) -> Option<Stamps> {
        self.clock.on.then(|| self.clock.stamps())
    }

    pub fn write(&mut self, bytes: &[u8], memory: &mut Memory) -> usize {
        if !self.can_write() {
            return 0;
        }
        let room = self.send.room();
        let outside = self.given().map_or(0, |given| given.length);
        self.send.supply(self.send.length() - outside + bytes.len().min(room), memory, Purpose::Send);
        let length = self.send.write(bytes, outside);
        self.hunger = if length == 0 && room > 0 { Hunger::New } else { Hunger::None };
        length
    }

    /// Makes sure of memory for what a segment brings, if it lies in the window and there is any.
    #[inline]
    pub fn make_room(&mut self, segment: &Segment, memory: &mut Memory) {
        let end = distance(self.expected, segment.seq.add(segment.length));
        if segment.length > 0 && end <= distance(self.expected, self.edge) {
            let wanted = self.receive.length() - self.kept_length() + end as usize;
            self.receive.supply(wanted, memory, Purpose::Receive);
        }
    }

    pub fn read(&mut self, buffer: &mut [u8], memory: &mut Memory) -> usize {
        if self.is_taking() {
            return self.read_pages(buffer, memory);
        }
        self.receive.read(buffer)
    }

    /// Whether nothing is under way and nothing has come for so long that there is no hurry.
    #[inline]
    pub fn is_quiet(&self, now: Instant) -> bool {
        now.nanos_since(self.heard) >= QUIET && self.flight.is_empty() && self.unsent() == 0
    }

    /// Gives memory back that the buffers do not need now; unless `all` is set, a little stays.
    #[inline]
    pub fn rest_buffers(&mut self, all: bool, memory: &mut Memory) {
        if all {
            self.flight.rest();
            self.congestion.forget();
            self.rest_rare();
        }
        self.send.rest(all, memory);
        if self.held.is_none() {
            self.receive.rest(all, memory);
        }
    }

    /// The window to be told, in units of the shift, as far as that is no silly one (RFC 9293, 3.8.6.2.2): it opens by a
    /// segment or half of the buffer at least.
    pub fn offer(&mut self, link: &Link) -> u16 {
        let told = distance(self.expected, self.edge);
        let window = if self.window_gain() >= self.least_gain(link) { self.receive.room() as u32 } else { told };
        let field = u16::try_from(window >> self.shift).unwrap_or(u16::MAX);
        self.edge = later(self.edge, self.expected.add(u32::from(field) << self.shift));
        field
    }

    /// By how much the window could be larger than the peer was told.
    fn window_gain(&self) -> u32 {
        distance(self.edge, self.expected.add(self.receive.room() as u32))
    }

    fn least_gain(&self, link: &Link) -> u32 {
        (self.receive.limit() as u32 / 2).min(u32::from(link.mss)).max(1 << self.shift)
    }

    /// Whether the peer is to be told of a larger window though there is nothing else to say: when it has hardly any, or it
    /// could have half of the buffer more. Before its first data it is not: what a SYN offers is enough for that.
    pub fn is_window_news(&self, link: &Link) -> bool {
        let gain = self.window_gain();
        let is_low = distance(self.expected, self.edge) < 2 * u32::from(link.mss);
        let is_much = gain >= self.receive.limit() as u32 / 2 && self.owed.until.is_none();
        self.is_open()
            && !self.finished
            && self.owed.segment > 0
            && (is_low && gain >= self.least_gain(link) || is_much && gain > 0)
    }
}

/// Nanoseconds without a segment of the peer after which a connection counts as quiet: less than acknowledgements are delayed.
const QUIET: u64 = 5_000_000;

/// The least segment that a peer may ask for, in bytes: a smaller one would only be a burden (as Linux has it).
const LEAST_MSS: u16 = 88;
