//! Devices that come and go while a program runs: [`DeviceEvents`].
//!
//! `Config::hotplug("plugged")` in build.rs gives an application a stream of them, as `devices.plugged`:
//!
//! ```text
//! loop {
//!     match devices.plugged.next().await {
//!         DeviceEvent::Attached(device) if device.id().kind == DeviceKind::Block => {
//!             mirage_rt::spawn(use_disk(device.open_block().await?));
//!         }
//!         DeviceEvent::Attached(_) => {}
//!         DeviceEvent::Detached(id) => info!("{id} is gone"),
//!     }
//! }
//! ```
//!
//! On Xen these are `xl network-attach`, `xl network-detach`, `xl block-attach` and `xl block-detach`. On Unix nothing comes or
//! goes, and the stream is pending for ever.
//!
//! **Declared devices are not told of.** They connect again by themselves, and their handles say what is the matter:
//! [`Block::changes`] for a disk, [`Network::link_changed`] for a network.
//!
//! # What the handles of a detached device do
//!
//! The same for declared devices and for those opened here:
//!
//! - A [`Block`] fails all requests with [`BlockError::Detached`](crate::block::BlockError::Detached), at once, and
//!   [`Block::changes`] tells of it. When a disk is attached under the same number, the handle works again, on that disk.
//! - A [`Network`] stays: its link is down, what is sent is lost, and connections stay until they time out. When a network is
//!   attached under the same number, they go on.
//!
//! So a handle may be kept, or dropped when [`DeviceEvent::Detached`] came. A device can be opened again when all that was
//! had from it is dropped: handles, connections, pages.

#![forbid(unsafe_code)]

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll, ready};

use crate::block::Block;
use crate::boot::Connecting;
use crate::error::Result;
use crate::net::{self, Network};

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DeviceKind {
    /// A network interface.
    Network,
    /// A disk.
    Block,
}

/// Which device it is. Another one may come under the same number when it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId {
    /// Its kind.
    pub kind: DeviceKind,
    /// Its number among those of its kind. Of a disk on Xen it is the virtual device number: 51712 for `xvda`, 51728 for
    /// `xvdb` and so on (xen-vbd-interface(7)).
    pub number: u32,
}

impl DeviceId {
    /// The network interface of this number.
    pub const fn network(number: u32) -> DeviceId {
        DeviceId { kind: DeviceKind::Network, number }
    }

    /// The disk of this number.
    pub const fn block(number: u32) -> DeviceId {
        DeviceId { kind: DeviceKind::Block, number }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DeviceKind::Network => write!(f, "vif {}", self.number),
            DeviceKind::Block => write!(f, "vbd {}", self.number),
        }
    }
}

/// A device came or went.
#[derive(Debug)]
#[non_exhaustive]
pub enum DeviceEvent {
    /// It can be opened now.
    Attached(Attached),
    /// It is gone, whether it was opened or not.
    Detached(DeviceId),
}

/// A device that can be opened. Keeping this value opens nothing, and the device may go all the same.
#[derive(Clone)]
pub struct Attached {
    id: DeviceId,
    source: Rc<dyn DeviceSource>,
}

impl Attached {
    /// Which device it is.
    pub fn id(&self) -> DeviceId {
        self.id
    }

    /// Opens the disk. Ready when it works.
    ///
    /// # Errors
    ///
    /// When it is no disk, has gone, is open already, or its backend does not connect; the message says which.
    pub async fn open_block(&self) -> Result<Block> {
        self.source.open_block(self.id).await
    }

    /// Opens the network interface and puts a network on it, with the addresses of `config`. Ready when it works.
    ///
    /// # Errors
    ///
    /// When it is no network interface, has gone, is open already, its backend does not connect, or `config` has no address;
    /// the message says which.
    pub async fn open_network(&self, config: net::Config) -> Result<Network> {
        self.source.open_network(self.id, config).await
    }
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// What a platform implements.
pub trait DeviceSource {
    /// All undeclared devices that are there now, each once and at most [`MOST`] of them, when that may have changed since
    /// `seen` was set; sets `seen`, which starts as 0. Keeps the latest waker.
    fn poll_devices(&self, seen: &mut u64, context: &mut Context<'_>) -> Poll<Vec<DeviceId>>;

    /// See [`Attached::open_block`].
    fn open_block(&self, id: DeviceId) -> Connecting<'_, Block>;

    /// See [`Attached::open_network`].
    fn open_network(&self, id: DeviceId, config: net::Config) -> Connecting<'_, Network>;
}

/// Devices that are told of, at most; more are as if they were not there.
pub const MOST: usize = 64;

/// The stream of devices that come and go.
///
/// It begins with those that are there and that build.rs does not declare. It never holds more than one event for each of
/// [`MOST`] devices: it looks what is there when it is asked, so changes that nobody asked for are told as what they come to, and
/// a device that went and came back as nothing.
pub struct DeviceEvents {
    source: Option<Rc<dyn DeviceSource>>,
    seen: u64,
    /// What was told, or is about to be.
    known: Vec<DeviceId>,
    pending: VecDeque<(DeviceId, bool)>,
}

impl DeviceEvents {
    /// The events of `source`.
    pub fn new(source: Rc<dyn DeviceSource>) -> DeviceEvents {
        DeviceEvents { source: Some(source), seen: 0, known: Vec::new(), pending: VecDeque::new() }
    }

