//! Event channels: which ports are bound, and whom an event wakes.
//!
//! Xen sets a bit for an event; nothing runs because of it (upcalls stay masked). The platform calls
//! [`Events::dispatch`] between batches of tasks and [`Events::wait`] when there is nothing to do; both take the pending
//! bits and wake or call whoever owns the port.

use alloc::rc::{Rc, Weak};
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};

use mirage_rt::cell::RefCell;

use crate::hypervisor::{DomainId, HypercallError, Hypervisor, MAX_PORTS, Port};
use crate::lists::take_swapped;
use crate::warning::warn;

/// The bound ports of this domain. Cloning gives another handle to the same table.
#[derive(Clone)]
pub struct Events {
    inner: Rc<Inner>,
}

struct Inner {
    hypervisor: Rc<dyn Hypervisor>,
    generation: Cell<u64>,
    table: RefCell<Table>,
    /// Whom to notify before the next look at events, or the next sleep.
    soon: Cell<Option<Port>>,
    /// For whom Xen has not taken a notification, and who was not told yet.
    refused: Cell<Option<Port>>,
}

#[derive(Default)]
struct Table {
    // Beside the channels, so that a wait hands a slice to the hypervisor and allocates nothing.
    ports: Vec<Port>,
    channels: Vec<Rc<Channel>>,
}

struct Channel {
    port: Port,
    fired: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    handler: Option<Weak<dyn EventHandler>>,
}

/// Something that acts on an event at once, between two tasks, rather than in a task of its own.
pub trait EventHandler {
    /// Called by [`Events::dispatch`] after the event was taken. It may send events and wake tasks; it must be quick.
    fn on_event(&self);

    /// Called when Xen has refused a notification that was [put off](EventChannel::notify_soon): the port was closed behind our
    /// back. Whoever puts notifications off must heed this.
    fn on_refused(&self) {}
}

/// A port could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EventError {
    /// All [`MAX_PORTS`] ports that there may be are bound.
    TooManyPorts,
    /// The hypercall that Xen refused.
    Hypercall(HypercallError),
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyPorts => {
                write!(f, "{MAX_PORTS} event channels are bound, which is all that there may be: attach fewer devices")
            }
            Self::Hypercall(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for EventError {}

impl From<HypercallError> for EventError {
    fn from(error: HypercallError) -> Self {
        Self::Hypercall(error)
    }
}

impl Events {
    /// An empty table.
    pub fn new(hypervisor: Rc<dyn Hypervisor>) -> Self {
        let (generation, table) = (Cell::new(0), RefCell::default());
        Self {
            inner: Rc::new(Inner { hypervisor, generation, table, soon: Cell::new(None), refused: Cell::new(None) }),
        }
    }

    /// Forgets all ports: after a resume they do not exist any more. Channels of before do nothing from now on.
    pub(crate) fn reset(&self, generation: u64) {
        self.inner.generation.set(generation);
        self.inner.soon.set(None);
        self.inner.refused.set(None);
        let forgotten = core::mem::take(&mut *self.inner.table.borrow_mut());
        // Whoever waits for one of them looks again, and finds its device disconnected.
        for channel in forgotten.channels {
            channel.fire(false);
        }
    }

    /// Sends what was [put off](EventChannel::notify_soon), takes all pending events and wakes whom they are for; whether there
    /// was any.
    pub fn dispatch(&self) -> bool {
        self.inner.send();
        let refused = self.inner.refused.take();
        let mut any = false;
        let mut index = 0;
        loop {
            // The table is not borrowed while a handler runs: it may bind and close ports.
            let channel = match self.inner.table.borrow().channels.get(index) {
                Some(channel) => Rc::clone(channel),
                None => return any,
            };
            index += 1;
            let is_refused = refused == Some(channel.port);
            if is_refused || self.inner.hypervisor.event_take_pending(channel.port) {
                any = true;
                channel.fire(is_refused);
            }
        }
    }

    /// Sends what was put off, waits for an event until the system time `deadline`, and dispatches what came; whether anything
    /// did.
    ///
    /// # Errors
    ///
    /// What Xen refused; the domain can't sleep and the platform must give up.
    pub fn wait(&self, deadline: Option<u64>) -> Result<bool, HypercallError> {
        self.inner.send();
        // Else who has not been notified is to hear of it at once.
        if self.inner.refused.get().is_none() {
            self.inner.hypervisor.sleep(&self.inner.table.borrow().ports, deadline)?;
        }
        Ok(self.dispatch())
    }

    /// How many ports are bound.
    pub fn bound(&self) -> usize {
        self.inner.table.borrow().ports.len()
    }

    /// A new channel that `remote` may bind to.
    ///
    /// # Errors
    ///
    /// When no more ports can be waited for, or Xen has none left.
    pub fn allocate(&self, remote: DomainId) -> Result<EventChannel, EventError> {
        self.room()?;
        let port = self.inner.hypervisor.event_alloc_unbound(remote)?;
        Ok(self.insert(port, None))
    }

    /// A new channel that `remote` may bind to, whose events call `handler` as long as that lives.
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate).
    pub fn allocate_with(&self, remote: DomainId, handler: Weak<dyn EventHandler>) -> Result<EventChannel, EventError> {
        self.room()?;
        let port = self.inner.hypervisor.event_alloc_unbound(remote)?;
        Ok(self.insert(port, Some(handler)))
    }

    /// Takes over a port that is bound already, as xenstore's and the console's are.
    ///
    /// # Errors
    ///
    /// When no more ports can be waited for.
    pub fn adopt(&self, port: Port, handler: Option<Weak<dyn EventHandler>>) -> Result<EventChannel, EventError> {
        self.room()?;
        Ok(self.insert(port, handler))
    }

    fn room(&self) -> Result<(), EventError> {
        if self.bound() < MAX_PORTS { Ok(()) } else { Err(EventError::TooManyPorts) }
    }

    fn insert(&self, port: Port, handler: Option<Weak<dyn EventHandler>>) -> EventChannel {
        let channel = Rc::new(Channel { port, fired: Cell::new(false), waker: RefCell::new(None), handler });
        let mut table = self.inner.table.borrow_mut();
        table.ports.push(port);
        table.channels.push(Rc::clone(&channel));
        EventChannel { channel, generation: self.inner.generation.get(), events: self.clone() }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} event channels", self.bound())
    }
}

