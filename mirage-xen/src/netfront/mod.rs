//! The network frontend: a [`NetworkDevice`] over the rings it shares with a backend, usually Linux's xen-netback.
//!
//! What is supported: receiving by copy, packets of many pages both ways, blank and validated checksums both ways (IPv4
//! and IPv6), TCP segmentation offload both ways, one or two event channels, MTUs other than 1500, backends that go away
//! and come back. A burst of packets causes one notification.
//!
//! The backend is not trusted. What it writes is copied once and checked; the first thing that makes no sense ends the
//! device ([`Broken`] lists what that can be), with a line in the log and without a panic. Nothing is read from a page
//! before the backend's access to it has ended.

mod checksum;
mod connect;
mod error;
mod receive;
mod supervisor;
mod transmit;
pub mod wire;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};

use mirage_rt::packet::{Packet, PacketMut};
use mirage_rt::page::PagePool;
use mirage_rt::time::Duration;
use mirage_rt::types::network::{NetworkDevice, NetworkError, NetworkInfo, TransmitError, TransmitErrorKind};

use crate::attachment::Attachment;
use crate::events::{EventChannel, EventHandler};
pub use error::{Broken, ConnectError};
use receive::{ReceiveQueue, Received};
use transmit::TransmitQueue;

const ETHERNET_HEADER: usize = 14;

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
    /// How long the backend has for each step of connecting and parting.
    pub limit: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { receive_pages: 256, receive_gso: false, receive_partial_checksum: true, limit: Duration::from_secs(20) }
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
/// While the backend is away, [`poll_receive`](NetworkDevice::poll_receive) and
/// [`poll_ready`](NetworkDevice::poll_ready) each say [`NetworkError::Disconnected`] once and are then pending until it is
/// back. Dropping the device parts from the backend, in the background.
pub struct Netfront {
    control: Control,
}

/// A handle to a network device beside the one that moves packets. Cloning gives another one.
#[derive(Clone)]
pub struct Control {
    device: Rc<Device>,
}

/// What the device should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    Connected,
    Quiet,
    Gone,
}

struct Device {
    name: String,
    state: RefCell<State>,
    wish: Cell<Wish>,
    /// Of the supervisor, for a changed wish or a broken device.
    supervisor: RefCell<Option<Waker>>,
    /// Of those who wait for the link to go up or down.
    watchers: RefCell<alloc::vec::Vec<Waker>>,
}

struct State {
    link: Link,
    info: NetworkInfo,
    statistics: Statistics,
    receive: Side,
    ready: Side,
    /// The backend may still use queues of before.
    parting: bool,
    /// Why the last attempt to connect failed.
    failure: Option<ConnectError>,
}

/// One of the two things a task waits for.
#[derive(Default)]
struct Side {
    waker: Option<Waker>,
    told: bool,
}

enum Link {
    Down,
    Up(Box<Queues>),
    /// Given up. The queues stay until the backend has let go of them.
    Broken(Broken, Option<Box<Queues>>),
}

struct Queues {
    transmit: TransmitQueue,
    receive: ReceiveQueue,
    channels: Channels,
    generation: u64,
}

struct Channels {
    transmit: EventChannel,
    /// Of its own only if the backend splits them.
    receive: Option<EventChannel>,
    /// Event channels know their handlers weakly.
    _handlers: [Rc<Handler>; 2],
}

/// What is to be looked at after an event.
struct Handler {
    device: alloc::rc::Weak<Device>,
    transmit: bool,
    receive: bool,
}

impl Channels {
    /// The port for transmitting, and the one for receiving if it is another.
    fn ports(&self) -> (u32, Option<u32>) {
        (self.transmit.port().0, self.receive.as_ref().map(|channel| channel.port().0))
    }

    /// Sends the events that are due; how many it were.
    fn notify(&self, transmit: bool, receive: bool) -> Result<u64, Broken> {
        let mut sent = 0;
        let split = self.receive.as_ref();
        if transmit || (receive && split.is_none()) {
            self.transmit.notify().map_err(|_| Broken::EventChannel)?;
            sent += 1;
        }
        if let Some(channel) = split.filter(|_| receive) {
            channel.notify().map_err(|_| Broken::EventChannel)?;
            sent += 1;
        }
        Ok(sent)
    }
}

impl Side {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What a device that is away answers: the error once, then nothing until it is back.
    fn away<T>(&mut self, context: &Context<'_>) -> Poll<Result<T, NetworkError>> {
        // Also with the error: whoever goes to sleep on it is woken when the device is back.
        self.wait(context);
        if core::mem::replace(&mut self.told, true) {
            return Poll::Pending;
        }
        Poll::Ready(Err(NetworkError::Disconnected))
    }

    fn wait(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => self.waker = Some(context.waker().clone()),
        }
    }
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
        self.device.set_wish(Wish::Quiet);
        let quiet = |state: &State| matches!(state.link, Link::Down | Link::Broken(_, None)) && !state.parting;
        self.device.until_state(quiet).await;
    }

    /// Connects to the backend again, after [`quiesce`](Self::quiesce) or after the domain was attached to Xen anew.
    ///
    /// # Errors
    ///
    /// As [`Netfront::connect`], of the first attempt; the device goes on trying when its backend moves.
    pub async fn connect(&self, attachment: &Attachment) -> Result<(), ConnectError> {
        self.device.state.borrow_mut().failure = None;
        self.device.set_wish(Wish::Connected);
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

    /// Whether packets can be moved now.
    pub fn is_connected(&self) -> bool {
        matches!(self.device.state.borrow().link, Link::Up(_))
    }

    /// Whether the device was given up.
    pub fn is_broken(&self) -> bool {
        matches!(self.device.state.borrow().link, Link::Broken(..))
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
        self.control.device.set_wish(Wish::Gone);
    }
}

