//! Slots of the network rings (`xen/io/netif.h`): requests, responses, extra information.
//!
//! A transmit slot has 12 bytes, a receive slot 8. Extra information takes a slot of its own behind a packet's first one
//! and shares the layout of neither, so slots are read raw and interpreted by what came before.

use mirage_rt::packet::Gso;

use crate::ring::{Protocol, Slot};

/// Flags of a transmit request.
pub mod transmit_flags {
    /// The checksum field has the pseudo header's sum only.
    pub const CHECKSUM_BLANK: u16 = 1;
    /// The data is known to be right.
    pub const DATA_VALIDATED: u16 = 1 << 1;
    /// The packet goes on in the next data slot.
    pub const MORE_DATA: u16 = 1 << 2;
    /// Extra information follows.
    pub const EXTRA_INFO: u16 = 1 << 3;
}

/// Flags of a receive response: the first two are the other way round.
pub mod receive_flags {
    /// The data is known to be right.
    pub const DATA_VALIDATED: u16 = 1;
    /// The checksum field has the pseudo header's sum only.
    pub const CHECKSUM_BLANK: u16 = 1 << 1;
    /// The packet goes on in the next data slot.
    pub const MORE_DATA: u16 = 1 << 2;
    /// Extra information follows.
    pub const EXTRA_INFO: u16 = 1 << 3;
}

/// A slot was used for extra information, so there is nothing to say about it.
pub const STATUS_NULL: i16 = 1;
/// The packet was taken.
pub const STATUS_OKAY: i16 = 0;
/// The packet was refused.
pub const STATUS_ERROR: i16 = -1;

/// A part of a packet to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransmitData {
    /// The granted page.
    pub grant: u32,
    /// Where the part starts in its page.
    pub offset: u16,
    /// See [`transmit_flags`].
    pub flags: u16,
    /// Repeated in the response.
    pub id: u16,
    /// Bytes of the whole packet in its first slot, of the part in the others.
    pub size: u16,
}

/// What is known of a packet besides its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extra {
    /// It is to be cut, or was put together.
    Gso(Gso),
    /// There is no packet: frames for a group of stations are wanted, or not any more. A frontend sends this only.
    Group {
        /// The Ethernet address of the group.
        group: [u8; 6],
        /// Whether they are wanted.
        wanted: bool,
    },
    /// Something that has no meaning here: a packet's hash, or room in front of its data. Never sent.
    Other {
        /// Its type.
        kind: u8,
    },
}

/// Another extra slot follows.
const EXTRA_MORE: u8 = 1;
const EXTRA_GSO: u8 = 1;
const EXTRA_GROUP_ADD: u8 = 2;
const EXTRA_GROUP_DELETE: u8 = 3;
const EXTRA_HASH: u8 = 4;
/// Linux's: it has no entry in Xen's header.
const EXTRA_XDP: u8 = 5;
const GSO_TCP_IPV4: u8 = 1;
const GSO_TCP_IPV6: u8 = 2;

impl Extra {
    /// The slot's 8 bytes, without another one to follow.
    pub fn emit(self) -> [u8; 8] {
        let (kind, size, protocol) = match self {
            Self::Gso(Gso::Ipv4 { mss }) => (EXTRA_GSO, mss, GSO_TCP_IPV4),
            Self::Gso(Gso::Ipv6 { mss }) => (EXTRA_GSO, mss, GSO_TCP_IPV6),
            Self::Gso(Gso::None) => (EXTRA_GSO, 0, 0),
            Self::Group { group: [a, b, c, d, e, f], wanted } => {
                return [if wanted { EXTRA_GROUP_ADD } else { EXTRA_GROUP_DELETE }, 0, a, b, c, d, e, f];
            }
            Self::Other { kind } => (kind, 0, 0),
        };
        let [low, high] = size.to_le_bytes();
        [kind, 0, low, high, protocol, 0, 0, 0]
    }

