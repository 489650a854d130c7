//! Messages of neighbour discovery, in and out.

use alloc::collections::VecDeque;
use core::net::{IpAddr, Ipv6Addr};

use super::addresses::Due as AddressDue;
use super::{DEFENCE_PAUSE, ROUTER_PAUSE, ROUTER_TRIES};
use crate::net::direct::counters::ReceiveDrop;
use crate::net::direct::ethernet::{self, Mac};
use crate::net::direct::header;
use crate::net::direct::ip::Ip;
use crate::net::direct::neighbours::Due;
use crate::net::ipv6::ndp::{self, ALL_NODES, ALL_ROUTERS, Choice, Message, Options, Prefix, address_of, group_mac};
use crate::net::ipv6::ndp::{HOP_LIMIT, solicited_node};
use crate::net::ipv6::packet::{LEAST_MTU, Packet, protocol};
use crate::net::ipv6::{is_unicast, packet};
use crate::net::log_targets;
use crate::packet::PacketMut;

impl Ip {
    /// A message of neighbour discovery, whose checksum is right, came in a frame from `mac`.
    pub fn receive_discovery(&mut self, packet: &Packet<'_>, mac: Mac) {
        let message = ndp::read(packet.source, packet.destination, packet.hop_limit, packet.payload());
        let Some(message) = message.filter(|_| mac != self.mac) else {
            return self.counters.drop_received(ReceiveDrop::Arp);
        };
        match message {
            Message::Solicitation { target, source } => self.receive_solicitation(packet, target, source),
            Message::Advertisement { target, mac, router, solicited, overriding } => {
                self.counters.arp_received[1] += 1;
                self.receive_advertisement(target, mac, router, solicited, overriding);
            }
            Message::Router { lifetime, options } => self.receive_router(packet.source, lifetime, options),
        }
    }

    fn receive_solicitation(&mut self, packet: &Packet<'_>, target: Ipv6Addr, source_mac: Option<Mac>) {
        let Some(layer) = &mut self.ipv6 else { return };
        let is_probe = packet.source.is_unspecified();
        if layer.addresses.is_tentative(target) {
            // RFC 4862, 5.4.3: who asks for its address has it; who looks for a duplicate too wants the same one.
            if is_probe {
                self.give_up(target);
            }
            return;
        }
        if !layer.addresses.is_ours(target) {
            return self.counters.drop_received(ReceiveDrop::Arp);
        }
        self.counters.arp_received[0] += 1;
        if is_probe {
            return self.advertise(target, ALL_NODES);
        }
        if layer.addresses.is_ours(packet.source) {
            return self.defend(packet.source);
        }
        let source_mac = source_mac.filter(|mac| ethernet::is_unicast(*mac));
        if let Some(mac) = source_mac {
            let held = layer.neighbours.mention(self.now, packet.source, mac, true);
            self.release(packet.source, held, mac);
        }
        // It waits for the answer: whether it can be reached is found out when there is something to be sent.
        let message = ndp::advertisement(target, self.mac, true, true);
        match source_mac {
            Some(mac) => self.send_discovery_to(mac, target, packet.source, &message),
            None => self.send_discovery(target, packet.source, &message),
        }
    }

    fn receive_advertisement(
        &mut self,
        target: Ipv6Addr,
        mac: Option<Mac>,
        router: bool,
        solicited: bool,
        overriding: bool,
    ) {
        let Some(layer) = &mut self.ipv6 else { return };
        if layer.addresses.is_tentative(target) {
            return self.give_up(target);
        }
        if layer.addresses.is_ours(target) {
            return self.defend(target);
        }
        if mac.is_some_and(|mac| !ethernet::is_unicast(mac)) {
            return self.counters.drop_received(ReceiveDrop::Arp);
        }
        if !router && layer.neighbours.mac(target).is_some() {
            layer.routers.forget_router(target);
        }
        if solicited {
            layer.routers.set_silent(target, false);
        }
        let held = layer.neighbours.advertise(self.now, target, mac, solicited, overriding);
        if let Some(mac) = layer.neighbours.mac(target) {
            self.release(target, held, mac);
        }
    }

