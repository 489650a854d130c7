//! One connection of smoltcp's, and what it does not tell.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::num::NonZeroU16;

use smoltcp::socket::tcp::{Socket, State as SmolState};
use smoltcp::wire::{TcpPacket, TcpSeqNumber};

use super::{ACK_DELAY, CONNECT_TIMEOUT, Parts, USER_TIMEOUT, smol_duration};
use crate::net::direct::header;
use crate::net::direct::ip::TxMeta;
use crate::net::direct::tcp::machine::{ConnId, LINGER};
use crate::net::direct::tcp::segment::{Bare, Control, FourTuple, Segment, Seq, SynOptions, default_mss};
use crate::net::{TcpInfo, TcpState};
use crate::time::{Duration, Instant};

/// Bytes that may be under way before anything was heard of the path (RFC 6928).
const INITIAL_WINDOW: usize = 10 * SEGMENT;
/// The growth of the window for each round trip, about a segment.
const SEGMENT: usize = 1460;
/// More than any buffer here.
const MOST_WINDOW: usize = 1 << 30;

pub struct Connection {
    pub generation: u32,
    pub parts: Parts,
    pub remote: IpAddr,
    pub peer_isn: Option<Seq>,
    /// Bytes taken out of the receive buffer.
    pub consumed: u32,
    pub sent: Sent,
    /// The peer's latest acknowledgement.
    pub acked: Seq,
    /// By how much the peer's windows are shifted.
    pub peer_shift: u8,
    /// The most bytes of data that a segment may have for the peer.
    pub peer_mss: u16,
    pub congestion: Congestion,
    /// Where the peer's stream ends, when that was heard before all that is in front of it.
    fin_at: Option<Seq>,
    pub heard: Instant,
    /// Since when nobody reads or writes it.
    pub lingering: Option<Instant>,
    pub timeout: Option<Duration>,
    /// How long the peer may be silent while it owes an answer.
    pub user_timeout: Duration,
    /// Until when an acknowledgement may wait for something to go with it.
    ack_until: Option<Instant>,
    /// How often the peer has repeated its last acknowledgement, and the window it gave with it.
    repeats: u8,
    peer_window: u16,
    /// Segments that were sent again.
    retransmissions: u64,
}

/// What was sent last, for the checks of the demultiplexer: smoltcp keeps it to itself.
#[derive(Clone, Copy, Default)]
pub struct Sent {
    pub any: bool,
    pub end: Seq,
    pub ack: Seq,
    /// The window that the peer was told, in bytes.
    pub window: u32,
    /// By how many bits windows are shifted that the peer is told; and of those, by how many smoltcp does not know, as it
    /// goes by the size of its buffer.
    pub shift: u8,
    pub narrow: u8,
    /// The most bytes of data that a segment may have for the peer and on our link. smoltcp believes in a larger number when
    /// the device cuts packets.
    pub mss: u16,
    /// The end of the peer's window.
    pub edge: Option<Seq>,
    /// Data was sent that had been sent before: some was lost.
    pub repeated: bool,
    /// Of what is sent next only the first segment is wanted: the peer has told of a gap.
    pub first_only: bool,
}

impl Sent {
    pub fn note(&mut self, packet: &[u8]) {
        let segment = header::payload(packet);
        let Ok(header) = TcpPacket::new_checked(segment) else { return };
        let length = segment.len() - usize::from(header.header_len());
        let end =
            Seq(header.seq_number().0 as u32).add(length as u32 + u32::from(header.syn()) + u32::from(header.fin()));
        let seq = Seq(header.seq_number().0 as u32);
        // A probe of a closed window is no sign of a loss.
        let is_allowed = self.edge.is_none_or(|edge| edge.since(seq) > 0);
        self.repeated |= self.any && length > 0 && seq.since(self.end) < 0 && is_allowed;
        if !self.any || end.since(self.end) > 0 {
            self.end = end;
        }
        self.any = true;
        self.ack = Seq(header.ack_number().0 as u32);
        // Not shifted in a SYN (RFC 7323, 2.2).
        self.window = u32::from(header.window_len()) << if header.syn() { 0 } else { self.shift };
    }

