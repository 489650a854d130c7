//! Messages about groups: IGMP and MLD, targets and seeds.

use std::net::{Ipv4Addr, Ipv6Addr};

use mirage_rt::Duration;
use mirage_rt::net::groups::{Record, Version, igmp, mld};

const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ELSEWHERE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const GROUP4: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// No version of either protocol knows a longer time.
const LONGEST: Duration = Duration::from_millis(8_387_584);

/// A message of IGMP as it came, and with a right checksum, which chance does not find.
pub fn igmp(input: &[u8]) {
    check_igmp(input);
    if input.len() >= 4 {
        let mut message = input.to_vec();
        message[2..4].fill(0);
        let sum: u32 =
            message.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        check_igmp(&message);
    }
}

fn check_igmp(message: &[u8]) {
    match igmp::read(message) {
        Some(igmp::Message::Query { group, within, .. }) => {
            assert!(group.is_none_or(|group| group.is_multicast()) && within <= LONGEST);
        }
        Some(igmp::Message::Report(group)) => {
            assert!(group.is_multicast());
            for version in [Version::Oldest, Version::Old] {
                let (to, own) = igmp::old(version, Record::Heard, group).expect("it is said");
                assert_eq!((to, igmp::read(&own)), (group, Some(igmp::Message::Report(group))));
            }
        }
        None => {}
    }
    // What hosts say of themselves means nothing to others.
    assert_eq!(igmp::read(&igmp::report(&[(Record::Joined, GROUP4)])), None);
    for version in [Version::Oldest, Version::Old] {
        assert_eq!(igmp::old(version, Record::Left, GROUP4).and_then(|(_, left)| igmp::read(&left)), None);
    }
}

/// A message of MLD: the first byte of the input says where it comes from and how many hops it may have taken.
pub fn mld(input: &[u8]) {
    let Some((first, message)) = input.split_first() else { return };
    let source = [ROUTER, ELSEWHERE, Ipv6Addr::UNSPECIFIED, ROUTER][usize::from(first & 3)];
    let hop_limit = 1 + (first >> 2 & 1);
    match mld::read(source, hop_limit, message) {
        Some(mld::Message::Query { group, within, .. }) => {
            assert!(source == ROUTER && hop_limit == 1 && mld::is_mld(message));
            assert!(group.is_none_or(|group| group.is_multicast()) && within <= LONGEST);
        }
        Some(mld::Message::Report(group)) => {
            assert!(source != ELSEWHERE && group.is_multicast() && mld::is_mld(message));
            let (to, own) = mld::old(Record::Heard, group);
            assert_eq!((to, mld::read(source, 1, &own)), (group, Some(mld::Message::Report(group))));
        }
        None => {}
    }
    assert_eq!(mld::read(ROUTER, 1, &mld::report(&[(Record::Joined, GROUP6)])), None);
    assert_eq!(mld::read(ROUTER, 1, &mld::old(Record::Left, GROUP6).1), None);
}

/// Messages of all versions, and what is not quite one.
pub fn igmp_seeds() -> Vec<Vec<u8>> {
    let message = |kind: u8, code: u8, group: [u8; 4], more: &[u8]| [&[kind, code, 0, 0], &group[..], more].concat();
    let all = [0; 4];
    vec![
        message(0x11, 0, all, &[]),
        message(0x11, 100, all, &[]),
        message(0x11, 100, all, &[2, 125, 0, 0]),
        message(0x11, 0xff, [239, 1, 2, 3], &[2, 125, 0, 1, 10, 0, 0, 1]),
        message(0x11, 10, [239, 1, 2, 3], &[]),
        message(0x11, 10, [10, 0, 0, 1], &[]),
        message(0x11, 10, all, &[2]),
        message(0x12, 0, [239, 1, 2, 3], &[]),
        message(0x16, 0, [239, 1, 2, 3], &[]),
        message(0x16, 0, [10, 0, 0, 1], &[]),
        message(0x17, 0, [239, 1, 2, 3], &[]),
        igmp::report(&[(Record::Heard, GROUP4), (Record::Left, GROUP4)]),
        igmp::old(Version::Old, Record::Joined, GROUP4).map(|(_, message)| message).unwrap_or_default(),
        vec![0x11, 0, 0, 0, 0, 0, 0],
    ]
}

/// Messages of both versions, from routers and others.
pub fn mld_seeds() -> Vec<Vec<u8>> {
    let message = |first: u8, kind: u8, time: u16, group: Ipv6Addr, more: &[u8]| {
        let [high, low] = time.to_be_bytes();
        [&[first, kind, 0, 0, 0, high, low, 0, 0], &group.octets()[..], more].concat()
    };
    let mut wrong = message(0, 130, 1000, GROUP6, &[]);
    wrong[2] = 1;
    vec![
        message(0, 130, 1000, Ipv6Addr::UNSPECIFIED, &[]),
        message(0, 130, 1000, GROUP6, &[2, 125, 0, 0]),
        message(0, 130, 0xffff, GROUP6, &[2, 125, 0, 0]),
        message(0, 130, 1000, GROUP6, &[2, 125]),
        message(0, 130, 1000, ELSEWHERE, &[]),
        message(1, 130, 1000, GROUP6, &[]),
        message(2, 130, 1000, GROUP6, &[]),
        message(4, 130, 1000, GROUP6, &[]),
        message(0, 131, 0, GROUP6, &[]),
        message(2, 131, 0, GROUP6, &[]),
        message(1, 131, 0, GROUP6, &[]),
        message(0, 131, 0, ELSEWHERE, &[]),
        message(0, 132, 0, GROUP6, &[]),
        [&[0], &mld::report(&[(Record::Heard, GROUP6)])[..]].concat(),
        wrong,
        vec![0, 130, 0, 0, 0],
        vec![0, 130, 0, 0, 0, 0, 0, 0, 0, 1],
        Vec::new(),
    ]
}
