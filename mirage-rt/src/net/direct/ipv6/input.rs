//! Packets that came in.

use core::net::Ipv6Addr;

use smoltcp::wire::{IpProtocol, checksum};

use super::icmp::{self, NO_PORT};
use crate::net::direct::counters::ReceiveDrop;
use crate::net::direct::ethernet::{self, Mac};
use crate::net::direct::icmp::Meaning;
use crate::net::direct::stack::{Echo, Stack};
use crate::net::direct::tcp::segment::Segment;
use crate::net::ipv6::is_unicast;
use crate::net::ipv6::ndp::{self, ALL_NODES};
use crate::net::ipv6::packet::{self, HEADER, Packet, Refusal, protocol};
use crate::packet::Checksum;
use crate::time::Instant;

impl Stack {
    /// A packet came in a frame from `mac`. An echo request is left to be answered with the frame itself.
    pub(in crate::net::direct) fn receive_ipv6(
        &mut self,
        now: Instant,
        bytes: &[u8],
        mac: Mac,
        checksum: Checksum,
    ) -> Option<Echo> {
        self.receive_read_ipv6(now, bytes, mac, checksum, false)
    }

    /// A packet that was put together.
    #[cfg(feature = "datagrams")]
    pub(in crate::net::direct) fn receive_whole_ipv6(&mut self, now: Instant, bytes: &[u8], mac: Mac) -> Option<Echo> {
        self.receive_read_ipv6(now, bytes, mac, Checksum::None, true)
    }

    /// `was_cut` of a packet that was put together.
    fn receive_read_ipv6(
        &mut self,
        now: Instant,
        bytes: &[u8],
        mac: Mac,
        checksum: Checksum,
        was_cut: bool,
    ) -> Option<Echo> {
        let Some(layer) = &self.ip.ipv6 else { return self.refuse(ReceiveDrop::Ethernet) };
        let packet = match packet::read(bytes) {
            Ok(packet) => packet,
            Err(refusal) => {
                self.answer_problem(now, bytes, &refusal);
                return self.refuse(ReceiveDrop::IpHeader);
            }
        };
        let ours = layer.addresses.is_ours(packet.destination);
        #[cfg(feature = "datagrams")]
        if packet.destination.is_multicast() && !is_discovery(&packet) {
            return self.receive_for_groups_ipv6(now, &packet, mac, checksum, was_cut);
        }
        let to_group = packet.destination == ALL_NODES || layer.addresses.is_solicited(packet.destination);
        let is_discovery = is_discovery(&packet);
        // Neighbour discovery looks itself whether somebody says that our addresses are theirs.
        let is_source = match is_discovery {
            true => packet.source.is_unspecified() || is_unicast(packet.source),
            false => is_unicast(packet.source) && !layer.addresses.is_ours(packet.source),
        };
        if !is_source || !(ours || to_group || is_discovery && layer.addresses.is_tentative(packet.destination)) {
            return self.refuse(ReceiveDrop::IpAddress);
        }
        self.ip.counters.ip_received.count(packet.bytes.len());
        // RFC 6980: neighbour discovery is never in fragments.
        if was_cut && is_discovery {
            return self.refuse(ReceiveDrop::IpFragment);
        }
        if let Some(fragment) = packet.fragment {
            #[cfg(feature = "datagrams")]
            self.receive_fragment_ipv6(now, &packet, &fragment, mac);
            #[cfg(not(feature = "datagrams"))]
            self.refuse(ReceiveDrop::IpFragment);
            let _ = fragment;
            return None;
        }
        let trusted = checksum != Checksum::None && packet.protocol != protocol::ICMP;
        let is_known = matches!(packet.protocol, protocol::TCP | protocol::UDP | protocol::ICMP);
        if is_known && !trusted && !verify(&packet) {
            return self.refuse(ReceiveDrop::Checksum);
        }
        match packet.protocol {
            protocol::TCP if ours => self.receive_tcp_ipv6(now, &packet, mac),
            protocol::UDP => {
                let (source, destination) = (packet.source.into(), packet.destination.into());
                if !self.udp.receive(source, destination, packet.payload()) && ours {
                    self.answer_error(now, &packet, [icmp::kind::UNREACHABLE, NO_PORT], 0);
                }
                None
            }
            protocol::ICMP if is_discovery => {
                self.ip.receive_discovery(&packet, mac);
                None
            }
            protocol::ICMP if ours => self.receive_icmp_ipv6(&packet),
            protocol::TCP | protocol::ICMP => self.refuse(ReceiveDrop::IpAddress),
            protocol::NONE => None,
            _ => {
                if ours {
                    let code = [icmp::kind::PROBLEM, packet::UNKNOWN_HEADER];
                    self.answer_error(now, &packet, code, packet.field as u32);
                }
                self.refuse(ReceiveDrop::IpProtocol)
            }
        }
    }

