//! Groups that sockets are in, and what the network is told of them: IGMP and MLD as a host speaks them.
//!
//! A querier's version is believed, and the last one heard of an older version for as long as RFC 3376, 8.12, says. Reports are
//! never suppressed by those of others but for queriers of older versions, which expect it.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::ethernet::Mac;
use super::ip::{Ip, IpOut};
use super::ipv4::{self, Ipv4};
use super::stack::Stack;
use crate::net::groups::{Record, Version, igmp};
use crate::net::udp_options::JoinError;
use crate::packet::PacketMut;
use crate::time::{Duration, Instant};

/// Groups of all sockets together.
pub const MOST: usize = 32;
/// How often a change is said (RFC 3376, 8.1).
const ROBUSTNESS: u8 = 2;
/// The time between (RFC 3376, 8.11).
const AGAIN: Duration = Duration::from_secs(1);
/// An older querier is remembered for so long (RFC 3376, 8.12, with its default times).
const OLDER: Duration = Duration::from_secs(260);
/// Queries are not answered faster than so: there may be many.
const LEAST_WAIT: Duration = Duration::from_millis(100);
/// The member that is the stack itself.
#[cfg(feature = "ipv6")]
const OWN: usize = usize::MAX;

/// A group, and which sockets are in it.
struct Group {
    address: IpAddr,
    members: Vec<usize>,
    /// How often it is still to be said that it is new, and when.
    news: (u8, Instant),
    /// When a query for it is to be answered.
    answer_at: Option<Instant>,
}

/// What is known of whoever asks for groups of a family.
struct Querier {
    /// An older version than the newest, and until when that is believed.
    older: Option<(Version, Instant)>,
    /// When a query for all groups is to be answered.
    answer_at: Option<Instant>,
}

impl Querier {
    fn version(&self, now: Instant) -> Version {
        self.older.filter(|(_, until)| now < *until).map_or(Version::New, |(version, _)| version)
    }
}

/// All groups of an interface.
pub struct Groups {
    list: Vec<Group>,
    /// Groups that were left, how often that is still to be said, and when.
    left: Vec<(IpAddr, u8, Instant)>,
    /// For IPv4 and IPv6.
    queriers: [Querier; 2],
    /// Groups of Ethernet addresses that the device does not know yet to be joined or left.
    device: Vec<(Mac, bool)>,
    /// The state of the link and the address for which the groups were said last.
    said_for: (u64, Ipv4Addr),
    random: u64,
}

impl Groups {
    pub fn new(seed: u64) -> Groups {
        let queriers = [(); 2].map(|()| Querier { older: None, answer_at: None });
        let (list, left, device) = (Vec::new(), Vec::new(), Vec::new());
        Groups { list, left, queriers, device, said_for: (0, Ipv4Addr::UNSPECIFIED), random: seed | 1 }
    }

    /// A time up to `most` (xorshift: nothing depends on nobody's guessing it).
    fn within(&mut self, most: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        Duration::from_nanos(self.random % (most.as_nanos() as u64).max(1))
    }

    /// Whether some socket is in `group`.
    pub fn is_heard(&self, group: IpAddr) -> bool {
        self.list.iter().any(|known| known.address == group)
    }

    /// Whether the socket `member` is in `group`.
    pub fn has(&self, member: usize, group: IpAddr) -> bool {
        self.list.iter().any(|known| known.address == group && known.members.contains(&member))
    }

    /// The socket `member` is in `group` from now on.
    pub fn join(&mut self, now: Instant, member: usize, group: IpAddr) -> Result<(), JoinError> {
        if !group.is_multicast() {
            return Err(JoinError::NotAGroup(group));
        }
        if let Some(known) = self.list.iter_mut().find(|known| known.address == group) {
            if !known.members.contains(&member) {
                known.members.push(member);
            }
            return Ok(());
        }
        if self.list.len() >= MOST {
            return Err(JoinError::TooMany);
        }
        self.left.retain(|(left, ..)| *left != group);
        let news = (if is_reported(group) { ROBUSTNESS } else { 0 }, now);
        self.list.push(Group { address: group, members: Vec::from([member]), news, answer_at: None });
        self.device.push((mac_of(group), true));
        Ok(())
    }

