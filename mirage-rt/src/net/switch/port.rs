//! A port: the device that a network has, and what the switch knows of it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use super::link::Link;
use super::{Direction, Impairments, Switch};
use crate::packet::{Checksum, Gso, PacketMut};
use crate::types::network::{NetworkDevice, NetworkError, NetworkInfo, TransmitError, TransmitErrorKind};

/// Frames that wait at a port to be received, at most; more are dropped, as a real port's buffer would.
const PORT_QUEUE: usize = 512;
/// Frames that a port takes before they must be flushed.
const PORT_ROOM: usize = 256;

/// What the switch knows of a port.
pub(super) struct PortState {
    pub(super) mac: [u8; 6],
    /// When it is not that of the start any more.
    pub(super) mtu: Option<u16>,
    /// It takes packets that were not cut.
    pub(super) takes_long: bool,
    pub(super) transmit: Link,
    pub(super) receive: Link,
    queue: VecDeque<PacketMut>,
    receiver: Option<Waker>,
    connected: bool,
    /// The device has said that it is not connected.
    told: bool,
    broken: bool,
    pub(super) missed: u64,
}

impl PortState {
    pub(super) fn new(mac: [u8; 6], transmit: Link, receive: Link) -> PortState {
        PortState {
            mac,
            mtu: None,
            takes_long: false,
            transmit,
            receive,
            queue: VecDeque::new(),
            receiver: None,
            connected: true,
            told: false,
            broken: false,
            missed: 0,
        }
    }

    pub(super) fn link_mut(&mut self, direction: Direction) -> &mut Link {
        match direction {
            Direction::Transmit => &mut self.transmit,
            Direction::Receive => &mut self.receive,
        }
    }

    pub(super) fn link(&self, direction: Direction) -> &Link {
        match direction {
            Direction::Transmit => &self.transmit,
            Direction::Receive => &self.receive,
        }
    }

    /// A frame has arrived; `None` when there was no page for it.
    pub(super) fn deliver(&mut self, frame: Option<PacketMut>) {
        match frame {
            Some(frame) if self.connected && self.queue.len() < PORT_QUEUE => {
                self.queue.push_back(frame);
                self.wake();
            }
            _ => self.missed += 1,
        }
    }

    pub(super) fn set_broken(&mut self) {
        self.broken = true;
        self.wake();
    }

    pub(super) fn set_connected(&mut self, connected: bool) {
        self.connected = connected;
        self.queue.clear();
        self.told = false;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.receiver.take() {
            waker.wake();
        }
    }
}

/// A port of a [`Switch`]. Dropping it leaves a port that nobody listens at.
pub struct Port {
    switch: Switch,
    index: usize,
    info: NetworkInfo,
    pending: Vec<PacketMut>,
}

impl Port {
    pub(super) fn new(switch: Switch, index: usize, mac: [u8; 6]) -> Port {
        Port { switch, index, info: NetworkInfo::new(mac, 1500), pending: Vec::new() }
    }

    /// Changes what the port says of itself; its Ethernet address stays.
    pub fn with_info(mut self, change: impl FnOnce(&mut NetworkInfo)) -> Port {
        let mac = self.info.mac;
        change(&mut self.info);
        self.info.mac = mac;
        self
    }

    /// From now on packets that other ports are to cut arrive uncut.
    pub fn with_long_packets(self) -> Port {
        if let Some(port) = self.switch.inner.borrow_mut().ports.get_mut(self.index) {
            port.takes_long = true;
        }
        self
    }

    /// Sets what happens to frames on the cable between this port and the switch, in one direction.
    pub fn with_impairments(self, direction: Direction, impairments: Impairments) -> Port {
        self.switch.set_port_impairments(self.index, direction, impairments);
        self
    }

    /// The port's number, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether the port completes checksums of the frame's family.
    fn completes(&self, frame: &PacketMut) -> bool {
        if frame.head().get(12..14) == Some(&[0x86, 0xdd]) { self.info.checksum_ipv6 } else { self.info.checksum_ipv4 }
    }

    /// Bytes of the longest frame.
    fn most(&self, gso: Gso) -> usize {
        match gso {
            Gso::None => usize::from(self.info().mtu) + 14,
            Gso::Ipv4 { .. } => self.info.gso_ipv4 as usize,
            Gso::Ipv6 { .. } => self.info.gso_ipv6 as usize,
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Some(port) = self.switch.inner.borrow_mut().ports.get_mut(self.index) {
            port.connected = false;
            port.queue.clear();
        }
    }
}

impl NetworkDevice for Port {
    fn info(&self) -> NetworkInfo {
        let inner = self.switch.inner.borrow();
        let mtu = inner.ports.get(self.index).and_then(|port| port.mtu).unwrap_or(self.info.mtu);
        NetworkInfo { mtu, ..self.info }
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<PacketMut, NetworkError>> {
        let mut inner = self.switch.inner.borrow_mut();
        let Some(port) = inner.ports.get_mut(self.index) else { return Poll::Pending };
        if port.broken {
            return Poll::Ready(Err(NetworkError::Broken));
        }
        if !port.connected && !core::mem::replace(&mut port.told, true) {
            return Poll::Ready(Err(NetworkError::Disconnected));
        }
        match port.queue.pop_front() {
            Some(frame) => Poll::Ready(Ok(frame)),
            None => {
                port.receiver = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Always ready while it is connected: a flush empties the port.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
        if let Some(port) = self.switch.inner.borrow_mut().ports.get_mut(self.index)
            && !port.connected
        {
            // It wakes whoever receives too: one task does both.
            port.receiver = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(PORT_ROOM - self.pending.len().min(PORT_ROOM - 1)))
    }

    fn transmit(&mut self, packet: PacketMut) -> Result<(), TransmitError> {
        let kind = if self.pending.len() == PORT_ROOM {
            Some(TransmitErrorKind::Full)
        } else if packet.len() < 14 || packet.len() > self.most(packet.gso()) {
            Some(TransmitErrorKind::Size)
        } else if packet.checksum() != Checksum::None && !self.completes(&packet) {
            Some(TransmitErrorKind::Offload)
        } else {
            None
        };
        match kind {
            Some(kind) => Err(TransmitError { packet, kind }),
            None => {
                self.pending.push(packet);
                Ok(())
            }
        }
    }

    fn flush(&mut self) {
        let connected = self.switch.inner.borrow().ports.get(self.index).is_some_and(|port| port.connected);
        for packet in core::mem::take(&mut self.pending) {
            if connected {
                self.switch.send(self.index, &packet);
            }
        }
    }
}
