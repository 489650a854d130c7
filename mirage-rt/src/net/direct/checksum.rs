//! The Internet checksum (RFC 1071). Its sums do not depend on the order of bytes, so eight of them are added at once and only
//! what comes out is turned round.

use core::net::Ipv4Addr;

use smoltcp::wire::IpProtocol;

/// A sum that is not folded yet, of numbers in the order of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Sum(u64);

impl Sum {
    /// Of a number of four bytes.
    #[inline(always)]
    pub fn of_word(word: u32) -> Sum {
        Sum(word.to_be().into())
    }

    /// Of so many bytes, a multiple of four and not more than 4 GiB.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    #[inline(always)]
    pub fn of_words<const N: usize>(bytes: &[u8; N]) -> Sum {
        let (words, _) = bytes.as_chunks::<4>();
        Sum(words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum())
    }

    /// With a number of four bytes more.
    #[inline(always)]
    pub fn and(self, word: u32) -> Sum {
        Sum(self.0 + u64::from(word.to_be()))
    }

    /// With `bytes` more, which start at an even place.
    #[inline]
    pub fn with(self, bytes: &[u8]) -> Sum {
        Sum(add(self.0, sum(bytes)))
    }

    /// Whether this is the sum of what has its checksum in it, and rightly.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    #[inline(always)]
    pub fn is_right(self) -> bool {
        fold(self.0) == !0
    }

    /// What goes into the field of what was summed up without it.
    #[inline(always)]
    pub fn checksum(self) -> u16 {
        !fold(self.0)
    }

    /// What goes there for a device that adds the rest.
    #[inline(always)]
    pub fn partial(self) -> u16 {
        fold(self.0)
    }
}

/// The sum of `bytes`, as numbers of two.
pub fn data(bytes: &[u8]) -> u16 {
    fold(sum(bytes))
}

#[inline]
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(0, |sum, word| add(sum, u64::from_ne_bytes(*word)));
    let (four, rest) = rest.as_chunks::<4>();
    let (two, rest) = rest.as_chunks::<2>();
    let last = four.first().map_or(0, |bytes| u32::from_ne_bytes(*bytes).into())
        + two.first().map_or(0, |bytes| u16::from_ne_bytes(*bytes).into())
        + rest.first().map_or(0, |byte| u64::from(u16::from_ne_bytes([*byte, 0])));
    add(sum, last)
}

/// The sum of sums.
pub fn combine(sums: &[u16]) -> u16 {
    let mut sum = sums.iter().map(|sum| u32::from(*sum)).sum::<u32>();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// The sum of the pseudo header of a packet over IPv4 that carries `length` bytes.
#[inline]
pub fn pseudo_header_v4(source: &Ipv4Addr, destination: &Ipv4Addr, protocol: IpProtocol, length: u32) -> u16 {
    let address = |address: &Ipv4Addr| u64::from(u32::from_ne_bytes(address.octets()));
    let rest = (u32::from(u8::from(protocol)) + length).to_be();
    fold(address(source) + address(destination) + u64::from(rest))
}

/// Adds with the carry coming in again below.
#[inline(always)]
fn add(sum: u64, word: u64) -> u64 {
    let (sum, carry) = sum.overflowing_add(word);
    sum + u64::from(carry)
}

/// Makes the sum of larger numbers one of numbers of two bytes, in the order of the network.
#[inline(always)]
fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    u16::from_be(((sum >> 16) + (sum & 0xffff)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smoltcp::wire::checksum as other;

    /// Sums of all ones and of none are the same number.
    fn same(one: u16, two: u16) -> bool {
        one == two || [one, two].iter().all(|sum| matches!(sum, 0 | 0xffff))
    }

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(data(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(data(&[]), 0);
        assert_eq!((data(&[0xff; 4096]), combine(&[0xffff; 5])), (0xffff, 0xffff));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn sums_are_those_of_smoltcp(bytes in prop::collection::vec(any::<u8>(), 0..200), from: u32, to: u32, length: u16) {
            prop_assert!(same(data(&bytes), other::data(&bytes)));
            let (from, to) = (Ipv4Addr::from(from), Ipv4Addr::from(to));
            let own = pseudo_header_v4(&from, &to, IpProtocol::Tcp, length.into());
            prop_assert!(same(own, other::pseudo_header_v4(&from, &to, IpProtocol::Tcp, length.into())));
            prop_assert!(same(combine(&[own, data(&bytes)]), other::combine(&[own, data(&bytes)])));
        }
    }
}