    /// What the slot says and whether another one follows; `None` when it says nonsense.
    pub fn parse(bytes: &[u8; 8]) -> Option<(Self, bool)> {
        let [kind, flags, low, high, protocol, d, e, f] = *bytes;
        let mss = u16::from_le_bytes([low, high]);
        let extra = match (kind, protocol) {
            (EXTRA_GSO, GSO_TCP_IPV4) if mss > 0 => Self::Gso(Gso::Ipv4 { mss }),
            (EXTRA_GSO, GSO_TCP_IPV6) if mss > 0 => Self::Gso(Gso::Ipv6 { mss }),
            (EXTRA_GROUP_ADD | EXTRA_GROUP_DELETE, _) => {
                Self::Group { group: [low, high, protocol, d, e, f], wanted: kind == EXTRA_GROUP_ADD }
            }
            (EXTRA_HASH | EXTRA_XDP, _) => Self::Other { kind },
            _ => return None,
        };
        Some((extra, flags & EXTRA_MORE != 0))
    }
}

/// What stands in a slot of the transmit ring on its way to the backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransmitRequest {
    /// A part of a packet.
    Data(TransmitData),
    /// Extra information about the packet that started in the slot before.
    Extra(Extra),
}

/// A response of the transmit ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransmitResponse {
    /// The request's; meaningless with [`STATUS_NULL`].
    pub id: u16,
    /// [`STATUS_OKAY`], [`STATUS_NULL`] or a negative number.
    pub status: i16,
}

/// The ring of packets to be sent.
#[derive(Debug)]
pub enum Transmit {}

impl Transmit {
    /// Reads a request that the slot before says is data.
    pub fn data(raw: &[u8; 12]) -> TransmitData {
        let half = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
        let grant = u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
        TransmitData { grant, offset: half(4), flags: half(6), id: half(8), size: half(10) }
    }

    /// Reads a request that the slot before says is extra information.
    pub fn extra(raw: &[u8; 12]) -> Option<(Extra, bool)> {
        raw.first_chunk().and_then(Extra::parse)
    }
}

impl TransmitRequest {
    /// The slot's bytes.
    pub fn emit(&self) -> [u8; 12] {
        match self {
            Self::Extra(extra) => {
                let [a, b, c, d, e, f, g, h] = extra.emit();
                [a, b, c, d, e, f, g, h, 0, 0, 0, 0]
            }
            Self::Data(data) => {
                let [a, b, c, d] = data.grant.to_le_bytes();
                let ([e, f], [g, h]) = (data.offset.to_le_bytes(), data.flags.to_le_bytes());
                let ([i, j], [k, l]) = (data.id.to_le_bytes(), data.size.to_le_bytes());
                [a, b, c, d, e, f, g, h, i, j, k, l]
            }
        }
    }
}

impl Protocol for Transmit {
    const SLOT: usize = 12;
    type Request = [u8; 12];
    type Response = TransmitResponse;

    #[inline]
    fn write_request(slot: Slot<'_>, request: &[u8; 12]) {
        slot.write_words(0, request);
    }

    #[inline]
    fn read_response(slot: Slot<'_>) -> TransmitResponse {
        let [a, b, c, d] = slot.read_words(0);
        TransmitResponse { id: u16::from_le_bytes([a, b]), status: i16::from_le_bytes([c, d]) }
    }

    fn read_request(slot: Slot<'_>) -> [u8; 12] {
        slot.read_words(0)
    }

    fn write_response(slot: Slot<'_>, response: &TransmitResponse) {
        let ([a, b], [c, d]) = (response.id.to_le_bytes(), response.status.to_le_bytes());
        slot.write_words(0, &[a, b, c, d]);
    }
}

/// A page for a part of a packet to be received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiveRequest {
    /// Repeated in the response.
    pub id: u16,
    /// The granted page.
    pub grant: u32,
}

/// A part of a packet that was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiveData {
    /// The request's.
    pub id: u16,
    /// Where the part starts in its page.
    pub offset: u16,
    /// See [`receive_flags`].
    pub flags: u16,
    /// Bytes of the part, or a negative number for an error.
    pub status: i16,
}

impl ReceiveData {
    /// Reads a response that the slot before says is data.
    #[inline]
    pub fn parse(raw: &[u8; 8]) -> Self {
        let half = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
        Self { id: half(0), offset: half(2), flags: half(4), status: half(6).cast_signed() }
    }

