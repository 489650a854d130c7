//! The stack of one interface: what comes in goes to where it belongs.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use smoltcp::wire::{Icmpv4DstUnreachable, IpProtocol};

use super::counters::ReceiveDrop;
use super::ethernet::{self, BROADCAST, EtherType, Mac};
use super::hash::Keyed;
use super::header;
use super::icmp::{self, Meaning};
use super::ip::{Ip, IpOut, Paths};
use super::ipv4::{self, Ipv4};
use super::limit::{Answer, Limit};
use super::link::LinkState;
use super::tcp::Tcp;
use super::tcp::choice::{Machine, machine};
use super::tcp::machine::Buffers;
use super::tcp::segment::Segment;
#[cfg(any(test, not(feature = "smoltcp-tcp")))]
use super::train::Train;
use super::udp::Udp;
use super::wakers::WakerSlot;
use crate::keys::Cidr;
use crate::net::Config;
use crate::net::address::ListenAddr;
use crate::net::error::BindError;
use crate::net::metrics::Snapshot;
use crate::packet::{Checksum, PacketMut};
use crate::page::PagePool;
#[cfg(feature = "ipv6")]
use crate::runtime::Runtime;
use crate::time::Instant;
use crate::types::network::NetworkInfo;

/// Connections that one turn may serve.
const RUN_BUDGET: usize = 256;

/// Random numbers for the stack's secrets.
#[derive(Clone, Copy)]
pub struct Secrets {
    pub hash: [u64; 2],
    pub isn: [u64; 2],
}

/// The layers, and the waker of the task that serves the device.
pub struct Stack {
    pub(super) key: Keyed,
    pub ip: Ip,
    pub tcp: Tcp<Machine>,
    pub udp: Udp,
    #[cfg(feature = "datagrams")]
    pub groups: super::groups::Groups,
    #[cfg(feature = "datagrams")]
    pub(super) echoes: super::echoes::Echoes,
    #[cfg(feature = "datagrams")]
    pub(super) reassembly: crate::net::fragments::Reassembly,
    /// Where what is for others goes.
    #[cfg(feature = "forward")]
    pub(super) transit: Option<crate::net::forward::Transit>,
    /// What the frame that came last says of the next one.
    #[cfg(any(test, not(feature = "smoltcp-tcp")))]
    pub(super) train: Option<Train>,
    unreachable: Limit,
    /// For packets in several pieces.
    pub(super) scratch: Vec<u8>,
    /// What receives frames once pages were taken: an image whose application takes none has nothing of it.
    pub(super) receive_in_pages: Option<fn(&mut Stack, Instant, PacketMut)>,
    /// What the transports were told of the device.
    paths: Paths,
    driver: WakerSlot,
    pub link: LinkState,
}

impl Stack {
    /// `address` must be a host's.
    pub fn new(info: &NetworkInfo, address: Cidr, config: &Config, pool: Rc<dyn PagePool>, secrets: &Secrets) -> Stack {
        let key = Keyed::new(secrets.hash);
        #[cfg_attr(not(feature = "ipv6"), allow(unused_mut, reason = "IPv6 is started later"))]
        let mut ip = Ip::new(info, address, config.gateway, pool, key);
        #[cfg(feature = "ipv6")]
        if let Some(config) = &config.ipv6 {
            ip.start_ipv6(crate::runtime::now(), info, config, key);
        }
        let own = IpAddr::V4(address.address());
        let buffers =
            Buffers { receive: config.receive_buffer, send: config.send_buffer, budget: config.connection_memory };
        let paths = ip.paths();
        let machine = machine(own, address.prefix(), paths, buffers, secrets.isn);
        Stack {
            key,
            tcp: Tcp::new(machine, paths, key, secrets.isn),
            udp: Udp::new(key),
            #[cfg(feature = "datagrams")]
            groups: super::groups::Groups::new(key.hash(&info.mac)),
            #[cfg(feature = "datagrams")]
            echoes: super::echoes::Echoes::default(),
            #[cfg(feature = "datagrams")]
            reassembly: crate::net::fragments::Reassembly::default(),
            #[cfg(feature = "forward")]
            transit: None,
            ip,
            paths,
            #[cfg(any(test, not(feature = "smoltcp-tcp")))]
            train: None,
            unreachable: Limit::per_second(100, Answer::Error, key),
            scratch: Vec::new(),
            receive_in_pages: None,
            driver: WakerSlot::default(),
            link: LinkState::new(info.mtu),
        }
    }

    /// An application does something: what has come to its end since the last turn is not to be used, as a router of IPv6.
    pub fn update_now(&mut self) {
        #[cfg(feature = "ipv6")]
        if self.ip.ipv6.is_some() {
            // To the second, and for each datagram: one look at the clock does for all of a round.
            self.ip.set_now(Runtime::with_current(Runtime::recent).unwrap_or(self.ip.now()));
        }
    }