    /// Puts right what smoltcp does not know; how many bytes of the packet are to be sent.
    ///
    /// Windows are told in the shift that the peer knows. A SYN says what fits a segment, not a packet. To fill a gap, one
    /// segment is enough: the peer has what follows. An acknowledgement without data must have the position behind all that was sent (or the end of the peer's window if
    /// that is closer), else the peer does not hear it. smoltcp gives it the position of what it would send next, which it
    /// turns back to repeat what was lost.
    pub fn correct(&mut self, packet: &mut [u8]) -> usize {
        let length = packet.len();
        let Some(segment) = packet.get_mut(header::length_in(packet)..) else { return length };
        let whole = segment.len();
        let Ok(mut header) = TcpPacket::new_checked(segment) else { return length };
        if self.narrow > 0 && !header.syn() {
            header.set_window_len(header.window_len() >> self.narrow);
        }
        let data = whole - usize::from(header.header_len());
        let repeats = Seq(header.seq_number().0 as u32).since(self.end) < 0;
        if data > usize::from(self.mss) && repeats && core::mem::take(&mut self.first_only) {
            header.set_fin(false);
            let length = length - data + usize::from(self.mss);
            if let Some(kept) = packet.get_mut(..length) {
                header::set_length(kept);
            }
            return length;
        }
        if header.syn() {
            // It is the first option, if it is there at all.
            let at = header::length_in(packet) + 20;
            if let Some([2, 4, size @ ..]) = packet.get_mut(at..at + 4) {
                size.copy_from_slice(&self.mss.to_be_bytes());
            }
            return length;
        }
        if data > 0 || header.fin() || header.rst() || !self.any {
            return length;
        }
        let seq = match self.edge {
            Some(edge) if edge.since(self.end) < 0 => edge,
            _ => self.end,
        };
        header.set_seq_number(smol_seq(seq));
        length
    }

    /// How a packet of `length` bytes, headers without options, is to be sent.
    pub fn meta(&self, length: usize, ip_header: usize) -> TxMeta {
        let is_long = length > usize::from(self.mss) + ip_header + 20;
        TxMeta { fill_checksum: true, segment: NonZeroU16::new(self.mss).filter(|_| is_long) }
    }
}

impl Connection {
    /// A connection whose position is `isn` and whose peer's is not known yet.
    pub fn new(now: Instant, id: ConnId, parts: Parts, tuple: &FourTuple, isn: Seq) -> Connection {
        Connection {
            generation: id.generation,
            parts,
            remote: tuple.remote().ip(),
            peer_isn: None,
            consumed: 0,
            sent: Sent { end: isn, ..Sent::default() },
            acked: isn.add(1),
            peer_shift: 0,
            peer_mss: u16::MAX,
            congestion: Congestion::new(isn),
            fin_at: None,
            heard: now,
            lingering: None,
            timeout: None,
            user_timeout: USER_TIMEOUT,
            ack_until: None,
            repeats: 0,
            peer_window: 0,
            retransmissions: 0,
        }
    }

    /// Takes down what the peer's SYN says.
    pub fn hear_syn(&mut self, isn: Seq, options: &SynOptions) {
        self.peer_isn = Some(isn);
        // Without the option, as little as every host takes (RFC 9293, 3.7.1).
        self.peer_mss = options.mss.filter(|mss| *mss > 0).unwrap_or(default_mss(self.remote));
        self.sent.mss = self.sent.mss.min(self.peer_mss);
        self.peer_shift = options.window_shift.unwrap_or(0);
        if options.window_shift.is_none() {
            // Then neither side shifts.
            (self.sent.shift, self.sent.narrow) = (0, 0);
        }
    }