    /// The socket `member` is not in `group` any more; whether it was.
    pub fn leave(&mut self, now: Instant, member: usize, group: IpAddr) -> bool {
        let Some(index) = self.list.iter().position(|known| known.address == group) else { return false };
        let known = &mut self.list[index];
        let Some(place) = known.members.iter().position(|known| *known == member) else { return false };
        known.members.swap_remove(place);
        if known.members.is_empty() {
            self.list.swap_remove(index);
            let mac = mac_of(group);
            // Several groups have the same one.
            if !self.list.iter().any(|known| mac_of(known.address) == mac) {
                self.device.push((mac, false));
            }
            if is_reported(group) && self.left.len() < MOST {
                self.left.push((group, ROBUSTNESS, now));
            }
        }
        true
    }

    /// The socket `member` was closed; whether it was in some group.
    pub fn leave_all(&mut self, now: Instant, member: usize) -> bool {
        let groups: Vec<_> =
            self.list.iter().filter(|known| known.members.contains(&member)).map(|known| known.address).collect();
        for group in &groups {
            self.leave(now, member, *group);
        }
        !groups.is_empty()
    }

    /// The next group of Ethernet addresses that the device is to join, or to leave.
    pub fn pop_device(&mut self) -> Option<(Mac, bool)> {
        self.device.pop()
    }

    /// A query for `group`, or all, which is to be answered within a time.
    fn asked(&mut self, now: Instant, is_ipv6: bool, version: Version, group: Option<IpAddr>, within: Duration) {
        let family = usize::from(is_ipv6);
        if version != Version::New && version <= self.queriers[family].version(now) {
            self.queriers[family].older = Some((version, now + OLDER));
        }
        let at = now + self.within(within).max(LEAST_WAIT);
        let sooner = |set: &mut Option<Instant>| *set = Some(set.map_or(at, |before| before.min(at)));
        match group {
            None => sooner(&mut self.queriers[family].answer_at),
            Some(group) => {
                if let Some(known) = self.list.iter_mut().find(|known| known.address == group) {
                    sooner(&mut known.answer_at);
                }
            }
        }
    }

    /// Somebody else has said that `group` is heard, which is enough for older queriers.
    fn overheard(&mut self, now: Instant, group: IpAddr) {
        if self.queriers[usize::from(group.is_ipv6())].version(now) != Version::New
            && let Some(known) = self.list.iter_mut().find(|known| known.address == group)
        {
            known.answer_at = None;
        }
    }

    /// When [`run`](Groups::run) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let news = self.list.iter().filter(|known| known.news.0 > 0).map(|known| known.news.1);
        let answers = self.list.iter().filter_map(|known| known.answer_at);
        let left = self.left.iter().map(|(.., at)| *at);
        news.chain(answers).chain(left).chain(self.queriers.iter().filter_map(|querier| querier.answer_at)).min()
    }

    /// Says what is due. `changes` of the link, or another address, have all groups said anew: the switch may be another.
    pub fn run(&mut self, now: Instant, changes: u64, ip: &mut Ip) {
        #[cfg(feature = "ipv6")]
        while let Some(group) = ip.pop_solicited() {
            // They are as many as the interface has addresses.
            let _ = self.join(now, OWN, group.into());
        }
        let state = (changes, ip.address());
        if core::mem::replace(&mut self.said_for, state) != state {
            for known in self.list.iter_mut().filter(|known| is_reported(known.address)) {
                known.news = (ROBUSTNESS, now);
            }
        }
        if self.deadline().is_none_or(|at| now < at) {
            return;
        }
        for index in 0..self.list.len() {
            let again = now + self.within(AGAIN);
            let known = &mut self.list[index];
            let mut record = None;
            if known.answer_at.is_some_and(|at| at <= now) {
                known.answer_at = None;
                record = Some(Record::Heard);
            }
            if known.news.0 > 0 && known.news.1 <= now {
                known.news = (known.news.0 - 1, again);
                record = Some(Record::Joined);
            }
            if let Some(record) = record.filter(|_| is_reported(known.address)) {
                let address = known.address;
                self.say(now, &[(record, address)], ip);
            }
        }
        for index in (0..self.left.len()).rev() {
            let again = now + self.within(AGAIN);
            let (group, times, at) = &mut self.left[index];
            if *at > now {
                continue;
            }
            let group = *group;
            (*times, *at) = (*times - 1, again);
            if *times == 0 {
                self.left.swap_remove(index);
            }
            self.say(now, &[(Record::Left, group)], ip);
        }
        for family in 0..2 {
            if self.queriers[family].answer_at.is_some_and(|at| at <= now) {
                self.queriers[family].answer_at = None;
                let is_its = |known: &&Group| known.address.is_ipv6() == (family == 1) && is_reported(known.address);
                let all: Vec<_> = self.list.iter().filter(is_its).map(|known| (Record::Heard, known.address)).collect();
                if !all.is_empty() {
                    self.say(now, &all, ip);
                }
            }
        }
    }

    /// Sends a report on groups of one family, in the querier's version.
    fn say(&self, now: Instant, records: &[(Record, IpAddr)], ip: &mut Ip) {
        #[cfg(feature = "ipv6")]
        if records.first().is_some_and(|(_, group)| group.is_ipv6()) {
            return self.say_by_mld(now, records, ip);
        }
        let records: Vec<_> = records.iter().filter_map(|(record, group)| Some((*record, v4(*group)?))).collect();
        let version = self.queriers[0].version(now);
        if version == Version::New {
            return send_igmp(ip, igmp::REPORTS, &igmp::report(&records));
        }
        for (record, group) in records {
            if let Some((to, message)) = igmp::old(version, record, group) {
                send_igmp(ip, to, &message);
            }
        }
    }

    #[cfg(feature = "ipv6")]
    fn say_by_mld(&self, now: Instant, records: &[(Record, IpAddr)], ip: &mut Ip) {
        use crate::net::groups::mld;
        let records: Vec<_> = records.iter().filter_map(|(record, group)| Some((*record, v6(*group)?))).collect();
        if self.queriers[1].version(now) == Version::New {
            return ip.send_mld(mld::REPORTS, &mld::report(&records));
        }
        for (record, group) in records {
            let (to, message) = mld::old(record, group);
            ip.send_mld(to, &message);
        }
    }
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(address) = address { Some(address) } else { None }
}