    /// A packet for a group, which is no message of neighbour discovery.
    #[cfg(feature = "datagrams")]
    fn receive_for_groups_ipv6(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        mac: Mac,
        checksum: Checksum,
        was_cut: bool,
    ) -> Option<Echo> {
        use crate::net::groups::mld;
        let Some(layer) = &self.ip.ipv6 else { return None };
        let group = core::net::IpAddr::V6(packet.destination);
        let is_mld = packet.protocol == protocol::ICMP && mld::is_mld(packet.payload());
        if is_mld && (was_cut || packet.fragment.is_some()) {
            return self.refuse(ReceiveDrop::IpFragment);
        }
        // Hosts without an address say which groups they hear, too.
        let is_source = is_unicast(packet.source) && !layer.addresses.is_ours(packet.source)
            || is_mld && packet.source.is_unspecified();
        if !is_source || !(packet.destination == ALL_NODES || self.groups.is_heard(group)) {
            return self.refuse(ReceiveDrop::IpAddress);
        }
        self.ip.counters.ip_received.count(packet.bytes.len());
        if let Some(fragment) = packet.fragment {
            self.receive_fragment_ipv6(now, packet, &fragment, mac);
            return None;
        }
        let trusted = checksum != Checksum::None && packet.protocol == protocol::UDP;
        if (is_mld || packet.protocol == protocol::UDP) && !trusted && !verify(packet) {
            return self.refuse(ReceiveDrop::Checksum);
        }
        match packet.protocol {
            protocol::ICMP if is_mld => self.receive_mld(now, packet),
            // Datagrams to all hosts are for whoever is bound to the port, as those to all over IPv4.
            protocol::UDP if packet.destination == ALL_NODES => {
                let _ = self.udp.receive(packet.source.into(), group, packet.payload());
            }
            protocol::UDP => self.receive_for_group(packet.source.into(), group, packet.payload()),
            _ => return self.refuse(ReceiveDrop::IpAddress),
        }
        None
    }

    fn receive_tcp_ipv6(&mut self, now: Instant, packet: &Packet<'_>, mac: Mac) -> Option<Echo> {
        let (source, destination) = (packet.source.into(), packet.destination.into());
        let Some(segment) = Segment::parse(&self.key, source, destination, packet.payload()) else {
            return self.refuse(ReceiveDrop::Malformed);
        };
        if segment.ack.is_some() {
            self.ip.heard_ipv6(packet.source, mac);
        }
        if packet.offset == HEADER {
            self.receive_segment(now, packet.bytes, &segment);
            return None;
        }
        // Whoever speaks TCP knows no extension headers.
        let mut plain = self.ip.ipv6.as_mut().map(|layer| core::mem::take(&mut layer.scratch)).unwrap_or_default();
        let payload = packet.payload();
        plain.clear();
        if plain.try_reserve(HEADER + payload.len()).is_ok() {
            let mut head = [0; HEADER];
            let (length, hops) = (payload.len(), packet.hop_limit);
            packet::emit_header(&mut head, packet.source, packet.destination, protocol::TCP, length, hops);
            plain.extend_from_slice(&head);
            plain.extend_from_slice(payload);
            self.receive_segment(now, &plain, &segment);
        }
        if let Some(layer) = &mut self.ip.ipv6 {
            layer.scratch = plain;
        }
        None
    }

