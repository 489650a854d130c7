//! Messages of MLD, both versions (RFC 2710, 3810), as hosts send and read them. They are messages of ICMP, whose checksum is
//! their sender's and their reader's business.

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use super::{Record, Version, time};
use crate::time::Duration;

/// Where reports of version 2 go.
pub const REPORTS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// The types of messages.
mod kind {
    pub const QUERY: u8 = 130;
    pub const OLD_REPORT: u8 = 131;
    pub const DONE: u8 = 132;
    pub const REPORT: u8 = 143;
}

/// What concerns a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Which groups are heard?
    Query {
        /// What the querier understands.
        version: Version,
        /// It asks for this one only.
        group: Option<Ipv6Addr>,
        /// The answer is to come within this time.
        within: Duration,
    },
    /// Somebody else hears a group.
    Report(Ipv6Addr),
}

/// Whether a message of ICMP is one of MLD.
pub fn is_mld(message: &[u8]) -> bool {
    matches!(message.first(), Some(&(kind::QUERY..=kind::DONE | kind::REPORT)))
}

/// Reads the message of a packet; `None` when it is not sound or means nothing to hosts. All come from this link, and say so:
/// from a link-local address, or from none, and with a hop limit of 1 (RFC 3810, 5 and 6.2).
pub fn read(source: Ipv6Addr, hop_limit: u8, message: &[u8]) -> Option<Message> {
    let ([kind, code, _, _, high, low, _, _], rest) = message.split_first_chunk::<8>()?;
    let (group, rest) = rest.split_first_chunk::<16>()?;
    let group = Ipv6Addr::from(*group);
    if *code != 0 || hop_limit != 1 {
        return None;
    }
    match *kind {
        kind::QUERY if source.is_unicast_link_local() => {
            let (number, millisecond) = (u16::from_be_bytes([*high, *low]), Duration::from_millis(1));
            let (version, within) = match rest.len() {
                0 => (Version::Old, millisecond * u32::from(number)),
                4.. => (Version::New, time(number, 16, millisecond)),
                _ => return None,
            };
            let group = (!group.is_unspecified()).then_some(group);
            group.is_none_or(|group| group.is_multicast()).then_some(Message::Query { version, group, within })
        }
        kind::OLD_REPORT if source.is_unicast_link_local() || source.is_unspecified() => {
            group.is_multicast().then_some(Message::Report(group))
        }
        _ => None,
    }
}

/// A report of version 2: what is to be said of these groups. It goes to [`REPORTS`].
pub fn report(records: &[(Record, Ipv6Addr)]) -> Vec<u8> {
    let mut message = Vec::from([kind::REPORT, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&(records.len() as u16).to_be_bytes());
    for (record, group) in records {
        message.extend_from_slice(&[*record as u8, 0, 0, 0]);
        message.extend_from_slice(&group.octets());
    }
    message
}

/// What a querier of version 1 understands of one group, and where it goes to.
pub fn old(record: Record, group: Ipv6Addr) -> (Ipv6Addr, Vec<u8>) {
    let (kind, to) = match record {
        Record::Left => (kind::DONE, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2)),
        _ => (kind::OLD_REPORT, group),
    };
    let mut message = Vec::from([kind, 0, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&group.octets());
    (to, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    fn query(time: u16, group: Ipv6Addr, more: &[u8]) -> Vec<u8> {
        let [high, low] = time.to_be_bytes();
        let mut message = Vec::from([kind::QUERY, 0, 0, 0, high, low, 0, 0]);
        message.extend_from_slice(&group.octets());
        message.extend_from_slice(more);
        message
    }

    #[test]
    fn queries_of_both_versions_are_read() {
        let told = |message: &[u8]| match read(ROUTER, 1, message) {
            Some(Message::Query { version, group, within }) => Some((version, group, within.as_millis())),
            _ => None,
        };
        assert_eq!(told(&query(10_000, Ipv6Addr::UNSPECIFIED, &[])), Some((Version::Old, None, 10_000)));
        assert_eq!(told(&query(1000, GROUP, &[2, 125, 0, 0])), Some((Version::New, Some(GROUP), 1000)));
        assert_eq!(told(&query(0x8000, GROUP, &[2, 125, 0, 0])), Some((Version::New, Some(GROUP), 32_768)));
        assert_eq!(told(&query(1000, GROUP, &[2, 125, 0])), None, "neither length");
        assert_eq!(told(&query(1000, ROUTER, &[])), None, "no group");
        let good = query(1000, GROUP, &[]);
        assert_eq!(read(ROUTER, 64, &good), None, "it may come from elsewhere");
        assert_eq!(read("2001:db8::1".parse().expect("an address"), 1, &good), None);
        assert!(is_mld(&good) && !is_mld(&[128]) && !is_mld(&[]));
        for length in 0..good.len() {
            assert_eq!(told(&good[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn reports_say_what_they_should() {
        let message = report(&[(Record::Joined, GROUP), (Record::Left, ROUTER)]);
        assert_eq!((&message[..8], message.len()), (&[143, 0, 0, 0, 0, 0, 0, 2][..], 48));
        assert_eq!((&message[8..12], &message[28..32]), (&[4, 0, 0, 0][..], &[3, 0, 0, 0][..]));
        assert!(message[12..28] == GROUP.octets() && is_mld(&message) && read(ROUTER, 1, &message).is_none());
        let (to, message) = old(Record::Heard, GROUP);
        assert_eq!((to, message[0], read(ROUTER, 1, &message)), (GROUP, 131, Some(Message::Report(GROUP))));
        assert_eq!(read(Ipv6Addr::UNSPECIFIED, 1, &message), Some(Message::Report(GROUP)));
        let (to, message) = old(Record::Left, GROUP);
        assert_eq!((to.octets()[15], message[0], read(ROUTER, 1, &message)), (2, 132, None));
    }
}
