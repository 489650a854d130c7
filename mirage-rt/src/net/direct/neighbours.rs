//! Who has which Ethernet address: a bounded, hashed table that resolves any number of hosts at once.
//!
//! An entry that was not confirmed for a while is still used while it is asked for again, so that a living neighbour never
//! makes anybody wait. Packets to a neighbour that is not known yet are held here, a few for each.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
#[cfg(feature = "ipv6")]
use core::net::Ipv6Addr;

use super::ethernet::Mac;
use super::hash::{Index, Keyed};
use crate::packet::PacketMut;
use crate::time::{Duration, Instant};

/// Entries at most; those that are worth least are given up for new ones.
const MOST: usize = 1024;
/// Of how many entries the one that is worth least is given up.
const COMPARED: usize = 16;
/// Packets held for one neighbour at most.
const HELD_EACH: usize = 8;
/// Packets held for all neighbours at most.
const HELD_MOST: usize = 128;
/// How long a neighbour counts as known after it was last heard of.
const FRESH: Duration = Duration::from_secs(60);
/// How long an answer may take before the question is repeated.
const PATIENCE: Duration = Duration::from_secs(1);
/// Questions without an answer before a neighbour is given up.
const TRIES: u8 = 3;

/// What to do with a packet for a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Send it there.
    Known(Mac),
    /// Send it there, and ask whether the neighbour is still there.
    Stale(Mac),
    /// Hold it and ask.
    Unknown,
    /// Hold it; the neighbour was asked already.
    Asked,
}

/// What a neighbour is known by.
pub trait Address: Copy + PartialEq {
    fn hash(self, key: &Keyed) -> u64;
}

impl Address for Ipv4Addr {
    fn hash(self, key: &Keyed) -> u64 {
        key.hash(&self.octets())
    }
}

#[cfg(feature = "ipv6")]
impl Address for Ipv6Addr {
    fn hash(self, key: &Keyed) -> u64 {
        key.hash(&self.octets())
    }
}

struct Entry<A> {
    address: A,
    generation: u32,
    mac: Option<Mac>,
    /// Until when `mac` needs no confirmation.
    fresh_until: Instant,
    /// Questions asked since the last answer.
    asked: u8,
    held: VecDeque<PacketMut>,
}

impl<A> Entry<A> {
    /// How much would be lost with it: least with one that does not answer, then with one that is asked for, then with one
    /// that is known, the longer ago it was heard of the less.
    fn worth(&self) -> u64 {
        match self.mac {
            Some(_) => 4 + self.fresh_until.as_nanos(),
            None => u64::from(self.asked > 0) + 2 * u64::from(!self.held.is_empty()),
        }
    }
}

/// A question that is out.
struct Question {
    due: Instant,
    index: usize,
    generation: u32,
}

/// The table, of one family of addresses.
pub struct Neighbours<A> {
    key: Keyed,
    index: Index,
    entries: Vec<Entry<A>>,
    /// The one that a packet came from last: often the next one goes there.
    latest: usize,
    /// The next entry to be given up when there is no room.
    hand: usize,
    /// In the order of their due times, as they all wait equally long.
    questions: VecDeque<Question>,
    held: usize,
    /// Packets that were dropped here so far.
    dropped: u64,
}

impl<A: Address> Neighbours<A> {
    pub fn new(key: Keyed) -> Neighbours<A> {
        Neighbours {
            key,
            index: Index::default(),
            entries: Vec::new(),
            latest: 0,
            hand: 0,
            questions: VecDeque::new(),
            held: 0,
            dropped: 0,
        }
    }

    /// Forgets all neighbours, and drops what waits for them.
    pub fn clear(&mut self) {
        self.dropped += self.held as u64;
        *self = Neighbours { dropped: self.dropped, ..Neighbours::new(self.key) };
    }

    /// How many neighbours are in the table.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many packets were dropped here, as their neighbours did not answer or too many were held.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// What to do with a packet for `address`. [`Resolution::Stale`] and [`Resolution::Unknown`] count as asked.
    pub fn resolve(&mut self, now: Instant, address: A) -> Resolution {
        let index = match self.find(address) {
            Some(index) => index,
            None => self.insert(address),
        };
        let entry = &mut self.entries[index];
        match entry.mac {
            Some(mac) if now < entry.fresh_until || entry.asked > 0 => Resolution::Known(mac),
            Some(mac) => {
                self.ask(now, index);
                Resolution::Stale(mac)
            }
            None if entry.asked > 0 => Resolution::Asked,
            None => {
                self.ask(now, index);
                Resolution::Unknown
            }
        }
    }

