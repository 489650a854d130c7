//! One connection of smoltcp's, and what it does not tell.

use alloc::vec::Vec;
use core::net::IpAddr;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, State as SmolState};
use smoltcp::wire::{Ipv4Packet, TcpPacket, TcpSeqNumber};

use super::{CONNECT_TIMEOUT, USER_TIMEOUT, smol_duration};
use crate::net::direct::ipv4::{self, Ipv4};
use crate::net::direct::tcp::machine::ConnId;
use crate::net::direct::tcp::segment::{FourTuple, Segment, Seq, SynOptions};
use crate::time::{Duration, Instant};

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
}

impl Sent {
    pub fn note(&mut self, packet: &[u8]) {
        let Some(segment) = packet.get(ipv4::HEADER..) else { return };
        let Ok(header) = TcpPacket::new_checked(segment) else { return };
        let length = segment.len() - usize::from(header.header_len());
        let end =
            Seq(header.seq_number().0 as u32).add(length as u32 + u32::from(header.syn()) + u32::from(header.fin()));
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
    ) -> Connection {
        Connection {
            generation: id.generation,
            set,
            handle,
            remote: tuple.remote.ip(),
            peer_isn: None,
            consumed: 0,
            sent: Sent { end: isn, ..Sent::default() },
            acked: isn,
            peer_shift: 0,
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
        let news = ack.since(self.acked);
        if news > 0 {
            self.acked = ack;
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
        Shown::AsItIs
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

/// How a segment is shown to smoltcp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    AsItIs,
    /// First what is in the scratch buffer. An acknowledgement on a segment from in front of what is expected next would
    /// not be heard; but after a probe of a window that has just opened, both sides can stand where all they say is of that
    /// kind. So its news come first, with the position that is expected.
    AfterScratch,
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
