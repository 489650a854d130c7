//! Messages: what a client sends, and what a server's answers say (RFC 2131, section 2; RFC 2132 for the options, RFC 3397
//! for the search list, RFC 3442 for the routes).
//!
//! smoltcp has these formats only together with its own Ethernet, which every image with a network would have to carry.

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use crate::keys::Cidr;
use crate::net::names::{MOST_SEARCH, Name};
use crate::net::{Addressing, StaticRoute};

/// Name servers that are kept.
pub const MOST_NAME_SERVERS: usize = 4;
/// Bytes of the shortest message that every server takes (RFC 1542, section 2.1).
const SHORTEST: usize = 300;
/// Bytes of the longest message that we take: what fits a packet of 1500 bytes.
const LONGEST: u16 = 1472;
/// Operations.
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
/// The kind of hardware addresses.
const ETHERNET: u8 = 1;
/// Where the number, the address for the client, its hardware address and the options begin.
const ID: usize = 4;
const YOURS: usize = 16;
const HARDWARE: usize = 28;
const OPTIONS: usize = 240;
/// In front of the options (RFC 2131, section 3).
const MAGIC: [u8; 4] = [0x63, 0x82, 0x53, 0x63];

const PAD: u8 = 0;
const MASK: u8 = 1;
const ROUTER: u8 = 3;
const NAME_SERVER: u8 = 6;
const DOMAIN: u8 = 15;
const MTU: u8 = 26;
const REQUESTED: u8 = 50;
const LEASE_TIME: u8 = 51;
const KIND: u8 = 53;
const SERVER: u8 = 54;
const WANTED: u8 = 55;
const LONGEST_MESSAGE: u8 = 57;
const RENEWAL_TIME: u8 = 58;
const REBINDING_TIME: u8 = 59;
const CLIENT: u8 = 61;
const SEARCH: u8 = 119;
const ROUTES: u8 = 121;
const END: u8 = 255;

/// The options that we ask for, that of the routes first, as RFC 3442 wants it.
const OPTIONS_WANTED: [u8; 10] =
    [ROUTES, MASK, ROUTER, NAME_SERVER, DOMAIN, SEARCH, MTU, LEASE_TIME, RENEWAL_TIME, REBINDING_TIME];

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// DHCPREQUEST; else DHCPDISCOVER.
    pub wants: bool,
    /// The number of the exchange.
    pub id: u32,
    /// Seconds since its start.
    pub seconds: u16,
    /// The client's Ethernet address.
    pub mac: [u8; 6],
    /// The client's address, when it has one and may use it; else 0.0.0.0.
    pub client: Ipv4Addr,
    /// The address that was offered.
    pub requested: Option<Ipv4Addr>,
    /// The server that offered it.
    pub server: Option<Ipv4Addr>,
}

impl Request {
    /// The message.
    pub fn message(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SHORTEST);
        bytes.extend([REQUEST, ETHERNET, 6, 0]);
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.seconds.to_be_bytes());
        // Who has no address hears only what is sent to everybody.
        bytes.extend([if self.client.is_unspecified() { 0x80 } else { 0 }, 0]);
        bytes.extend(self.client.octets());
        bytes.resize(HARDWARE, 0);
        bytes.extend(self.mac);
        bytes.resize(OPTIONS - MAGIC.len(), 0);
        bytes.extend(MAGIC);
        let mut option = |kind: u8, data: &[u8]| {
            bytes.extend([kind, data.len() as u8]);
            bytes.extend_from_slice(data);
        };
        option(KIND, &[if self.wants { 3 } else { 1 }]);
        let [a, b, c, d, e, f] = self.mac;
        option(CLIENT, &[ETHERNET, a, b, c, d, e, f]);
        if let Some(server) = self.server {
            option(SERVER, &server.octets());
        }
        if let Some(requested) = self.requested {
            option(REQUESTED, &requested.octets());
        }
        option(LONGEST_MESSAGE, &LONGEST.to_be_bytes());
        option(WANTED, &OPTIONS_WANTED);
        bytes.push(END);
        bytes.resize(bytes.len().max(SHORTEST), 0);
        bytes
    }
}

/// The kinds of answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An address can be had.
    Offer,
    /// The address is the client's.
    Ack,
    /// It is not.
    Nak,
}

/// What a server says. Options that are not there, or have a wrong length, are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The kind.
    pub kind: Kind,
    /// The number of the exchange.
    pub id: u32,
    /// The client's Ethernet address.
    pub mac: [u8; 6],
    /// The address for the client.
    pub yours: Ipv4Addr,
    /// The server's own address.
    pub server: Option<Ipv4Addr>,
    /// The mask of the client's network.
    pub mask: Option<Ipv4Addr>,
    /// The first of the routers.
    pub router: Option<Ipv4Addr>,
    /// Name servers, no more than [`MOST_NAME_SERVERS`].
    pub name_servers: Vec<Ipv4Addr>,
    /// The domain of the network.
    pub domain: Option<Name>,
    /// Domains to look for names in, no more than [`MOST_SEARCH`].
    pub search: Vec<Name>,
    /// The most bytes of a packet.
    pub mtu: Option<u16>,
    /// Routes, no more than [`Addressing::MOST_ROUTES`]; then [`router`](Reply::router) does not count (RFC 3442).
    pub routes: Option<Vec<StaticRoute>>,
    /// Seconds for which the address is the client's.
    pub lease: Option<u32>,
    /// Seconds after which the client asks for more.
    pub renewal: Option<u32>,
    /// Seconds after which it asks any server.
    pub rebinding: Option<u32>,
}

