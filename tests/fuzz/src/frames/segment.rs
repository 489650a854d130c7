//! The reader of segments by itself.

use std::net::IpAddr;

use mirage_rt::net::inside::read_segment;

use super::{OURS, OURS6, THEIRS, THEIRS6};

/// A segment, over both families.
pub fn segment(input: &[u8]) {
    let ends: [(IpAddr, IpAddr); 2] = [(THEIRS.into(), OURS.into()), (THEIRS6.into(), OURS6.into())];
    let [over_ipv4, over_ipv6] = ends.map(|(source, destination)| read_segment(source, destination, input));
    assert_eq!(over_ipv4, over_ipv6, "what it says does not depend on where it comes from");
    let Some(read) = over_ipv4 else { return };
    let header = input.len() - read.data;
    assert!((20..=60).contains(&header) && header == 4 * usize::from(input[12] >> 4), "{read:?}");
    let (fin, syn, rst) = (input[13] & 1, input[13] >> 1 & 1, input[13] >> 2 & 1);
    assert!(syn & fin == 0 && (fin | syn) & rst == 0, "{read:?}");
    assert_eq!(read.span as usize, read.data + usize::from(syn + fin));
    assert_eq!(read.is_reset, rst == 0, "a reset is not answered with one");
    assert!(read.window_shift.is_none_or(|shift| shift <= 14), "{read:?}");
    // No header has room for more than four of them, and none is empty.
    for (start, end) in read.sacks.into_iter().flatten() {
        assert!((1..=1 << 31).contains(&end.wrapping_sub(start)), "{read:?}");
    }
    // What has no room in a header is not found in the data.
    let options = header - 20;
    let needed = [read.mss.map_or(0, |_| 4), read.window_shift.map_or(0, |_| 3), 10 * usize::from(read.stamped)];
    let blocks = read.sacks.iter().flatten().count();
    assert!(needed.iter().sum::<usize>() + if blocks > 0 { 2 + 8 * blocks } else { 0 } <= options, "{read:?}");
}
