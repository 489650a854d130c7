//! The state of a network device: what its user, its supervisor and its events share.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::{Rc, Weak};
use alloc::string::String;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use mirage_rt::cell::RefCell;
use mirage_rt::packet::PacketMut;
use mirage_rt::types::network::{NetworkError, NetworkInfo};

use super::receive::{ReceiveQueue, Received};
use super::transmit::TransmitQueue;
use super::{Broken, ConnectError, Statistics};
use crate::attachment::Attachment;
use crate::events::{EventChannel, EventHandler};
use crate::warning::network::{failed, info};
use crate::xenbus::wish::Wishes;

pub(super) struct Device {
    pub(super) name: String,
    pub(super) state: RefCell<State>,
    pub(super) wishes: Wishes,
}

pub(super) struct State {
    pub(super) link: Link,
    pub(super) info: NetworkInfo,
    pub(super) statistics: Statistics,
    pub(super) receive: Side,
    pub(super) ready: Side,
    /// The backend has a link to its network.
    pub(super) carrier: bool,
    pub(super) groups: Groups,
    /// A connection is being made or ended: the backend may have been granted something.
    pub(super) busy: bool,
    /// Why the last attempt to connect failed.
    pub(super) failure: Option<ConnectError>,
}

/// One of the two things a task waits for.
pub(super) struct Side {
    pub(super) waker: Option<Waker>,
    /// The task knows that the device was away.
    pub(super) told: bool,
}

/// The groups whose frames are wanted, and what the backend does not know of them yet.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) joined: Vec<[u8; 6]>,
    /// In order: a group and whether it is wanted.
    pub(super) untold: VecDeque<([u8; 6], bool)>,
}

pub(super) enum Link {
    Down,
    Up(Box<Queues>),
    /// Given up. The queues stay until the backend has let go of them.
    Broken(Broken, Option<Box<Queues>>),
}

pub(super) struct Queues {
    pub(super) transmit: TransmitQueue,
    pub(super) receive: ReceiveQueue,
    pub(super) channels: Channels,
    pub(super) attachment: Attachment,
    pub(super) generation: u64,
}

impl Queues {
    /// Whether they are of this attachment. What an earlier one has left in memory when the domain was moved is not to be looked
    /// at: its backend went on while pages were being copied, so that there may be packets without their bytes.
    pub(super) fn is_current(&self) -> bool {
        self.generation == self.attachment.generation()
    }
}

pub(super) struct Channels {
    pub(super) transmit: EventChannel,
    /// Of its own only if the backend splits them.
    pub(super) receive: Option<EventChannel>,
    /// Event channels know their handlers weakly.
    pub(super) _handlers: [Rc<Handler>; 2],
}

/// What is to be looked at after an event.
pub(super) struct Handler {
    pub(super) device: Weak<Device>,
    pub(super) transmit: bool,
    pub(super) receive: bool,
}

impl Channels {
    /// The port for transmitting, and the one for receiving if it is another.
    pub(super) fn ports(&self) -> (u32, Option<u32>) {
        (self.transmit.port().0, self.receive.as_ref().map(|channel| channel.port().0))
    }

    /// Has the events sent that are due, before the next sleep or look at events; how many these are.
    pub(super) fn notify(&self, transmit: bool, receive: bool) -> u64 {
        let split = self.receive.as_ref();
        let mut sent = 0;
        if transmit || (receive && split.is_none()) {
            sent += u64::from(self.transmit.notify_soon());
        }
        if let Some(channel) = split.filter(|_| receive) {
            sent += u64::from(channel.notify_soon());
        }
        sent
    }
}

impl Default for Side {
    fn default() -> Self {
        Self { waker: None, told: true }
    }
}

impl Side {
    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The error once, when the device has been away in the meantime.
    pub(super) fn been_away(&mut self, context: &Context<'_>) -> Result<(), NetworkError> {
        if core::mem::replace(&mut self.told, true) {
            return Ok(());
        }
        // Whoever goes to sleep on it must come back at once.
        context.waker().wake_by_ref();
        Err(NetworkError::Disconnected)
    }

    /// What a device that is away answers: the error once, then nothing until it is back.
    pub(super) fn away<T>(&mut self, context: &Context<'_>) -> Poll<Result<T, NetworkError>> {
        // Also with the error: whoever goes to sleep on it is woken when the device is back.
        self.wait(context);
        if core::mem::replace(&mut self.told, true) {
            return Poll::Pending;
        }
        Poll::Ready(Err(NetworkError::Disconnected))
    }

    pub(super) fn wait(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => self.waker = Some(context.waker().clone()),
        }
    }
}

impl Device {
    /// Waits for a state of the link.
    pub(super) async fn until(&self, wanted: impl Fn(&Link) -> bool) {
        self.until_state(|state| wanted(&state.link)).await;
    }

    pub(super) async fn until_state(&self, mut wanted: impl FnMut(&State) -> bool) {
        self.wishes.until(|| wanted(&self.state.borrow())).await;
    }

    /// Changes the link, and wakes all who look at it. The queues of before.
    pub(super) fn set_link(&self, link: Link) -> Option<Box<Queues>> {
        let before = {
            let mut state = self.state.borrow_mut();
            // One that has not been up has no users to be told.
            let goes = !matches!(state.link, Link::Down);
            state.change(goes);
            core::mem::replace(&mut state.link, link)
        };
        self.wishes.wake_watchers();
        match before {
            Link::Up(queues) | Link::Broken(_, Some(queues)) => Some(queues),
            Link::Down | Link::Broken(_, None) => None,
        }
    }

