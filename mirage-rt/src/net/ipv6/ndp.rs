//! Neighbour discovery: its messages (RFC 4861, section 4) and the options that a host reads (also RFC 8106).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

/// The hop limit of all these messages: one with less has come by way of a router, from somebody who is no neighbour.
pub const HOP_LIMIT: u8 = 255;
/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Numbers of ICMP messages.
pub mod kind {
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
}

/// An Ethernet address.
pub type Mac = [u8; 6];

/// A message that means something to a host. Redirects and router solicitations do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Somebody asks for a neighbour's Ethernet address.
    Solicitation {
        /// Whose.
        target: Ipv6Addr,
        /// That of the sender.
        source: Option<Mac>,
    },
    /// A neighbour says what its Ethernet address is.
    Advertisement {
        /// Whose address it is.
        target: Ipv6Addr,
        /// The address.
        mac: Option<Mac>,
        /// The neighbour is a router.
        router: bool,
        /// It was asked.
        solicited: bool,
        /// What was known before is to be forgotten.
        overriding: bool,
    },
    /// A router says how the link is.
    Router {
        /// For how many seconds it is a default router; 0 when it is none.
        lifetime: u16,
        /// What else it says.
        options: Options<'a>,
    },
}

/// An option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// The sender's Ethernet address.
    Source(Mac),
    /// The target's Ethernet address.
    Target(Mac),
    /// Addresses that begin like this.
    Prefix(Prefix),
    /// The most bytes of a packet on this link.
    Mtu(u32),
    /// Name servers, for so many seconds.
    Servers(u32, Servers<'a>),
    /// Something else.
    Other,
}

/// A prefix information option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix, followed by anything.
    pub prefix: Ipv6Addr,
    /// How many bits of it count, no more than 128.
    pub length: u8,
    /// All such addresses are neighbours.
    pub on_link: bool,
    /// Hosts may make addresses of it.
    pub autonomous: bool,
    /// For how many seconds this holds; `u32::MAX` for ever.
    pub valid: u32,
    /// For how many seconds new connections may use such an address.
    pub preferred: u32,
}

/// The addresses of name servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Servers<'a>(&'a [u8]);

impl Servers<'_> {
    /// The addresses.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> {
        let (addresses, _) = self.0.as_chunks::<16>();
        addresses.iter().map(|bytes| Ipv6Addr::from(*bytes))
    }
}

/// Options, each of which is within the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// Looks whether all options are whole (RFC 4861, 4.6: a message with one that is empty is dropped).
    fn check(bytes: &'a [u8]) -> Option<Options<'a>> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, rest) = split(rest)?;
        }
        Some(Options(bytes))
    }

    fn source(self) -> Option<Mac> {
        self.into_iter().find_map(|option| if let Choice::Source(mac) = option { Some(mac) } else { None })
    }

    fn target(self) -> Option<Mac> {
        self.into_iter().find_map(|option| if let Choice::Target(mac) = option { Some(mac) } else { None })
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = Choice<'a>;

    fn next(&mut self) -> Option<Choice<'a>> {
        let (option, rest) = split(self.0)?;
        self.0 = rest;
        Some(choice(option))
    }
}

/// The first option, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = 8 * usize::from(*bytes.get(1)?);
    if length == 0 { None } else { bytes.split_at_checked(length) }
}

fn choice(option: &[u8]) -> Choice<'_> {
    let word =
        |at: usize| option.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_be_bytes(*word));
    match option {
        [1, 1, mac @ ..] => mac.first_chunk().map_or(Choice::Other, |mac| Choice::Source(*mac)),
        [2, 1, mac @ ..] => mac.first_chunk().map_or(Choice::Other, |mac| Choice::Target(*mac)),
        [3, 4, length, flags, rest @ ..] if *length <= 128 => {
            let prefix = rest.last_chunk::<16>().map_or(Ipv6Addr::UNSPECIFIED, |bytes| Ipv6Addr::from(*bytes));
            Choice::Prefix(Prefix {
                prefix,
                length: *length,
                on_link: flags & 0x80 != 0,
                autonomous: flags & 0x40 != 0,
                valid: word(4),
                preferred: word(8),
            })
        }
        [5, 1, ..] => Choice::Mtu(word(4)),
        // RFC 8106, 5.3.1: one address at least, and no half ones.
        [25, units, ..] if *units >= 3 && units % 2 == 1 => {
            Choice::Servers(word(4), Servers(option.get(8..).unwrap_or_default()))
        }
        _ => Choice::Other,
    }
}