    pub fn socket(&self) -> &Socket<'static> {
        self.parts.set.get(self.parts.handle)
    }

    pub fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.parts.set.get_mut(self.parts.handle)
    }

    /// Whether the peer's FIN came and nothing in front of it is missing.
    pub fn finished(&self) -> bool {
        matches!(
            self.socket().state(),
            SmolState::CloseWait | SmolState::LastAck | SmolState::Closing | SmolState::TimeWait
        )
    }

    pub fn unacknowledged(&self) -> usize {
        let socket = self.socket();
        let flag = matches!(
            socket.state(),
            SmolState::SynSent | SmolState::SynReceived | SmolState::FinWait1 | SmolState::Closing | SmolState::LastAck
        );
        socket.send_queue() + usize::from(flag)
    }

    /// Takes down what a segment says, and how it is to be shown to smoltcp. A rewritten one is put into `scratch`.
    /// smoltcp is to believe that `most_segment` bytes fit a segment.
    pub fn hear(&mut self, packet: &[u8], segment: &Segment, most_segment: u16, scratch: &mut Vec<u8>) -> Shown {
        if segment.syn {
            return self.hear_first(packet, segment, most_segment, scratch);
        }
        let Some(ack) = segment.ack.filter(|_| !segment.rst) else { return Shown::AsItIs };
        let edge = ack.add(u32::from(segment.window) << self.peer_shift);
        let edge = self.sent.edge.filter(|known| known.since(edge) > 0).unwrap_or(edge);
        self.sent.edge = Some(edge);
        let expected = self.expected();
        if segment.fin && segment.seq.since(expected) > 0 {
            self.fin_at = Some(segment.seq.add(segment.length));
        }
        self.count_repeats(segment, ack);
        let news = ack.since(self.acked);
        if news > 0 {
            self.acked = ack;
            self.sent.first_only = false;
            self.congestion.acknowledge(ack, news as usize);
            let is_old = segment.seq.since(expected) < 0 && segment.seq.add(segment.span()).since(expected) <= 0;
            if is_old && copy(packet, 0, scratch, &|header| header.set_seq_number(smol_seq(expected))).is_some() {
                return Shown::AfterScratch;
            }
        } else if news < 0 && segment.span() > 0 {
            let window = edge.since(self.acked).max(0) >> self.peer_shift;
            let rewrite = &|header: &mut TcpPacket<&mut [u8]>| {
                header.set_ack_number(smol_seq(self.acked));
                header.set_window_len(u16::try_from(window).unwrap_or(u16::MAX));
            };
            if copy(packet, segment.length as usize, scratch, rewrite).is_some() {
                return Shown::AsScratch;
            }
        }
        let is_closing = matches!(self.socket().state(), SmolState::FinWait1 | SmolState::Closing | SmolState::LastAck);
        let only_fin = is_closing && self.socket().send_queue() == 0;
        if news == 0 && only_fin && segment.span() == 0 && segment.seq == expected {
            return Shown::NotAtAll;
        }
        Shown::AsItIs
    }

    /// As [`hear`](Connection::hear), of a SYN.
    #[cold]
    #[inline(never)]
    fn hear_first(&mut self, packet: &[u8], segment: &Segment, most_segment: u16, scratch: &mut Vec<u8>) -> Shown {
        if self.peer_isn.is_none() {
            self.hear_syn(segment.seq, &segment.options(header::payload(packet)));
            if most_segment > self.sent.mss && raise_mss(packet, most_segment, scratch).is_some() {
                return Shown::AsScratch;
            }
        }
        Shown::AsItIs
    }

    /// Until when nothing need be sent: there is only data of at most a segment to be acknowledged, which can wait for
    /// something to go with it (RFC 9293, 3.8.6.3). smoltcp's own delay counts packets, however many segments they have.
    pub fn waits_until(&mut self, now: Instant) -> Option<Instant> {
        let socket = self.socket();
        let owed = self.expected().since(self.sent.ack);
        let unsent = self.acked.add(socket.send_queue() as u32).since(self.sent.end);
        let room = socket.recv_capacity() - socket.recv_queue();
        let waits = matches!(socket.state(), SmolState::Established)
            && owed > 0
            && owed <= i32::from(self.sent.mss)
            && unsent <= 0
            && room < 2 * self.sent.window as usize;
        if !waits {
            self.ack_until = None;
            return None;
        }
        let until = *self.ack_until.get_or_insert(now + ACK_DELAY);
        (until > now).then_some(until)
    }

    /// Looks whether the peer repeats itself, as smoltcp does: the third time it sends one segment again.
    fn count_repeats(&mut self, segment: &Segment, ack: Seq) {
        let under_way = self.sent.end.since(ack) > 0;
        if segment.length == 0 && ack == self.acked && under_way && segment.window == self.peer_window {
            self.repeats = self.repeats.saturating_add(1);
            self.sent.first_only |= self.repeats == 3;
        } else {
            self.repeats = 0;
        }
        self.peer_window = segment.window;
    }

    /// The end of the peer's stream, once all that is in front of it has come: smoltcp forgets an end that comes early.
    pub fn late_fin(&mut self) -> Option<Bare> {
        let expected = self.expected();
        self.fin_at.take_if(|at| *at == expected)?;
        let window = self.sent.edge?.since(self.acked).max(0) >> self.peer_shift;
        let window = u16::try_from(window).unwrap_or(u16::MAX);
        Some(Bare { control: Control::Fin, seq: expected, ack: Some(self.acked), window, ..Bare::default() })
    }

    /// How many more bytes may be written: as many as fit, and no more than may be under way.
    pub fn room(&self) -> usize {
        let socket = self.socket();
        if !socket.can_send() {
            return 0;
        }
        let room = socket.send_capacity() - socket.send_queue();
        room.min(self.congestion.window.saturating_sub(socket.send_queue()))
    }

    /// After something was sent; whether it had been sent before.
    pub fn notice_loss(&mut self) -> bool {
        let repeated = core::mem::take(&mut self.sent.repeated);
        if repeated {
            self.retransmissions += 1;
            let under_way = self.sent.end.since(self.acked).max(0) as usize;
            self.congestion.lose(self.acked, self.sent.end, under_way);
        }
        repeated
    }

    /// How it is doing. smoltcp keeps its measures of the round trip to itself.
    pub fn info(&self, now: Instant) -> TcpInfo {
        let socket = self.socket();
        let state = match socket.state() {
            // A listening socket is one whose handshake was reset.
            SmolState::Closed | SmolState::Listen => TcpState::Closed,
            SmolState::SynSent => TcpState::SynSent,
            SmolState::SynReceived => TcpState::SynReceived,
            SmolState::Established => TcpState::Established,
            SmolState::FinWait1 => TcpState::FinWait1,
            SmolState::FinWait2 => TcpState::FinWait2,
            SmolState::CloseWait => TcpState::CloseWait,
            SmolState::Closing => TcpState::Closing,
            SmolState::LastAck => TcpState::LastAck,
            SmolState::TimeWait => TcpState::TimeWait,
        };
        let threshold = self.congestion.threshold;
        TcpInfo {
            in_flight: Some(self.sent.end.since(self.acked).max(0) as usize),
            segment_size: Some(self.sent.mss.into()),
            congestion_window: Some(self.congestion.window),
            slow_start_threshold: (threshold < usize::MAX).then_some(threshold),
            send_window: self.sent.edge.map(|edge| edge.since(self.acked).max(0) as usize),
            receive_window: Some(self.sent.window as usize),
            retransmissions: Some(self.retransmissions),
            silence: Some(now - self.heard),
            ..TcpInfo::new(state, socket.recv_queue(), self.unacknowledged())
        }
    }

    /// The next position that is missing.
    pub fn expected(&self) -> Seq {
        let received = self.consumed.wrapping_add(self.socket().recv_queue() as u32);
        self.peer_isn.unwrap_or_default().add(1).add(received).add(u32::from(self.finished()))
    }

    /// smoltcp ends a connection that is silent for its timeout even when nobody waits for anything, and counts from the
    /// last packet: so the timeout is on only while there is something to wait for, and longer by the silence before.
    pub fn set_timeout(&mut self, now: Instant) {
        let wanted = match self.socket().state() {
            SmolState::SynSent => Some(CONNECT_TIMEOUT),
            _ => match self.lingering {
                Some(_) => Some(LINGER),
                None => (self.unacknowledged() > 0).then_some(self.user_timeout),
            },
        };
        if wanted == self.timeout {
            return;
        }
        self.timeout = wanted;
        // Whatever is written to an empty buffer starts the count anew.
        let silence = if self.socket().send_queue() > 0 { Duration::ZERO } else { now - self.heard };
        self.socket_mut().set_timeout(wanted.map(|wanted| smol_duration(wanted.saturating_add(silence))));
    }
}

