//! Fragments that come in, and what is said of those that do not become a packet.

use smoltcp::wire::IpProtocol;

use super::counters::ReceiveDrop;
use super::cutting::{self, Numbers};
use super::ethernet::{self, Mac};
use super::header;
use super::ip::{IpOut, TxMeta};
use super::ipv4::{self, Ipv4};
use super::stack::{Echo, Stack};
use crate::net::fragments::{Fragment, Key, Outcome};
use crate::packet::Checksum;
use crate::time::Instant;

impl Stack {
    /// A fragment of a packet for us came: the packet is received when it is whole.
    pub(super) fn receive_fragment(&mut self, now: Instant, packet: &Ipv4<'_>, mac: Mac) {
        let Some(fields) = packet.packet.get(4..8) else { return };
        let place = u16::from_be_bytes([fields[2], fields[3]]);
        let protocol = u8::from(packet.protocol);
        let key = Key {
            source: packet.source.into(),
            destination: packet.destination.into(),
            protocol,
            identification: u16::from_be_bytes([fields[0], fields[1]]).into(),
        };
        let fragment = Fragment {
            offset: 8 * usize::from(place & 0x1fff),
            more: place & 0x2000 != 0,
            payload: packet.payload(),
            protocol,
            packet: packet.packet,
        };
        match self.reassembly.add(now, key, &fragment) {
            Outcome::Incomplete => {}
            Outcome::Dropped => self.ip.counters.drop_received(ReceiveDrop::IpFragment),
            Outcome::Whole(_, payload) => {
                // In a frame as others are, so that an echo request is answered from it.
                let mut frame = alloc::vec![0; ethernet::HEADER + ipv4::HEADER];
                if payload.len() + ipv4::HEADER > usize::from(u16::MAX) {
                    return self.ip.counters.drop_received(ReceiveDrop::IpFragment);
                }
                if let Some(header) = frame.last_chunk_mut::<{ ipv4::HEADER }>() {
                    ipv4::emit_header(header, packet.source, packet.destination, packet.protocol, payload.len());
                }
                frame.extend_from_slice(&payload);
                let whole = Ipv4::parse(frame.get(ethernet::HEADER..).unwrap_or_default());
                if let Some(whole) = whole
                    && let Some(echo) = self.receive_ipv4(now, &whole, mac, Checksum::None)
                {
                    self.answer_whole_echo(&echo, &mut frame);
                }
            }
        }
    }

    /// The same over IPv6.
    #[cfg(feature = "ipv6")]
    pub(super) fn receive_fragment_ipv6(
        &mut self,
        now: Instant,
        packet: &crate::net::ipv6::packet::Packet<'_>,
        part: &crate::net::ipv6::packet::Fragment,
        mac: Mac,
    ) {
        use crate::net::ipv6::packet::{HEADER, emit_header};
        let key = Key {
            source: packet.source.into(),
            destination: packet.destination.into(),
            protocol: 0,
            identification: part.identification,
        };
        let fragment = Fragment {
            offset: part.offset,
            more: part.more,
            payload: packet.payload(),
            protocol: packet.protocol,
            packet: packet.bytes,
        };
        match self.reassembly.add(now, key, &fragment) {
            Outcome::Incomplete => {}
            Outcome::Dropped => self.ip.counters.drop_received(ReceiveDrop::IpFragment),
            Outcome::Whole(protocol, payload) => {
                let mut frame = alloc::vec![0; ethernet::HEADER + HEADER];
                if let Some(head) = frame.last_chunk_mut::<HEADER>() {
                    let length = payload.len();
                    emit_header(head, packet.source, packet.destination, protocol, length, packet.hop_limit);
                }
                frame.extend_from_slice(&payload);
                if let Some(whole) = frame.get(ethernet::HEADER..)
                    && let Some(echo) = self.receive_whole_ipv6(now, whole, mac)
                {
                    self.answer_whole_echo(&echo, &mut frame);
                }
            }
        }
    }

    /// Answers an echo request that was put together with all that it brought (RFC 1122, 3.2.2.6; RFC 4443, 4.2): in fragments, if it
    /// is too long for one packet.
    fn answer_whole_echo(&mut self, echo: &Echo, frame: &mut [u8]) {
        let Some(route) = self.ip.route(echo.source).filter(|_| !self.ip.is_congested()) else { return };
        let head = header::length(echo.source);
        if head + echo.length <= route.mtu {
            return self.answer_echo_in(echo, frame);
        }
        let start = echo.skip + head;
        let Some(message) = frame.get_mut(start..start + echo.length) else { return };
        let (protocol, kind) = if echo.source.is_ipv4() { (IpProtocol::Icmp, 0) } else { (IpProtocol::Icmpv6, 129) };
        if let Some(first) = message.first_mut() {
            *first = kind;
        }
        let numbers = Numbers { number: self.udp.packet_number(echo.source), hops: header::HOPS };
        self.ip.counters.icmp_sent[0] += 1;
        cutting::send_whole(&route, [echo.destination, echo.source], protocol, message, numbers, &mut self.ip);
    }

    /// Tells senders of packets that did not become whole in time, if the first fragment was there (RFC 792; RFC 4443, 3.3).
    pub(super) fn expire_fragments(&mut self, now: Instant) {
        while let Some((key, quote)) = self.reassembly.expired(now) {
            self.ip.counters.drop_received(ReceiveDrop::IpFragment);
            if quote.is_empty() || key.destination.is_multicast() {
                continue;
            }
            if let Some(packet) = Ipv4Quote::of(&quote) {
                self.tell_expired(now, &key, packet);
            }
            #[cfg(feature = "ipv6")]
            self.tell_expired_ipv6(now, &key, &quote);
        }
    }

    fn tell_expired(&mut self, now: Instant, key: &Key, quote: Ipv4Quote<'_>) {
        let Some(route) = self.ip.route(key.source).filter(|_| self.ip.may_send_from(key.destination)) else { return };
        if !self.allows_error(now) {
            return;
        }
        let Some(mut answer) = self.ip.alloc() else { return };
        let whole = answer.resize_head(ipv4::HEADER + 8 + quote.0.len());
        if let Some(message) = header::emit(whole, key.destination, key.source, IpProtocol::Icmp) {
            let (start, rest) = message.split_at_mut(8);
            start.copy_from_slice(&[11, 1, 0, 0, 0, 0, 0, 0]);
            rest.copy_from_slice(quote.0);
            let sum = !super::checksum::data(message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            self.ip.counters.icmp_sent[1] += 1;
            self.ip.send(&route, answer, TxMeta { fill_checksum: false, segment: None });
        }
    }
}

/// The header of a packet and eight bytes of what it carries.
struct Ipv4Quote<'a>(&'a [u8]);

impl<'a> Ipv4Quote<'a> {
    fn of(packet: &'a [u8]) -> Option<Ipv4Quote<'a>> {
        let first = packet.first().filter(|first| **first >> 4 == 4)?;
        let length = 4 * usize::from(first & 15) + 8;
        packet.get(..length.min(packet.len())).map(Ipv4Quote)
    }
}
