//! IPv6 packets: the header and what may stand between it and what the packet carries (RFC 8200).
//!
//! Packets come from anybody, so each is read with bounds: no more than [`MOST_HEADERS`] extension headers, all of them
//! within the packet.

use core::net::Ipv6Addr;

/// Bytes of the header itself.
pub const HEADER: usize = 40;
/// Extension headers that are walked at most (RFC 8504, 5.3, allows a limit).
pub const MOST_HEADERS: usize = 8;
/// Bytes of a fragment header.
pub const FRAGMENT_HEADER: usize = 8;
/// The least MTU of a link with IPv6.
pub const LEAST_MTU: u16 = 1280;

/// Numbers of protocols and extension headers.
pub mod protocol {
    /// Options for every node on the way.
    pub const HOP_BY_HOP: u8 = 0;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// A way through certain nodes.
    pub const ROUTING: u8 = 43;
    /// The packet is a part of another.
    pub const FRAGMENT: u8 = 44;
    /// ICMP for IPv6.
    pub const ICMP: u8 = 58;
    /// Nothing follows.
    pub const NONE: u8 = 59;
    /// Options for the destination.
    pub const DESTINATION: u8 = 60;
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Which packet it is of.
    pub identification: u32,
    /// Its first byte's place in the fragmentable part of that packet.
    pub offset: usize,
    /// Others come behind it.
    pub more: bool,
    /// Where the field stands that names the fragment header: in a packet that was put together it names `protocol`.
    pub field: usize,
}

/// A packet whose headers are sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The packet, header first, without what may stand behind it.
    pub bytes: &'a [u8],
    /// Who sends it.
    pub source: Ipv6Addr,
    /// Whom it is for.
    pub destination: Ipv6Addr,
    /// How many hops are left.
    pub hop_limit: u8,
    /// What stands behind the extension headers; of a fragment, what the whole packet has there.
    pub protocol: u8,
    /// Where that starts.
    pub offset: usize,
    /// The field that says what it is: for errors.
    pub field: usize,
    /// The packet is a part of another.
    pub fragment: Option<Fragment>,
}

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not sound, or asks to be dropped without a word.
    Drop,
    /// Its sender is to be told (RFC 4443, 3.4).
    Problem {
        /// The packet's sender.
        source: Ipv6Addr,
        /// Its destination.
        destination: Ipv6Addr,
        /// The code of the message.
        code: u8,
        /// Which byte is wrong.
        pointer: usize,
        /// Also when the packet went to a group.
        to_groups: bool,
    },
}

/// A header field is not right.
pub const ERRONEOUS: u8 = 0;
/// The protocol or extension header is not known.
pub const UNKNOWN_HEADER: u8 = 1;
/// An option is not known.
pub const UNKNOWN_OPTION: u8 = 2;

impl<'a> Packet<'a> {
    /// What the packet carries.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(self.offset..).unwrap_or_default()
    }
}

/// Reads a packet with its extension headers.
///
/// # Errors
///
/// See [`Refusal`].
pub fn read(bytes: &[u8]) -> Result<Packet<'_>, Refusal> {
    let (header, _) = bytes.split_first_chunk::<HEADER>().ok_or(Refusal::Drop)?;
    let [first, _, _, _, high, low, next, hop_limit, addresses @ ..] = header;
    let length = HEADER + usize::from(u16::from_be_bytes([*high, *low]));
    let (source, destination) = addresses.split_first_chunk::<16>().ok_or(Refusal::Drop)?;
    let destination = destination.first_chunk::<16>().ok_or(Refusal::Drop)?;
    if first >> 4 != 6 {
        return Err(Refusal::Drop);
    }
    let mut packet = Packet {
        bytes: bytes.get(..length).ok_or(Refusal::Drop)?,
        source: Ipv6Addr::from(*source),
        destination: Ipv6Addr::from(*destination),
        hop_limit: *hop_limit,
        protocol: *next,
        offset: HEADER,
        field: 6,
        fragment: None,
    };
    for _ in 0..=MOST_HEADERS {
        if !packet.skip_header()? {
            return Ok(packet);
        }
    }
    Err(Refusal::Drop)
}

