//! `struct virtio_net_hdr`, which stands in front of each frame of a tap device that was opened with `IFF_VNET_HDR`
//! (Linux `include/uapi/linux/virtio_net.h`; virtio 1.2, section 5.1.6, in its legacy form: the host's byte order).

use mirage_rt::packet::{Checksum, Gso, PacketMut};

/// Bytes of the header.
pub(super) const LENGTH: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

/// Where a TCP header says how long it is (RFC 9293, section 3.1).
const DATA_OFFSET: usize = 12;

/// The header in front of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    flags: u8,
    gso_type: u8,
    hdr_len: u16,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
}

impl Header {
    /// The header at the start of `bytes`; `None` when they are too few.
    pub(super) fn read(bytes: &[u8]) -> Option<Header> {
        let [flags, gso_type, numbers @ ..] = bytes.first_chunk::<LENGTH>()?;
        let number = |at: usize| u16::from_ne_bytes([numbers[at], numbers[at + 1]]);
        Some(Header {
            flags: *flags,
            gso_type: *gso_type,
            hdr_len: number(0),
            gso_size: number(2),
            csum_start: number(4),
            csum_offset: number(6),
        })
    }

    /// The header of a packet to be sent; `None` when the packet is to be cut into segments and its checksum is complete or its
    /// head ends before the data, so that nobody could.
    pub(super) fn of(packet: &PacketMut) -> Option<Header> {
        let mut header = match packet.checksum() {
            Checksum::Partial { start, offset } => {
                Header { flags: NEEDS_CSUM, csum_start: start, csum_offset: offset, ..Header::default() }
            }
            Checksum::None | Checksum::Verified => Header::default(),
        };
        (header.gso_type, header.gso_size) = match packet.gso() {
            Gso::None => return Some(header),
            Gso::Ipv4 { mss } => (GSO_TCPV4, mss),
            Gso::Ipv6 { mss } => (GSO_TCPV6, mss),
        };
        if header.flags & NEEDS_CSUM == 0 || header.gso_size == 0 {
            return None;
        }
        let start = usize::from(header.csum_start);
        let headers = start + 4 * usize::from(packet.head().get(start + DATA_OFFSET)? >> 4);
        header.hdr_len = u16::try_from(headers).ok().filter(|_| headers <= packet.head().len())?;
        Some(header)
    }

    pub(super) fn bytes(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        bytes[2..4].copy_from_slice(&self.hdr_len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&self.gso_size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&self.csum_start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.csum_offset.to_ne_bytes());
        bytes
    }

    /// What is known of the checksum of a received frame of `length` bytes, and whether it was put together from segments. `None`
    /// when the header makes no sense: its checksum lies outside of the frame, or it is of a kind that we did not ask for.
    pub(super) fn of_received(self, length: usize) -> Option<(Checksum, Gso)> {
        let gso = match (self.gso_type, self.gso_size) {
            (GSO_NONE, _) => Gso::None,
            (_, 0) => return None,
            (GSO_TCPV4, mss) => Gso::Ipv4 { mss },
            (GSO_TCPV6, mss) => Gso::Ipv6 { mss },
            _ => return None,
        };
        if self.flags & NEEDS_CSUM != 0 {
            let end = usize::from(self.csum_start) + usize::from(self.csum_offset) + 2;
            let partial = Checksum::Partial { start: self.csum_start, offset: self.csum_offset };
            return (end <= length).then_some((partial, gso));
        }
        Some((if self.flags & DATA_VALID != 0 { Checksum::Verified } else { Checksum::None }, gso))
    }
}

#[cfg(test)]
mod tests {
    use mirage_rt::page::HeapPool;

    use super::*;

    #[test]
    fn a_header_survives_its_bytes() {
        let header = Header {
            flags: NEEDS_CSUM,
            gso_type: GSO_TCPV6,
            hdr_len: 0x0102,
            gso_size: 0x0304,
            csum_start: 0x1234,
            csum_offset: 16,
        };
        assert_eq!(Header::read(&header.bytes()), Some(header));
        assert_eq!(Header::read(&[0; 9]), None);
        assert_eq!(header.bytes()[6..8], 0x1234_u16.to_ne_bytes());
    }

    #[test]
    fn packets_to_be_cut_say_where_their_data_starts() {
        let mut frame = [0; 100];
        frame[34 + DATA_OFFSET] = 8 << 4;
        let mut packet = PacketMut::copy_of(&HeapPool::with_pages(1), &frame).expect("it fits a page");
        packet.set_gso(Gso::Ipv4 { mss: 20 });
        assert_eq!(Header::of(&packet), None, "nobody could complete the segments' checksums");
        packet.set_checksum(Checksum::Partial { start: 34, offset: 16 });
        let header = Header::of(&packet).expect("it can be cut");
        assert_eq!((header.gso_type, header.hdr_len, header.gso_size), (GSO_TCPV4, 66, 20));
        packet.truncate(60);
        assert_eq!(Header::of(&packet), None, "the head must have all headers");
    }

    #[test]
    fn nonsense_is_recognised() {
        let partial =
            |csum_start, csum_offset| Header { flags: NEEDS_CSUM, csum_start, csum_offset, ..Header::default() };
        let expected = Some((Checksum::Partial { start: 34, offset: 16 }, Gso::None));
        assert_eq!(partial(34, 16).of_received(52), expected);
        assert_eq!(partial(34, 16).of_received(51), None);
        assert_eq!(partial(u16::MAX, u16::MAX).of_received(4096), None);
        let cut = |gso_type, gso_size| Header { gso_type, gso_size, ..partial(34, 16) }.of_received(9000);
        assert_eq!(cut(GSO_TCPV4, 0), None);
        // UDP's, and TCP with marks of congestion: nobody asked for these.
        assert_eq!((cut(3, 1400), cut(GSO_TCPV4 | 0x80, 1400)), (None, None));
        assert_eq!(cut(GSO_TCPV6, 1400).map(|(_, gso)| gso), Some(Gso::Ipv6 { mss: 1400 }));
        let verified = Header { flags: DATA_VALID, ..Header::default() };
        assert_eq!(verified.of_received(14), Some((Checksum::Verified, Gso::None)));
        assert_eq!(Header::default().of_received(14), Some((Checksum::None, Gso::None)));
    }
}