/// Reads a message whose checksum is right, from a packet with these addresses and this hop limit; `None` when it is not
/// valid (RFC 4861, 6.1.2, 7.1.1, 7.1.2) or means nothing to a host.
pub fn read(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, message: &[u8]) -> Option<Message<'_>> {
    let (header, body) = message.split_first_chunk::<8>()?;
    let [kind, code, _, _, flags @ ..] = header;
    if hop_limit != HOP_LIMIT || *code != 0 {
        return None;
    }
    match *kind {
        kind::NEIGHBOUR_SOLICITATION => {
            let (target, options) = body.split_first_chunk::<16>()?;
            let (target, options) = (Ipv6Addr::from(*target), Options::check(options)?);
            let mac = options.source();
            // One that looks for duplicates has no address yet.
            let is_probe = source.is_unspecified();
            let is_right = !is_probe || mac.is_none() && destination == solicited_node(target);
            (is_right && !target.is_multicast()).then_some(Message::Solicitation { target, source: mac })
        }
        kind::NEIGHBOUR_ADVERTISEMENT => {
            let (target, options) = body.split_first_chunk::<16>()?;
            let target = Ipv6Addr::from(*target);
            let mac = Options::check(options)?.target();
            let [router, solicited, overriding] = [0x80, 0x40, 0x20].map(|flag| flags[0] & flag != 0);
            let is_right = !(target.is_multicast() || solicited && destination.is_multicast());
            is_right.then_some(Message::Advertisement { target, mac, router, solicited, overriding })
        }
        kind::ROUTER_ADVERTISEMENT => {
            let (_timers, options) = body.split_first_chunk::<8>()?;
            let options = Options::check(options)?;
            let lifetime = u16::from_be_bytes([flags[2], flags[3]]);
            source.is_unicast_link_local().then_some(Message::Router { lifetime, options })
        }
        _ => None,
    }
}

