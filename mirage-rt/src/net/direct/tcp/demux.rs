//! The lower side: segments that come in, and time that passes.

use core::net::{IpAddr, SocketAddr};

use super::choice::EXTENDED;
use super::half_open::{Found, Offer, send_syn};
use super::machine::{ConnId, Handshake, News, State, TcpMachine};
use super::segment::{Bare, Control, FourTuple, Segment, Seq, SynOptions};
use super::time_wait::Late;
use super::timestamps::{self, Timestamp};
use super::{End, Holder, LINGER_MOST, Tcp};
use crate::net::direct::header;
use crate::net::direct::ip::{Blocked, IpOut};
#[cfg(any(test, not(feature = "smoltcp-tcp")))]
use crate::net::direct::train::Following;
use crate::time::{Duration, Instant};

/// Bytes of data from which a segment may be the first of a train.
const TRAIN_LEAST: u32 = 256;
/// Who waits for a neighbour looks again after so long, whatever has become of the question.
const BLOCKED_WAIT: Duration = Duration::from_secs(1);

impl<M: TcpMachine> Tcp<M> {
    /// A segment came in: `packet` is the IP packet, `segment` its header; checksums are right.
    pub fn on_segment(&mut self, now: Instant, packet: &[u8], segment: &Segment, out: &mut dyn IpOut) {
        self.counters.segments += 1;
        self.counters.bytes += u64::from(segment.length);
        if let Some(index) = self.find(&segment.tuple) {
            return self.on_own_segment(now, index, packet, segment, out);
        }
        let options = if segment.syn { options(packet, segment) } else { SynOptions::default() };
        if let Some(late) = self.time_wait.on_segment(now, segment, &options) {
            match late {
                Late::Answer(answer) => answer.send(&segment.tuple, out),
                Late::Ignore => {}
                Late::Reopen(behind) => self.on_syn(now, segment, &options, Some(behind), out),
            }
            return;
        }
        let offer = self.offer();
        match self.half_open.on_segment(now, segment, &options, &offer, out) {
            Some(Found::Complete(handshake, listener)) => {
                self.on_complete(now, &handshake, listener, packet, segment, out);
            }
            Some(Found::Wrong) => self.reset(now, segment, out),
            Some(Found::Ignore) => {}
            None if segment.syn && segment.ack.is_none() => self.on_syn(now, segment, &options, None, out),
            None => self.on_stray(now, packet, segment, out),
        }
    }

    /// A segment that may well be what a connection expects; `false`, and nothing has happened, when it is not.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    #[inline(always)]
    pub fn on_usual(&mut self, now: Instant, packet: &[u8], segment: &Segment) -> bool {
        let Some(index) = self.find(&segment.tuple) else { return false };
        let Some(slot) = self.slots.get(index as usize) else { return false };
        if !slot.holder.is_reader() {
            return false;
        }
        let id = ConnId { index, generation: slot.generation };
        let Some(news) = self.machine.predict(now, id, packet, segment) else { return false };
        self.counters.segments += 1;
        self.counters.bytes += u64::from(segment.length);
        self.note_bulk(id, segment);
        self.tell(index, news);
        true
    }

    /// What was expected may be the first segment of a train.
    #[inline(always)]
    fn note_bulk(&mut self, id: ConnId, segment: &Segment) {
        self.bulk = (segment.length >= TRAIN_LEAST).then_some(id);
    }

    /// The connection that has just got bulk data which it had expected.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    #[inline(always)]
    pub fn take_bulk(&mut self) -> Option<ConnId> {
        self.bulk.take()
    }

    /// A segment that follows the last one; `false`, and nothing has happened, when it is not what its connection expects.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    #[inline(always)]
    pub fn follow(&mut self, now: Instant, id: ConnId, following: &Following<'_>) -> bool {
        let Some(run) = self.machine.follow(now, id, following) else { return false };
        self.counters.segments += 1;
        self.counters.followed += 1;
        self.counters.bytes += following.data.len() as u64;
        // Who reads was woken by the first, and a time that was set is still right.
        if run {
            self.mark(id.index);
        }
        true
    }

    /// A segment that belongs to nothing we know of: it may give a cookie back.
    fn on_stray(&mut self, now: Instant, packet: &[u8], segment: &Segment, out: &mut dyn IpOut) {
        let local = segment.tuple.local();
        match (self.cookies.check(now, segment), self.listening_at(local)) {
            (Some(mut handshake), Some(listener)) => {
                if EXTENDED
                    && let Some(stamp) = options(packet, segment).stamp
                    && let Some(clock) = self.machine.clock(&segment.tuple)
                {
                    let (mss, kept) = (handshake.options.mss, timestamps::kept(stamp.echo));
                    let ecn = kept.ecn && self.machine.ecn();
                    handshake.options = SynOptions { mss, stamp: Some(stamp), ecn, ..kept };
                    handshake.clock = Some(clock);
                }
                self.on_complete(now, &handshake, listener, packet, segment, out);
            }
            _ => self.reset(now, segment, out),
        }
    }

