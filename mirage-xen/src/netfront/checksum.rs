//! Where the transport checksum of a frame is: what a received frame with a blank one must be told by.

use mirage_rt::packet::Checksum;

const ETHERNET: usize = 14;
/// Where the transport header of nearly all frames starts.
const USUAL: usize = ETHERNET + 20;
const VLAN_TAG: usize = 4;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86DD;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The place of the TCP or UDP checksum in a frame, from the bytes of its head. `None` when the frame has none, its
/// headers are not all in the head, or it is a fragment.
pub(super) fn locate(head: &[u8]) -> Option<Checksum> {
    // Nearly all frames: no tag, no options, in one piece.
    if let Some(usual) = head.first_chunk::<{ USUAL + 18 }>()
        && usual[12..15] == [0x08, 0x00, 0x45]
        && usual[20] & 0x3F | usual[21] == 0
        && let Some(offset) = field(usual[23])
    {
        return Some(Checksum::Partial { start: USUAL as u16, offset });
    }
    locate_otherwise(head)
}

#[inline(never)]
fn locate_otherwise(head: &[u8]) -> Option<Checksum> {
    let half = |at: usize| head.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let (mut start, mut kind) = (ETHERNET, half(12)?);
    if kind == TYPE_VLAN {
        kind = half(16)?;
        start += VLAN_TAG;
    }
    let (start, protocol) = match kind {
        TYPE_IPV4 => {
            let length = usize::from(head.get(start)? & 0x0F) * 4;
            // More fragments, or an offset.
            if length < 20 || half(start + 6)? & 0x3FFF != 0 {
                return None;
            }
            (start + length, *head.get(start + 9)?)
        }
        TYPE_IPV6 => behind_ipv6(head, start + 40, *head.get(start + 6)?)?,
        _ => return None,
    };
    let offset = field(protocol)?;
    // The field must be there: whoever completes the sum writes it.
    half(start + usize::from(offset))?;
    Some(Checksum::Partial { start: u16::try_from(start).ok()?, offset })
}

/// Where the checksum stands in a protocol's header.
fn field(protocol: u8) -> Option<u16> {
    match protocol {
        TCP => Some(16),
        UDP => Some(6),
        _ => None,
    }
}

/// Skips extension headers; where the transport header starts, and its protocol.
fn behind_ipv6(head: &[u8], mut start: usize, mut protocol: u8) -> Option<(usize, u8)> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const DESTINATION: u8 = 60;
    // Each turn moves on by 8 bytes at least, so the head's end ends this.
    while let HOP_BY_HOP | ROUTING | DESTINATION = protocol {
        protocol = *head.get(start)?;
        start += 8 + usize::from(*head.get(start + 1)?) * 8;
    }
    Some((start, protocol))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    fn frame(kind: u16, rest: &[u8]) -> Vec<u8> {
        [&[0; 12], &kind.to_be_bytes()[..], rest].concat()
    }

    fn ipv4(protocol: u8, fragment: u16) -> Vec<u8> {
        let mut header = [0_u8; 44];
        header[0] = 0x46;
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        header[9] = protocol;
        header.to_vec()
    }

    #[test]
    fn tcp_and_udp_are_found_behind_options_tags_and_extensions() {
        let partial = |start, offset| Some(Checksum::Partial { start, offset });
        assert_eq!(locate(&frame(TYPE_IPV4, &ipv4(TCP, 0x4000))), partial(14 + 24, 16));
        assert_eq!(locate(&frame(TYPE_IPV4, &ipv4(UDP, 0))), partial(14 + 24, 6));
        let tagged = [&[0, 7][..], &TYPE_IPV4.to_be_bytes(), &ipv4(TCP, 0)].concat();
        assert_eq!(locate(&frame(TYPE_VLAN, &tagged)), partial(18 + 24, 16));
        let mut ipv6 = [0_u8; 96];
        ipv6[6] = 60;
        ipv6[40..42].copy_from_slice(&[UDP, 1]);
        assert_eq!(locate(&frame(TYPE_IPV6, &ipv6)), partial(14 + 40 + 16, 6));
    }

    #[test]
    fn nothing_else_has_one() {
        assert_eq!(locate(&frame(TYPE_IPV4, &ipv4(1, 0))), None, "ICMP");
        assert_eq!(locate(&frame(TYPE_IPV4, &ipv4(TCP, 0x2000))), None, "a first fragment");
        assert_eq!(locate(&frame(TYPE_IPV4, &ipv4(TCP, 3))), None, "a later fragment");
        assert_eq!(locate(&frame(TYPE_IPV4, &ipv4(TCP, 0)[..41])), None, "cut before the field");
        assert_eq!(locate(&frame(0x0806, &[0; 40])), None, "ARP");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..120), kind in prop_oneof![Just(TYPE_IPV4), Just(TYPE_IPV6), any::<u16>()]) {
            let bytes = frame(kind, &bytes);
            if let Some(Checksum::Partial { start, offset }) = locate(&bytes) {
                prop_assert!(usize::from(start) + usize::from(offset) + 2 <= bytes.len());
            }
        }

        #[test]
        fn the_short_way_finds_what_the_long_one_does(
            bytes in prop::collection::vec(any::<u8>(), 0..120),
            (first, fragment) in (0x44_u8..0x47, prop_oneof![Just(0_u16), Just(0x4000), any::<u16>()]),
            protocol in prop_oneof![Just(TCP), Just(UDP), any::<u8>()],
        ) {
            let mut header = ipv4(protocol, fragment)[..20].to_vec();
            header[0] = first;
            let bytes = frame(TYPE_IPV4, &[header, bytes].concat());
            for length in 0..=bytes.len() {
                prop_assert_eq!(locate(&bytes[..length]), locate_otherwise(&bytes[..length]));
            }
        }
    }
}