    /// Whether sockets can be bound there.
    pub fn check_local(&self, local: ListenAddr) -> Result<(), BindError> {
        match local.address {
            Some(address) if !self.ip.is_ours(address) => Err(BindError::NotOurs(address)),
            _ => Ok(()),
        }
    }

    /// As what a socket's address is shown.
    pub fn shown(&self, local: ListenAddr) -> SocketAddr {
        SocketAddr::new(local.address.unwrap_or(self.ip.primary()), local.port)
    }

    /// The driver's task is to be woken by [`kick`](Stack::kick).
    pub fn register_driver(&mut self, waker: &core::task::Waker) {
        self.driver.register(waker);
    }

    /// There is something to be sent.
    pub fn kick(&mut self) {
        self.driver.wake();
    }

    /// The device is there, for the first time or again: what it is like may have changed. Open connections go on with
    /// the new MTU.
    pub fn set_device(&mut self, info: &NetworkInfo) {
        self.ip.set_device(info);
        self.update_paths();
        self.link.set_up(self.ip.link_mtu());
    }

    /// Tells TCP how long packets can be.
    pub(super) fn update_paths(&mut self) {
        self.paths = self.ip.paths();
        self.tcp.set_device(self.paths);
    }

    /// A frame came in.
    pub fn receive(&mut self, now: Instant, frame: PacketMut) {
        self.ip.set_now(now);
        #[cfg(feature = "forward")]
        let Some(frame) = self.hand_on(frame) else { return };
        self.receive_own(now, frame);
    }

    /// A frame came in that is for us, if for anybody here.
    #[inline(always)]
    fn receive_own(&mut self, now: Instant, mut frame: PacketMut) {
        self.ip.counters.received.count(frame.len());
        if let Some(receive) = self.receive_in_pages {
            return receive(self, now, frame);
        }
        if frame.fragments().is_empty() {
            if let Some(echo) = self.receive_bytes(now, frame.head(), frame.checksum())
                && frame.pull_front(echo.skip)
            {
                self.answer_echo(&echo, frame);
            }
            return;
        }
        let mut bytes = core::mem::take(&mut self.scratch);
        bytes.clear();
        if bytes.try_reserve(frame.len()).is_ok() {
            for part in frame.parts() {
                bytes.extend_from_slice(part);
            }
            if let Some(echo) = self.receive_bytes(now, &bytes, frame.checksum()) {
                self.answer_echo_in(&echo, &bytes);
            }
        } else {
            self.ip.counters.drop_received(ReceiveDrop::Memory);
        }
        self.scratch = bytes;
    }

    /// A frame in one piece. An echo request is left to be answered with the frame itself.
    pub(super) fn receive_bytes(&mut self, now: Instant, frame: &[u8], checksum: Checksum) -> Option<Echo> {
        #[cfg(any(test, not(feature = "smoltcp-tcp")))]
        {
            if self.follow(now, frame, checksum) {
                return None;
            }
            if self.receive_usual(now, frame, checksum) {
                self.may_begin(frame);
                return None;
            }
        }
        let echo = self.receive_unusual(now, frame, checksum);
        #[cfg(any(test, not(feature = "smoltcp-tcp")))]
        self.may_begin(frame);
        echo
    }

    /// A frame that goes the long way.
    fn receive_unusual(&mut self, now: Instant, frame: &[u8], checksum: Checksum) -> Option<Echo> {
        let to_us = |to: &Mac| *to == self.ip.mac() || *to == BROADCAST || ethernet::is_ip_group(*to);
        let ours = |to: &Mac, from: &Mac| to_us(to) && ethernet::is_unicast(*from);
        let header = ethernet::parse(frame).filter(|(to, from, _)| ours(to, from));
        let Some((_, source, ethertype)) = header else { return self.refuse(ReceiveDrop::Ethernet) };
        let body = frame.get(ethernet::HEADER..)?;
        match ethertype {
            EtherType::Arp => {
                self.ip.receive_arp(body);
                None
            }
            EtherType::Ipv4 => match Ipv4::parse(body) {
                Some(packet) => self.receive_ipv4(now, &packet, source, checksum),
                None => self.refuse(ReceiveDrop::IpHeader),
            },
            #[cfg(feature = "ipv6")]
            EtherType::Ipv6 => self.receive_ipv6(now, body, source, checksum),
        }
    }

