//! One connection of smoltcp's, and what it does not tell.

use alloc::vec::Vec;
use core::net::IpAddr;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, State as SmolState};
use smoltcp::wire::{Ipv4Packet, TcpPacket, TcpSeqNumber};

use super::{CONNECT_TIMEOUT, USER_TIMEOUT, smol_duration};
use crate::net::direct::ipv4::{self, Ipv4};
use crate::net::direct::tcp::machine::ConnId;
use crate::net::direct::tcp::segment::{Bare, Control, FourTuple, Segment, Seq, SynOptions};
use crate::time::{Duration, Instant};

/// Bytes that may be under way before anything was heard of the path (RFC 6928).
const INITIAL_WINDOW: usize = 10 * SEGMENT;
/// The growth of the window for each round trip, about a segment.
const SEGMENT: usize = 1460;
/// More than any buffer here.
const MOST_WINDOW: usize = 1 << 30;

pub struct Connection {
    pub generation: u32,
    pub set: SocketSet<'static>,
    pub handle: SocketHandle,
    pub remote: IpAddr,
    pub peer_isn: Option<Seq>,
    /// Bytes taken out of the receive buffer.
    pub consumed: u32,
    pub sent: Sent,
    /// The peer's latest acknowledgement.
    pub acked: Seq,
    /// By how much the peer's windows are shifted.
    pub peer_shift: u8,
    pub congestion: Congestion,
    /// Where the peer's stream ends, when that was heard before all that is in front of it.
    fin_at: Option<Seq>,
    /// Bytes that it takes of the budget.
    pub cost: usize,
    pub heard: Instant,
    pub lingering: Option<Duration>,
    pub timeout: Option<Duration>,
}

/// What was sent last, for the checks of the demultiplexer: smoltcp keeps it to itself.
#[derive(Clone, Copy, Default)]
pub struct Sent {
    pub any: bool,
    pub end: Seq,
    pub ack: Seq,
    pub window: u16,
    /// The end of the peer's window.
    pub edge: Option<Seq>,
    /// Data was sent that had been sent before: some was lost.
    pub repeated: bool,
}

impl Sent {
    pub fn note(&mut self, packet: &[u8]) {
        let Some(segment) = packet.get(ipv4::HEADER..) else { return };
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
        self.window = header.window_len();
    }

    /// An acknowledgement without data must have the position behind all that was sent (or the end of the peer's window if
    /// that is closer), else the peer does not hear it. smoltcp gives it the position of what it would send next, which it
    /// turns back to repeat what was lost.
    pub fn correct(&self, packet: &mut [u8]) {
        let Some(segment) = packet.get_mut(ipv4::HEADER..) else { return };
        let whole = segment.len();
        let Ok(mut header) = TcpPacket::new_checked(segment) else { return };
        if whole != usize::from(header.header_len()) || header.syn() || header.fin() || header.rst() || !self.any {
            return;
        }
        let seq = match self.edge {
            Some(edge) if edge.since(self.end) < 0 => edge,
            _ => self.end,
        };
        header.set_seq_number(smol_seq(seq));
    }
}

impl Connection {
    /// A connection whose position is `isn` and whose peer's is not known yet.
    pub fn new(
        now: Instant,
        id: ConnId,
        set: SocketSet<'static>,
        handle: SocketHandle,
        tuple: &FourTuple,
        isn: Seq,
        cost: usize,
    ) -> Connection {
        Connection {
            generation: id.generation,
            set,
            handle,
            remote: tuple.remote().ip(),
            peer_isn: None,
            consumed: 0,
            sent: Sent { end: isn, ..Sent::default() },
            acked: isn.add(1),
            peer_shift: 0,
            congestion: Congestion::new(isn),
            fin_at: None,
            cost,
            heard: now,
            lingering: None,
            timeout: None,
        }
    }

    /// Takes down what the peer's SYN says.
    pub fn hear_syn(&mut self, isn: Seq, options: &SynOptions) {
        self.peer_isn = Some(isn);
        self.peer_shift = options.window_shift.unwrap_or(0);
    }

    pub fn socket(&self) -> &Socket<'static> {
        self.set.get(self.handle)
    }

    pub fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
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
    pub fn hear(&mut self, packet: &[u8], segment: &Segment, scratch: &mut Vec<u8>) -> Shown {
        if segment.syn {
            if self.peer_isn.is_none() {
                let payload = Ipv4::parse(packet).map(|packet| packet.payload()).unwrap_or_default();
                self.hear_syn(segment.seq, &segment.options(payload));
            }
            return Shown::AsItIs;
        }
        let Some(ack) = segment.ack.filter(|_| !segment.rst) else { return Shown::AsItIs };
        let edge = ack.add(u32::from(segment.window) << self.peer_shift);
        let edge = self.sent.edge.filter(|known| known.since(edge) > 0).unwrap_or(edge);
        self.sent.edge = Some(edge);
        let expected = self.expected();
        if segment.fin && segment.seq.since(expected) > 0 {
            self.fin_at = Some(segment.seq.add(segment.length));
        }
        let news = ack.since(self.acked);
        if news > 0 {
            self.acked = ack;
            self.congestion.acknowledge(ack, news as usize);
            let is_old = segment.seq.since(expected) < 0 && segment.seq.add(segment.span()).since(expected) <= 0;
            if is_old && copy(packet, 0, scratch, |header| header.set_seq_number(smol_seq(expected))).is_some() {
                return Shown::AfterScratch;
            }
        } else if news < 0 && segment.span() > 0 {
            let window = edge.since(self.acked).max(0) >> self.peer_shift;
            let rewrite = |header: &mut TcpPacket<&mut [u8]>| {
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

    /// After something was sent.
    pub fn notice_loss(&mut self) {
        if core::mem::take(&mut self.sent.repeated) {
            let under_way = self.sent.end.since(self.acked).max(0) as usize;
            self.congestion.lose(self.acked, self.sent.end, under_way);
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
                Some(most) => Some(most),
                None => (self.unacknowledged() > 0).then_some(USER_TIMEOUT),
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
fn copy(
    packet: &[u8],
    length: usize,
    scratch: &mut Vec<u8>,
    rewrite: impl FnOnce(&mut TcpPacket<&mut [u8]>),
) -> Option<()> {
    let ip = usize::from(Ipv4Packet::new_checked(packet).ok()?.header_len());
    let tcp = usize::from(TcpPacket::new_checked(packet.get(ip..)?).ok()?.header_len());
    let kept = packet.get(..ip + tcp + length)?;
    scratch.clear();
    scratch.try_reserve(kept.len()).ok()?;
    scratch.extend_from_slice(kept);
    // smoltcp does not look at the header's checksum here.
    Ipv4Packet::new_unchecked(&mut scratch[..]).set_total_len(kept.len() as u16);
    let mut header = TcpPacket::new_unchecked(scratch.get_mut(ip..)?);
    if length == 0 {
        header.set_fin(false);
    }
    rewrite(&mut header);
    Some(())
}

fn smol_seq(seq: Seq) -> TcpSeqNumber {
    TcpSeqNumber(seq.0 as i32)
}
