//! Forwarding of IPv6 (RFC 8200; RFC 4443).

use core::net::{IpAddr, Ipv6Addr};

use super::{Fate, Packet, Shared, Verdict};
use crate::net::direct::transit::{Error, Outgoing, Passed};
use crate::net::ipv6::is_unicast;
use crate::net::ipv6::packet::{self, HEADER};

impl Shared {
    /// Forwards `bytes`, a packet and what stands behind it in its frame.
    pub(super) fn forward_ipv6(&self, from: usize, bytes: &mut [u8], outgoing: Outgoing) -> Fate {
        let Some(Header { source, destination, next, hops, length }) = Header::of(bytes) else { return Fate::Invalid };
        let is_elsewhere = |address: Ipv6Addr| is_unicast(address) && !address.is_unicast_link_local();
        let [own, remote] = [source, destination].map(IpAddr::V6);
        let Some(whole) = bytes.get_mut(..length) else { return Fate::Invalid };
        if !is_elsewhere(source) || !is_elsewhere(destination) || self.stacks.iter().any(|stack| stack.has(own)) {
            return Fate::Invalid;
        }
        let tell = |whole: &[u8], error: Error| {
            if let Some(stack) = self.stacks.get(from)
                && !is_error(whole)
            {
                stack.tell_ipv6(source, whole, error);
            }
        };
        let Some(to) = self.way(remote) else {
            tell(whole, Error::Unreachable);
            return Fate::Unreachable;
        };
        // What stands behind headers that are not sound is nobody's guess.
        let (protocol, offset, later) = match packet::read(whole) {
            Ok(read) => (read.protocol, read.offset, read.fragment.is_some_and(|fragment| fragment.offset != 0)),
            Err(_) => (next, HEADER, false),
        };
        let payload = whole.get(offset..).unwrap_or_default();
        let seen = Packet {
            from,
            to,
            source: own,
            destination: remote,
            protocol,
            is_later_fragment: later,
            bytes: whole,
            payload,
        };
        match self.judge(&seen) {
            Verdict::Pass => {}
            Verdict::Drop => return Fate::Filtered,
            Verdict::Reject => {
                tell(whole, Error::Prohibited);
                return Fate::Filtered;
            }
        }
        if hops <= 1 {
            tell(whole, Error::Expired);
            return Fate::Expired;
        }
        let Some(stack) = self.stacks.get(to) else { return Fate::Unreachable };
        whole[HOPS] = hops - 1;
        let passed = stack.pass(remote, whole, outgoing);
        // The sender is shown the packet as it was.
        whole[HOPS] = hops;
        match passed {
            Passed::TooBig(mtu) => tell(whole, Error::TooBig(mtu)),
            Passed::NoRoute => tell(whole, Error::Unreachable),
            _ => {}
        }
        passed.into()
    }
}

/// Where the hop limit stands.
const HOPS: usize = 7;

struct Header {
    source: Ipv6Addr,
    destination: Ipv6Addr,
    /// What stands behind the header.
    next: u8,
    hops: u8,
    /// Bytes of the packet.
    length: usize,
}

impl Header {
    fn of(bytes: &[u8]) -> Option<Header> {
        let head = bytes.first_chunk::<HEADER>()?;
        let address = |at: usize| head.get(at..)?.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes));
        let length = HEADER + usize::from(u16::from_be_bytes([head[4], head[5]]));
        (length <= bytes.len()).then_some(Header {
            source: address(8)?,
            destination: address(24)?,
            next: head[6],
            hops: head[HOPS],
            length,
        })
    }
}

/// Whether a packet is an error, or may be one: those are never answered with one.
fn is_error(bytes: &[u8]) -> bool {
    packet::read(bytes).is_ok_and(|packet| {
        packet.fragment.is_some_and(|fragment| fragment.offset != 0)
            || packet.protocol == packet::protocol::ICMP && packet.payload().first().is_none_or(|kind| *kind < 128)
    })
}