    /// The listener for connections to `local`.
    fn listening_at(&self, local: SocketAddr) -> Option<u32> {
        let is_meant = |address: Option<IpAddr>| address.is_none_or(|address| address == local.ip());
        self.listener_at(local.port())
            .filter(|index| self.listener(*index).is_some_and(|listener| is_meant(listener.local.address)))
    }

    /// A segment of a connection that there is.
    fn on_own_segment(&mut self, now: Instant, index: u32, packet: &[u8], segment: &Segment, out: &mut dyn IpOut) {
        let id = self.id(index);
        if self.slots[index as usize].holder.is_reader()
            && let Some(news) = self.machine.predict(now, id, packet, segment)
        {
            self.note_bulk(id, segment);
            return self.tell(index, news);
        }
        if self.machine.state(id) != State::Connecting && !self.is_acceptable(now, id, segment, out) {
            return;
        }
        self.machine.on_segment(now, id, packet, segment, out);
        self.settle(index, if segment.rst { End::Reset } else { End::Done }, out);
        self.mark(index);
    }

    /// Something that was expected has come.
    fn tell(&mut self, index: u32, news: News) {
        let slot = &mut self.slots[index as usize];
        if news.readable {
            slot.reader.wake();
        }
        if news.writable {
            slot.writer.wake();
        }
        if news.run {
            self.mark(index);
        } else if let Some(deadline) = news.deadline {
            self.timers.set(index, deadline);
        }
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
        if challenge && self.slot(id).challenges.allow(now) && self.challenges.allow(now) {
            self.counters.challenges += 1;
            let window = expected.end.since(expected.next).max(0) as u32 >> expected.shift;
            let window = u16::try_from(window).unwrap_or(u16::MAX);
            let stamp = self.machine.stamps(id).map(|stamps| stamps.at(now));
            let challenge = Bare { seq: expected.sent, ack: Some(expected.next), window, stamp, ..Bare::default() };
            challenge.send(&segment.tuple, out);
        }
        false
    }