    /// Whether packets for `address` would be dropped because enough are held for it, or in all.
    pub fn is_full(&self, address: A) -> bool {
        let Some(entry) = self.find(address).map(|index| &self.entries[index]) else {
            return self.held >= HELD_MOST;
        };
        entry.mac.is_none() && (entry.held.len() >= HELD_EACH || self.held >= HELD_MOST)
    }

    /// Keeps a packet, its IP header first, until `address` answers. When there is no room the packet is dropped.
    pub fn hold(&mut self, address: A, packet: PacketMut) {
        if self.is_full(address) {
            self.dropped += 1;
            return;
        }
        if let Some(index) = self.find(address) {
            self.entries[index].held.push_back(packet);
            self.held += 1;
        }
    }

    /// `address` has said that its Ethernet address is `mac`. Entries that do not exist are made only when `make` is set and
    /// there is room. Returns the packets that waited for it.
    pub fn learn(&mut self, now: Instant, address: A, mac: Mac, make: bool) -> VecDeque<PacketMut> {
        let index = match self.find(address) {
            Some(index) => index,
            None if make && self.entries.len() < MOST => self.insert(address),
            None => return VecDeque::new(),
        };
        let entry = &mut self.entries[index];
        entry.mac = Some(mac);
        entry.fresh_until = now + FRESH;
        entry.asked = 0;
        let held = core::mem::take(&mut entry.held);
        self.held -= held.len();
        held
    }

    /// A packet came from `address` by way of `mac`: if that is what the table says, it is so.
    pub fn confirm(&mut self, now: Instant, address: A, mac: Mac) {
        if let Some(index) = self.find(address) {
            self.latest = index;
            let entry = &mut self.entries[index];
            if entry.mac == Some(mac) {
                entry.fresh_until = now + FRESH;
                entry.asked = 0;
            }
        }
    }

    /// Whether `address` is in the table.
    pub fn has(&self, address: A) -> bool {
        self.find(address).is_some()
    }

    /// The Ethernet address of a neighbour, confirmed or not.
    pub fn mac(&self, address: A) -> Option<Mac> {
        self.entries.get(self.find(address)?)?.mac
    }

    /// `address` has mentioned, where it could not know that it can be reached, that its Ethernet address is `mac` (RFC 4861,
    /// 7.2.3): it is used, and asked for again. Returns the packets that waited for it.
    pub fn mention(&mut self, now: Instant, address: A, mac: Mac, make: bool) -> VecDeque<PacketMut> {
        match self.mac(address) {
            Some(known) if known == mac => VecDeque::new(),
            _ => {
                let held = self.learn(now, address, mac, make);
                self.suspect(now, address);
                held
            }
        }
    }

    /// `address` has advertised its Ethernet address (RFC 4861, 7.2.5). Returns the packets that waited for it.
    #[cfg(feature = "ipv6")]
    pub fn advertise(
        &mut self,
        now: Instant,
        address: A,
        mac: Option<Mac>,
        solicited: bool,
        overriding: bool,
    ) -> VecDeque<PacketMut> {
        let Some(index) = self.find(address) else { return VecDeque::new() };
        let entry = &mut self.entries[index];
        let (Some(told), known) = (mac.or(entry.mac), entry.mac) else { return VecDeque::new() };
        if known.is_some_and(|known| known != told) && !overriding {
            // Somebody else says so: what is known is used until it turns out to be wrong.
            if now < entry.fresh_until {
                entry.fresh_until = now;
            }
            return VecDeque::new();
        }
        if solicited {
            return self.learn(now, address, told, false);
        }
        if known == Some(told) {
            return VecDeque::new();
        }
        let held = self.learn(now, address, told, false);
        self.suspect(now, address);
        held
    }

    /// What is known of `address` needs confirmation.
    fn suspect(&mut self, now: Instant, address: A) {
        if let Some(index) = self.find(address) {
            self.entries[index].fresh_until = now;
        }
    }

