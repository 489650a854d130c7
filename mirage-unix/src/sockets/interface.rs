//! Which of the host's interfaces has an IPv6 address: `/proc/net/if_inet6`, a line for each, of the address in hexadecimal digits, the
//! interface's number, also in such digits, and what is not needed here (Linux's `net/ipv6/addrconf.c`, `if6_seq_show`).

use std::fs::File;
use std::io::Read;
use std::net::Ipv6Addr;

/// Where the list is.
const PATH: &str = "/proc/net/if_inet6";
/// Bytes of it that are read: some ten thousand addresses.
const MOST: u64 = 512 * 1024;

/// The number of the interface that has `address`; 0, which leaves the choice to the host, for :: and when it is not known.
pub fn of(address: Ipv6Addr) -> u32 {
    if address.is_unspecified() {
        return 0;
    }
    let mut list = String::new();
    let read = File::open(PATH).and_then(|file| file.take(MOST).read_to_string(&mut list));
    read.ok().and_then(|_| find(&list, address)).unwrap_or(0)
}

/// The same in a list with this text. Lines that make no sense are passed over.
fn find(list: &str, address: Ipv6Addr) -> Option<u32> {
    list.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let known = u128::from_str_radix(words.next()?, 16).ok()?;
        let number = u32::from_str_radix(words.next()?, 16).ok()?;
        (known == u128::from(address)).then_some(number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let list = "nonsense\n\nfd000000000000000000000000000002 zz\nfd000000000000000000000000000002 1f 40 00 82 eth0\n\
                    00000000000000000000000000000001 01 80 10 80 lo\n";
        assert_eq!(find(list, "fd00::2".parse().expect("an address")), Some(31));
        assert_eq!(find(list, Ipv6Addr::LOCALHOST), Some(1));
        assert_eq!(find(list, "fd00::3".parse().expect("an address")), None);
        assert_eq!(of(Ipv6Addr::UNSPECIFIED), 0);
        assert_eq!(of("2001:db8::1".parse().expect("an address")), 0, "no host has an address of examples");
    }
}