    fn receive_router(&mut self, source: Ipv6Addr, lifetime: u16, options: Options<'_>) {
        let Some(layer) = &mut self.ipv6 else { return };
        if layer.addresses.is_ours(source) {
            return self.counters.drop_received(ReceiveDrop::Arp);
        }
        layer.router_tries = 0;
        if !layer.has_gateway {
            layer.routers.hear_router(self.now, source, lifetime);
        }
        for option in options {
            let Some(layer) = &mut self.ipv6 else { return };
            match option {
                Choice::Source(mac) if ethernet::is_unicast(mac) => {
                    let held = layer.neighbours.mention(self.now, source, mac, true);
                    self.release(source, held, mac);
                }
                Choice::Mtu(mtu) if mtu >= u32::from(LEAST_MTU) => layer.routers.mtu = u16::try_from(mtu).ok(),
                Choice::Servers(lifetime, servers) => layer.routers.hear_servers(self.now, lifetime, &servers),
                Choice::Prefix(prefix) => self.receive_prefix(&prefix),
                _ => {}
            }
        }
    }

    fn receive_prefix(&mut self, prefix: &Prefix) {
        let Some(layer) = &mut self.ipv6 else { return };
        // RFC 4861, 6.3.4, and RFC 4862, 5.5.3: that of link-local addresses is always there.
        if prefix.prefix.is_unicast_link_local() || prefix.prefix.is_multicast() || prefix.length == 0 {
            return;
        }
        if prefix.on_link {
            layer.routers.hear_prefix(self.now, prefix);
        }
        let address = address_of(prefix.prefix, self.mac);
        // The second half of our addresses has 64 bits.
        if prefix.autonomous
            && prefix.length == 64
            && layer.is_automatic
            && is_unicast(address)
            && layer.addresses.announce(self.now, prefix, address)
        {
            layer.listen(address);
        }
    }

    /// Somebody else has an address that we wanted.
    fn give_up(&mut self, address: Ipv6Addr) {
        if let Some(layer) = &mut self.ipv6 {
            layer.addresses.set_duplicate(address);
        }
        log::error!(target: log_targets::ADDRESSES, "{address} is in use on this network already: it is not used here");
    }

    /// Somebody says that one of our addresses is theirs: it stays ours, and the others are told so.
    fn defend(&mut self, address: Ipv6Addr) {
        let Some(layer) = &mut self.ipv6 else { return };
        self.counters.drop_received(ReceiveDrop::Arp);
        if layer.defended.is_some_and(|at| self.now < at + DEFENCE_PAUSE) {
            return;
        }
        layer.defended = Some(self.now);
        log::warn!(target: log_targets::ADDRESSES, "somebody on this network claims the address {address}, which is in use here");
        self.advertise(address, ALL_NODES);
    }

    /// Sends packets whose neighbour is known now.
    fn release(&mut self, address: Ipv6Addr, held: VecDeque<PacketMut>, mac: Mac) {
        for packet in held {
            self.queue(packet, mac);
        }
        self.unblocked.push(IpAddr::V6(address));
    }

