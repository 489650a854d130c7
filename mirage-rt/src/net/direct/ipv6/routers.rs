//! What routers have said: which of them lead elsewhere, who is a neighbour, which name servers there are (RFC 4861, 5.2 and
//! 6.3.4; RFC 8106).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use super::addresses::until;
use crate::keys::Cidr6;
use crate::net::ipv6::ndp::{Prefix, Servers};
use crate::time::{Duration, Instant};

/// Routers, prefixes and name servers that are kept at most.
const MOST: usize = 8;

struct Router {
    address: Ipv6Addr,
    until: Option<Instant>,
    /// It did not answer when it was asked last.
    silent: bool,
}

struct OnLink {
    prefix: Cidr6,
    until: Option<Instant>,
}

struct Server {
    address: Ipv6Addr,
    until: Option<Instant>,
}

/// What is known.
#[derive(Default)]
pub struct Routers {
    routers: Vec<Router>,
    prefixes: Vec<OnLink>,
    servers: Vec<Server>,
    /// The most bytes of a packet, when a router has said it.
    pub mtu: Option<u16>,
}

fn is_over(now: Instant, until: Option<Instant>) -> bool {
    until.is_some_and(|until| until <= now)
}

impl Routers {
    /// A router that is there for ever.
    pub fn fix_router(&mut self, address: Ipv6Addr) {
        self.routers.push(Router { address, until: None, silent: false });
    }

    /// A prefix that is there for ever.
    pub fn fix_prefix(&mut self, prefix: Cidr6) {
        self.prefixes.push(OnLink { prefix, until: None });
    }

    /// `address` is a default router for so many seconds, or is none (0).
    pub fn hear_router(&mut self, now: Instant, address: Ipv6Addr, lifetime: u16) {
        self.expire(now);
        let end = Some(now + Duration::from_secs(lifetime.into()));
        let has_room = self.routers.len() < MOST;
        match self.routers.iter_mut().find(|router| router.address == address) {
            Some(router) if router.until.is_some() => router.until = end,
            Some(_) => {}
            None if lifetime > 0 && has_room => {
                self.routers.push(Router { address, until: end, silent: false });
            }
            None => {}
        }
        self.expire(now);
    }

    /// A neighbour has said that it is no router (RFC 4861, 7.2.5).
    pub fn forget_router(&mut self, address: Ipv6Addr) {
        self.routers.retain(|router| router.address != address || router.until.is_none());
    }

    /// Whether `address` answers.
    pub fn set_silent(&mut self, address: Ipv6Addr, silent: bool) {
        if let Some(router) = self.routers.iter_mut().find(|router| router.address == address) {
            router.silent = silent;
        }
    }

    /// Addresses of this prefix are neighbours, for as long as it says.
    pub fn hear_prefix(&mut self, now: Instant, heard: &Prefix) {
        self.expire(now);
        let Ok(prefix) = Cidr6::new(heard.prefix, heard.length) else { return };
        let end = until(now, heard.valid);
        let is_it =
            |known: &&mut OnLink| known.prefix.prefix() == prefix.prefix() && known.prefix.contains(heard.prefix);
        let has_room = self.prefixes.len() < MOST;
        match self.prefixes.iter_mut().find(is_it) {
            Some(known) if known.until.is_some() => known.until = end,
            // What was configured stays; what has no end yet gets one.
            Some(_) => {}
            None if heard.valid > 0 && has_room => self.prefixes.push(OnLink { prefix, until: end }),
            None => {}
        }
        self.expire(now);
    }

    /// These are name servers for so many seconds, or are none (0).
    pub fn hear_servers(&mut self, now: Instant, lifetime: u32, servers: &Servers<'_>) {
        self.expire(now);
        for address in servers.addresses().filter(|address| crate::net::ipv6::is_unicast(*address)) {
            let end = until(now, lifetime);
            let has_room = self.servers.len() < MOST;
            match self.servers.iter_mut().find(|known| known.address == address) {
                Some(known) => known.until = end,
                None if lifetime > 0 && has_room => self.servers.push(Server { address, until: end }),
                None => {}
            }
        }
        self.expire(now);
    }

