//! What smoltcp takes for its network device.

use core::net::IpAddr;

use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant as SmolInstant;

use super::SCRATCH;
use super::connection::Sent;
use crate::net::direct::ip::{Blocked, IpOut, Route, TxMeta};
use crate::packet::PacketMut;

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
    pub mtu: usize,
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
        let transmit = Transmit { packet: None, out: self.out, route: self.route, sent: self.sent };
        Some((Received(packet), transmit))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Transmit<'_>> {
        let packet = self.out.alloc();
        if packet.is_none() && !self.into_the_void {
            return None;
        }
        Some(Transmit { packet, out: self.out, route: self.route, sent: self.sent })
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
}

impl TxToken for Transmit<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        if let Some(mut packet) = self.packet.or_else(|| self.out.alloc())
            && packet.resize_head(length).len() == length
        {
            let result = fill(packet.head_mut());
            self.sent.correct(packet.head_mut());
            self.sent.note(packet.head());
            self.out.send(self.route, packet, TxMeta { fill_checksum: true });
            return result;
        }
        // No page: the packet is lost, but smoltcp must be able to write it.
        let mut scratch = [0; SCRATCH];
        if let Some(bytes) = scratch.get_mut(..length) {
            let result = fill(bytes);
            self.sent.note(bytes);
            return result;
        }
        fill(&mut alloc::vec![0; length])
    }
}

/// Swallows what is sent; its header was noted before.
pub struct Swallow;

impl IpOut for Swallow {
    fn route(&self, _: IpAddr) -> Option<Route> {
        None
    }

    fn ready(&self, _: &Route) -> Result<(), Blocked> {
        Ok(())
    }

    fn has_room(&self) -> bool {
        true
    }

    fn alloc(&mut self) -> Option<PacketMut> {
        None
    }

    fn send(&mut self, _: &Route, _: PacketMut, _: TxMeta) {}
}
