//! Ethernet headers and ARP for IPv4 (RFC 826).

use core::fmt;
use core::net::Ipv4Addr;

/// Bytes of an Ethernet header.
pub const HEADER: usize = 14;

/// The address that every device listens to.
pub const BROADCAST: Mac = [0xff; 6];

/// An Ethernet address.
pub type Mac = [u8; 6];

/// An Ethernet address as people write it.
pub struct Shown(pub Mac);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtherType {
    Ipv4,
    Arp,
    #[cfg(feature = "ipv6")]
    Ipv6,
}

/// Whether `mac` can be the address of one device.
pub fn is_unicast(mac: Mac) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}

/// Whether `mac` is that of a group of hosts (RFC 2464, section 7; RFC 1112, 6.4), of a family whose groups are heard.
pub fn is_ip_group(mac: Mac) -> bool {
    cfg!(feature = "ipv6") && mac[..2] == [0x33, 0x33] || cfg!(feature = "datagrams") && mac[..3] == [1, 0, 0x5e]
}

/// The header of a frame: destination, source, and what it carries; `None` when it is too short or carries something else.
pub fn parse(frame: &[u8]) -> Option<(Mac, Mac, EtherType)> {
    let (destination, rest) = frame.split_first_chunk::<6>()?;
    let (source, rest) = rest.split_first_chunk::<6>()?;
    let ethertype = match rest.first_chunk::<2>()? {
        [0x08, 0x00] => EtherType::Ipv4,
        [0x08, 0x06] => EtherType::Arp,
        #[cfg(feature = "ipv6")]
        [0x86, 0xdd] => EtherType::Ipv6,
        _ => return None,
    };
    Some((*destination, *source, ethertype))
}

/// Writes a header.
pub fn emit(header: &mut [u8; HEADER], destination: Mac, source: Mac, ethertype: EtherType) {
    header[..6].copy_from_slice(&destination);
    header[6..12].copy_from_slice(&source);
    header[12..].copy_from_slice(match ethertype {
        EtherType::Ipv4 => &[0x08, 0x00],
        EtherType::Arp => &[0x08, 0x06],
        #[cfg(feature = "ipv6")]
        EtherType::Ipv6 => &[0x86, 0xdd],
    });
}

/// Bytes of an ARP packet for IPv4 on Ethernet.
pub const ARP_LENGTH: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
const ARP_KIND: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// An ARP packet for IPv4 on Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    pub request: bool,
    pub source_mac: Mac,
    pub source: Ipv4Addr,
    pub target_mac: Mac,
    pub target: Ipv4Addr,
}

impl Arp {
    /// Reads a packet; `None` when it is not a request or reply for IPv4 on Ethernet.
    pub fn parse(packet: &[u8]) -> Option<Arp> {
        let (kind, rest) = packet.split_first_chunk::<6>()?;
        let (operation, rest) = rest.split_first_chunk::<2>()?;
        let (source_mac, rest) = rest.split_first_chunk::<6>()?;
        let (source, rest) = rest.split_first_chunk::<4>()?;
        let (target_mac, rest) = rest.split_first_chunk::<6>()?;
        let target = rest.first_chunk::<4>()?;
        let request = match operation {
            [0, 1] => true,
            [0, 2] => false,
            _ => return None,
        };
        (*kind == ARP_KIND).then_some(Arp {
            request,
            source_mac: *source_mac,
            source: Ipv4Addr::from(*source),
            target_mac: *target_mac,
            target: Ipv4Addr::from(*target),
        })
    }

    /// Writes the packet.
    pub fn emit(&self, packet: &mut [u8; ARP_LENGTH]) {
        packet[..6].copy_from_slice(&ARP_KIND);
        packet[6..8].copy_from_slice(&[0, if self.request { 1 } else { 2 }]);
        packet[8..14].copy_from_slice(&self.source_mac);
        packet[14..18].copy_from_slice(&self.source.octets());
        packet[18..24].copy_from_slice(&self.target_mac);
        packet[24..].copy_from_slice(&self.target.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arp_is_read_as_written_and_only_whole() {
        let arp = Arp {
            request: true,
            source_mac: [2, 0, 0, 0, 0, 1],
            source: Ipv4Addr::new(10, 0, 0, 1),
            target_mac: [0; 6],
            target: Ipv4Addr::new(10, 0, 0, 2),
        };
        let mut bytes = [0; ARP_LENGTH];
        arp.emit(&mut bytes);
        assert_eq!(Arp::parse(&bytes), Some(arp));
        for length in 0..ARP_LENGTH {
            assert_eq!(Arp::parse(&bytes[..length]), None);
        }
        bytes[7] = 3;
        assert_eq!(Arp::parse(&bytes), None);
    }
}