    /// A stream on which nothing ever happens.
    pub fn none() -> DeviceEvents {
        DeviceEvents { source: None, seen: 0, known: Vec::new(), pending: VecDeque::new() }
    }

    /// Waits for the next event.
    ///
    /// # Cancel safety
    ///
    /// A future that is dropped loses nothing.
    pub async fn next(&mut self) -> DeviceEvent {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The next event, if there is one. Keeps the waker of the latest call.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<DeviceEvent> {
        let Some(source) = &self.source else { return Poll::Pending };
        loop {
            if let Some((id, attached)) = self.pending.pop_front() {
                return Poll::Ready(match attached {
                    true => DeviceEvent::Attached(Attached { id, source: Rc::clone(source) }),
                    false => DeviceEvent::Detached(id),
                });
            }
            let mut now = ready!(source.poll_devices(&mut self.seen, context));
            now.truncate(MOST);
            let gone = self.known.iter().filter(|id| !now.contains(id)).map(|id| (*id, false));
            let new = now.iter().filter(|id| !self.known.contains(id)).map(|id| (*id, true));
            self.pending = gone.chain(new).collect();
            self.known = now;
        }
    }
}

impl fmt::Debug for DeviceEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "events of devices, {} known", self.known.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use alloc::boxed::Box;
    use alloc::string::ToString;
    use alloc::vec;
    use core::cell::{Cell, RefCell};
    use core::task::Waker;

    #[derive(Default)]
    struct Fake {
        devices: RefCell<Vec<DeviceId>>,
        version: Cell<u64>,
    }

    impl Fake {
        fn set(&self, devices: &[DeviceId]) {
            *self.devices.borrow_mut() = devices.to_vec();
            self.version.set(self.version.get() + 1);
        }
    }

    impl DeviceSource for Fake {
        fn poll_devices(&self, seen: &mut u64, _: &mut Context<'_>) -> Poll<Vec<DeviceId>> {
            if core::mem::replace(seen, self.version.get()) == self.version.get() {
                return Poll::Pending;
            }
            Poll::Ready(self.devices.borrow().clone())
        }

        fn open_block(&self, id: DeviceId) -> Connecting<'_, Block> {
            Box::pin(async move { Err(Error::message(alloc::format!("{id} can't be opened"))) })
        }

        fn open_network(&self, id: DeviceId, _: net::Config) -> Connecting<'_, Network> {
            Box::pin(async move { Err(Error::message(alloc::format!("{id} can't be opened"))) })
        }
    }

    /// All events that are there, as text.
    fn all(events: &mut DeviceEvents) -> Vec<alloc::string::String> {
        let mut context = Context::from_waker(Waker::noop());
        let mut found = Vec::new();
        while let Poll::Ready(event) = events.poll_next(&mut context) {
            found.push(match event {
                DeviceEvent::Attached(device) => alloc::format!("+{}", device.id()),
                DeviceEvent::Detached(id) => alloc::format!("-{id}"),
            });
        }
        found
    }

    #[test]
    fn what_changed_is_told_when_it_is_asked_for() {
        let source = Rc::<Fake>::default();
        let mut events = DeviceEvents::new(source.clone());
        assert!(all(&mut events).is_empty());
        let (network, disk) = (DeviceId::network(1), DeviceId::block(51728));
        source.set(&[network]);
        assert_eq!(all(&mut events), ["+vif 1"]);
        source.set(&[]);
        source.set(&[network]);
        assert!(all(&mut events).is_empty(), "it is there as before");
        source.set(&[disk]);
        assert_eq!(all(&mut events), ["-vif 1", "+vbd 51728"]);
        source.set(&[disk, network]);
        source.set(&[]);
        assert_eq!(all(&mut events), ["-vbd 51728"]);
    }

    #[test]
    fn a_flood_of_devices_and_changes_is_bounded() {
        let source = Rc::<Fake>::default();
        let mut events = DeviceEvents::new(source.clone());
        for round in 0..1000 {
            let devices: Vec<_> = (round..round + 500).map(DeviceId::block).collect();
            source.set(&devices);
            let mut context = Context::from_waker(Waker::noop());
            assert!(events.poll_next(&mut context).is_ready());
            assert!(events.pending.len() < 2 * MOST && events.known.len() <= MOST);
        }
    }

    #[test]
    fn opening_is_the_sources_affair_and_nothing_comes_where_there_is_none() {
        crate::testing::run(1, async {
            let source = Rc::<Fake>::default();
            source.set(&[DeviceId::block(7)]);
            let mut events = DeviceEvents::new(source);
            let DeviceEvent::Attached(device) = events.next().await else { panic!("it came") };
            let error = device.open_block().await.expect_err("the fake opens nothing");
            assert_eq!(error.to_string(), "vbd 7 can't be opened");
        });
        assert_eq!(all(&mut DeviceEvents::none()), vec![""; 0]);
    }
}
