//! Routes, and packets on their way out.

use core::net::{IpAddr, Ipv6Addr};

use crate::net::direct::ip::{Ip, Route, SOON, TxMeta};
use crate::net::direct::neighbours::Resolution;
use crate::net::ipv6::is_unicast;
use crate::net::ipv6::ndp::group_mac;
use crate::packet::{Checksum, Gso, PacketMut};

impl Ip {
    /// The way to `destination` (RFC 4861, 5.2).
    pub fn route_ipv6(&self, destination: Ipv6Addr) -> Option<Route> {
        let layer = self.ipv6.as_ref()?;
        let is_right = is_unicast(destination) || destination.is_multicast();
        if !is_right || layer.addresses.is_ours(destination) {
            return None;
        }
        let source = layer.addresses.source_for(self.now, destination)?;
        let is_near = destination.is_multicast()
            || destination.is_unicast_link_local()
            || layer.routers.is_on_link(self.now, destination);
        let next_hop = if is_near { destination } else { layer.router_to(self.now, destination)? };
        let mtu = layer.path(self.ipv6_mtu()).mtu;
        let offload = layer.checksum_offload;
        Some(Route { source: IpAddr::V6(source), next_hop: IpAddr::V6(next_hop), mtu, offload })
    }

    /// Whether enough packets wait for this neighbour.
    pub fn is_full_ipv6(&self, hop: Ipv6Addr) -> bool {
        self.ipv6.as_ref().is_some_and(|layer| layer.neighbours.is_full(hop))
    }

    /// Sends a packet by way of `hop`.
    pub fn send_ipv6(&mut self, hop: Ipv6Addr, mut packet: PacketMut, meta: TxMeta) {
        self.count_sent(&packet);
        packet.set_checksum(Checksum::None);
        packet.set_gso(meta.segment.map_or(Gso::None, |mss| Gso::Ipv6 { mss: mss.get() }));
        if meta.fill_checksum {
            self.finish_checksum(&mut packet);
        }
        if hop.is_multicast() {
            return self.queue(packet, group_mac(hop));
        }
        self.send_resolved_ipv6(hop, packet);
    }

    /// Sends a packet that is complete to a neighbour.
    pub fn send_resolved_ipv6(&mut self, hop: Ipv6Addr, packet: PacketMut) {
        let Some(layer) = &mut self.ipv6 else { return };
        match layer.neighbours.resolve(self.now, hop) {
            Resolution::Known(mac) => self.queue(packet, mac),
            Resolution::Stale(mac) => {
                self.ask_ipv6(hop);
                self.queue(packet, mac);
            }
            Resolution::Unknown => {
                layer.neighbours.hold(hop, packet);
                self.ask_ipv6(hop);
            }
            Resolution::Asked => layer.neighbours.hold(hop, packet),
        }
    }

    /// Asks for a neighbour for which no packet can be held, unless that was done.
    #[cold]
    #[inline(never)]
    pub fn ask_first_ipv6(&mut self, hop: Ipv6Addr) {
        let Some(layer) = &mut self.ipv6 else { return };
        if layer.neighbours.resolve(self.now, hop) == Resolution::Unknown {
            self.ask_ipv6(hop);
        }
    }

    /// A neighbour has shown that it hears us.
    pub fn heard_ipv6(&mut self, source: Ipv6Addr, mac: [u8; 6]) {
        let Some(layer) = &mut self.ipv6 else { return };
        // As with IPv4: of many packets in a row from one host, it is enough to know once in a second.
        let (host, at, since) = layer.latest;
        if host == source && at == mac && self.now.as_nanos().saturating_sub(since.as_nanos()) < SOON {
            return;
        }
        layer.latest = (source, mac, self.now);
        let Some(Route { next_hop: IpAddr::V6(hop), .. }) = self.route_ipv6(source) else { return };
        if let Some(layer) = &mut self.ipv6 {
            layer.neighbours.confirm(self.now, hop, mac);
        }
    }
}
