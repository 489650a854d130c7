//! Just enough TCP for four ports and both families, one connection each, on a link that loses nothing.

use alloc::rc::Rc;

use mirage_rt::packet::{Checksum, Fragment, Gso, PacketMut};
use mirage_rt::page::{PAGE_SIZE, Page, PagePool};
use mirage_xen::netfront::Statistics;

use crate::frame::{Family, TCP, half, pseudo_sum, turn};

/// Bytes that port 19 sends.
pub const SENT: u32 = 1_000_000;
/// Bytes in one packet of what is sent, for the backend to cut: as many as fit with all headers into 16 bits of length, but
/// no multiple of what a segment holds.
const PART: u32 = 65_000;
/// By how many bits our window is shifted: to half of what Linux's backend keeps for a device before it drops (a page for each
/// slot of the ring), as nothing that was lost is asked for here.
const SHIFT: u8 = 3;
/// The largest window.
const WINDOW: u16 = 0xFFFF;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// Bytes of a TCP header without options.
const HEADER: usize = 20;
/// Bytes of the longest headers, Ethernet's included.
const HEADERS: usize = 14 + 40 + HEADER;

/// What a port does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    /// 9: takes bytes and sums them up.
    Check,
    /// 10: takes bytes.
    Sink,
    /// 19: sends [`SENT`] bytes of the pattern.
    Pattern,
    /// 20: sends what stands in the pages until the peer has enough.
    Source,
}

impl Service {
    const ALL: [(u16, Service); 4] =
        [(9, Service::Check), (10, Service::Sink), (19, Service::Pattern), (20, Service::Source)];

    fn sends(self) -> bool {
        matches!(self, Service::Pattern | Service::Source)
    }

    /// Positions count from 1, as the SYN is one: the FIN's.
    fn end(self) -> u32 {
        match self {
            Service::Pattern => SENT + 1,
            // As good as never: positions are compared without a wrap.
            Service::Source => u32::MAX / 2,
            Service::Check | Service::Sink => 1,
        }
    }
}

/// A connection.
struct Connection {
    family: Family,
    service: Service,
    /// The headers of what is sent, as far as they are always the same.
    template: [u8; HEADERS],
    /// By how many bits the peer's window is shifted.
    shift: u8,
    /// What a segment of the peer's link holds.
    mss: u16,
    /// The next position to be sent, and the one that the peer does not take yet.
    next: u32,
    edge: u32,
    /// The first position that the peer has not acknowledged.
    acknowledged: u32,
    /// How often the positions have wrapped: a source starts anew at half of them.
    base: u32,
    expected: u32,
    /// The peer is to be told what has come.
    due: bool,
    /// The peer's FIN has come.
    finished: bool,
    taken: u64,
    sum: u64,
    packets: u32,
    /// Of those, the ones that were longer than the link allows, and the bytes of the longest.
    long: u32,
    longest: u32,
    sent: u64,
    sent_packets: u32,
    /// The device's counters when it began.
    before: Statistics,
}

/// All connections.
pub struct Ports {
    pool: Rc<dyn PagePool>,
    connections: [Option<Connection>; 8],
}

/// The byte at a position of what port 19 sends.
fn pattern(position: u32) -> u8 {
    (position ^ (position >> 8)) as u8
}

/// A number of four bytes.
fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from(half(bytes, at)) << 16 | u32::from(half(bytes, at + 2))
}

/// The value of an option of a SYN.
fn option(options: &[u8], wanted: u8, length: usize) -> Option<u16> {
    let mut rest = options;
    loop {
        match rest {
            [1, more @ ..] => rest = more,
            [0, ..] | [] | [_] => return None,
            [kind, size, ..] => {
                let value = rest.get(2..usize::from(*size))?;
                if *kind == wanted && value.len() == length {
                    return Some(value.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte)));
                }
                rest = &rest[usize::from(*size).max(2)..];
            }
        }
    }
}

impl Ports {
    pub fn new(pool: Rc<dyn PagePool>) -> Self {
        Self { pool, connections: [const { None }; 8] }
    }