    /// When [`next_due`](Neighbours::next_due) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.questions.front().map(|question| question.due)
    }

    /// The next neighbour whose answer is due: ask it again, or hear that it was given up and its packets were dropped.
    pub fn next_due(&mut self, now: Instant) -> Option<Due<A>> {
        loop {
            let question = self.questions.front()?;
            if question.due > now {
                return None;
            }
            let (index, generation) = (question.index, question.generation);
            self.questions.pop_front();
            let entry = &mut self.entries[index];
            if entry.generation != generation || entry.asked == 0 {
                continue;
            }
            let address = entry.address;
            if entry.asked < TRIES {
                self.ask(now, index);
                return Some(Due::Ask(address));
            }
            entry.asked = 0;
            entry.mac = None;
            self.held -= entry.held.len();
            self.dropped += entry.held.len() as u64;
            entry.held.clear();
            return Some(Due::GivenUp(address));
        }
    }

    #[inline(always)]
    fn find(&self, address: A) -> Option<usize> {
        match self.entries.get(self.latest) {
            Some(latest) if latest.address == address => Some(self.latest),
            _ => self.search(address),
        }
    }

    #[inline(never)]
    fn search(&self, address: A) -> Option<usize> {
        let is_it = |index: u32| self.entries.get(index as usize).is_some_and(|entry| entry.address == address);
        self.index.find(address.hash(&self.key), is_it).map(|index| index as usize)
    }

    /// Puts a question for the entry on the list, unless an earlier one is still there.
    fn ask(&mut self, now: Instant, index: usize) {
        let entry = &mut self.entries[index];
        entry.asked += 1;
        entry.generation = entry.generation.wrapping_add(1);
        let question = Question { due: now + PATIENCE, index, generation: entry.generation };
        if self.questions.len() >= 4 * MOST {
            // Most are of entries that were given up or have answered: there is one question for each at most.
            for _ in 0..self.questions.len() {
                let Some(old) = self.questions.pop_front() else { break };
                if self.entries[old.index].generation == old.generation {
                    self.questions.push_back(old);
                }
            }
        }
        self.questions.push_back(question);
    }

    /// A new entry, in the place of an old one when there is no room.
    fn insert(&mut self, address: A) -> usize {
        let entry =
            Entry { address, generation: 0, mac: None, fresh_until: Instant::ZERO, asked: 0, held: VecDeque::new() };
        let index = if self.entries.len() < MOST {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let index = self.evictable();
            let old = &mut self.entries[index];
            self.index.remove(old.address.hash(&self.key), index as u32);
            self.held -= old.held.len();
            self.dropped += old.held.len() as u64;
            // Questions about the old one must not be taken for questions about the new one.
            let generation = old.generation.wrapping_add(1);
            *old = Entry { generation, ..entry };
            index
        };
        self.index.insert(address.hash(&self.key), index as u32);
        index
    }

    /// The entry to be given up: of a few that stand far apart, as those that came together are of one kind, the one that is
    /// worth least. So strangers who make up addresses push out each other's, not the gateway's.
    fn evictable(&mut self) -> usize {
        let length = self.entries.len();
        self.hand = (self.hand + 1) % length;
        let some = (0..COMPARED).map(|number| (self.hand + number * (MOST / COMPARED)) % length);
        some.min_by_key(|index| self.entries[*index].worth()).unwrap_or(self.hand)
    }
}