    pub(super) fn receive_ipv4(
        &mut self,
        now: Instant,
        packet: &Ipv4<'_>,
        mac: Mac,
        checksum: Checksum,
    ) -> Option<Echo> {
        // While there is no address, nothing is ours.
        let ours = packet.destination == self.ip.address() && !packet.destination.is_unspecified();
        #[cfg(feature = "datagrams")]
        if packet.destination.is_multicast() {
            return self.receive_for_groups(now, packet, mac, checksum);
        }
        if !self.ip.is_source(packet.source) || !(ours || self.ip.is_broadcast(packet.destination)) {
            return self.refuse(ReceiveDrop::IpAddress);
        }
        self.ip.counters.ip_received.count(packet.packet.len());
        #[cfg(feature = "datagrams")]
        if packet.fragment {
            self.receive_fragment(now, packet, mac);
            return None;
        }
        // A part of a TCP segment must not be taken for a segment: its connection would be reset.
        if packet.fragment {
            self.ip.counters.drop_received(ReceiveDrop::IpFragment);
            if self.ip.counters.receive_drops[ReceiveDrop::IpFragment as usize] == 1 {
                log::warn!(target: crate::net::log_targets::IP, "{} sends packets in fragments; they are dropped", packet.source);
            }
            return None;
        }
        self.ip.heard(packet.source, mac);
        let trusted = checksum != Checksum::None;
        match packet.protocol {
            IpProtocol::Tcp if ours && (trusted || packet.verify_transport()) => {
                let (source, destination) = (packet.source.into(), packet.destination.into());
                let Some(segment) = Segment::parse(&self.key, source, destination, packet.payload()) else {
                    return self.refuse(ReceiveDrop::Malformed);
                };
                self.receive_segment(now, packet.packet, &segment);
                None
            }
            IpProtocol::Udp if trusted || has_no_checksum(packet) || packet.verify_transport() => {
                let (source, destination) = (packet.source.into(), packet.destination.into());
                if !self.udp.receive(source, destination, packet.payload()) && ours {
                    self.answer_unreachable(now, packet, Icmpv4DstUnreachable::PortUnreachable);
                }
                None
            }
            IpProtocol::Icmp if ours => self.receive_icmp(packet),
            IpProtocol::Tcp | IpProtocol::Udp | IpProtocol::Icmp => {
                // TCP and ICMP to all hosts are not answered, or anybody could make them all answer.
                let to_us = ours || packet.protocol == IpProtocol::Udp;
                self.refuse(if to_us { ReceiveDrop::Checksum } else { ReceiveDrop::IpAddress })
            }
            IpProtocol::Igmp => self.refuse(ReceiveDrop::IpProtocol),
            _ => {
                if ours {
                    self.answer_unreachable(now, packet, Icmpv4DstUnreachable::ProtoUnreachable);
                }
                self.refuse(ReceiveDrop::IpProtocol)
            }
        }
    }

    /// A packet for a group.
    #[cfg(feature = "datagrams")]
    fn receive_for_groups(&mut self, now: Instant, packet: &Ipv4<'_>, mac: Mac, checksum: Checksum) -> Option<Echo> {
        let group = IpAddr::V4(packet.destination);
        let is_igmp = packet.protocol == IpProtocol::Igmp;
        // Hosts without an address say which groups they hear, too.
        let is_source = self.ip.is_source(packet.source) || is_igmp && packet.source.is_unspecified();
        let is_heard =
            self.groups.is_heard(group) || is_igmp && packet.destination == crate::net::groups::igmp::ALL_HOSTS;
        if !is_source || !is_heard || packet.fragment && is_igmp {
            return self.refuse(ReceiveDrop::IpAddress);
        }
        self.ip.counters.ip_received.count(packet.packet.len());
        if packet.fragment {
            self.receive_fragment(now, packet, mac);
            return None;
        }
        let trusted = checksum != Checksum::None;
        match packet.protocol {
            IpProtocol::Igmp => self.receive_igmp(now, packet),
            IpProtocol::Udp if trusted || has_no_checksum(packet) || packet.verify_transport() => {
                self.receive_for_group(packet.source.into(), group, packet.payload());
            }
            IpProtocol::Udp => return self.refuse(ReceiveDrop::Checksum),
            _ => return self.refuse(ReceiveDrop::IpAddress),
        }
        None
    }

    /// Something that came in goes no further.
    pub(super) fn refuse(&mut self, reason: ReceiveDrop) -> Option<Echo> {
        self.ip.counters.drop_received(reason);
        None
    }

    /// What was counted so far, and what there is.
    pub fn snapshot(&self) -> Snapshot {
        let (interface, neighbours) = self.ip.counted();
        Snapshot {
            link: self.link.get(),
            interface,
            #[cfg(feature = "datagrams")]
            reassembly: self.reassembly.counts(),
            neighbours,
            udp: self.udp.counters(),
            sockets: self.udp.len(),
            tcp: self.tcp.counters(),
            tcp_now: self.tcp.now(),
        }
    }

