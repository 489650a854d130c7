//! Just enough TCP for two ports, one connection each, on a link that loses nothing.

use alloc::rc::Rc;

use mirage_rt::packet::{Checksum, Gso, PacketMut};
use mirage_rt::page::PagePool;

use crate::frame::{IPV4, TRANSPORT, half, header_checksum, pseudo_sum, turn};

/// Bytes that port 19 sends.
pub const SENT: u32 = 300_000;
/// Bytes in one packet of those, for the backend to cut.
const PART: u32 = 30_000;
/// What a packet on the link holds.
const MSS: u16 = 1460;
/// The largest window without scaling.
const WINDOW: u16 = 0xFFFF;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// Where a header without options ends.
const DATA: usize = TRANSPORT + 20;

/// The state of both ports.
pub struct Ports {
    pool: Rc<dyn PagePool>,
    /// Port 9: bytes taken, their sum, packets, and how many of those were longer than the link allows.
    taken: u32,
    sum: u64,
    packets: u32,
    long: u32,
    /// Port 19: bytes sent.
    sent: u32,
}

/// The byte at a position of what port 19 sends.
fn pattern(position: u32) -> u8 {
    (position ^ (position >> 8)) as u8
}

/// A number of four bytes.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from(half(bytes, at)) << 16 | u32::from(half(bytes, at + 2))
}

impl Ports {
    pub fn new(pool: Rc<dyn PagePool>) -> Self {
        Self { pool, taken: 0, sum: 0, packets: 0, long: 0, sent: 0 }
    }

    /// The answer to a segment, if it has one.
    pub fn answer(&mut self, packet: &PacketMut) -> Option<PacketMut> {
        let head = packet.head();
        let (port, flags) = (half(head, TRANSPORT + 2), head[TRANSPORT + 13]);
        let (sequence, acknowledged) = (word(head, TRANSPORT + 4), word(head, TRANSPORT + 8));
        let start = TRANSPORT + usize::from(head[TRANSPORT + 12] >> 4) * 4;
        let length = (usize::from(half(head, IPV4 + 2)) + IPV4).checked_sub(start)? as u32;
        if flags & RST != 0 || (port != 9 && port != 19) {
            return None;
        }
        if flags & SYN != 0 {
            (self.taken, self.sum, self.packets, self.long, self.sent) = (0, 0, 0, 0, 0);
            return self.segment(head, SYN | ACK, 0, sequence.wrapping_add(1), 0);
        }
        let fin = u32::from(flags & FIN != 0);
        let next = sequence.wrapping_add(length + fin);
        match port {
            9 => {
                if length > 0 {
                    self.take(packet, start, length);
                }
                if fin == 1 {
                    let Self { taken, sum, packets, long, .. } = self;
                    mirage_rt::println!("took {taken} bytes, sum {sum}, {packets} packets, {long} of them long");
                }
                let flags = if fin == 1 { FIN | ACK } else { ACK };
                (length + fin > 0).then(|| self.segment(head, flags, acknowledged, next, 0)).flatten()
            }
            // Positions count from 1, as the SYN is one. Nothing is sent until all before was taken and there is room for more; the
            // FIN counts as a byte.
            _ if acknowledged == self.sent + 1 && self.sent <= SENT => {
                let room = u32::from(half(head, TRANSPORT + 14));
                let length = PART.min(SENT - self.sent).min(room);
                let flags = match (length, self.sent) {
                    (0, SENT) => FIN | ACK,
                    // The peer tells when it has room.
                    (0, _) => return None,
                    _ => PSH | ACK,
                };
                self.sent += length.max(1);
                self.segment(head, flags, acknowledged, next, length)
            }
            _ => (fin == 1).then(|| self.segment(head, ACK, acknowledged, next, 0)).flatten(),
        }
    }

    fn take(&mut self, packet: &PacketMut, start: usize, length: u32) {
        let bytes = packet.parts().flatten().skip(start).take(length as usize);
        self.sum = bytes.fold(self.sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        self.taken += length;
        self.packets += 1;
        self.long += u32::from(packet.gso() != Gso::None && length > u32::from(MSS));
    }

    /// A segment back to where `head` came from, with `length` bytes of the pattern.
    fn segment(&self, head: &[u8], flags: u8, sequence: u32, acknowledged: u32, length: u32) -> Option<PacketMut> {
        let options: &[u8] = if flags & SYN != 0 { &[2, 4, (MSS >> 8) as u8, MSS as u8] } else { &[] };
        let data = DATA + options.len();
        let mut bytes = alloc::vec![0; data];
        bytes[..DATA].copy_from_slice(&head[..DATA]);
        bytes[DATA..].copy_from_slice(options);
        turn(&mut bytes);
        let (from, to) = bytes[TRANSPORT..TRANSPORT + 4].split_at_mut(2);
        from.swap_with_slice(to);
        let total = (data - IPV4) as u32 + length;
        bytes[IPV4 + 2..IPV4 + 4].copy_from_slice(&u16::try_from(total).ok()?.to_be_bytes());
        bytes[IPV4 + 10..IPV4 + 12].fill(0);
        let sum = header_checksum(&bytes);
        bytes[IPV4 + 10..IPV4 + 12].copy_from_slice(&sum.to_be_bytes());
        bytes[TRANSPORT + 4..TRANSPORT + 8].copy_from_slice(&sequence.to_be_bytes());
        bytes[TRANSPORT + 8..TRANSPORT + 12].copy_from_slice(&acknowledged.to_be_bytes());
        bytes[TRANSPORT + 12] = ((data - TRANSPORT) << 2) as u8;
        bytes[TRANSPORT + 13] = flags;
        bytes[TRANSPORT + 14..TRANSPORT + 16].copy_from_slice(&WINDOW.to_be_bytes());
        let sum = pseudo_sum(&bytes, 6, (total - 20) as u16);
        bytes[TRANSPORT + 16..TRANSPORT + 18].copy_from_slice(&sum.to_be_bytes());
        bytes[TRANSPORT + 18..TRANSPORT + 20].fill(0);
        let position = sequence.wrapping_sub(1);
        bytes.extend((position..position.wrapping_add(length)).map(pattern));
        let mut packet = PacketMut::copy_of(&self.pool, &bytes)?;
        packet.set_checksum(Checksum::Partial { start: TRANSPORT as u16, offset: 16 });
        if length > u32::from(MSS) {
            packet.set_gso(Gso::Ipv4 { mss: MSS });
        }
        Some(packet)
    }
}