#[cfg(feature = "ipv6")]
fn v6(address: IpAddr) -> Option<core::net::Ipv6Addr> {
    if let IpAddr::V6(address) = address { Some(address) } else { None }
}

/// Whether anybody is told of the group: all hosts are in that of all hosts, and what stays in a host is nobody's business.
fn is_reported(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(group) => group != igmp::ALL_HOSTS,
        IpAddr::V6(group) => group.octets()[1] & 15 > 1 && group.segments() != [0xff02, 0, 0, 0, 0, 0, 0, 1],
    }
}

/// The Ethernet address of a group (RFC 1112, 6.4; RFC 2464, 7).
pub fn mac_of(group: IpAddr) -> Mac {
    match group {
        IpAddr::V4(group) => {
            let [_, a, b, c] = group.octets();
            [1, 0, 0x5e, a & 0x7f, b, c]
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}

/// Bytes of an IPv4 header with the option that has routers look at the packet (RFC 2113).
const ALERT_HEADER: usize = ipv4::HEADER + 4;

/// Sends a message of IGMP: to this link only, and routers look at it (RFC 3376, 4).
fn send_igmp(ip: &mut Ip, to: Ipv4Addr, message: &[u8]) {
    let source = ip.address();
    let Some(mut packet) = ip.alloc() else { return };
    let whole = packet.resize_head(ALERT_HEADER + message.len());
    let length = (whole.len() as u16).to_be_bytes();
    let Some((header, body)) = whole.split_first_chunk_mut::<ALERT_HEADER>() else { return };
    header[..12].copy_from_slice(&[0x46, 0xc0, length[0], length[1], 0, 0, 0x40, 0, 1, 2, 0, 0]);
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&to.octets());
    header[20..].copy_from_slice(&[0x94, 4, 0, 0]);
    let sum = !super::checksum::data(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    body.copy_from_slice(message);
    queue(ip, packet, to.into());
}

fn queue(ip: &mut Ip, packet: PacketMut, to: IpAddr) {
    ip.count_sent(&packet);
    ip.queue(packet, mac_of(to));
}

#[cfg(feature = "ipv6")]
impl Ip {
    /// The next group in which neighbours ask for one of our addresses, and in which nobody has been told yet that we are.
    fn pop_solicited(&mut self) -> Option<core::net::Ipv6Addr> {
        self.ipv6.as_mut()?.solicited.pop()
    }

    /// Sends a message of MLD: to this link only, and routers look at it (RFC 3810, 5).
    fn send_mld(&mut self, to: core::net::Ipv6Addr, message: &[u8]) {
        use crate::net::ipv6::packet::{self, HEADER, protocol};
        use smoltcp::wire::{IpProtocol, checksum};
        /// Options for every node on the way: a router's alert (RFC 2711), and padding.
        const ALERT: [u8; 8] = [protocol::ICMP, 0, 5, 2, 0, 0, 1, 0];
        let Some(layer) = &self.ipv6 else { return };
        // Before there is an address, none (RFC 3810, 5.2.13).
        let source = layer.addresses.source_for(self.now, to).unwrap_or(core::net::Ipv6Addr::UNSPECIFIED);
        let Some(mut packet) = self.alloc() else { return };
        let whole = packet.resize_head(HEADER + ALERT.len() + message.len());
        let Some((head, rest)) = whole.split_first_chunk_mut::<HEADER>() else { return };
        packet::emit_header(head, source, to, protocol::HOP_BY_HOP, ALERT.len() + message.len(), 1);
        let (alert, body) = rest.split_at_mut(ALERT.len());
        alert.copy_from_slice(&ALERT);
        body.copy_from_slice(message);
        let pseudo = checksum::pseudo_header_v6(&source, &to, IpProtocol::Icmpv6, message.len() as u32);
        let sum = !checksum::combine(&[pseudo, checksum::data(body)]);
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        queue(self, packet, to.into());
    }
}

impl Stack {
    /// The socket `index` is in `group` from now on.
    pub fn join(&mut self, index: usize, group: IpAddr) -> Result<(), JoinError> {
        self.ip.set_now(crate::runtime::now());
        if !self.ip.has_family(group) {
            return Err(JoinError::NoFamily(group));
        }
        self.groups.join(self.ip.now(), index, group)?;
        self.kick();
        Ok(())
    }

    /// The socket `index` is not in `group` any more.
    pub fn leave(&mut self, index: usize, group: IpAddr) -> Result<(), JoinError> {
        self.ip.set_now(crate::runtime::now());
        let was_in = self.groups.leave(self.ip.now(), index, group);
        self.kick();
        if was_in { Ok(()) } else { Err(JoinError::NotJoined(group)) }
    }

    /// The socket `index` was closed.
    pub fn leave_all(&mut self, index: usize) {
        let now = crate::runtime::Runtime::with_current(crate::runtime::Runtime::now).unwrap_or(self.ip.now());
        if self.groups.leave_all(now, index) {
            self.kick();
        }
    }

    /// The socket `index` has sent a datagram to a group: others here may be in it.
    pub fn loop_back(&mut self, index: usize, bytes: &[u8], to: SocketAddr) {
        if self.udp.loops(index) && self.groups.is_heard(to.ip()) {
            let local = self.udp.local_addr(index);
            let source = local.address.or_else(|| self.ip.route(to.ip()).map(|route| route.source));
            let groups = &self.groups;
            if let Some(source) = source {
                let source = SocketAddr::new(source, local.port);
                self.udp.deliver_to_group(source, to.port(), bytes, &|member| groups.has(member, to.ip()));
            }
        }
    }

    /// A message of IGMP came; those who send it are on this link.
    pub(super) fn receive_igmp(&mut self, now: Instant, packet: &Ipv4<'_>) {
        match igmp::read(packet.payload()) {
            Some(igmp::Message::Query { version, group, within }) => {
                self.groups.asked(now, false, version, group.map(IpAddr::V4), within);
            }
            Some(igmp::Message::Report(group)) => self.groups.overheard(now, group.into()),
            None => {}
        }
    }

    /// A message of MLD came, whose checksum is right.
    #[cfg(feature = "ipv6")]
    pub(super) fn receive_mld(&mut self, now: Instant, packet: &crate::net::ipv6::packet::Packet<'_>) {
        use crate::net::groups::mld;
        match mld::read(packet.source, packet.hop_limit, packet.payload()) {
            Some(mld::Message::Query { version, group, within }) => {
                self.groups.asked(now, true, version, group.map(IpAddr::V6), within);
            }
            Some(mld::Message::Report(group)) => self.groups.overheard(now, group.into()),
            None => {}
        }
    }

    /// A datagram for a group, whose checksum is right: it is for the socket at its port, if that is in the group.
    pub(super) fn receive_for_group(&mut self, source: IpAddr, group: IpAddr, payload: &[u8]) {
        let groups = &self.groups;
        self.udp.receive_group(source, payload, &|index| groups.has(index, group));
    }
}

#[cfg(test)]
mod tests;