    /// The slot's bytes.
    pub fn emit(&self) -> [u8; 8] {
        let [a, b] = self.id.to_le_bytes();
        let [c, d] = self.offset.to_le_bytes();
        let [e, f] = self.flags.to_le_bytes();
        let [g, h] = self.status.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }
}

/// The ring of packets received.
#[derive(Debug)]
pub enum Receive {}

impl Protocol for Receive {
    const SLOT: usize = 8;
    type Request = ReceiveRequest;
    type Response = [u8; 8];

    #[inline]
    fn write_request(slot: Slot<'_>, request: &ReceiveRequest) {
        let ([a, b], [c, d, e, f]) = (request.id.to_le_bytes(), request.grant.to_le_bytes());
        slot.write_words(0, &[a, b, 0, 0, c, d, e, f]);
    }

    #[inline]
    fn read_response(slot: Slot<'_>) -> [u8; 8] {
        slot.read_words(0)
    }

    fn read_request(slot: Slot<'_>) -> ReceiveRequest {
        let [a, b, _, _, c, d, e, f] = slot.read_words(0);
        ReceiveRequest { id: u16::from_le_bytes([a, b]), grant: u32::from_le_bytes([c, d, e, f]) }
    }

    fn write_response(slot: Slot<'_>, response: &[u8; 8]) {
        slot.write_words(0, response);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ring::slots;

    #[test]
    fn rings_have_256_slots() {
        assert_eq!((slots::<Transmit>(), slots::<Receive>()), (256, 256));
    }

    #[test]
    fn a_transmit_slot_is_as_the_header_file_draws_it() {
        let data = TransmitData { grant: 0x0403_0201, offset: 0x0605, flags: 0x0807, id: 0x0A09, size: 0x0C0B };
        let raw = TransmitRequest::Data(data).emit();
        assert_eq!(raw, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(Transmit::data(&raw), data);
    }

    #[test]
    fn extra_information_is_as_the_header_file_draws_it() {
        let raw = TransmitRequest::Extra(Extra::Gso(Gso::Ipv6 { mss: 0x05A0 })).emit();
        assert_eq!(raw, [1, 0, 0xA0, 5, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Transmit::extra(&raw), Some((Extra::Gso(Gso::Ipv6 { mss: 0x05A0 }), false)));
        let group = Extra::Group { group: [1, 0, 0x5E, 4, 5, 6], wanted: true };
        assert_eq!(group.emit(), [2, 0, 1, 0, 0x5E, 4, 5, 6]);
        assert_eq!(Extra::parse(&[3, 0, 1, 0, 0x5E, 4, 5, 6]).map(|(extra, _)| extra.emit()[0]), Some(3));
        assert_eq!(Extra::parse(&group.emit()), Some((group, false)));
        assert_eq!(Extra::parse(&[4, 1, 0, 0, 0, 0, 0, 0]), Some((Extra::Other { kind: 4 }, true)));
        assert_eq!(Extra::parse(&[0, 0, 0, 0, 0, 0, 0, 0]), None, "no type");
        assert_eq!(Extra::parse(&[6, 0, 0, 0, 0, 0, 0, 0]), None, "a type that nobody knows");
        assert_eq!(Extra::parse(&[1, 0, 0, 0, 1, 0, 0, 0]), None, "segments of nothing");
        assert_eq!(Extra::parse(&[1, 0, 9, 9, 3, 0, 0, 0]), None, "no protocol");
    }

    #[test]
    fn a_receive_slot_is_as_the_header_file_draws_it() {
        let data = ReceiveData { id: 0x0201, offset: 0x0403, flags: 0x0605, status: -2 };
        assert_eq!(data.emit(), [1, 2, 3, 4, 5, 6, 0xFE, 0xFF]);
        assert_eq!(ReceiveData::parse(&data.emit()), data);
    }

    proptest! {
        #[test]
        fn what_is_understood_is_written_the_same(raw in any::<[u8; 8]>()) {
            prop_assert_eq!(ReceiveData::parse(&raw).emit(), raw);
            if let Some((Extra::Gso(gso), _)) = Extra::parse(&raw) {
                prop_assert_eq!(Extra::parse(&Extra::Gso(gso).emit()), Some((Extra::Gso(gso), false)));
            }
        }
    }
}
