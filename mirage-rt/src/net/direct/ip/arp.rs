//! ARP: which Ethernet address a neighbour has (RFC 826), and whose an IPv4 address is (RFC 5227).

use core::net::{IpAddr, Ipv4Addr};

use super::{Ip, IpOut};
use crate::net::direct::counters::ReceiveDrop;
use crate::net::direct::ethernet::{self, ARP_LENGTH, Arp, BROADCAST, EtherType, Mac, Shown};
use crate::time::Duration;

/// Our address is defended no more often (RFC 5227, 1.1: DEFEND_INTERVAL).
const DEFENCE_PAUSE: Duration = Duration::from_secs(10);

impl Ip {
    /// An ARP packet came in.
    pub fn receive_arp(&mut self, packet: &[u8]) {
        let is_sound = |arp: &Arp| ethernet::is_unicast(arp.source_mac) && arp.source_mac != self.mac;
        let Some(arp) = Arp::parse(packet).filter(|arp| self.has_ipv4() && is_sound(arp)) else {
            return self.counters.drop_received(ReceiveDrop::Arp);
        };
        let ours = self.address.address();
        if arp.source == ours {
            return self.defend_ipv4(arp.source_mac);
        }
        let to_us = arp.target == ours;
        // RFC 5227, 2.1.1: who wants to know whether anybody has an address has none to ask from.
        let is_probe = to_us && arp.request && arp.source.is_unspecified();
        let is_neighbour = self.is_source(arp.source) && self.address.contains(arp.source);
        let is_heard = is_neighbour && (to_us || self.neighbours.has(arp.source));
        if !is_heard && !is_probe {
            return self.counters.drop_received(ReceiveDrop::Arp);
        }
        self.counters.arp_received[usize::from(!arp.request)] += 1;
        if is_heard {
            self.hear(&arp, to_us);
        }
        if to_us && arp.request {
            self.send_arp(
                arp.source_mac,
                Arp {
                    request: false,
                    source_mac: self.mac,
                    source: ours,
                    target_mac: arp.source_mac,
                    target: arp.source,
                },
            );
        }
    }

    /// A neighbour says which Ethernet address it has. What it has not said to us may be old, or a stranger's invention: it is
    /// used, as the neighbour may have moved, and asked for again.
    fn hear(&mut self, arp: &Arp, to_us: bool) {
        let held = if to_us {
            self.neighbours.learn(self.now, arp.source, arp.source_mac, arp.request)
        } else {
            self.neighbours.mention(self.now, arp.source, arp.source_mac, false)
        };
        for packet in held {
            self.queue(packet, arp.source_mac);
        }
        self.unblocked.push(IpAddr::V4(arp.source));
    }

    /// Somebody says that our address is theirs: it stays ours, as a server's should, and the others are told so (RFC 5227, 2.4,
    /// case c).
    #[cold]
    #[inline(never)]
    fn defend_ipv4(&mut self, mac: Mac) {
        self.counters.drop_received(ReceiveDrop::Arp);
        if self.now < self.defended_until {
            return;
        }
        self.defended_until = self.now + DEFENCE_PAUSE;
        let address = self.address.address();
        log::warn!(target: crate::net::log_targets::ADDRESSES, "{} on this network claims the address {address}, which is in use here", Shown(mac));
        self.announce_ipv4();
    }

    pub(super) fn announce_ipv4(&mut self) {
        if self.has_ipv4() {
            self.ask(self.address.address());
        }
    }

    #[inline(never)]
    pub(super) fn ask(&mut self, address: Ipv4Addr) {
        self.send_arp(
            BROADCAST,
            Arp {
                request: true,
                source_mac: self.mac,
                source: self.address.address(),
                target_mac: [0; 6],
                target: address,
            },
        );
    }

    fn send_arp(&mut self, destination: Mac, arp: Arp) {
        let Some(mut packet) = self.alloc() else { return };
        self.counters.arp_sent[usize::from(!arp.request)] += 1;
        let frame = packet.resize_head(ethernet::HEADER + ARP_LENGTH);
        if let Some((header, body)) = frame.split_first_chunk_mut::<{ ethernet::HEADER }>()
            && let Some(body) = body.first_chunk_mut::<ARP_LENGTH>()
        {
            ethernet::emit(header, destination, self.mac, EtherType::Arp);
            arp.emit(body);
            self.push(packet);
        }
    }
}
