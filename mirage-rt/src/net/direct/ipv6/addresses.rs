//! The addresses of an interface: duplicate address detection and lifetimes (RFC 4862), and which one to send from
//! (RFC 6724).

use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::net::ipv6::ndp::Prefix;
use crate::time::{Duration, Instant};

/// Addresses at most.
const MOST: usize = 8;
/// How long others have for an objection (RFC 4861, 10: RETRANS_TIMER).
const OBJECTION: Duration = Duration::from_secs(1);
/// A router cannot take away so much of a lifetime at once (RFC 4862, 5.5.3): whoever is on the link could be that router.
const TWO_HOURS: Duration = Duration::from_secs(7200);

/// How far an address has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The others are still to be asked so often whether they have it, the next time then; after the last time they have
    /// until then to say so.
    Tentative(u8, Instant),
    /// It is ours.
    Usable,
    /// Somebody else has it.
    Duplicate,
}

struct Address {
    address: Ipv6Addr,
    state: State,
    /// A router gave its prefix.
    automatic: bool,
    /// Until when new connections may use it, and until when it exists; `None` for ever.
    preferred_until: Option<Instant>,
    valid_until: Option<Instant>,
}

impl Address {
    fn is_usable(&self) -> bool {
        self.state == State::Usable
    }

    /// When something has to be done about it.
    fn due(&self) -> Option<Instant> {
        match self.state {
            State::Tentative(_, at) => Some(self.valid_until.map_or(at, |end| end.min(at))),
            State::Usable | State::Duplicate => self.valid_until,
        }
    }
}

/// What is to be done about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Ask whether somebody has it.
    Probe(Ipv6Addr),
    /// It is ours from now on.
    Usable(Ipv6Addr),
    /// Its lifetime is over.
    Gone(Ipv6Addr),
}

/// The addresses.
pub struct Addresses {
    list: Vec<Address>,
    /// How often the others are asked.
    probes: u8,
}

impl Addresses {
    /// None yet. The others are asked so often whether they have one.
    pub fn new(probes: u8) -> Addresses {
        Addresses { list: Vec::new(), probes }
    }

    /// Adds an address that is kept for ever. The others are asked at `at` whether one of them has it.
    pub fn add(&mut self, address: Ipv6Addr, at: Instant) {
        self.insert(address, at, false, None, None);
    }

    fn insert(
        &mut self,
        address: Ipv6Addr,
        at: Instant,
        automatic: bool,
        preferred_until: Option<Instant>,
        valid_until: Option<Instant>,
    ) -> bool {
        if self.list.len() >= MOST || self.find(address).is_some() {
            return false;
        }
        let state = if self.probes == 0 { State::Usable } else { State::Tentative(self.probes, at) };
        self.list.push(Address { address, state, automatic, preferred_until, valid_until });
        true
    }

    /// A router has said that addresses of this prefix exist (RFC 4862, 5.5.3), of which ours would be `address`. Whether
    /// it is a new one.
    pub fn announce(&mut self, now: Instant, prefix: &Prefix, address: Ipv6Addr) -> bool {
        let [preferred, valid] = [prefix.preferred, prefix.valid].map(|seconds| until(now, seconds));
        if prefix.preferred > prefix.valid {
            return false;
        }
        let Some(known) = self.list.iter_mut().find(|known| known.address == address) else {
            return prefix.valid > 0 && self.insert(address, now, true, preferred, valid);
        };
        if !known.automatic {
            return false;
        }
        known.preferred_until = preferred;
        let two_hours = now + TWO_HOURS;
        let is_more = valid.is_none_or(|end| end > two_hours || known.valid_until.is_some_and(|known| end > known));
        if is_more {
            known.valid_until = valid;
        } else if known.valid_until.is_none_or(|end| end > two_hours) {
            known.valid_until = Some(two_hours);
        }
        false
    }

    fn find(&self, address: Ipv6Addr) -> Option<&Address> {
        self.list.iter().find(|known| known.address == address)
    }

    /// The addresses that are ours, as far as that is certain.
    pub fn usable(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.list.iter().filter(|known| known.is_usable()).map(|known| known.address)
    }

    /// Whether packets to `address` are for us.
    pub fn is_ours(&self, address: Ipv6Addr) -> bool {
        self.find(address).is_some_and(Address::is_usable)
    }

    /// Whether sockets can be bound to `address`, which may become ours a little later.
    pub fn is_bindable(&self, address: Ipv6Addr) -> bool {
        self.find(address).is_some_and(|known| known.state != State::Duplicate)
    }

    /// Whether `address` is not known to be ours yet, but may become so.
    pub fn is_tentative(&self, address: Ipv6Addr) -> bool {
        self.find(address).is_some_and(|known| matches!(known.state, State::Tentative(..)))
    }

    /// Whether packets to the group `group` are for us: each address has one in which it is asked for.
    pub fn is_solicited(&self, group: Ipv6Addr) -> bool {
        let is_its = |known: &Address| known.state != State::Duplicate && super::solicited_node(known.address) == group;
        self.list.iter().any(is_its)
    }

    /// Somebody else has `address`.
    pub fn set_duplicate(&mut self, address: Ipv6Addr) {
        if let Some(known) = self.list.iter_mut().find(|known| known.address == address) {
            known.state = State::Duplicate;
        }
    }