/// How much may be under way (RFC 5681), by way of what is taken over to be sent. smoltcp's own controllers start with
/// less than two segments.
#[derive(Clone, Copy, Debug)]
pub struct Congestion {
    pub window: usize,
    threshold: usize,
    /// What was sent before this position belongs to the last loss.
    recover: Seq,
}

impl Congestion {
    fn new(isn: Seq) -> Congestion {
        Congestion { window: INITIAL_WINDOW, threshold: usize::MAX, recover: isn }
    }

    /// `bytes` more were acknowledged, up to `ack`.
    fn acknowledge(&mut self, ack: Seq, bytes: usize) {
        if ack.since(self.recover) < 0 {
            return;
        }
        let growth = if self.window < self.threshold { bytes } else { (SEGMENT * bytes / self.window).max(1) };
        self.window = (self.window + growth).min(MOST_WINDOW);
    }

    /// Something between `acked` and `end` was lost.
    fn lose(&mut self, acked: Seq, end: Seq, under_way: usize) {
        if acked.since(self.recover) < 0 {
            return;
        }
        self.recover = end;
        self.threshold = (under_way / 2).max(2 * SEGMENT);
        self.window = self.threshold;
    }
}

/// How a segment is shown to smoltcp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    AsItIs,
    /// First what is in the scratch buffer. An acknowledgement on a segment from in front of what is expected next would
    /// not be heard; but after a probe of a window that has just opened, both sides can stand where all they say is of that
    /// kind. So its news come first, with the position that is expected.
    AfterScratch,
    /// It says nothing new. Three of the kind make smoltcp send something again; when that is only the end of the stream,
    /// it sends nothing and stops the timer too that would have.
    NotAtAll,
    /// What is in the scratch buffer in its place. Data with an older acknowledgement than the last one would be dropped;
    /// reordering is enough to make such. So it gets the latest one.
    AsScratch,
}

