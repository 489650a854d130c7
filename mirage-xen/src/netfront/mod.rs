//! The network frontend: a [`NetworkDevice`] over the rings it shares with a backend, usually Linux's xen-netback.
//!
//! What is supported: receiving by copy, packets of many pages both ways, blank and validated checksums both ways (IPv4
//! and IPv6), TCP segmentation offload both ways, one or two event channels, MTUs other than 1500, groups of stations that
//! the backend filters by, backends that go away and come back or lose their link. A burst of packets causes one
//! notification.
//!
//! What is not: several queues, because a domain here has one processor, and a queue serves no other purpose than to let
//! another one work; the control ring and with it the hash of packets, which choose among queues; room in front of
//! received data for XDP, which nobody here would use; receiving by flipping pages, which no backend has done since 2008.
//!
//! The backend is not trusted. What it writes is copied once and checked; the first thing that makes no sense ends the
//! device ([`Broken`] lists what that can be), with a line in the log and without a panic. Nothing is read from a page
//! before the backend's access to it has ended.

mod checksum;
mod connect;
mod device;
mod error;
mod receive;
mod supervisor;
mod transmit;
pub mod wire;

use alloc::rc::Rc;
use core::fmt;
use core::task::{Context, Poll};

use mirage_rt::packet::PacketMut;
use mirage_rt::page::PagePool;
use mirage_rt::time::Duration;
use mirage_rt::types::network::{
    GroupError, NetworkDevice, NetworkError, NetworkInfo, TransmitError, TransmitErrorKind, is_group,
};

use crate::attachment::Attachment;
use crate::lists::take_swapped;
use crate::xenbus::wish::Wish;
pub use error::{Broken, ConnectError};

use device::{Device, Link, State, reap, receive};

const ETHERNET_HEADER: usize = 14;
/// Groups that Linux's backend keeps apart for each device.
const MOST_GROUPS: usize = 64;

/// How a network device is to be connected.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most pages to have posted for receiving; fewer when the pool is small. At most 256 are used.
    pub receive_pages: u32,
    /// Whether the user of the device takes packets with [`Gso`](mirage_rt::packet::Gso). Only then is the backend told
    /// that it may send them.
    pub receive_gso: bool,
    /// Whether the user takes packets with [`Checksum::Partial`](mirage_rt::packet::Checksum::Partial). If not, the backend
    /// is told to complete all checksums itself.
    pub receive_partial_checksum: bool,
    /// Whether the backend, if it can, keeps all frames for groups of stations away but those for groups that were
    /// [joined](NetworkDevice::join). If not, it sends them all.
    pub only_groups: bool,
    /// Where the rings' indices start, which only a test wants to be elsewhere than at 0.
    pub first_index: u32,
    /// How long the backend has for each step of connecting and parting.
    pub limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            receive_pages: 256,
            receive_gso: true,
            receive_partial_checksum: true,
            only_groups: true,
            first_index: 0,
            limit: Duration::from_secs(20),
        }
    }
}

/// Counters of a network device since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Packets handed on.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Packets received and dropped because there was no page left to receive into.
    pub received_no_memory: u64,
    /// Packets received and dropped because of an error.
    pub received_errors: u64,
    /// Packets queued for the backend.
    pub transmitted_packets: u64,
    /// Their bytes.
    pub transmitted_bytes: u64,
    /// Slots the backend refused.
    pub transmit_refused: u64,
    /// Events sent to the backend.
    pub notifications: u64,
    /// Events of the backend.
    pub events: u64,
    /// How often the device was connected.
    pub connections: u64,
}

/// A network device of this domain.
///
/// While the backend is away, or has no link, [`poll_receive`](NetworkDevice::poll_receive) and
/// [`poll_ready`](NetworkDevice::poll_ready) each say [`NetworkError::Disconnected`] once and are then pending until it is
/// back. They say it also when it is back already: what [`info`](NetworkDevice::info) says may have changed. Dropping the device parts from the backend, in the background.
pub struct Netfront {
    control: Control,
}

/// A handle to a network device beside the one that moves packets. Cloning gives another one.
#[derive(Clone)]
pub struct Control {
    device: Rc<Device>,
}

impl Netfront {
    /// Connects network device `index` of the domain: `vif 0` is the first. Its pages come from `pool`, which must be one of
    /// pages that can be granted.
    ///
    /// Not cancel safe: a dropped future may leave the backend waiting, until the device is connected again.
    ///
    /// # Errors
    ///
    /// When there is no such device, or its backend does not connect in time; see [`ConnectError`].
    ///
    /// # Panics
    ///
    /// Outside of a running [`Runtime`](mirage_rt::runtime::Runtime), which looks after the device from then on.
    pub async fn connect(
        attachment: &Attachment,
        index: u32,
        pool: Rc<dyn PagePool>,
        options: Options,
    ) -> Result<Self, ConnectError> {
        supervisor::start(attachment.clone(), index, pool, options).await
    }

    /// A handle for everything but packets.
    pub fn control(&self) -> Control {
        self.control.clone()
    }
}

impl Control {
    /// The device's counters.
    pub fn statistics(&self) -> Statistics {
        self.device.state.borrow().statistics
    }

    /// Parts from the backend: when this returns, no page is granted and no port is bound. Packets under way may be lost.
    /// The device is away until [`connect`](Self::connect).
    pub async fn quiesce(&self) {
        self.device.wishes.set(Wish::Quiet);
        let quiet = |state: &State| matches!(state.link, Link::Down | Link::Broken(_, None)) && !state.busy;
        self.device.until_state(quiet).await;
    }