    /// Takes down whether the backend has a link.
    pub(super) fn set_carrier(&self, carrier: bool) {
        let mut state = self.state.borrow_mut();
        if core::mem::replace(&mut state.carrier, carrier) != carrier {
            info(format_args!("{}: link {}", self.name, if carrier { "up" } else { "down" }));
            state.change(!carrier);
        }
    }

    /// Whether the queues are of an earlier attachment.
    pub(super) fn lost_generation(&self) -> bool {
        matches!(&self.state.borrow().link, Link::Up(queues) if !queues.is_current())
    }

    /// Gives the device up.
    pub(super) fn break_down(&self, state: &mut State, reason: Broken) -> NetworkError {
        if let Link::Up(queues) = core::mem::replace(&mut state.link, Link::Broken(reason, None)) {
            failed(format_args!("{}: given up, because the backend broke the protocol: {reason}", self.name));
            state.link = Link::Broken(reason, Some(queues));
        }
        state.receive.wake();
        state.ready.wake();
        self.wishes.wake_supervisor();
        NetworkError::Broken
    }

    /// Tells the backend of a change of the groups, now or when it is there and has room.
    pub(super) fn change_group(&self, state: &mut State, group: [u8; 6], wanted: bool) {
        // What is outdated need not be said. So at most what was joined is untold, and what was left of that.
        let before = state.groups.untold.len();
        state.groups.untold.retain(|(untold, _)| *untold != group);
        if wanted || state.groups.untold.len() == before {
            state.groups.untold.push_back((group, wanted));
        }
        state.tell_groups();
    }

    /// Does something with the queues; a backend found to be broken ends the device.
    pub(super) fn with<T>(
        &self,
        state: &mut State,
        act: impl FnOnce(&mut Queues, &mut Statistics) -> Result<T, Broken>,
    ) -> Result<T, NetworkError> {
        let result = match &mut state.link {
            Link::Up(queues) if state.carrier && queues.is_current() => act(queues, &mut state.statistics),
            Link::Up(_) => return Err(NetworkError::Disconnected),
            Link::Down => return Err(NetworkError::Disconnected),
            Link::Broken(..) => return Err(NetworkError::Broken),
        };
        result.map_err(|reason| self.break_down(state, reason))
    }
}

impl State {
    /// The device comes or goes: who uses it shall look.
    fn change(&mut self, goes: bool) {
        self.receive.told &= !goes;
        self.ready.told &= !goes;
        self.receive.wake();
        self.ready.wake();
    }

    /// Whether packets can be moved.
    pub(super) fn is_usable(&self) -> bool {
        self.carrier && matches!(&self.link, Link::Up(queues) if queues.is_current())
    }

    /// Tells the backend of groups as far as there is room.
    pub(super) fn tell_groups(&mut self) {
        let Link::Up(queues) = &mut self.link else {
            // The next one is told of all.
            self.groups.untold.clear();
            return;
        };
        while let Some((group, wanted)) = self.groups.untold.front() {
            if !queues.transmit.push_group(*group, *wanted) {
                break;
            }
            self.groups.untold.pop_front();
        }
        if queues.transmit.publish() {
            self.statistics.notifications += queues.channels.notify(true, false);
        }
    }
}

impl Groups {
    /// A new backend knows of none.
    pub(super) fn tell_all(&mut self) {
        self.untold = self.joined.iter().map(|group| (*group, true)).collect();
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
            if !state.groups.untold.is_empty() {
                state.tell_groups();
            }
            state.ready.wake();
        }
    }

    fn on_refused(&self) {
        if let Some(device) = self.device.upgrade() {
            device.break_down(&mut device.state.borrow_mut(), Broken::EventChannel);
        }
    }
}

/// Takes back answered transmit slots until there is none and the backend knows when to send an event.
pub(super) fn reap(queues: &mut Queues, statistics: &mut Statistics) -> Result<(), Broken> {
    loop {
        let reaped = queues.transmit.reap()?;
        statistics.transmit_refused += u64::from(reaped.refused);
        if !queues.transmit.listen(queues.receive.has_pages())? {
            return Ok(());
        }
    }
}

/// The next packet, if there is one; if not, the backend has all free pages and sends an event with the next packet.
pub(super) fn receive(queues: &mut Queues, statistics: &mut Statistics) -> Result<Option<PacketMut>, Broken> {
    let mut packet = None;
    loop {
        while let Some(received) = queues.receive.next(&mut packet)? {
            if queues.receive.publish(false) {
                statistics.notifications += queues.channels.notify(false, true);
            }
            match received {
                Received::NoMemory => statistics.received_no_memory += 1,
                Received::Error => statistics.received_errors += 1,
                Received::Packet => {
                    statistics.received_packets += 1;
                    statistics.received_bytes += packet.as_ref().map_or(0, |packet| packet.len() as u64);
                    return Ok(packet);
                }
            }
        }
        // Pages that come back now can be posted at once.
        reap(queues, statistics)?;
        if queues.receive.publish(true) {
            statistics.notifications += queues.channels.notify(false, true);
        }
        if !queues.receive.listen()? {
            return Ok(None);
        }
    }
}
