//! The stranger: sends what the records say, and sees what comes back.

use std::rc::Rc;

use mirage_rt::net::ipv6::ndp;
use mirage_rt::packet::{Checksum, Fragment, PacketMut};
use mirage_rt::page::{Page, PagePool};
use mirage_rt::{Duration, sleep};

use super::check::{self, ETHERNET, ICMP, ICMPV6, IPV4, IPV6, TCP, UDP, half};
use super::hub::{Hub, MACS, SERVER};
use super::make::{arp, frame4, frame6, tcp};
use super::record::{self, Record};
use super::{ASKED, CLIENTS, ECHO, OURS, PAGE_ECHO, THEIRS};

/// Bytes of the first piece of a frame that comes in several, and of the others.
const HEAD: usize = 30;
const PIECE: usize = 400;
/// Bytes that are quoted at most.
const QUOTE: usize = 548;

/// Its ports: of connections without and with timestamps, to pages, and over IPv6.
pub const PLAIN: u16 = 4000;
pub const STAMPED: u16 = 4001;
pub const PAGED: u16 = 4002;
pub const OVER_IPV6: u16 = 4003;
/// Where its side of all connections begins.
const FIRST: u32 = 0xffff_ff00;

/// A host that keeps to no rule.
pub struct Stranger {
    hub: Hub,
    pool: Rc<dyn PagePool>,
    /// The connections that it has with the stack: its port, the stack's, and where the stack's side begins.
    connections: Vec<(u16, u16, u32)>,
    /// What the stack sent last: packets with segments, datagrams, echo requests, and the latter two over IPv6.
    last: [Vec<u8>; 5],
}

impl Stranger {
    pub fn new(hub: &Hub, pool: &Rc<dyn PagePool>) -> Stranger {
        Stranger { hub: hub.clone(), pool: Rc::clone(pool), connections: Vec::new(), last: Default::default() }
    }

    /// Makes itself known, and opens its connections.
    pub async fn meet(&mut self) {
        self.say(&arp(true, MACS[2], THEIRS, OURS), 0);
        self.say(&frame6(ICMPV6, &ndp::solicitation(super::OURS6, Some(MACS[2]))), record::SUMS);
        sleep(Duration::from_millis(1)).await;
        // Segments of 1460 bytes, windows in units of 128 bytes, SACK; and timestamps.
        let plain: &[u8] = &[2, 4, 5, 0xb4, 3, 3, 7, 1, 4, 2, 1, 1];
        let stamped = [plain, &[8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 1]].concat();
        for (port, to, options) in
            [(PLAIN, ECHO, plain), (STAMPED, ECHO, &stamped), (PAGED, PAGE_ECHO, plain), (OVER_IPV6, ECHO, plain)]
        {
            let frame = if port == OVER_IPV6 { frame6 } else { frame4 };
            let syn = tcp(port, to, u32::MAX, 0, 2, options, b"");
            self.say(&frame(TCP, &syn), record::SUMS | record::RELATIVE);
            sleep(Duration::from_millis(1)).await;
            self.look();
            let stamp: &[u8] = if port == STAMPED { &[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0] } else { &[] };
            self.say(&frame(TCP, &tcp(port, to, 0, 0, 16, stamp, b"")), record::SUMS | record::RELATIVE);
        }
        sleep(Duration::from_millis(1)).await;
        self.look();
        assert_eq!(self.connections.len(), 5, "four were accepted, and the stack has asked for one");
        assert!(self.last.iter().all(|last| !last.is_empty()), "{:02x?}", self.last);
    }

    fn say(&mut self, frame: &[u8], flags: u8) {
        self.send(&Record { flags, append: record::NOTHING, frame });
    }

    /// Sends the frame of a record.
    pub fn send(&mut self, record: &Record<'_>) {
        let mut frame = record.frame.to_vec();
        // On an Ethernet anybody can take another host's place by ARP. That is no news.
        if half(&frame, 12) == 0x0806 && frame.get(28..32) == Some(&CLIENTS.octets()) {
            return;
        }
        self.append(record.append, &mut frame, record.has(record::SUMS));
        if record.has(record::RELATIVE) {
            self.place(&mut frame);
        }
        if record.has(record::SUMS) {
            check::fill(&mut frame);
        }
        if let Some(last) = frame.last_mut().filter(|_| record.has(record::SPOILED)) {
            *last ^= 1;
        }
        let mut packet = self.packet(&frame, record.has(record::PIECES));
        if record.has(record::VERIFIED) {
            packet.set_checksum(Checksum::Verified);
        }
        self.hub.deliver(SERVER, packet);
    }