    fn receive_icmp(&mut self, packet: &Ipv4<'_>) -> Option<Echo> {
        let meaning = icmp::read(&self.key, packet);
        self.ip.counters.icmp_received[meaning.kind()] += 1;
        match meaning {
            Meaning::Echo => Some(Echo {
                source: packet.source.into(),
                destination: packet.destination.into(),
                // Options are not sent back: the new header takes the place right in front of the message.
                skip: ethernet::HEADER + packet.header_length - ipv4::HEADER,
                length: packet.payload().len(),
            }),
            Meaning::TcpUnreachable { tuple, seq, refused } => {
                self.tcp.on_unreachable(&tuple, seq, refused);
                None
            }
            Meaning::TcpTooBig { tuple, seq, mtu } => {
                self.receive_too_big(&tuple, seq, mtu);
                None
            }
            Meaning::Nothing => {
                #[cfg(feature = "datagrams")]
                self.receive_other_icmp(packet);
                None
            }
        }
    }

    /// Answers an echo request that is in `frame`, if the answer fits one packet.
    pub(super) fn answer_echo_in(&mut self, echo: &Echo, frame: &[u8]) {
        if let Some(mut copy) = self.ip.alloc()
            && let Some(message) = frame.get(echo.skip..echo.skip + header::length(echo.source) + echo.length)
            && copy.resize_head(message.len()).len() == message.len()
        {
            copy.head_mut().copy_from_slice(message);
            self.answer_echo(echo, copy);
        }
    }

    /// Whether one more error may be told.
    #[cfg(any(feature = "datagrams", feature = "forward"))]
    pub(super) fn allows_error(&mut self, now: Instant) -> bool {
        let allows = self.unreachable.allow(now);
        self.ip.counters.icmp_limited += u64::from(!allows);
        allows
    }

    pub(super) fn answer_echo(&mut self, echo: &Echo, reply: PacketMut) {
        if self.ip.is_congested() {
            return;
        }
        match (echo.source, echo.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                if let Some(route) = self.ip.route(echo.source) {
                    icmp::echo(&mut self.ip, &route, source, destination, echo.length, reply);
                }
            }
            #[cfg(feature = "ipv6")]
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                super::ipv6::echo(&mut self.ip, destination, source, echo.length, reply);
            }
            _ => {}
        }
    }

    fn answer_unreachable(&mut self, now: Instant, packet: &Ipv4<'_>, reason: Icmpv4DstUnreachable) {
        if let Some(route) = self.ip.route(packet.source.into()) {
            if self.unreachable.allow(now) {
                icmp::unreachable(&mut self.ip, &route, packet, reason);
            } else {
                self.ip.counters.icmp_limited += 1;
            }
        }
    }

    /// Does what is due and makes the frames that the device has room for; whether more could be done at once.
    pub fn run(&mut self, now: Instant) -> bool {
        // Until the next frame comes, anything may happen to the connection.
        #[cfg(any(test, not(feature = "smoltcp-tcp")))]
        {
            self.train = None;
        }
        self.ip.set_now(now);
        self.ip.run();
        #[cfg(feature = "datagrams")]
        self.groups.run(now, self.link.get().changes, &mut self.ip);
        #[cfg(feature = "datagrams")]
        self.expire_fragments(now);
        #[cfg(feature = "ipv6")]
        self.update_addresses();
        while let Some(hop) = self.ip.pop_unblocked() {
            self.tcp.on_neighbour(hop);
        }
        // A router may have said something else of the link.
        if cfg!(feature = "ipv6") && self.paths != self.ip.paths() {
            self.update_paths();
        }
        self.tcp.run(now, RUN_BUDGET, &mut self.ip)
    }

    /// Tells those who care of addresses of IPv6 that have come or gone.
    #[cfg(feature = "ipv6")]
    fn update_addresses(&mut self) {
        while let Some(gone) = self.ip.pop_gone() {
            self.tcp.drop_address(gone);
        }
        if self.ip.has_new_addresses() {
            self.link.wake();
        }
    }

    /// When [`run`](Stack::run) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let deadline = self.ip.deadline().into_iter().chain(self.tcp.deadline()).min();
        #[cfg(feature = "datagrams")]
        let deadline = deadline.into_iter().chain(self.groups.deadline()).chain(self.reassembly.deadline()).min();
        deadline
    }

    /// The device was given up.
    pub fn down(&mut self) {
        self.ip.drop_frames();
        self.link.set_down();
        self.tcp.down();
        self.udp.down();
        #[cfg(feature = "datagrams")]
        self.echoes.down();
    }
}

/// An echo request to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// Bytes in front of the place of the answer's IP header.
    pub skip: usize,
    /// Bytes of the ICMP message.
    pub length: usize,
}

/// Whether a UDP datagram was sent without checksum, as it may be over IPv4.
fn has_no_checksum(packet: &Ipv4<'_>) -> bool {
    packet.payload().get(6..8) == Some(&[0, 0])
}