    /// Takes a segment; what is to be sent comes with [`next`](Self::next). `statistics` are the device's.
    pub fn take(&mut self, packet: &PacketMut, family: Family, statistics: &dyn Fn() -> Statistics) {
        let head = packet.head();
        let transport = family.transport();
        let (port, flags) = (half(head, transport + 2), head[transport + 13]);
        let Some(index) = Service::ALL.iter().position(|(known, _)| *known == port) else { return };
        let slot = &mut self.connections[index * 2 + usize::from(family == Family::V6)];
        if flags & SYN != 0 {
            *slot = Some(Connection::new(head, family, Service::ALL[index].1, statistics()));
            return;
        }
        let Some(connection) = slot else { return };
        if flags & RST != 0 || connection.take(packet) {
            connection.report(&statistics());
            if flags & RST != 0 || connection.service.sends() {
                *slot = None;
            }
        }
    }

    /// The next packet to be sent; `None` when there is nothing to be said now, or no page for it.
    pub fn next(&mut self) -> Option<PacketMut> {
        let pool = &self.pool;
        self.connections.iter_mut().flatten().find_map(|connection| connection.next(pool))
    }
}

impl Connection {
    fn new(head: &[u8], family: Family, service: Service, before: Statistics) -> Self {
        let transport = family.transport();
        let mut template = [0; HEADERS];
        let length = transport + HEADER;
        template[..length].copy_from_slice(&head[..length]);
        turn(&mut template, family);
        let (from, to) = template[transport..transport + 4].split_at_mut(2);
        from.swap_with_slice(to);
        let end = transport + usize::from(head[transport + 12] >> 4) * 4;
        let options = head.get(length..end).unwrap_or_default();
        Self {
            family,
            service,
            template,
            shift: option(options, 3, 1).map_or(0, |shift| shift.min(14) as u8),
            mss: option(options, 2, 2).unwrap_or(536),
            next: 0,
            edge: 0,
            acknowledged: 0,
            base: 0,
            expected: word(head, transport + 4).wrapping_add(1),
            due: true,
            finished: false,
            taken: 0,
            sum: 0,
            packets: 0,
            long: 0,
            longest: 0,
            sent: 0,
            sent_packets: 0,
            before,
        }
    }

    /// Takes a segment; whether it was the last one.
    fn take(&mut self, packet: &PacketMut) -> bool {
        let head = packet.head();
        let transport = self.family.transport();
        let flags = head[transport + 13];
        let start = transport + usize::from(head[transport + 12] >> 4) * 4;
        let Some(length) = (transport + self.family.payload(head)).checked_sub(start) else { return false };
        let length = length as u32;
        let acknowledged = word(head, transport + 8).wrapping_sub(self.base);
        self.acknowledged = acknowledged;
        self.edge = acknowledged + (u32::from(half(head, transport + 14)) << self.shift);
        if word(head, transport + 4) != self.expected || self.finished {
            // Something was lost, which does not happen here, or sent twice.
            self.due |= length > 0;
            return false;
        }
        self.expected = self.expected.wrapping_add(length);
        if length > 0 {
            self.count(packet, start, length);
            self.due = true;
        }
        if flags & FIN != 0 {
            self.expected = self.expected.wrapping_add(1);
            self.finished = true;
            self.due = true;
        }
        self.finished && (!self.service.sends() || self.service == Service::Source)
            || self.service == Service::Pattern && acknowledged > self.service.end()
    }

