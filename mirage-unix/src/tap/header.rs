//! `struct virtio_net_hdr`, which stands in front of each frame of a tap device that was opened with `IFF_VNET_HDR`
//! (Linux `include/uapi/linux/virtio_net.h`; virtio 1.2, section 5.1.6, in its legacy form: the host's byte order).

use mirage_rt::packet::{Checksum, Gso, PacketMut};

/// Bytes of the header.
pub(super) const LENGTH: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;

/// The fields that matter without segmentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    flags: u8,
    gso_type: u8,
    csum_start: u16,
    csum_offset: u16,
}

impl Header {
    /// The header at the start of `bytes`; `None` when they are too few.
    pub(super) fn read(bytes: &[u8]) -> Option<Header> {
        let &[flags, gso_type, _, _, _, _, start_0, start_1, offset_0, offset_1] = bytes.first_chunk()?;
        Some(Header {
            flags,
            gso_type,
            csum_start: u16::from_ne_bytes([start_0, start_1]),
            csum_offset: u16::from_ne_bytes([offset_0, offset_1]),
        })
    }

    /// The header of a packet to be sent; `None` when the packet asks for segmentation.
    pub(super) fn of(packet: &PacketMut) -> Option<Header> {
        if packet.gso() != Gso::None {
            return None;
        }
        Some(match packet.checksum() {
            Checksum::Partial { start, offset } => {
                Header { flags: NEEDS_CSUM, gso_type: GSO_NONE, csum_start: start, csum_offset: offset }
            }
            Checksum::None | Checksum::Verified => Header::default(),
        })
    }

    pub(super) fn bytes(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        bytes[6..8].copy_from_slice(&self.csum_start.to_ne_bytes());
        bytes[8..10].copy_from_slice(&self.csum_offset.to_ne_bytes());
        bytes
    }

    /// What is known of the checksum of a received frame of `length` bytes. `None` when the header makes no sense: its
    /// checksum lies outside of the frame, or it is a segment larger than we asked for.
    pub(super) fn checksum(self, length: usize) -> Option<Checksum> {
        if self.gso_type != GSO_NONE {
            return None;
        }
        if self.flags & NEEDS_CSUM != 0 {
            let end = usize::from(self.csum_start) + usize::from(self.csum_offset) + 2;
            return (end <= length).then_some(Checksum::Partial { start: self.csum_start, offset: self.csum_offset });
        }
        Some(if self.flags & DATA_VALID != 0 { Checksum::Verified } else { Checksum::None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_its_bytes() {
        let header = Header { flags: NEEDS_CSUM, gso_type: 0, csum_start: 0x1234, csum_offset: 16 };
        assert_eq!(Header::read(&header.bytes()), Some(header));
        assert_eq!(Header::read(&[0; 9]), None);
        assert_eq!(header.bytes()[6..8], 0x1234_u16.to_ne_bytes());
    }

    #[test]
    fn nonsense_is_recognised() {
        let partial = |csum_start, csum_offset| Header { flags: NEEDS_CSUM, gso_type: 0, csum_start, csum_offset };
        assert_eq!(partial(34, 16).checksum(52), Some(Checksum::Partial { start: 34, offset: 16 }));
        assert_eq!(partial(34, 16).checksum(51), None);
        assert_eq!(partial(u16::MAX, u16::MAX).checksum(4096), None);
        assert_eq!(Header { gso_type: 1, ..Header::default() }.checksum(1500), None);
        assert_eq!(Header { flags: DATA_VALID, ..Header::default() }.checksum(14), Some(Checksum::Verified));
        assert_eq!(Header::default().checksum(14), Some(Checksum::None));
    }
}