    fn receive_icmp_ipv6(&mut self, packet: &Packet<'_>) -> Option<Echo> {
        let meaning = icmp::read(&self.key, packet.payload());
        self.ip.counters.icmp_received[meaning.kind()] += 1;
        match meaning {
            Meaning::Echo => Some(Echo {
                source: packet.source.into(),
                destination: packet.destination.into(),
                // Extension headers are not sent back: the new header takes the place right in front of the message.
                skip: ethernet::HEADER + packet.offset - HEADER,
                length: packet.payload().len(),
            }),
            Meaning::TcpUnreachable { tuple, seq, refused } => {
                self.tcp.on_unreachable(&tuple, seq, refused);
                None
            }
            Meaning::TcpTooBig { tuple, seq, mtu } => {
                self.receive_too_big(&tuple, seq, mtu);
                None
            }
            Meaning::Nothing => {
                #[cfg(feature = "datagrams")]
                self.receive_other_icmp_ipv6(packet);
                None
            }
        }
    }

    fn answer_problem(&mut self, now: Instant, bytes: &[u8], refusal: &Refusal) {
        let Refusal::Problem { source, destination, code, pointer, to_groups } = *refusal else { return };
        let Some(layer) = &self.ip.ipv6 else { return };
        let ours = layer.addresses.is_ours(destination);
        let to_group = to_groups && destination == ALL_NODES;
        if !(ours || to_group) || !is_unicast(source) || layer.addresses.is_ours(source) {
            return;
        }
        let from = if ours { Some(destination) } else { layer.addresses.source_for(now, source) };
        if let Some(from) = from {
            self.send_error(now, bytes, [from, source], [icmp::kind::PROBLEM, code], pointer as u32);
        }
    }

    fn answer_error(&mut self, now: Instant, packet: &Packet<'_>, kind: [u8; 2], word: u32) {
        if !icmp::is_error(packet) {
            self.send_error(now, packet.bytes, [packet.destination, packet.source], kind, word);
        }
    }

    pub(in crate::net::direct) fn send_error(
        &mut self,
        now: Instant,
        quoted: &[u8],
        [from, to]: [Ipv6Addr; 2],
        kind: [u8; 2],
        word: u32,
    ) {
        let Some(layer) = &mut self.ip.ipv6 else { return };
        if layer.errors.allow(now) {
            icmp::error(&mut self.ip, quoted, from, to, kind, word);
        } else {
            self.ip.counters.icmp_limited += 1;
        }
    }
}

/// Telling senders.
#[cfg(feature = "datagrams")]
impl Stack {
    /// A packet over IPv6, of which this is the beginning, did not become whole in time.
    pub(in crate::net::direct) fn tell_expired_ipv6(
        &mut self,
        now: Instant,
        key: &crate::net::fragments::Key,
        quote: &[u8],
    ) {
        if let (core::net::IpAddr::V6(source), core::net::IpAddr::V6(destination)) = (key.source, key.destination)
            && self.ip.ipv6.as_ref().is_some_and(|layer| layer.addresses.is_ours(destination))
        {
            self.send_error(now, quote, [destination, source], [icmp::kind::TIME_EXCEEDED, 1], 0);
        }
    }
}

/// Whether a packet is a message of neighbour discovery.
fn is_discovery(packet: &Packet<'_>) -> bool {
    let kind = packet.payload().first().copied().unwrap_or_default();
    // A later fragment begins anywhere.
    let is_start = packet.fragment.is_none_or(|fragment| fragment.offset == 0);
    is_start
        && packet.protocol == protocol::ICMP
        && (ndp::kind::ROUTER_SOLICITATION..=ndp::kind::REDIRECT).contains(&kind)
}

/// Whether the checksum with the pseudo header is right. Over IPv6, datagrams have one too (RFC 8200, 8.1).
fn verify(packet: &Packet<'_>) -> bool {
    let payload = packet.payload();
    let protocol = IpProtocol::from(packet.protocol);
    if protocol == IpProtocol::Udp && payload.get(6..8) == Some(&[0, 0]) {
        return false;
    }
    let (source, destination) = (packet.source, packet.destination);
    let pseudo = checksum::pseudo_header_v6(&source, &destination, protocol, payload.len() as u32);
    checksum::combine(&[pseudo, checksum::data(payload)]) == !0
}