impl Device {
    fn set_wish(&self, wish: Wish) {
        self.wish.set(wish);
        self.wake_supervisor();
    }

    fn wake_supervisor(&self) {
        let waker = self.supervisor.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for a state of the link.
    async fn until(&self, wanted: impl Fn(&Link) -> bool) {
        self.until_state(|state| wanted(&state.link)).await;
    }

    async fn until_state(&self, mut wanted: impl FnMut(&State) -> bool) {
        poll_fn(|context| {
            if wanted(&self.state.borrow()) {
                return Poll::Ready(());
            }
            self.watchers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn wake_watchers(&self) {
        let watchers = core::mem::take(&mut *self.watchers.borrow_mut());
        watchers.into_iter().for_each(Waker::wake);
    }

    /// Changes the link, and wakes all who look at it. The queues of before.
    fn set_link(&self, link: Link) -> Option<Box<Queues>> {
        let before = {
            let mut state = self.state.borrow_mut();
            state.receive.told = false;
            state.ready.told = false;
            state.receive.wake();
            state.ready.wake();
            core::mem::replace(&mut state.link, link)
        };
        self.wake_watchers();
        match before {
            Link::Up(queues) | Link::Broken(_, Some(queues)) => Some(queues),
            Link::Down | Link::Broken(_, None) => None,
        }
    }

    /// Whether the queues are of an earlier attachment.
    fn lost_generation(&self, generation: u64) -> bool {
        matches!(&self.state.borrow().link, Link::Up(queues) if queues.generation != generation)
    }

    /// Gives the device up.
    fn break_down(&self, state: &mut State, reason: Broken) -> NetworkError {
        if let Link::Up(queues) = core::mem::replace(&mut state.link, Link::Broken(reason, None)) {
            log::error!("{}: given up, because the backend broke the protocol: {reason}", self.name);
            state.link = Link::Broken(reason, Some(queues));
        }
        state.receive.wake();
        state.ready.wake();
        self.wake_supervisor();
        NetworkError::Broken
    }

    /// Does something with the queues; a backend found to be broken ends the device.
    fn with<T>(
        &self,
        state: &mut State,
        act: impl FnOnce(&mut Queues, &mut Statistics) -> Result<T, Broken>,
    ) -> Result<T, NetworkError> {
        let result = match &mut state.link {
            Link::Up(queues) => act(queues, &mut state.statistics),
            Link::Down => return Err(NetworkError::Disconnected),
            Link::Broken(..) => return Err(NetworkError::Broken),
        };
        result.map_err(|reason| self.break_down(state, reason))
    }
}

impl EventHandler for Handler {
    fn on_event(&self) {
        let Some(device) = self.device.upgrade() else { return };
        let mut state = device.state.borrow_mut();
        state.statistics.events += 1;
        if self.receive {
            state.receive.wake();
        }
        if self.transmit {
            // Here, not when the next packet is sent: its pages are somebody else's memory.
            let _ = device.with(&mut state, reap);
            state.ready.wake();
        }
    }
}

/// Takes back answered transmit slots until there is none and the backend knows when to send an event.
fn reap(queues: &mut Queues, statistics: &mut Statistics) -> Result<(), Broken> {
    loop {
        let reaped = queues.transmit.reap()?;
        statistics.transmit_refused += u64::from(reaped.refused);
        if !queues.transmit.listen(queues.receive.has_pages())? {
            return Ok(());
        }
    }
}

/// The next packet, if there is one; if not, the backend has all free pages and sends an event with the next packet.
fn receive(queues: &mut Queues, statistics: &mut Statistics) -> Result<Option<PacketMut>, Broken> {
    loop {
        while let Some(received) = queues.receive.next()? {
            if queues.receive.publish(false) {
                statistics.notifications += queues.channels.notify(false, true)?;
            }
            match received {
                Received::NoMemory => statistics.received_no_memory += 1,
                Received::Error => statistics.received_errors += 1,
                Received::Packet(packet) => {
                    statistics.received_packets += 1;
                    statistics.received_bytes += packet.len() as u64;
                    return Ok(Some(packet));
                }
            }
        }
        // Pages that come back now can be posted at once.
        reap(queues, statistics)?;
        if queues.receive.publish(true) {
            statistics.notifications += queues.channels.notify(false, true)?;
        }
        if !queues.receive.listen()? {
            return Ok(None);
        }
    }
}

impl NetworkDevice for Netfront {
    fn info(&self) -> NetworkInfo {
        self.control.device.state.borrow().info
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<PacketMut, NetworkError>> {
        let device = &self.control.device;
        let mut state = device.state.borrow_mut();
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

    fn transmit(&mut self, packet: Packet) -> Result<(), TransmitError> {
        let device = &self.control.device;
        let mut state = device.state.borrow_mut();
        let state = &mut *state;
        let kind = match &mut state.link {
            Link::Down => TransmitErrorKind::Device(NetworkError::Disconnected),
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
            statistics.notifications += queues.channels.notify(transmit, receive)?;
            if transmit { reap(queues, statistics) } else { Ok(()) }
        });
    }
}

#[cfg(test)]
mod tests;
