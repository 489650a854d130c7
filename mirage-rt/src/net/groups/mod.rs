//! Who tells routers and switches which groups are heard here: the messages of IGMP (IPv4) and MLD (IPv6), feature `datagrams`.
//!
//! Both protocols say the same. Somebody on the link, the querier, asks now and then for which groups there are listeners, and
//! listeners answer at a random time; they also say by themselves when they begin or end to listen. A host here listens to all
//! senders of a group or to none, so the lists of senders in newer messages are always empty.

pub mod igmp;
#[cfg(feature = "ipv6")]
pub mod mld;

use crate::time::Duration;

/// What a record of a report says of a group (RFC 3376, 4.2.12; RFC 3810, 5.2.12). The lists of senders are empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// It is heard, as was asked.
    Heard = 2,
    /// It is not heard any more.
    Left = 3,
    /// It is heard from now on.
    Joined = 4,
}

/// Which messages a querier understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// IGMPv1 (RFC 1112): it is never told that somebody has left.
    Oldest,
    /// IGMPv2 (RFC 2236), MLDv1 (RFC 2710).
    Old,
    /// IGMPv3 (RFC 3376), MLDv2 (RFC 3810).
    New,
}

/// A time of a query: a number below `1 << (bits - 1)`, else a mantissa of `bits` - 4 bits and an exponent of three (RFC 3376,
/// 4.1.1; RFC 3810, 5.1.3).
fn time(code: u16, bits: u32, unit: Duration) -> Duration {
    if code >> (bits - 1) == 0 {
        return unit * u32::from(code);
    }
    let mantissa_bits = bits - 4;
    let mantissa = u32::from(code) & ((1 << mantissa_bits) - 1) | 1 << mantissa_bits;
    let exponent = u32::from(code) >> mantissa_bits & 7;
    unit * (mantissa << (exponent + 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_times_have_an_exponent() {
        let tenths = |code| time(code, 8, Duration::from_millis(100)).as_millis();
        assert_eq!([0, 1, 127].map(tenths), [0, 100, 12_700]);
        assert_eq!([0x80, 0x8f, 0xff].map(tenths), [12_800, 24_800, 3_174_400]);
        let milliseconds = |code| time(code, 16, Duration::from_millis(1)).as_millis();
        assert_eq!([10_000, 0x7fff, 0x8000, 0xffff].map(milliseconds), [10_000, 32_767, 32_768, 8_387_584]);
    }
}