    fn count(&mut self, packet: &PacketMut, start: usize, length: u32) {
        if self.service == Service::Check {
            let bytes = packet.parts().flatten().skip(start).take(length as usize);
            self.sum = bytes.fold(self.sum, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        }
        self.taken += u64::from(length);
        self.packets += 1;
        self.longest = self.longest.max(length);
        self.long += u32::from(packet.gso() != Gso::None && length > u32::from(self.mss));
    }

    /// What is to be sent now.
    fn next(&mut self, pool: &Rc<dyn PagePool>) -> Option<PacketMut> {
        if self.next == 0 {
            let packet = self.segment(pool, SYN | ACK, 0)?;
            self.next = 1;
            self.due = false;
            return Some(packet);
        }
        let end = self.service.end();
        if self.service.sends() && self.acknowledged > 0 && !self.finished && self.next < end {
            let room = self.edge.saturating_sub(self.next);
            let length = PART.min(end - self.next).min(room);
            // No small packets while others are under way.
            if length == PART.min(end - self.next) || length > 0 && self.acknowledged == self.next {
                let packet = self.segment(pool, PSH | ACK, length)?;
                self.next += length;
                self.sent += u64::from(length);
                self.sent_packets += 1;
                self.due = false;
                self.wrap();
                return Some(packet);
            }
        }
        // The FIN: behind all that is sent, or after the peer's.
        let close = self.next == end && (self.service == Service::Pattern || self.finished);
        if close || self.due {
            let packet = self.segment(pool, if close { FIN | ACK } else { ACK }, 0)?;
            self.next += u32::from(close);
            self.due = false;
            return Some(packet);
        }
        None
    }

    /// Positions are compared without a wrap: they start anew before there is one.
    fn wrap(&mut self) {
        const STEP: u32 = 1 << 30;
        if self.service == Service::Source && self.next > STEP + (STEP >> 1) && self.acknowledged > STEP {
            self.base = self.base.wrapping_add(STEP);
            self.next -= STEP;
            self.acknowledged -= STEP;
            self.edge -= STEP;
        }
    }

    /// A segment with `length` bytes from the next position on.
    fn segment(&self, pool: &Rc<dyn PagePool>, flags: u8, length: u32) -> Option<PacketMut> {
        let (family, transport) = (self.family, self.family.transport());
        // The largest segment that we take, no operation, the shift of our windows.
        let mss = (1514 - transport - HEADER) as u16;
        let options = [2, 4, (mss >> 8) as u8, mss as u8, 1, 3, 3, SHIFT];
        let options: &[u8] = if flags & SYN != 0 { &options } else { &[] };
        let header = HEADER + options.len();
        let mut packet = PacketMut::new(pool)?;
        let head = packet.resize_head(transport + header);
        head[..transport + HEADER].copy_from_slice(&self.template[..transport + HEADER]);
        head[transport + HEADER..].copy_from_slice(options);
        family.set_payload(head, header + length as usize);
        let tcp = &mut head[transport..];
        tcp[4..8].copy_from_slice(&self.next.wrapping_add(self.base).to_be_bytes());
        tcp[8..12].copy_from_slice(&self.expected.to_be_bytes());
        tcp[12] = (header << 2) as u8;
        tcp[13] = flags;
        tcp[14..16].copy_from_slice(&WINDOW.to_be_bytes());
        tcp[16..20].fill(0);
        let sum = pseudo_sum(head, family, TCP, header + length as usize);
        head[transport + 16..transport + 18].copy_from_slice(&sum.to_be_bytes());
        let mut position = self.next.wrapping_sub(1);
        let mut left = length as usize;
        while left > 0 {
            let part = left.min(PAGE_SIZE);
            let mut page = Page::take(pool)?;
            if self.service == Service::Pattern {
                for byte in &mut page[..part] {
                    *byte = pattern(position);
                    position = position.wrapping_add(1);
                }
            }
            packet.push_fragment(Fragment::new(page, 0..part).ok()?).ok()?;
            left -= part;
        }
        packet.set_checksum(Checksum::Partial { start: transport as u16, offset: 16 });
        // What the peer's link holds, and ours.
        let mss = self.mss.min(mss);
        if length > u32::from(mss) {
            packet.set_gso(match family {
                Family::V4 => Gso::Ipv4 { mss },
                Family::V6 => Gso::Ipv6 { mss },
            });
        }
        Some(packet)
    }

    /// Prints what was moved, and what the device had to do for it.
    fn report(&self, now: &Statistics) {
        let Self { taken, sum, packets, long, longest, sent, sent_packets, before, .. } = self;
        if self.service.sends() {
            mirage_rt::println!("sent {sent} bytes in {sent_packets} packets");
        } else {
            mirage_rt::println!(
                "took {taken} bytes, sum {sum}, {packets} packets, {long} of them long, the longest {longest}"
            );
        }
        mirage_rt::println!(
            "device: received {} packets, transmitted {} packets, sent {} notifications, took {} events",
            now.received_packets - before.received_packets,
            now.transmitted_packets - before.transmitted_packets,
            now.notifications - before.notifications,
            now.events - before.events,
        );
    }
}