    /// Does what is due.
    pub fn run_ipv6(&mut self) {
        let Some(layer) = &mut self.ipv6 else { return };
        if layer.router_tries > 0 && self.now >= layer.router_at {
            layer.router_tries -= 1;
            layer.router_at = self.now + ROUTER_PAUSE;
            let source = layer.addresses.source_for(self.now, ALL_ROUTERS);
            // One without an address yet does not say its Ethernet address either (RFC 4861, 4.1).
            let message = ndp::router_solicitation(source.map(|_| self.mac));
            self.send_discovery(source.unwrap_or(Ipv6Addr::UNSPECIFIED), ALL_ROUTERS, &message);
        }
        while let Some(due) = self.ipv6.as_mut().and_then(|layer| layer.addresses.next_due(self.now)) {
            if let Some(layer) = &mut self.ipv6 {
                layer.has_changed |= !matches!(due, AddressDue::Probe(_));
            }
            match due {
                AddressDue::Probe(address) => {
                    let message = ndp::solicitation(address, None);
                    self.send_discovery(Ipv6Addr::UNSPECIFIED, solicited_node(address), &message);
                }
                AddressDue::Usable(address) => {
                    log::info!(target: log_targets::ADDRESSES, "the address {address} is in use from now on");
                    // Those who waited for an address to come from.
                    self.unblocked.push(IpAddr::V6(address));
                }
                AddressDue::Gone(address) => {
                    if let Some(layer) = &mut self.ipv6 {
                        layer.gone.push(address);
                    }
                    log::warn!(target: log_targets::ADDRESSES, "the lifetime of the address {address} is over: it is not used any more");
                }
            }
        }
        while let Some(due) = self.ipv6.as_mut().and_then(|layer| layer.neighbours.next_due(self.now)) {
            match due {
                Due::Ask(address) => self.ask_ipv6(address),
                Due::GivenUp(address) => {
                    if let Some(layer) = &mut self.ipv6 {
                        layer.routers.set_silent(address, true);
                    }
                    self.unblocked.push(IpAddr::V6(address));
                }
            }
        }
    }

    /// Tells everybody on the link which Ethernet address ours have now, and asks routers how the link is: it may be another.
    pub fn announce_ipv6(&mut self) {
        let Some(layer) = &mut self.ipv6 else { return };
        if layer.router_at < self.now {
            layer.router_tries = ROUTER_TRIES;
            layer.router_at = self.now;
        }
        let mut number = 0;
        while let Some(address) = self.ipv6.as_ref().and_then(|layer| layer.addresses.usable().nth(number)) {
            self.advertise(address, ALL_NODES);
            number += 1;
        }
    }

    /// Asks for a neighbour's Ethernet address: itself when there is one that only needs confirmation, else everybody.
    pub fn ask_ipv6(&mut self, address: Ipv6Addr) {
        let Some(layer) = &self.ipv6 else { return };
        let Some(source) = layer.addresses.source_for(self.now, address) else { return };
        let message = ndp::solicitation(address, Some(self.mac));
        match layer.neighbours.mac(address) {
            Some(mac) => self.send_discovery_to(mac, source, address, &message),
            None => self.send_discovery(source, solicited_node(address), &message),
        }
    }

    /// Says without being asked that `target` is ours.
    fn advertise(&mut self, target: Ipv6Addr, destination: Ipv6Addr) {
        let message = ndp::advertisement(target, self.mac, false, true);
        self.send_discovery(target, destination, &message);
    }

    /// Sends a message to a group, or to a neighbour that is resolved first.
    fn send_discovery(&mut self, source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) {
        if destination.is_multicast() {
            return self.send_discovery_to(group_mac(destination), source, destination, message);
        }
        if let Some(packet) = self.discovery_packet(source, destination, message) {
            self.send_resolved_ipv6(destination, packet);
        }
    }

    fn send_discovery_to(&mut self, mac: Mac, source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) {
        if let Some(packet) = self.discovery_packet(source, destination, message) {
            self.queue(packet, mac);
        }
    }

    fn discovery_packet(&mut self, source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> Option<PacketMut> {
        use crate::net::direct::ip::IpOut;
        let mut packet = self.alloc()?;
        let whole = packet.resize_head(packet::HEADER + message.len());
        let (head, body) = whole.split_first_chunk_mut::<{ packet::HEADER }>()?;
        packet::emit_header(head, source, destination, protocol::ICMP, message.len(), HOP_LIMIT);
        body.copy_from_slice(message);
        #[cfg(feature = "forward")]
        if self.ipv6.as_ref().is_some_and(|layer| layer.is_router) {
            ndp::set_router(body);
        }
        header::fill_icmp(whole);
        match message.first() {
            Some(&ndp::kind::NEIGHBOUR_ADVERTISEMENT) => self.counters.arp_sent[1] += 1,
            _ => self.counters.arp_sent[0] += 1,
        }
        Some(packet)
    }
}