    /// Connects to the backend again, after [`quiesce`](Self::quiesce) or after the domain was attached to Xen anew.
    ///
    /// # Errors
    ///
    /// As [`Netfront::connect`], of the first attempt; the device goes on trying when its backend moves.
    pub async fn connect(&self, attachment: &Attachment) -> Result<(), ConnectError> {
        self.device.state.borrow_mut().failure = None;
        self.device.wishes.set(Wish::Connected);
        let generation = attachment.generation();
        let mut failure = None;
        self.device
            .until_state(|state| {
                failure.clone_from(&state.failure);
                let up = matches!(&state.link, Link::Up(queues) if queues.generation == generation);
                up || matches!(state.link, Link::Broken(..)) || failure.is_some()
            })
            .await;
        failure.map_or(Ok(()), Err)
    }

    /// Whether the device is connected to its backend.
    pub fn is_connected(&self) -> bool {
        matches!(self.device.state.borrow().link, Link::Up(_))
    }

    /// Whether packets can be moved now: the device is connected, and its backend has a link to the network (it may say
    /// otherwise in its node `carrier`).
    pub fn has_link(&self) -> bool {
        self.device.state.borrow().is_usable()
    }

    /// Whether the device was given up.
    pub fn is_broken(&self) -> bool {
        self.broken().is_some()
    }

    /// Why the device was given up, if it was.
    pub fn broken(&self) -> Option<Broken> {
        match self.device.state.borrow().link {
            Link::Broken(reason, _) => Some(reason),
            Link::Up(_) | Link::Down => None,
        }
    }
}

impl fmt::Debug for Netfront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.control.fmt(f)
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = match self.device.state.borrow().link {
            Link::Down => "away",
            Link::Up(_) => "connected",
            Link::Broken(..) => "broken",
        };
        write!(f, "{}, {link}", self.device.name)
    }
}

impl Drop for Netfront {
    fn drop(&mut self) {
        self.control.device.wishes.set(Wish::Gone);
    }
}

impl NetworkDevice for Netfront {
    fn info(&self) -> NetworkInfo {
        self.control.device.state.borrow().info
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<PacketMut, NetworkError>> {
        let device = &self.control.device;
        let mut state = device.state.borrow_mut();
        if !state.receive.told && state.is_usable() {
            state.receive.been_away(context)?;
        }
        match device.with(&mut state, receive) {
            Ok(Some(packet)) => Poll::Ready(Ok(packet)),
            Ok(None) => {
                state.receive.wait(context);
                Poll::Pending
            }
            Err(NetworkError::Disconnected) => state.receive.away(context),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
        let device = &self.control.device;
        let mut state = device.state.borrow_mut();
        if !state.ready.told && state.is_usable() {
            state.ready.been_away(context)?;
        }
        let room = device.with(&mut state, |queues, statistics| {
            if queues.transmit.room() == 0 {
                reap(queues, statistics)?;
            }
            Ok(queues.transmit.room())
        });
        match room {
            Ok(0) => {
                state.ready.wait(context);
                Poll::Pending
            }
            Ok(room) => Poll::Ready(Ok(room)),
            Err(NetworkError::Disconnected) => state.ready.away(context),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn transmit(&mut self, packet: PacketMut) -> Result<(), TransmitError> {
        let device = &self.control.device;
        let mut state = device.state.borrow_mut();
        let state = &mut *state;
        let kind = match &mut state.link {
            Link::Down => TransmitErrorKind::Device(NetworkError::Disconnected),
            Link::Up(queues) if !(state.carrier && queues.is_current()) => {
                TransmitErrorKind::Device(NetworkError::Disconnected)
            }
            Link::Broken(..) => TransmitErrorKind::Device(NetworkError::Broken),
            Link::Up(queues) => {
                let length = packet.len() as u64;
                return match queues.transmit.push(packet) {
                    Ok(()) => {
                        state.statistics.transmitted_packets += 1;
                        state.statistics.transmitted_bytes += length;
                        Ok(())
                    }
                    Err((kind, packet)) => Err(TransmitError { packet, kind }),
                };
            }
        };
        Err(TransmitError { packet, kind })
    }

    fn flush(&mut self) {
        let device = &self.control.device;
        let mut state = device.state.borrow_mut();
        // An error is found again by the next poll, which can tell of it.
        let _ = device.with(&mut state, |queues, statistics| {
            let (transmit, receive) = (queues.transmit.publish(), queues.receive.publish(false));
            statistics.notifications += queues.channels.notify(transmit, receive);
            if transmit { reap(queues, statistics) } else { Ok(()) }
        });
    }

    fn join(&mut self, group: [u8; 6]) -> Result<(), GroupError> {
        if !is_group(group) {
            return Err(GroupError::NotAGroup);
        }
        let device = &self.control.device;
        let mut state = device.state.borrow_mut();
        if state.groups.joined.contains(&group) {
            return Ok(());
        }
        if state.groups.joined.len() == MOST_GROUPS {
            return Err(GroupError::TooMany);
        }
        state.groups.joined.push(group);
        device.change_group(&mut state, group, true);
        Ok(())
    }

    fn leave(&mut self, group: [u8; 6]) {
        let device = &self.control.device;
        let mut state = device.state.borrow_mut();
        if let Some(place) = state.groups.joined.iter().position(|joined| *joined == group) {
            take_swapped(&mut state.groups.joined, place);
            device.change_group(&mut state, group, false);
        }
    }
}

#[cfg(test)]
mod tests;