    /// The address to send to `destination` from (RFC 6724, section 5, rules 1 to 3 and 8).
    pub fn source_for(&self, now: Instant, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        let is_local = is_link_scope(destination);
        let rank = |known: &&Address| {
            let is_preferred = known.preferred_until.is_none_or(|end| now < end);
            let common = (known.address.to_bits() ^ destination.to_bits()).leading_zeros();
            (known.address == destination, is_preferred, common)
        };
        // A packet to somewhere else cannot come from an address that means nothing there.
        let candidates = self.list.iter().filter(|known| known.is_usable() && is_link_scope(known.address) == is_local);
        candidates.max_by_key(rank).map(|known| known.address)
    }

    /// When [`next_due`](Addresses::next_due) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.list.iter().filter_map(Address::due).min()
    }

    /// The next thing to be done at `now`.
    pub fn next_due(&mut self, now: Instant) -> Option<Due> {
        let index = self.list.iter().position(|known| known.due().is_some_and(|due| due <= now))?;
        let known = &mut self.list[index];
        let address = known.address;
        if known.valid_until.is_some_and(|end| end <= now) {
            self.list.remove(index);
            return Some(Due::Gone(address));
        }
        match known.state {
            State::Tentative(left, _) if left > 0 => {
                known.state = State::Tentative(left - 1, now + OBJECTION);
                Some(Due::Probe(address))
            }
            _ => {
                known.state = State::Usable;
                Some(Due::Usable(address))
            }
        }
    }
}

/// When a lifetime of so many seconds ends.
pub fn until(now: Instant, seconds: u32) -> Option<Instant> {
    (seconds != u32::MAX).then(|| now + Duration::from_secs(seconds.into()))
}

/// Whether packets to `address` stay on the link.
fn is_link_scope(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_unicast_link_local() || first == 0xff && second & 15 <= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 7);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 7);
    const LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn prefix(preferred: u32, valid: u32) -> Prefix {
        Prefix { prefix: A, length: 64, on_link: true, autonomous: true, valid, preferred }
    }

    /// With all these addresses usable.
    fn usable(list: &[Ipv6Addr]) -> Addresses {
        let mut addresses = Addresses::new(1);
        list.iter().for_each(|address| addresses.add(*address, at(0)));
        for _ in list {
            addresses.next_due(at(0));
        }
        while addresses.next_due(at(1)).is_some() {}
        addresses
    }

    #[test]
    fn an_address_is_used_when_nobody_objects() {
        let mut addresses = Addresses::new(1);
        addresses.add(A, at(1));
        assert_eq!(addresses.next_due(at(0)), None);
        assert!(addresses.is_tentative(A) && !addresses.is_ours(A) && addresses.is_bindable(A));
        assert_eq!(addresses.deadline(), Some(at(1)));
        assert_eq!(addresses.next_due(at(1)), Some(Due::Probe(A)));
        assert_eq!(addresses.next_due(at(1)), None);
        assert_eq!(addresses.next_due(at(2)), Some(Due::Usable(A)));
        assert!(addresses.is_ours(A) && !addresses.is_tentative(A));
        assert_eq!((addresses.next_due(at(9999)), addresses.deadline()), (None, None));
        addresses.add(B, at(0));
        addresses.next_due(at(0));
        addresses.set_duplicate(B);
        assert_eq!(addresses.next_due(at(9)), None);
        assert!(!addresses.is_ours(B) && !addresses.is_bindable(B));
    }

    #[test]
    fn the_address_to_send_from_means_something_to_the_destination() {
        let addresses = usable(&[LOCAL, A, B]);
        let near_b = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 9);
        assert_eq!(addresses.source_for(at(2), near_b), Some(B));
        assert_eq!(addresses.source_for(at(2), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9)), Some(LOCAL));
        assert_eq!(addresses.source_for(at(2), super::super::ALL_NODES), Some(LOCAL));
        assert_eq!(usable(&[LOCAL]).source_for(at(2), near_b), None);
    }

    #[test]
    fn lifetimes_follow_the_routers_within_limits() {
        let mut addresses = Addresses::new(1);
        assert!(addresses.announce(at(0), &prefix(100, 200), A));
        assert!(!addresses.announce(at(0), &prefix(300, 200), B), "it contradicts itself");
        assert!(!addresses.announce(at(0), &prefix(0, 0), B));
        assert_eq!(addresses.next_due(at(0)), Some(Due::Probe(A)));
        assert_eq!(addresses.next_due(at(1)), Some(Due::Usable(A)));
        // Deprecated addresses are used when there is nothing better.
        assert_eq!(addresses.source_for(at(150), B), Some(A));
        // More is believed at once; less than two hours is not.
        addresses.announce(at(0), &prefix(100, 100_000), A);
        addresses.announce(at(1), &prefix(0, 0), A);
        assert_eq!(addresses.deadline(), Some(at(7201)));
        addresses.announce(at(7000), &prefix(0, 10), A);
        assert_eq!(addresses.deadline(), Some(at(7201)), "what is left is less");
        assert_eq!(addresses.next_due(at(7201)), Some(Due::Gone(A)));
        assert!(!addresses.is_ours(A));
        addresses.announce(at(0), &prefix(u32::MAX, u32::MAX), A);
        addresses.next_due(at(0));
        addresses.next_due(at(1));
        assert_eq!(addresses.deadline(), None);
    }

    #[test]
    fn routers_cannot_make_any_number_of_addresses() {
        let mut addresses = Addresses::new(1);
        for number in 0..100 {
            addresses.announce(at(0), &prefix(100, 100), Ipv6Addr::from_bits(A.to_bits() + number));
        }
        assert_eq!(addresses.list.len(), MOST);
    }
}