/// Puts a packet into `scratch`, with the first `length` bytes of its data (none: without its FIN either) and what
/// `rewrite` changes; `None` when there is no memory.
#[cold]
#[inline(never)]
fn copy(
    packet: &[u8],
    length: usize,
    scratch: &mut Vec<u8>,
    rewrite: &dyn Fn(&mut TcpPacket<&mut [u8]>),
) -> Option<()> {
    let ip = header::length_in(packet);
    let tcp = usize::from(TcpPacket::new_checked(packet.get(ip..)?).ok()?.header_len());
    let kept = packet.get(..ip + tcp + length)?;
    scratch.clear();
    scratch.try_reserve(kept.len()).ok()?;
    scratch.extend_from_slice(kept);
    header::set_length(scratch);
    let mut header = TcpPacket::new_unchecked(scratch.get_mut(ip..)?);
    if length == 0 {
        header.set_fin(false);
    }
    rewrite(&mut header);
    Some(())
}

/// Puts a SYN into `scratch` that says that its sender takes segments of `most` bytes; `None` when it says nothing of the
/// kind.
fn raise_mss(packet: &[u8], most: u16, scratch: &mut Vec<u8>) -> Option<()> {
    scratch.clear();
    scratch.try_reserve(packet.len()).ok()?;
    scratch.extend_from_slice(packet);
    let ip = header::length_in(packet);
    let end = ip + usize::from(TcpPacket::new_checked(packet.get(ip..)?).ok()?.header_len());
    let mut at = ip + 20;
    while at < end {
        match scratch.get_mut(at..end)? {
            [2, 4, high, low, ..] => {
                [*high, *low] = most.to_be_bytes();
                return Some(());
            }
            [0, ..] => return None,
            [1, ..] => at += 1,
            [_, length, ..] if *length >= 2 => at += usize::from(*length),
            _ => return None,
        }
    }
    None
}

fn smol_seq(seq: Seq) -> TcpSeqNumber {
    TcpSeqNumber(seq.0 as i32)
}
