//! What a filter sees of a packet.

use core::net::IpAddr;

/// A packet that is to be forwarded, from the network number `from` to the network number `to`. Everything in it may be a lie of
/// whoever sent it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Packet<'a> {
    /// The number of the network that it came by.
    pub from: usize,
    /// The number of the network that it is to leave by.
    pub to: usize,
    /// Who sends it.
    pub source: IpAddr,
    /// Whom it is for.
    pub destination: IpAddr,
    /// The number of the protocol that it carries: 6 is TCP, 17 UDP, 1 and 58 ICMP. Over IPv6, of what stands behind the extension
    /// headers, or the first of these when they are not sound.
    pub protocol: u8,
    /// It is a part of a packet, and not the first one: there are no ports in it.
    pub is_later_fragment: bool,
    /// The whole packet, IP header first. Of a packet of many TCP segments, all of them.
    pub bytes: &'a [u8],
    /// What it carries, the transport's header first.
    pub payload: &'a [u8],
}

impl Packet<'_> {
    /// The source and destination port of TCP and UDP.
    pub fn ports(&self) -> Option<[u16; 2]> {
        if self.is_later_fragment || !matches!(self.protocol, 6 | 17) {
            return None;
        }
        let [a, b, c, d] = *self.payload.first_chunk::<4>()?;
        Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
    }
}