/// What [`Neighbours::next_due`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due<A> {
    /// Ask again for this neighbour.
    Ask(A),
    /// This neighbour does not answer.
    GivenUp(A),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u32) -> Ipv4Addr {
        Ipv4Addr::from(0x0a00_0000 + number)
    }

    fn table() -> Neighbours<Ipv4Addr> {
        Neighbours::new(Keyed::new([1, 2]))
    }

    #[test]
    fn many_hosts_are_resolved_at_once() {
        let mut table = table();
        for number in 0..500 {
            assert_eq!(table.resolve(Instant::ZERO, host(number)), Resolution::Unknown);
            assert_eq!(table.resolve(Instant::ZERO, host(number)), Resolution::Asked);
        }
        for number in 0..500 {
            table.learn(Instant::ZERO, host(number), [2, 0, 0, 0, 0, 1], false);
            assert_eq!(table.resolve(Instant::ZERO, host(number)), Resolution::Known([2, 0, 0, 0, 0, 1]));
        }
    }

    #[test]
    fn a_stale_neighbour_is_used_while_it_is_asked_for() {
        let mut table = table();
        let mac = [2, 0, 0, 0, 0, 1];
        table.learn(Instant::ZERO, host(1), mac, true);
        let later = Instant::ZERO + FRESH;
        assert_eq!(table.resolve(later, host(1)), Resolution::Stale(mac));
        assert_eq!(table.resolve(later, host(1)), Resolution::Known(mac));
        assert_eq!(table.next_due(later + PATIENCE), Some(Due::Ask(host(1))));
        table.confirm(later + PATIENCE, host(1), mac);
        assert_eq!(table.next_due(later + PATIENCE * 2), None);
        assert_eq!(table.resolve(later + PATIENCE * 2, host(1)), Resolution::Known(mac));
    }

    #[test]
    fn a_silent_neighbour_is_given_up_after_three_questions() {
        let mut table = table();
        let mut now = Instant::ZERO;
        assert_eq!(table.resolve(now, host(1)), Resolution::Unknown);
        for _ in 1..TRIES {
            now = table.deadline().expect("a question is out");
            assert_eq!(table.next_due(now), Some(Due::Ask(host(1))));
        }
        now = table.deadline().expect("a question is out");
        assert_eq!(table.next_due(now), Some(Due::GivenUp(host(1))));
        assert_eq!(table.deadline(), None);
        assert_eq!(table.resolve(now, host(1)), Resolution::Unknown);
    }

    #[test]
    fn the_table_stays_bounded() {
        let mut table = table();
        for number in 0..3 * MOST as u32 {
            table.resolve(Instant::ZERO, host(number));
        }
        assert_eq!(table.entries.len(), MOST);
        assert_eq!(table.index.len(), MOST);
        // Strangers who ask for us make entries only while there is room.
        table.learn(Instant::ZERO, host(1_000_000), [2, 0, 0, 0, 0, 1], true);
        assert_eq!(table.find(host(1_000_000)), None);
    }

    #[test]
    fn strangers_push_out_each_other_and_no_neighbour_that_is_known() {
        let mut table = table();
        let mac = [2, 0, 0, 0, 0, 1];
        // So many that came together, those in the middle not heard of for long.
        for number in 0..600 {
            let heard = if (200..400).contains(&number) { Instant::ZERO } else { Instant::ZERO + FRESH };
            table.learn(heard, host(number), mac, true);
        }
        let mut now = Instant::ZERO + FRESH;
        for number in 0..10 * MOST as u32 {
            table.resolve(now, host(1_000_000 + number));
            now += Duration::from_millis(1);
            while table.next_due(now).is_some() {}
        }
        assert!((0..600).all(|number| table.find(host(number)).is_some()));
        // When all are known, those go that were not heard of.
        for number in 600..1200 {
            table.resolve(now, host(number));
            table.learn(now, host(number), mac, false);
        }
        let gone: Vec<u32> = (0..1200).filter(|number| table.find(host(*number)).is_none()).collect();
        assert_eq!(gone.len(), 1200 - MOST);
        assert!(gone.iter().all(|number| (200..400).contains(number)), "{gone:?}");
    }

    #[test]
    fn questions_stay_bounded() {
        let mut table = table();
        for number in 0..20 * MOST as u32 {
            table.resolve(Instant::ZERO, host(number));
        }
        assert!(table.questions.len() <= 4 * MOST);
    }

    #[cfg(feature = "ipv6")]
    #[test]
    fn advertisements_change_only_what_they_may() {
        let (now, mac, other) = (Instant::ZERO, [2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let mut table = table();
        // Nobody has asked for it.
        table.advertise(now, host(1), Some(mac), true, true);
        assert_eq!(table.mac(host(1)), None);
        assert_eq!(table.resolve(now, host(1)), Resolution::Unknown);
        table.advertise(now, host(1), None, true, true);
        assert_eq!(table.resolve(now, host(1)), Resolution::Asked);
        table.advertise(now, host(1), Some(mac), true, false);
        assert_eq!(table.resolve(now, host(1)), Resolution::Known(mac));
        // Another address, without the flag: it is only asked for again.
        table.advertise(now, host(1), Some(other), true, false);
        assert_eq!(table.resolve(now, host(1)), Resolution::Stale(mac));
        table.advertise(now, host(1), None, true, false);
        assert_eq!(table.resolve(now, host(1)), Resolution::Known(mac));
        // With the flag, but nobody asked: used, and asked for.
        table.advertise(now, host(1), Some(other), false, true);
        assert_eq!(table.resolve(now, host(1)), Resolution::Stale(other));
        table.learn(now, host(1), other, false);
        table.mention(now, host(1), other, true);
        assert_eq!(table.resolve(now, host(1)), Resolution::Known(other));
        table.mention(now, host(2), mac, true);
        assert_eq!(table.resolve(now, host(2)), Resolution::Stale(mac));
    }
}