/// Reads a server's message; `None` when it is none.
pub fn read(message: &[u8]) -> Option<Reply> {
    let (header, options) = message.split_first_chunk::<OPTIONS>()?;
    if header[..3] != [REPLY, ETHERNET, 6] || !header.ends_with(&MAGIC) {
        return None;
    }
    let mut kind = None;
    let mut reply = Reply {
        kind: Kind::Nak,
        id: u32::from_be_bytes(*header[ID..].first_chunk()?),
        mac: *header[HARDWARE..].first_chunk()?,
        yours: Ipv4Addr::from(*header[YOURS..].first_chunk::<4>()?),
        server: None,
        mask: None,
        router: None,
        name_servers: Vec::new(),
        domain: None,
        search: Vec::new(),
        mtu: None,
        routes: None,
        lease: None,
        renewal: None,
        rebinding: None,
    };
    // Long ones may come in several pieces (RFC 3396).
    let (mut search, mut routes) = (Vec::new(), Vec::new());
    let mut rest = options;
    while let Some((option, data, behind)) = next(rest) {
        rest = behind;
        match (option, data) {
            (KIND, [2]) => kind = Some(Kind::Offer),
            (KIND, [5]) => kind = Some(Kind::Ack),
            (KIND, [6]) => kind = Some(Kind::Nak),
            (SEARCH, data) => search.extend_from_slice(data),
            (ROUTES, data) => routes.extend_from_slice(data),
            _ => reply.note(option, data),
        }
    }
    reply.kind = kind?;
    reply.search = search_list(&search).unwrap_or_default();
    reply.routes = if routes.is_empty() { None } else { static_routes(&routes) };
    Some(reply)
}

/// The next option, what it says, and what is behind it; `None` at the end, and where one is cut off.
fn next(mut options: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    while let [PAD, rest @ ..] = options {
        options = rest;
    }
    let [kind, length, rest @ ..] = options else { return None };
    if *kind == END {
        return None;
    }
    let (data, behind) = rest.split_at_checked(usize::from(*length))?;
    Some((*kind, data, behind))
}

impl Reply {
    /// Notes what an option says.
    fn note(&mut self, option: u8, data: &[u8]) {
        let whole = || <[u8; 4]>::try_from(data).ok();
        let address = || whole().map(Ipv4Addr::from);
        let seconds = || whole().map(u32::from_be_bytes);
        match option {
            MASK => self.mask = address(),
            SERVER => self.server = address(),
            ROUTER => self.router = data.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes)),
            NAME_SERVER => {
                let (servers, _) = data.as_chunks::<4>();
                self.name_servers =
                    servers.iter().take(MOST_NAME_SERVERS).map(|bytes| Ipv4Addr::from(*bytes)).collect();
            }
            DOMAIN => {
                // Some servers end it with a zero.
                let text = core::str::from_utf8(data).ok();
                self.domain = text.and_then(|text| text.trim_end_matches('\0').parse().ok());
            }
            MTU => self.mtu = <[u8; 2]>::try_from(data).ok().map(u16::from_be_bytes),
            LEASE_TIME => self.lease = seconds(),
            RENEWAL_TIME => self.renewal = seconds(),
            REBINDING_TIME => self.rebinding = seconds(),
            _ => {}
        }
    }
}

/// The names in an option; `None` when it is malformed.
fn search_list(data: &[u8]) -> Option<Vec<Name>> {
    let mut names = Vec::new();
    let mut at = 0;
    while at < data.len() && names.len() < MOST_SEARCH {
        let (name, behind) = name_at(data, at)?;
        if name != Name::ROOT {
            names.push(name);
        }
        at = behind;
    }
    Some(names)
}

/// The name at `start`, and where it ends. Pointers must lead further back each time (RFC 1035, section 4.1.4), so there is
/// an end.
fn name_at(data: &[u8], start: usize) -> Option<(Name, usize)> {
    let mut name = Name::ROOT;
    let (mut at, mut bound, mut behind) = (start, start, None);
    loop {
        let length = usize::from(*data.get(at)?);
        match length {
            0 => return Some((name, behind.unwrap_or(at + 1))),
            1..64 => {
                name.push(data.get(at + 1..at + 1 + length)?).ok()?;
                at += 1 + length;
            }
            0xc0.. => {
                let to = (length & 0x3f) << 8 | usize::from(*data.get(at + 1)?);
                if to >= bound {
                    return None;
                }
                behind = behind.or(Some(at + 2));
                (at, bound) = (to, to);
            }
            _ => return None,
        }
    }
}

/// The routes in an option; `None` when it is malformed. Those to neighbours of another prefix, which have no router, are left
/// out.
fn static_routes(mut data: &[u8]) -> Option<Vec<StaticRoute>> {
    let mut routes = Vec::new();
    while let Some((prefix, rest)) = data.split_first() {
        let (network, rest) = rest.split_at_checked(usize::from(*prefix).div_ceil(8))?;
        let (router, rest) = rest.split_first_chunk::<4>()?;
        data = rest;
        let mut octets = [0; 4];
        octets.get_mut(..network.len())?.copy_from_slice(network);
        let route = StaticRoute { to: Cidr::new(octets.into(), *prefix).ok()?, via: Ipv4Addr::from(*router) };
        if !route.via.is_unspecified() && routes.len() < Addressing::MOST_ROUTES {
            routes.push(route);
        }
    }
    Some(routes)
}
