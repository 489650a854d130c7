//! Which of a host's addresses is the better one to connect to (RFC 6724, section 6), as far as a host can know it that has one
//! interface and no policy of its own.
//!
//! Rule 1, whether an address can be used at all, is mostly answered before: a network names the families that lead somewhere. Of
//! the others those about temporary and home addresses and tunnels (3, 4, 7) have no meaning here. Rule 9, the longest prefix in
//! common with ours, is left out, as it would undo the order in which servers share out their load.

use core::cmp::Reverse;
use core::net::{IpAddr, Ipv6Addr};

/// The less, the better.
pub type Rank = (bool, bool, bool, Reverse<u8>, u8);

/// How good `to` is for a host with the addresses `own`, of which the best one is taken to be the source.
pub fn rank(own: &[IpAddr], to: IpAddr) -> Rank {
    let (Policy { precedence, label }, scope) = (policy(to), scope(to));
    let of_family = own.iter().filter(|from| from.is_ipv4() == to.is_ipv4() && !from.is_unspecified());
    let mismatches = of_family.map(|from| (self::scope(*from) != scope, policy(*from).label != label));
    // Of a family that has none here nothing is known, as on the host's sockets.
    let (scope_differs, label_differs) = mismatches.min().unwrap_or_default();
    let is_no_host = to.is_unspecified() || to.is_multicast();
    (is_no_host, scope_differs, label_differs, Reverse(precedence), scope)
}

struct Policy {
    precedence: u8,
    label: u8,
}

/// The default policies (section 2.1), without those for kinds of addresses that have been given up.
fn policy(address: IpAddr) -> Policy {
    let (precedence, label) = match address {
        IpAddr::V4(_) => (35, 4),
        IpAddr::V6(Ipv6Addr::LOCALHOST) => (50, 0),
        IpAddr::V6(address) => match address.segments() {
            // Tunnels over IPv4: 6to4 and Teredo.
            [0x2002, ..] => (30, 2),
            [0x2001, 0, ..] => (5, 5),
            // Of one site.
            [0xfc00..=0xfdff, ..] => (3, 13),
            _ => (40, 1),
        },
    };
    Policy { precedence, label }
}

/// How far an address is known (section 3.1): on one link, or everywhere. Those of IPv4 for private networks count as known
/// everywhere (section 3.2).
fn scope(address: IpAddr) -> u8 {
    let is_near = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_loopback(),
    };
    if is_near { 2 } else { 14 }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn sorted(own: &[&str], to: &[&str]) -> Vec<IpAddr> {
        let mut to = addresses(to);
        to.sort_by_key(|to| rank(&addresses(own), *to));
        to
    }

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    /// Examples of section 10.2, and of hosts as there are many: each list is in its right order.
    #[test]
    fn destinations_are_in_the_order_of_the_standard() {
        for (own, to) in [
            (&["2001:db8:1::2", "fe80::1", "169.254.13.78"][..], &["2001:db8:1::1", "198.51.100.121"][..]),
            (&["fe80::1", "198.51.100.117"], &["198.51.100.121", "2001:db8:1::1"]),
            (&["2001:db8:1::2", "fe80::1", "10.1.2.4"], &["2001:db8:1::1", "10.1.2.3"]),
            (&["2001:db8:1::2", "fe80::2"], &["fe80::1", "2001:db8:1::1"]),
            // 6to4 on both sides, and on theirs only.
            (&["2002:c633:6401::2", "fe80::2"], &["2002:c633:6401::1", "2001:db8:1::1"]),
            (&["2001:db8:1::2", "fe80::2", "10.1.2.4"], &["2001:db8:1::1", "10.1.2.3", "2002:c633:6401::1"]),
            // A site without IPv6 of its provider's.
            (&["fd00::2", "fe80::2", "10.1.2.4"], &["198.51.100.121", "2001:db8:1::1"]),
            (&["fd00::2", "2001:db8:1::2", "10.1.2.4"], &["2001:db8:1::1", "10.1.2.3", "fd00::1"]),
            (&["2001:db8:1::2", "10.1.2.4"], &["10.1.2.3", "fd00::1"]),
            (&["2001:db8:1::2", "10.1.2.4"], &["10.1.2.3", "2001:0:1::1"]),
            // Nothing is known of our own addresses.
            (&[], &["::1", "2001:db8:1::1", "127.0.0.1", "10.1.2.3"]),
            (&["0.0.0.0"], &["2001:db8:1::1", "10.1.2.3"]),
            (&["10.1.2.4"], &["2001:db8:1::1", "10.1.2.3", "127.0.0.1"]),
            // No hosts.
            (&["2001:db8:1::2", "10.1.2.4"], &["10.1.2.3", "ff02::1", "0.0.0.0"]),
        ] {
            let mut backwards = to.to_vec();
            backwards.reverse();
            assert_eq!(sorted(own, &backwards), addresses(to), "from {own:?}");
        }
    }

    #[test]
    fn what_is_as_good_stays_in_its_order() {
        let servers = ["2001:db8:9::1", "2001:db8:1::1", "2001:db8:5::1"];
        assert_eq!(sorted(&["2001:db8:1::2"], &servers), addresses(&servers));
    }
}
