//! What smoltcp takes for its network device.

use core::net::IpAddr;

use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant as SmolInstant;

use super::connection::Sent;
use crate::net::direct::header;
use crate::net::direct::ip::{Blocked, IpOut, Route, TxMeta, Usual};
use crate::packet::{MAX_HEAD, PacketMut};

/// The demultiplexer has checked what comes in, and [`IpOut`] completes the checksums of what goes out.
fn capabilities(mtu: usize) -> DeviceCapabilities {
    let mut checksum = ChecksumCapabilities::ignored();
    checksum.ipv4 = Checksum::Tx;
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ip;
    capabilities.max_transmission_unit = mtu;
    capabilities.checksum = checksum;
    capabilities
}

/// What smoltcp takes for its device: one packet in, any number out by [`IpOut`].
pub struct Adapter<'a> {
    pub receive: Option<&'a [u8]>,
    pub out: &'a mut dyn IpOut,
    pub route: &'a Route,
    pub sent: &'a mut Sent,
    /// The most bytes of a packet: as many as go into one that the device cuts.
    pub mtu: usize,
    /// Room for the longest packet.
    pub large: &'a mut [u8],
    /// What is sent goes nowhere: no page is needed for it.
    pub into_the_void: bool,
}

impl Device for Adapter<'_> {
    type RxToken<'a>
        = Received<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Transmit<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: SmolInstant) -> Option<(Received<'_>, Transmit<'_>)> {
        let packet = self.receive.take()?;
        let transmit = Transmit { packet: None, out: self.out, route: self.route, sent: self.sent, large: self.large };
        Some((Received(packet), transmit))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Transmit<'_>> {
        let packet = self.out.alloc();
        if !self.into_the_void && (packet.is_none() || self.mtu > MAX_HEAD && !self.out.has_pages()) {
            return None;
        }
        Some(Transmit { packet, out: self.out, route: self.route, sent: self.sent, large: self.large })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities(self.mtu)
    }
}

pub struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, use_bytes: F) -> R {
        use_bytes(self.0)
    }
}

pub struct Transmit<'a> {
    /// Taken beforehand for what smoltcp sends by itself; an answer takes one when there is an answer.
    packet: Option<PacketMut>,
    out: &'a mut dyn IpOut,
    route: &'a Route,
    sent: &'a mut Sent,
    large: &'a mut [u8],
}

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, length: usize, fill: F) -> R {
        self.choose(length);
        let result = match &mut self.packet {
            Some(packet) => fill(packet.head_mut()),
            // smoltcp makes none that is longer than the device's MTU, for which there is room.
            None => fill(&mut self.large[..length]),
        };
        self.finish(length);
        result
    }
}

impl Transmit<'_> {
    /// Takes a page for what fits one. Without, the packet is lost, but smoltcp must be able to write it.
    #[inline(never)]
    fn choose(&mut self, length: usize) {
        let packet = if length > MAX_HEAD { None } else { self.packet.take().or_else(|| self.out.alloc()) };
        self.packet = packet.and_then(|mut packet| (packet.resize_head(length).len() == length).then_some(packet));
    }

    /// Sends what smoltcp has written.
    #[inline(never)]
    fn finish(self, length: usize) {
        let Transmit { packet, out, route, sent, large } = self;
        let ip_header = header::length(route.next_hop);
        match packet {
            Some(mut packet) => {
                let length = sent.correct(packet.head_mut());
                sent.note(packet.head());
                packet.truncate(length);
                out.send(route, packet, sent.meta(length, ip_header));
            }
            None => {
                let bytes = &mut large[..length];
                let kept = sent.correct(bytes);
                sent.note(bytes);
                if length > MAX_HEAD
                    && let Some(mut packet) = out.alloc()
                    && out.append(&mut packet, &bytes[..kept]).is_some()
                {
                    out.send(route, packet, sent.meta(kept, ip_header));
                }
            }
        }
    }
}

/// Swallows what is sent; its header was noted before.
pub struct Swallow;

impl IpOut for Swallow {
    fn route(&self, _: IpAddr) -> Option<Route> {
        None
    }

    fn ready(&mut self, _: &Route) -> Result<(), Blocked> {
        Ok(())
    }

    fn may_send_from(&self, _: IpAddr) -> bool {
        true
    }

    fn has_room(&self) -> bool {
        true
    }

    fn alloc(&mut self) -> Option<PacketMut> {
        None
    }

    fn has_pages(&self) -> bool {
        false
    }

    fn append(&mut self, _: &mut PacketMut, _: &[u8]) -> Option<()> {
        None
    }

    fn send(&mut self, _: &Route, _: PacketMut, _: TxMeta) {}

    fn send_usual(&mut self, _: &Route, _: PacketMut, _: Usual) {}
}