impl Packet<'_> {
    fn problem(&self, code: u8, pointer: usize) -> Refusal {
        let (source, destination) = (self.source, self.destination);
        Refusal::Problem { source, destination, code, pointer, to_groups: code == UNKNOWN_OPTION }
    }

    /// Goes behind the extension header at `offset`; `false` when there is none.
    fn skip_header(&mut self) -> Result<bool, Refusal> {
        match self.protocol {
            // RFC 8200, 4.3: only right behind the first header.
            protocol::HOP_BY_HOP if self.offset != HEADER => Err(self.problem(UNKNOWN_HEADER, self.field)),
            protocol::HOP_BY_HOP | protocol::DESTINATION => {
                let length = self.header_length()?;
                self.check_options(length)?;
                self.pass(length)
            }
            protocol::ROUTING => {
                let length = self.header_length()?;
                // RFC 8200, 4.4, and RFC 5095: we are nobody's waypoint.
                if self.bytes.get(self.offset + 3).is_none_or(|left| *left != 0) {
                    return Err(self.problem(ERRONEOUS, self.offset + 2));
                }
                self.pass(length)
            }
            protocol::FRAGMENT => self.read_fragment(),
            _ => Ok(false),
        }
    }

    /// Bytes of the extension header at `offset`, which is all there.
    fn header_length(&self) -> Result<usize, Refusal> {
        let length = self.bytes.get(self.offset + 1).map(|units| 8 + 8 * usize::from(*units)).ok_or(Refusal::Drop)?;
        if self.offset + length > self.bytes.len() { Err(Refusal::Drop) } else { Ok(length) }
    }

    fn pass(&mut self, length: usize) -> Result<bool, Refusal> {
        self.protocol = *self.bytes.get(self.offset).ok_or(Refusal::Drop)?;
        self.field = self.offset;
        self.offset += length;
        Ok(true)
    }

    fn read_fragment(&mut self) -> Result<bool, Refusal> {
        let rest = self.bytes.get(self.offset..).unwrap_or_default();
        let Some(([next, _, high, low, identification @ ..], rest)) = rest.split_first_chunk::<FRAGMENT_HEADER>()
        else {
            return Err(Refusal::Drop);
        };
        let place = u16::from_be_bytes([*high, *low]);
        let (offset, more) = (usize::from(place & !7), place & 1 == 1);
        let field = core::mem::replace(&mut self.field, self.offset);
        self.protocol = *next;
        self.offset += FRAGMENT_HEADER;
        if offset == 0 && !more {
            // RFC 6946: a whole packet after all.
            return Ok(true);
        }
        // RFC 8200, 4.5: all but the last have multiples of eight bytes, and none reaches beyond the longest packet.
        if more && rest.len() % 8 != 0 {
            return Err(self.problem(ERRONEOUS, 4));
        }
        if offset + rest.len() > usize::from(u16::MAX) {
            return Err(self.problem(ERRONEOUS, self.offset - FRAGMENT_HEADER + 2));
        }
        let identification = u32::from_be_bytes(*identification);
        self.fragment = Some(Fragment { identification, offset, more, field });
        Ok(false)
    }

    /// Looks at the options of a header of `length` bytes (RFC 8200, 4.2).
    fn check_options(&self, length: usize) -> Result<(), Refusal> {
        let end = self.offset + length;
        let mut at = self.offset + 2;
        while at < end {
            let kind = *self.bytes.get(at).ok_or(Refusal::Drop)?;
            if kind == 0 {
                at += 1;
                continue;
            }
            let next = at + 2 + usize::from(*self.bytes.get(at + 1).ok_or(Refusal::Drop)?);
            if next > end {
                return Err(Refusal::Drop);
            }
            // What to do with an option that one does not know stands in its first two bits; padding has none of them.
            match kind >> 6 {
                0 => {}
                1 => return Err(Refusal::Drop),
                2 => return Err(self.problem(UNKNOWN_OPTION, at)),
                _ if self.destination.is_multicast() => return Err(Refusal::Drop),
                _ => return Err(self.problem(UNKNOWN_OPTION, at)),
            }
            at = next;
        }
        Ok(())
    }
}

