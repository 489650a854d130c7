//! Messages of IGMP, all versions (RFC 1112, 2236, 3376), as hosts send and read them.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use smoltcp::wire::checksum;

use super::{Record, Version, time};
use crate::time::Duration;

/// Where reports of version 3 go.
pub const REPORTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
/// Where it is said that a group was left.
pub const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
/// The group of all hosts, which is never reported.
pub const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

/// The types of messages.
mod kind {
    pub const QUERY: u8 = 0x11;
    pub const OLDEST_REPORT: u8 = 0x12;
    pub const OLD_REPORT: u8 = 0x16;
    pub const LEAVE: u8 = 0x17;
    pub const REPORT: u8 = 0x22;
}

/// What concerns a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Which groups are heard?
    Query {
        /// What the querier understands.
        version: Version,
        /// It asks for this one only.
        group: Option<Ipv4Addr>,
        /// The answer is to come within this time.
        within: Duration,
    },
    /// Somebody else hears a group.
    Report(Ipv4Addr),
}

/// Reads a message; `None` when it is not sound or means nothing to hosts.
pub fn read(message: &[u8]) -> Option<Message> {
    let ([kind, code, _, _, group @ ..], rest) = message.split_first_chunk::<8>()?;
    if checksum::data(message) != !0 {
        return None;
    }
    let group = Ipv4Addr::from(*group);
    match *kind {
        kind::QUERY => {
            let tenth = Duration::from_millis(100);
            let (version, within) = match (rest.len(), *code) {
                // It says no time: 10 s (RFC 2236, 4).
                (0, 0) => (Version::Oldest, tenth * 100),
                (0, code) => (Version::Old, tenth * u32::from(code)),
                (4.., code) => (Version::New, time(code.into(), 8, tenth)),
                _ => return None,
            };
            let group = (!group.is_unspecified()).then_some(group);
            group.is_none_or(|group| group.is_multicast()).then_some(Message::Query { version, group, within })
        }
        kind::OLDEST_REPORT | kind::OLD_REPORT => group.is_multicast().then_some(Message::Report(group)),
        _ => None,
    }
}

/// A report of version 3: what is to be said of these groups. It goes to [`REPORTS`].
pub fn report(records: &[(Record, Ipv4Addr)]) -> Vec<u8> {
    let mut message = Vec::from([kind::REPORT, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&(records.len() as u16).to_be_bytes());
    for (record, group) in records {
        message.extend_from_slice(&[*record as u8, 0, 0, 0]);
        message.extend_from_slice(&group.octets());
    }
    complete(message)
}

/// What queriers of older versions understand of one group, and where it goes to; nothing for the oldest that left.
pub fn old(version: Version, record: Record, group: Ipv4Addr) -> Option<(Ipv4Addr, Vec<u8>)> {
    let (kind, to) = match (version, record) {
        (Version::Oldest, Record::Left) => return None,
        (Version::Oldest, _) => (kind::OLDEST_REPORT, group),
        (_, Record::Left) => (kind::LEAVE, ALL_ROUTERS),
        _ => (kind::OLD_REPORT, group),
    };
    let mut message = Vec::from([kind, 0, 0, 0]);
    message.extend_from_slice(&group.octets());
    Some((to, complete(message)))
}

/// With its checksum.
fn complete(mut message: Vec<u8>) -> Vec<u8> {
    let sum = !checksum::data(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);

    fn query(code: u8, group: Ipv4Addr, more: &[u8]) -> Vec<u8> {
        let mut message = Vec::from([kind::QUERY, code, 0, 0]);
        message.extend_from_slice(&group.octets());
        message.extend_from_slice(more);
        complete(message)
    }

    #[test]
    fn queries_of_all_versions_are_read() {
        let read = |code, group, more: &[u8]| match read(&query(code, group, more)) {
            Some(Message::Query { version, group, within }) => Some((version, group, within.as_millis())),
            _ => None,
        };
        assert_eq!(read(0, Ipv4Addr::UNSPECIFIED, &[]), Some((Version::Oldest, None, 10_000)));
        assert_eq!(read(100, Ipv4Addr::UNSPECIFIED, &[]), Some((Version::Old, None, 10_000)));
        assert_eq!(read(10, GROUP, &[]), Some((Version::Old, Some(GROUP), 1000)));
        assert_eq!(read(0x80, GROUP, &[2, 125, 0, 0]), Some((Version::New, Some(GROUP), 12_800)));
        assert_eq!(read(10, GROUP, &[2, 125, 0]), None, "neither length");
        assert_eq!(read(10, Ipv4Addr::new(10, 0, 0, 1), &[]), None, "no group");
    }

    #[test]
    fn reports_say_what_they_should() {
        let records = [(Record::Joined, GROUP), (Record::Left, Ipv4Addr::new(224, 0, 0, 251))];
        let message = report(&records);
        assert_eq!(message[..2], [0x22, 0]);
        assert_eq!(message[6..16], [0, 2, 4, 0, 0, 0, 239, 1, 2, 3]);
        assert_eq!(message[16..], [3, 0, 0, 0, 224, 0, 0, 251]);
        assert_eq!(checksum::data(&message), !0);
        assert_eq!(read(&message), None, "that is for routers");
        let (to, message) = old(Version::Old, Record::Heard, GROUP).expect("it is said");
        assert_eq!((to, message[0], read(&message)), (GROUP, 0x16, Some(Message::Report(GROUP))));
        let (to, message) = old(Version::Oldest, Record::Joined, GROUP).expect("it is said");
        assert_eq!((to, message[0], read(&message)), (GROUP, 0x12, Some(Message::Report(GROUP))));
        let (to, message) = old(Version::Old, Record::Left, GROUP).expect("it is said");
        assert_eq!((to, message[0], read(&message)), (ALL_ROUTERS, 0x17, None));
        assert_eq!(old(Version::Oldest, Record::Left, GROUP), None);
    }

    #[test]
    fn nonsense_is_dropped() {
        let whole = query(10, GROUP, &[2, 125, 0, 0]);
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length} bytes");
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x10;
            assert_eq!(read(&broken), None, "byte {at}");
        }
    }
}
