//! Devices that the tools attach and detach while the domain runs.
//!
//! A task watches the domain's `device` directory and keeps a list of the devices that nobody declared. A device that
//! nobody has opened has no driver; the task answers its backend when that closes, so that a detachment does not wait for
//! ever. What the list holds is bounded, and how often it is looked through is, too: a toolstack or backend whose devices come
//! and go without end costs one look in every [`PAUSE`].

mod watcher;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::task::{Context, Poll, Waker};

use mirage_rt::block::Block;
use mirage_rt::boot::Connecting;
use mirage_rt::cell::RefCell;
use mirage_rt::hotplug::{DeviceId, DeviceKind, DeviceSource};
use mirage_rt::net::{self, Network};
use mirage_rt::page::{PageBytes, PagePool};
use mirage_rt::runtime::spawn;
use mirage_rt::time::Duration;

use crate::attachment::Attachment;
use crate::blkfront::{self, Blkfront};
use crate::netfront::{self, Netfront};
use crate::xenbus::XenbusError;

/// The least time between two looks.
pub const PAUSE: Duration = Duration::from_millis(10);

/// What gives a device that is opened its pages; `None` when there are none.
pub type Pools = Box<dyn Fn(DeviceKind) -> Option<Rc<dyn PagePool>>>;

/// The undeclared devices of the domain.
pub struct Plugged {
    shared: Rc<Shared>,
}

struct Shared {
    attachment: Attachment,
    declared: Vec<DeviceId>,
    pools: Pools,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// In order.
    devices: Vec<DeviceId>,
    /// Those with a driver of ours.
    open: Vec<DeviceId>,
    /// Counts the changes of `devices`.
    version: u64,
    /// Of whoever reads them.
    reader: Option<Waker>,
    /// Of the task, and whether a device was opened or closed since its last look.
    watcher: Option<Waker>,
    moved: bool,
    ended: bool,
}

/// A device was not opened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// It is of the other kind.
    Kind(DeviceId),
    /// It is not there any more.
    Gone(DeviceId),
    /// Something of an earlier opening is still held.
    Open(DeviceId),
    /// There is no memory for its pages.
    Memory(DeviceId),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(id @ DeviceId { kind: DeviceKind::Network, .. }) => {
                write!(f, "{id} is a network interface: open it with open_network")
            }
            Self::Kind(id) => write!(f, "{id} is a disk: open it with open_block"),
            Self::Gone(id) => write!(f, "{id} is gone: wait until it is attached again"),
            Self::Open(id) => write!(
                f,
                "{id} is open already, and works again by itself when it was detached: drop its handles, connections and pages to \
                 open it anew"
            ),
            Self::Memory(id) => {
                write!(f, "there is no memory for the pages of {id}: give the domain more with `memory =`")
            }
        }
    }
}

impl core::error::Error for OpenError {}

impl Plugged {
    /// Starts to follow the devices of the domain but for those of `declared`.
    ///
    /// # Panics
    ///
    /// Outside of a running [`Runtime`](mirage_rt::runtime::Runtime).
    pub fn start(attachment: &Attachment, declared: Vec<DeviceId>, pools: Pools) -> Plugged {
        let state = RefCell::default();
        let shared = Rc::new(Shared { attachment: attachment.clone(), declared, pools, state });
        drop(spawn(watcher::follow(Rc::downgrade(&shared), attachment.clone())));
        Plugged { shared }
    }

    /// Pages for a device that is about to be opened, which is open until all of them and their pool are dropped.
    fn claim(&self, id: DeviceId, kind: DeviceKind) -> Result<Rc<dyn PagePool>, OpenError> {
        if id.kind != kind {
            return Err(OpenError::Kind(id));
        }
        {
            let state = self.shared.state.borrow();
            if state.open.contains(&id) {
                return Err(OpenError::Open(id));
            }
            if !state.devices.contains(&id) {
                return Err(OpenError::Gone(id));
            }
        }
        let pool = (self.shared.pools)(kind).ok_or(OpenError::Memory(id))?;
        self.shared.set_open(id, true);
        Ok(Rc::new(OpenPool { pool, id, shared: Rc::clone(&self.shared) }))
    }
}

impl Shared {
    fn set_open(&self, id: DeviceId, open: bool) {
        let mut state = self.state.borrow_mut();
        state.open.retain(|other| *other != id);
        if open {
            state.open.push(id);
        }
        state.moved = true;
        let waker = state.watcher.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Plugged {
    fn drop(&mut self) {
        let mut state = self.shared.state.borrow_mut();
        state.ended = true;
        let waker = state.watcher.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl fmt::Debug for Plugged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.borrow();
        write!(f, "{} undeclared devices, {} of them open", state.devices.len(), state.open.len())
    }
}

impl DeviceSource for Plugged {
    fn poll_devices(&self, seen: &mut u64, context: &mut Context<'_>) -> Poll<Vec<DeviceId>> {
        let mut state = self.shared.state.borrow_mut();
        if core::mem::replace(seen, state.version) != state.version {
            return Poll::Ready(state.devices.clone());
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn open_block(&self, id: DeviceId) -> Connecting<'_, Block> {
        Box::pin(async move {
            let pool = self.claim(id, DeviceKind::Block)?;
            let options = blkfront::Options::default();
            match Blkfront::connect(&self.shared.attachment, id.number, pool, options).await {
                Ok(device) => Ok(Block::new(Rc::new(device))),
                Err(blkfront::ConnectError::Xenbus(XenbusError::Missing { .. })) => Err(OpenError::Gone(id).into()),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn open_network(&self, id: DeviceId, config: net::Config) -> Connecting<'_, Network> {
        Box::pin(async move {
            let pool = self.claim(id, DeviceKind::Network)?;
            let options = netfront::Options::default();
            let connected = Netfront::connect(&self.shared.attachment, id.number, Rc::clone(&pool), options).await;
            match connected {
                Ok(device) => Ok(Network::direct(device, pool, config)?),
                Err(netfront::ConnectError::Xenbus(XenbusError::Missing { .. })) => Err(OpenError::Gone(id).into()),
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// The pool of an open device. Its driver, its handles and its pages hold it, so it is dropped when none of them is left.
struct OpenPool {
    pool: Rc<dyn PagePool>,
    id: DeviceId,
    shared: Rc<Shared>,
}

impl PagePool for OpenPool {
    fn take(&self) -> Option<&'static mut PageBytes> {
        self.pool.take()
    }

    fn put(&self, memory: &'static mut PageBytes) {
        self.pool.put(memory);
    }

    fn available(&self) -> usize {
        self.pool.available()
    }
}

impl Drop for OpenPool {
    fn drop(&mut self) {
        self.shared.set_open(self.id, false);
    }
}

/// The directory of a kind's devices, below `device`.
fn class(kind: DeviceKind) -> Option<&'static str> {
    match kind {
        DeviceKind::Network => Some("vif"),
        DeviceKind::Block => Some("vbd"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