/// Writes the header of a packet that carries `length` bytes of `protocol`.
pub fn emit_header(
    header: &mut [u8; HEADER],
    source: Ipv6Addr,
    destination: Ipv6Addr,
    protocol: u8,
    length: usize,
    hop_limit: u8,
) {
    let [high, low] = (length as u16).to_be_bytes();
    header[..8].copy_from_slice(&[0x60, 0, 0, 0, high, low, protocol, hop_limit]);
    header[8..24].copy_from_slice(&source.octets());
    header[24..].copy_from_slice(&destination.octets());
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn packet(next: u8, body: &[u8]) -> Vec<u8> {
        let mut header = [0; HEADER];
        let [source, destination] = [1, 2].map(|host| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host));
        emit_header(&mut header, source, destination, next, body.len(), 64);
        [&header, body].concat()
    }

    #[test]
    fn headers_are_walked_to_what_they_carry() {
        let options = [protocol::DESTINATION, 0, 1, 4, 0, 0, 0, 0];
        let more = [protocol::ROUTING, 0, 0, 0, 0, 0x1e, 1, 9];
        let routing = [protocol::UDP, 0, 0, 0, 0, 0, 0, 0];
        let bytes = packet(protocol::HOP_BY_HOP, &[&options[..], &more, &routing, b"data"].concat());
        let read_back = read(&bytes).expect("a sound packet");
        assert_eq!((read_back.protocol, read_back.payload(), read_back.field), (protocol::UDP, &b"data"[..], 56));
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), Err(Refusal::Drop), "{length}");
        }
    }

    #[test]
    fn a_chain_of_headers_has_an_end() {
        let link = [protocol::DESTINATION, 0, 1, 4, 0, 0, 0, 0];
        let last = [protocol::UDP, 0, 1, 4, 0, 0, 0, 0];
        let chain = |links: usize| [&link.repeat(links)[..], &last, b"data"].concat();
        assert!(read(&packet(protocol::DESTINATION, &chain(MOST_HEADERS - 1))).is_ok());
        assert_eq!(read(&packet(protocol::DESTINATION, &chain(MOST_HEADERS))), Err(Refusal::Drop));
    }

    #[test]
    fn what_is_not_known_is_told_or_dropped_as_it_asks() {
        let with = |kind: u8| packet(protocol::DESTINATION, &[protocol::UDP, 0, kind, 4, 0, 0, 0, 0]);
        let of = |bytes: &[u8]| {
            read(bytes).map(|_| ()).map_err(|refusal| match refusal {
                Refusal::Problem { code, pointer, .. } => Some((code, pointer)),
                Refusal::Drop => None,
            })
        };
        assert_eq!(of(&with(0x1e)), Ok(()));
        assert_eq!(of(&with(0x5e)), Err(None));
        assert_eq!(of(&with(0x9e)), Err(Some((UNKNOWN_OPTION, 42))));
        assert_eq!(of(&with(0xde)), Err(Some((UNKNOWN_OPTION, 42))));
        let late = packet(protocol::DESTINATION, &[0, 0, 1, 4, 0, 0, 0, 0, 59, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(of(&late), Err(Some((UNKNOWN_HEADER, 40))));
        let waypoint = packet(protocol::ROUTING, &[protocol::UDP, 0, 4, 1, 0, 0, 0, 0]);
        assert_eq!(of(&waypoint), Err(Some((ERRONEOUS, 42))));
    }

    #[test]
    fn fragments_say_where_they_belong() {
        let part = |place: u16, length: usize| {
            let [high, low] = place.to_be_bytes();
            let header = [protocol::UDP, 0, high, low, 0, 0, 0, 7];
            packet(protocol::FRAGMENT, &[&header[..], &[1; 16][..length]].concat())
        };
        let fragment = |offset, more| Some(Fragment { identification: 7, offset, more, field: 6 });
        assert_eq!(read(&part(16 | 1, 8)).expect("sound").fragment, fragment(16, true));
        assert_eq!(read(&part(16, 3)).expect("sound").fragment, fragment(16, false));
        // A packet in one part is whole.
        assert_eq!(read(&part(0, 3)).expect("sound").fragment, None);
        assert!(matches!(read(&part(1, 3)), Err(Refusal::Problem { code: ERRONEOUS, pointer: 4, .. })));
        assert!(matches!(read(&part(0xfff8, 8)), Err(Refusal::Problem { code: ERRONEOUS, pointer: 42, .. })));
    }
}
