//! Forwarding of IPv4 (RFC 1812, 5.2 and 5.3).

use core::net::{IpAddr, Ipv4Addr};

use super::{Fate, Packet, Shared, Verdict};
use crate::net::direct::ipv4::{self, Ipv4};
use crate::net::direct::transit::{Error, Outgoing, Passed};

/// Options that say which way to take (RFC 791, 3.1): packets with them are dropped, as strangers would choose our ways.
const SOURCE_ROUTES: [u8; 2] = [131, 137];

impl Shared {
    /// Forwards `bytes`, a packet and what stands behind it in its frame.
    pub(super) fn forward_ipv4(&self, from: usize, bytes: &mut [u8], outgoing: Outgoing) -> Fate {
        let Some(packet) = Ipv4::parse(bytes).filter(|packet| is_forwarded(packet)) else { return Fate::Invalid };
        let (source, destination) = (IpAddr::V4(packet.source), IpAddr::V4(packet.destination));
        if self.stacks.iter().any(|stack| stack.has(source)) {
            return Fate::Invalid;
        }
        let (length, hops) = (packet.packet.len(), packet.packet.get(8).copied().unwrap_or_default());
        let tell = |bytes: &[u8], error: Error| {
            if let (Some(packet), Some(stack)) = (Ipv4::parse(bytes), self.stacks.get(from)) {
                stack.tell_ipv4(&packet, error);
            }
        };
        let Some(to) = self.way(destination) else {
            tell(bytes, Error::Unreachable);
            return Fate::Unreachable;
        };
        let seen = Packet {
            from,
            to,
            source,
            destination,
            protocol: packet.protocol.into(),
            is_later_fragment: offset(&packet) != 0,
            bytes: packet.packet,
            payload: packet.payload(),
        };
        match self.judge(&seen) {
            Verdict::Pass => {}
            Verdict::Drop => return Fate::Filtered,
            Verdict::Reject => {
                tell(bytes, Error::Prohibited);
                return Fate::Filtered;
            }
        }
        if hops <= 1 {
            tell(bytes, Error::Expired);
            return Fate::Expired;
        }
        let (Some(stack), Some(whole)) = (self.stacks.get(to), bytes.get_mut(..length)) else {
            return Fate::Unreachable;
        };
        set_hops(whole, hops - 1);
        let passed = stack.pass(destination, whole, outgoing);
        // The sender is shown the packet as it was.
        set_hops(whole, hops);
        match passed {
            Passed::TooBig(mtu) => tell(bytes, Error::TooBig(mtu)),
            Passed::NoRoute => tell(bytes, Error::Unreachable),
            _ => {}
        }
        passed.into()
    }
}

/// Whether packets like this one are forwarded at all.
fn is_forwarded(packet: &Ipv4<'_>) -> bool {
    let is_elsewhere = |address: Ipv4Addr| {
        // 0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, and what is above 224.0.0.0 (RFC 1812, 5.3.7; RFC 3927, 2.7).
        let [first, ..] = address.octets();
        first != 0 && !address.is_loopback() && !address.is_link_local() && first < 224
    };
    // What lies beyond the longest packet belongs to none, and its place could not be written down after another cut.
    let end = packet.header_length + 8 * usize::from(offset(packet)) + packet.payload().len();
    end <= usize::from(u16::MAX)
        && is_elsewhere(packet.source)
        && is_elsewhere(packet.destination)
        && !has_source_route(packet)
}

fn has_source_route(packet: &Ipv4<'_>) -> bool {
    let mut options = packet.packet.get(ipv4::HEADER..packet.header_length).unwrap_or_default();
    loop {
        match options {
            [] | [0, ..] => return false,
            [1, rest @ ..] => options = rest,
            [kind, ..] if SOURCE_ROUTES.contains(kind) => return true,
            [_, length, ..] if *length >= 2 => options = options.get(usize::from(*length)..).unwrap_or_default(),
            _ => return false,
        }
    }
}

/// Where a fragment belongs, in units of eight bytes.
fn offset(packet: &Ipv4<'_>) -> u16 {
    packet.packet.get(6..8).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]) & 0x1fff)
}

fn set_hops(packet: &mut [u8], hops: u8) {
    if let Some(field) = packet.get_mut(8) {
        *field = hops;
    }
    ipv4::fill_checksum(packet);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_beyond_the_longest_packet_are_not_forwarded() {
        let is_forwarded_at = |place: u16| {
            let mut bytes = alloc::vec![0; ipv4::HEADER + 100];
            bytes[..4].copy_from_slice(&[0x45, 0, 0, 120]);
            bytes[6..8].copy_from_slice(&place.to_be_bytes());
            bytes[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
            ipv4::fill_checksum(&mut bytes);
            is_forwarded(&Ipv4::parse(&bytes).expect("it is sound"))
        };
        // 20 + 8 * 8176 + 100 = 65528.
        assert!(is_forwarded_at(0) && is_forwarded_at(8176));
        assert!(!is_forwarded_at(8177) && !is_forwarded_at(0x1fff));
    }
}