impl Inner {
    /// Sends what was put off.
    #[inline(never)]
    fn send(&self) {
        if let Some(port) = self.soon.take()
            && self.hypervisor.event_send(port).is_err()
        {
            self.refused.set(Some(port));
        }
    }
}

impl Channel {
    fn fire(&self, is_refused: bool) {
        self.fired.set(true);
        if let Some(handler) = self.handler.as_ref().and_then(Weak::upgrade) {
            if is_refused {
                handler.on_refused();
            } else {
                handler.on_event();
            }
        }
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A bound port, closed when this is dropped.
///
/// After a resume the port does not exist any more: sending, waiting and dropping then do nothing.
pub struct EventChannel {
    channel: Rc<Channel>,
    generation: u64,
    events: Events,
}

impl EventChannel {
    /// The port, to be told to the other side.
    pub fn port(&self) -> Port {
        self.channel.port
    }

    /// Notifies the other side. What was written to shared memory before is visible to it then.
    ///
    /// # Errors
    ///
    /// The hypercall that Xen refused, which means that the port was closed behind our back.
    pub fn notify(&self) -> Result<(), HypercallError> {
        if self.is_current() { self.events.inner.hypervisor.event_send(self.channel.port) } else { Ok(()) }
    }

    /// As [`notify`](Self::notify), but before the next look at events or the next sleep, which is after a batch of tasks at the
    /// latest: several notifications are one. Whether this is the first of them. When Xen refuses it, [`EventHandler::on_refused`] is told.
    pub fn notify_soon(&self) -> bool {
        let inner = &self.events.inner;
        if !self.is_current() || inner.soon.get() == Some(self.channel.port) {
            return false;
        }
        // One can be put off: that of who notifies most in the end.
        inner.send();
        inner.soon.set(Some(self.channel.port));
        true
    }

    /// Ready when there was an event since the last time this was ready. Keeps the waker of the latest call only.
    pub fn poll_event(&self, context: &mut Context<'_>) -> Poll<()> {
        let taken = self.is_current() && self.events.inner.hypervisor.event_take_pending(self.channel.port);
        if self.channel.fired.replace(false) || taken {
            return Poll::Ready(());
        }
        let mut waker = self.channel.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits for an event. Cancel safe: an event is taken only by a call that returns. One task waits at a time.
    pub async fn wait(&self) {
        poll_fn(|context| self.poll_event(context)).await;
    }

    /// Lets go of a port that was [adopted](Events::adopt) without closing it: nothing is woken by its events any more.
    pub fn release(mut self) {
        if self.is_current() {
            self.forget();
        }
        // As after a resume: dropping it does nothing.
        self.generation = u64::MAX;
    }

    fn forget(&self) {
        let mut table = self.events.inner.table.borrow_mut();
        if let Some(index) = table.ports.iter().position(|port| *port == self.channel.port) {
            take_swapped(&mut table.ports, index);
            take_swapped(&mut table.channels, index);
        }
    }

    /// Whether the port still exists: it does not after a resume as a new domain.
    pub(crate) fn is_current(&self) -> bool {
        self.generation == self.events.inner.generation.get()
    }
}

impl Drop for EventChannel {
    fn drop(&mut self) {
        if !self.is_current() {
            return;
        }
        self.forget();
        if let Err(error) = self.events.inner.hypervisor.event_close(self.channel.port) {
            warn(format_args!("event channel {}: {error}", self.channel.port));
        }
    }
}

impl fmt::Debug for EventChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event channel {}", self.channel.port)
    }
}

#[cfg(test)]
mod tests;
