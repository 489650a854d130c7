//! One connection of smoltcp's, and what it does not tell.

use core::net::IpAddr;

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, State as SmolState};
use smoltcp::wire::{Ipv4Packet, TcpPacket, TcpSeqNumber};

use super::{CONNECT_TIMEOUT, SCRATCH, USER_TIMEOUT, smol_duration};
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
        header.set_seq_number(TcpSeqNumber(seq.0 as i32));
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

    /// Takes down what a segment says. When it is an acknowledgement from in front of what is expected next, smoltcp would
    /// not hear it; but after a probe of a window that has just opened, both sides can stand where all they say is of
    /// that kind. So it gets a copy of what is news, with the position that it expects.
    pub fn note(&mut self, packet: &[u8], segment: &Segment) -> Option<Renumbered> {
        if segment.syn {
            if self.peer_isn.is_none() {
                let payload = Ipv4::parse(packet)?.payload();
                self.hear_syn(segment.seq, &segment.options(payload));
            }
            return None;
        }
        let ack = segment.ack.filter(|_| !segment.rst)?;
        let edge = ack.add(u32::from(segment.window) << self.peer_shift);
        if self.sent.edge.is_none_or(|known| edge.since(known) > 0) {
            self.sent.edge = Some(edge);
        }
        let news = ack.since(self.acked) > 0;
        if news {
            self.acked = ack;
        }
        let expected = self.expected();
        if news && segment.span() == 0 && segment.seq.since(expected) < 0 {
            Renumbered::new(packet, expected)
        } else {
            None
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

/// A copy of a packet without data, with another position.
pub struct Renumbered {
    bytes: [u8; SCRATCH],
    length: usize,
}

impl Renumbered {
    fn new(packet: &[u8], seq: Seq) -> Option<Renumbered> {
        let mut copy = Renumbered { bytes: [0; SCRATCH], length: packet.len() };
        copy.bytes.get_mut(..packet.len())?.copy_from_slice(packet);
        let header = usize::from(Ipv4Packet::new_checked(packet).ok()?.header_len());
        let segment = copy.bytes.get_mut(header..copy.length)?;
        TcpPacket::new_checked(segment).ok()?.set_seq_number(TcpSeqNumber(seq.0 as i32));
        Some(copy)
    }

    pub fn packet(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