    /// The router that leads elsewhere: one that answers, if there is one.
    pub fn default_router(&self, now: Instant) -> Option<Ipv6Addr> {
        let alive = self.routers.iter().filter(|router| !is_over(now, router.until));
        alive.min_by_key(|router| router.silent).map(|router| router.address)
    }

    /// Whether `address` is a neighbour.
    pub fn is_on_link(&self, now: Instant, address: Ipv6Addr) -> bool {
        self.link_prefix(now, address).is_some()
    }

    /// Bits of the longest prefix by which `address` is a neighbour.
    pub fn link_prefix(&self, now: Instant, address: Ipv6Addr) -> Option<u8> {
        let fitting = self.prefixes.iter().filter(|known| !is_over(now, known.until) && known.prefix.contains(address));
        fitting.map(|known| known.prefix.prefix()).max()
    }

    /// The name servers.
    pub fn servers(&self, now: Instant) -> Vec<Ipv6Addr> {
        self.servers.iter().filter(|server| !is_over(now, server.until)).map(|server| server.address).collect()
    }

    /// Forgets what is over. That needs no timer: what is over is of no use before either.
    fn expire(&mut self, now: Instant) {
        self.routers.retain(|known| !is_over(now, known.until));
        self.prefixes.retain(|known| !is_over(now, known.until));
        self.servers.retain(|known| !is_over(now, known.until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ipv6::ndp::{self, Choice, Message};

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn router(number: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number)
    }

    #[test]
    fn routers_are_used_while_they_last_and_answer() {
        let mut routers = Routers::default();
        assert_eq!(routers.default_router(at(0)), None);
        routers.hear_router(at(0), router(1), 30);
        routers.hear_router(at(0), router(2), 60);
        assert_eq!(routers.default_router(at(29)), Some(router(1)));
        routers.set_silent(router(1), true);
        assert_eq!(routers.default_router(at(29)), Some(router(2)));
        routers.set_silent(router(2), true);
        assert!(routers.default_router(at(29)).is_some(), "one that may be back is better than none");
        assert_eq!(routers.default_router(at(30)), Some(router(2)));
        routers.hear_router(at(31), router(2), 0);
        assert_eq!(routers.default_router(at(31)), None);
        // One that was configured stays.
        routers.fix_router(router(9));
        routers.hear_router(at(31), router(9), 0);
        routers.forget_router(router(9));
        assert_eq!(routers.default_router(at(9999)), Some(router(9)));
        for number in 100..200 {
            routers.hear_router(at(32), router(number), 60);
        }
        assert_eq!(routers.routers.len(), MOST);
    }

    #[test]
    fn prefixes_and_servers_have_an_end() {
        let prefix = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
        let here = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 9);
        let heard = |valid| Prefix { prefix, length: 64, on_link: true, autonomous: true, valid, preferred: 0 };
        let mut routers = Routers::default();
        routers.hear_prefix(at(0), &heard(100));
        assert!(routers.is_on_link(at(99), here) && !routers.is_on_link(at(100), here));
        routers.hear_prefix(at(50), &heard(0));
        assert!(!routers.is_on_link(at(50), here));
        let mut message = Vec::from([134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 25, 3, 0, 0, 0, 0, 0, 60]);
        message.extend_from_slice(&here.octets());
        let Some(Message::Router { mut options, .. }) = ndp::read(router(1), ndp::ALL_NODES, 255, &message) else {
            panic!("a sound message")
        };
        let Some(Choice::Servers(lifetime, servers)) = options.next() else { panic!("servers") };
        routers.hear_servers(at(0), lifetime, &servers);
        assert_eq!((routers.servers(at(59)), routers.servers(at(60))), (Vec::from([here]), Vec::new()));
        routers.hear_servers(at(1), 0, &servers);
        assert!(routers.servers(at(1)).is_empty());
    }
}