    fn packet(&self, frame: &[u8], in_pieces: bool) -> PacketMut {
        if !in_pieces || frame.len() <= HEAD {
            return PacketMut::copy_of(&self.pool, frame).expect("pages are left");
        }
        let (head, rest) = frame.split_at(HEAD);
        let mut packet = PacketMut::copy_of(&self.pool, head).expect("pages are left");
        for piece in rest.chunks(PIECE.max(rest.len().div_ceil(mirage_rt::packet::MAX_FRAGMENTS))) {
            let mut page = Page::take(&self.pool).expect("pages are left");
            page[..piece.len()].copy_from_slice(piece);
            packet.push_fragment(Fragment::new(page, 0..piece.len()).expect("in the page")).expect("it has room");
        }
        packet
    }

    /// Appends what the stack has sent.
    fn append(&self, what: u8, frame: &mut Vec<u8>, adjust: bool) {
        let (last, skipped) = match what {
            record::A_SEGMENT => (0, 0),
            record::A_DATAGRAM => (1, 0),
            record::AN_ECHO => (2, 0),
            record::ECHOED => (2, IPV4 + 4),
            record::A_DATAGRAM6 => (3, 0),
            record::AN_ECHO6 => (4, 0),
            record::ECHOED6 => (4, IPV6 + 4),
            _ => return,
        };
        frame.extend(self.last[last].iter().skip(skipped).take(QUOTE));
        let place = match half(frame, 12) {
            0x0800 => Some((2, 0)),
            0x86dd => Some((4, IPV6)),
            _ => None,
        };
        if let Some((at, less)) = place.filter(|_| adjust && frame.len() >= ETHERNET + IPV6) {
            let length = (frame.len() - ETHERNET - less) as u16;
            frame[ETHERNET + at..ETHERNET + at + 2].copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Counts the positions of a segment from where the connection's sides begin. One from the port that the stack has asked goes to the
    /// port that it has asked from.
    fn place(&self, frame: &mut [u8]) {
        let Some((header, TCP, _)) = check::packet(frame) else { return };
        let at = ETHERNET + header;
        let Some(segment) = frame.get_mut(at..).and_then(|bytes| bytes.first_chunk_mut::<20>()) else { return };
        let port = half(segment, 0);
        let known = self.connections.iter().find(|(own, _, _)| *own == port);
        let (to, begin) = known.map_or((half(segment, 2), 0), |(_, to, begin)| (*to, *begin));
        segment[2..4].copy_from_slice(&to.to_be_bytes());
        for (at, begin) in [(4, FIRST), (8, begin)] {
            let position = u32::from_be_bytes([segment[at], segment[at + 1], segment[at + 2], segment[at + 3]]);
            segment[at..at + 4].copy_from_slice(&position.wrapping_add(begin).to_be_bytes());
        }
    }

    /// Sees what the stack has sent, and answers questions for its Ethernet address.
    pub fn look(&mut self) {
        for frame in self.hub.take_sent() {
            if half(&frame, 12) == 0x0806 && half(&frame, 20) == 1 && frame[38..42] == THEIRS.octets() {
                self.say(&arp(false, MACS[2], THEIRS, OURS), 0);
            }
            let Some((header, protocol, packet)) = check::packet(&frame) else { continue };
            let payload = &packet[header..];
            match protocol {
                TCP => self.note(payload, packet),
                UDP if packet[0] >> 4 == 4 => self.last[1] = packet.to_vec(),
                ICMP if payload[0] == 8 => self.last[2] = packet.to_vec(),
                UDP => self.last[3] = packet.to_vec(),
                ICMPV6 if payload[0] == 128 => self.last[4] = packet.to_vec(),
                _ => {}
            }
        }
    }

    /// A segment of the stack: a SYN says where its side begins.
    fn note(&mut self, segment: &[u8], packet: &[u8]) {
        if packet[16..20] == THEIRS.octets() {
            self.last[0] = packet.to_vec();
        }
        let (theirs, own) = (half(segment, 0), half(segment, 2));
        let is_new = !self.connections.iter().any(|(port, _, _)| *port == own);
        if segment[13] & 2 != 0 && is_new && [PLAIN, STAMPED, PAGED, OVER_IPV6, ASKED].contains(&own) {
            let first = u32::from_be_bytes([segment[4], segment[5], segment[6], segment[7]]);
            self.connections.push((own, theirs, first.wrapping_add(1)));
        }
    }
}