/// A question for the Ethernet address of `target`; without `source` one that looks for a duplicate of it. The checksum is
/// left out, here as below.
pub fn solicitation(target: Ipv6Addr, source: Option<Mac>) -> Vec<u8> {
    let mut message = Vec::from([kind::NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&target.octets());
    push_link(&mut message, 1, source);
    message
}

/// The answer: `mac` is the Ethernet address of `target`.
pub fn advertisement(target: Ipv6Addr, mac: Mac, solicited: bool, overriding: bool) -> Vec<u8> {
    let flags = u8::from(solicited) << 6 | u8::from(overriding) << 5;
    let mut message = Vec::from([kind::NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0]);
    message.extend_from_slice(&target.octets());
    push_link(&mut message, 2, Some(mac));
    message
}

/// Has an advertisement say that its sender is a router.
#[cfg(feature = "forward")]
pub fn set_router(message: &mut [u8]) {
    if let [kind::NEIGHBOUR_ADVERTISEMENT, _, _, _, flags, ..] = message {
        *flags |= 0x80;
    }
}

/// Asks routers to say how the link is.
pub fn router_solicitation(source: Option<Mac>) -> Vec<u8> {
    let mut message = Vec::from([kind::ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
    push_link(&mut message, 1, source);
    message
}

fn push_link(message: &mut Vec<u8>, option: u8, mac: Option<Mac>) {
    if let Some(mac) = mac {
        message.extend_from_slice(&[option, 1]);
        message.extend_from_slice(&mac);
    }
}

/// The group in which a neighbour with this address is asked for (RFC 4291, 2.7.1).
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// The Ethernet address of a group (RFC 2464, section 7).
pub fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// The second half of the addresses of a device (RFC 4291, appendix A), behind the first 64 bits of `prefix`.
pub fn address_of(prefix: Ipv6Addr, mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let low = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from_bits(prefix.to_bits() >> 64 << 64 | u128::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    const MAC: Mac = [2, 0, 0, 0, 0, 1];

    #[test]
    fn messages_are_read_as_written_and_only_whole() {
        let target = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x12, 0x3456);
        let group = solicited_node(target);
        assert_eq!(group, "ff02::1:ff12:3456".parse::<Ipv6Addr>().expect("an address"));
        assert_eq!(group_mac(group), [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let question = solicitation(target, Some(MAC));
        assert_eq!(read(LOCAL, group, 255, &question), Some(Message::Solicitation { target, source: Some(MAC) }));
        let answer = advertisement(target, MAC, true, true);
        let expected =
            Message::Advertisement { target, mac: Some(MAC), router: false, solicited: true, overriding: true };
        assert_eq!(read(LOCAL, LOCAL, 255, &answer), Some(expected));
        for message in [question, answer] {
            for length in (0..24).chain(25..message.len()) {
                assert_eq!(read(LOCAL, group, 255, &message[..length]), None, "{length}");
            }
            assert_eq!(read(LOCAL, group, 254, &message), None, "from behind a router");
        }
    }

    #[test]
    fn what_contradicts_itself_is_not_believed() {
        let group = solicited_node(LOCAL);
        let probe = solicitation(LOCAL, None);
        assert!(read(Ipv6Addr::UNSPECIFIED, group, 255, &probe).is_some());
        assert_eq!(read(Ipv6Addr::UNSPECIFIED, LOCAL, 255, &probe), None);
        assert_eq!(read(Ipv6Addr::UNSPECIFIED, group, 255, &solicitation(LOCAL, Some(MAC))), None);
        assert_eq!(read(LOCAL, group, 255, &solicitation(group, Some(MAC))), None);
        assert_eq!(read(LOCAL, ALL_NODES, 255, &advertisement(LOCAL, MAC, true, true)), None);
        let router = [134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(matches!(read(LOCAL, ALL_NODES, 255, &router), Some(Message::Router { lifetime: 0x708, .. })));
        let elsewhere = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        assert_eq!(read(elsewhere, ALL_NODES, 255, &router), None);
    }

    #[test]
    fn options_are_read_or_passed_over() {
        let prefix = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, 0);
        let mut bytes = Vec::from([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x07, 0x08, 0, 0, 0, 0]);
        bytes.extend_from_slice(&prefix.octets());
        bytes.extend_from_slice(&[5, 1, 0, 0, 0, 0, 5, 0xdc, 1, 1, 2, 0, 0, 0, 0, 1, 99, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[25, 3, 0, 0, 0, 0, 0, 60]);
        bytes.extend_from_slice(&LOCAL.octets());
        let options: Vec<_> = Options::check(&bytes).expect("all whole").collect();
        let [Choice::Prefix(read), Choice::Mtu(1500), Choice::Source(MAC), Choice::Other, Choice::Servers(60, servers)] =
            options.as_slice()
        else {
            panic!("{options:?}")
        };
        let expected = Prefix { prefix, length: 64, on_link: true, autonomous: true, valid: 3600, preferred: 1800 };
        assert_eq!(*read, expected);
        assert!(servers.addresses().eq([LOCAL]));
        assert_eq!(Options::check(&[1, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(Options::check(&[1, 2, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn a_device_has_an_address_in_each_prefix() {
        let address = address_of(Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 2, 3, 4), [0x00, 0x16, 0x3e, 1, 2, 3]);
        assert_eq!(address, "fe80::216:3eff:fe01:203".parse::<Ipv6Addr>().expect("an address"));
    }
}