    /// A SYN for no connection that there is; our own must come from behind `behind`.
    fn on_syn(
        &mut self,
        now: Instant,
        segment: &Segment,
        options: &SynOptions,
        behind: Option<Seq>,
        out: &mut dyn IpOut,
    ) {
        let Some(index) = self.listening_at(segment.tuple.local()) else { return self.reset(now, segment, out) };
        // The peer tries again; by then there may be room.
        let is_full = self.listener(index).is_none_or(|listener| listener.queue.len() >= listener.backlog);
        if is_full || !self.machine.has_room() {
            self.counters.backlog_drops += 1;
            return;
        }
        let isn = match behind {
            // RFC 9293, 3.6.1: a new connection's positions must lie behind those of the old one.
            Some(next) => next.add(1 << 16),
            None => self.isn.next(now, &segment.tuple),
        };
        let clock = options.stamp.filter(|_| EXTENDED).and_then(|_| self.machine.clock(&segment.tuple));
        let ecn = options.ecn && self.machine.ecn();
        let handshake = Handshake {
            tuple: segment.tuple,
            isn,
            peer_isn: segment.seq,
            options: SynOptions { stamp: options.stamp.filter(|_| clock.is_some()), ecn, ..*options },
            window: segment.window,
            sent: now,
            repeated: false,
            clock,
        };
        let offer = self.offer();
        if self.half_open.is_full() {
            self.counters.cookies += 1;
            let isn = self.cookies.make(now, &segment.tuple, segment.seq, options.mss);
            let stamp = handshake.stamp();
            let stamp =
                stamp.map(|stamp| Timestamp { value: timestamps::keep(stamp.value, &handshake.options), ..stamp });
            // A cookie alone has no place for the other options.
            let bare = SynOptions { mss: options.mss, ..SynOptions::default() };
            let options = if stamp.is_some() { handshake.options } else { bare };
            send_syn(&Handshake { isn, options, ..handshake }, stamp, &offer, out);
        } else {
            self.half_open.insert(&handshake, index, &offer, out);
        }
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
            self.counters.backlog_drops += 1;
            return;
        }
        let Ok(id) = self.open(handshake.tuple, Holder::Listener) else { return };
        if self.machine.establish(now, id, handshake).is_err() {
            self.release(id.index);
            return;
        }
        self.counters.passive += 1;
        self.half_open.remove(&handshake.tuple);
        self.tuples.insert(handshake.tuple.hash(), id.index);
        if let Some(listener) = self.listeners.get_mut(listener as usize).and_then(Option::as_mut) {
            listener.queue.push_back(id);
            listener.acceptor.wake();
        }
        self.on_own_segment(now, id.index, packet, segment, out);
    }

    /// ICMP says that a segment with the position `seq` got nowhere. Only a connection that is being made is ended by it:
    /// for others it may be a passing trouble, or a stranger's invention.
    pub fn on_unreachable(&mut self, tuple: &FourTuple, seq: Seq, refused: bool) {
        let Some(index) = self.find(tuple) else { return };
        let id = self.id(index);
        if self.machine.state(id) == State::Connecting && self.machine.expected(id).sent == seq.add(1) {
            self.end(index, if refused { End::Reset } else { End::Unreachable });
        }
    }

    /// ICMP says that a segment with the position `seq` is longer than its way takes, which is `mtu` bytes. Whether it was believed.
    pub fn on_too_big(&mut self, now: Instant, tuple: &FourTuple, seq: Seq, mtu: u16) -> bool {
        let Some(index) = self.find(tuple) else { return false };
        let is_believed = self.machine.on_too_big(now, self.id(index), seq, mtu.into());
        if is_believed {
            self.counters.too_big += 1;
            self.mark(index);
        }
        is_believed
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
        let orphan = slot.holder == Holder::Orphan;
        if orphan && !self.may_linger(now, id, out) {
            return true;
        }
        self.counters.runs += 1;
        let mut progress = self.machine.run(now, id, out);
        match progress.blocked {
            Some(Blocked::Device) => return false,
            Some(Blocked::Neighbour(hop)) => {
                let slot = &mut self.slots[index as usize];
                if !slot.blocked {
                    slot.blocked = true;
                    self.blocked.push((hop, index));
                }
                // The table may forget, for others, that this one was asked for.
                let again = now + BLOCKED_WAIT;
                progress.deadline = Some(progress.deadline.map_or(again, |deadline| deadline.min(again)));
            }
            None => {}
        }
        if let Some(deadline) = progress.deadline {
            self.timers.set(index, deadline);
        }
        if progress.plain {
            return true;
        }
        if let State::TimeWait { next, expected } = self.machine.state(id) {
            let tuple = self.slots[index as usize].tuple;
            self.time_wait.insert(now, tuple, next, expected, self.machine.stamps(id));
            self.end(index, End::Done);
        } else {
            self.settle(index, End::TimedOut, out);
        }
        true
    }

    /// Nobody reads or writes this connection any more: whether it has time left to be closed in order. A peer that is
    /// silent gets less of it than one that answers; none can keep the memory for ever.
    fn may_linger(&mut self, now: Instant, id: ConnId, out: &mut dyn IpOut) -> bool {
        let most = self.slots[id.index as usize].linger.as_deref().copied().unwrap_or(LINGER_MOST);
        let until = self.machine.linger(now, id) + most;
        if now >= until {
            self.send_reset(id, out);
            self.end(id.index, End::TimedOut);
            return false;
        }
        self.timers.set(id.index, until);
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
        self.end_all(End::Down, None);
        for listener in self.listeners.iter_mut().flatten() {
            listener.acceptor.wake();
        }
    }

    /// All connections are over, or those of one of our addresses.
    pub(super) fn end_all(&mut self, end: End, of: Option<IpAddr>) {
        for index in 0..self.slots.len() as u32 {
            let slot = &self.slots[index as usize];
            if slot.holder != Holder::None && of.is_none_or(|of| slot.tuple.local().ip() == of) {
                self.end(index, end);
            }
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
    pub(super) fn end(&mut self, index: u32, end: End) {
        let id = self.id(index);
        let slot = &mut self.slots[index as usize];
        if slot.end.is_some() {
            return;
        }
        slot.end = Some(end);
        self.counters.ends[end as usize] += 1;
        slot.reader.wake();
        slot.writer.wake();
        let hash = slot.tuple.hash();
        self.tuples.remove(hash, index);
        self.timers.remove(index);
        let holder = slot.holder;
        // What was received can still be read, however it ended; but nobody will read what nobody has accepted.
        let is_wanted = holder == Holder::Application && end != End::Aborted || end == End::Done;
        if !is_wanted || self.machine.readiness(id).readable == 0 {
            self.machine.free(id);
        }
        if holder == Holder::Orphan {
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
        Offer { paths: self.paths, window: self.machine.initial_window(), window_shift: self.machine.window_shift() }
    }

    /// Tells the peer that the connection is no more.
    pub(super) fn send_reset(&mut self, id: ConnId, out: &mut dyn IpOut) {
        let tuple = self.slot(id).tuple;
        if self.machine.state(id) == State::Open {
            let expected = self.machine.expected(id);
            Bare { control: Control::Rst, seq: expected.sent, ack: Some(expected.next), ..Bare::default() }
                .send(&tuple, out);
        }
    }
}

/// The options of the header in an IP packet.
fn options(packet: &[u8], segment: &Segment) -> SynOptions {
    segment.options(header::payload(packet))
}
