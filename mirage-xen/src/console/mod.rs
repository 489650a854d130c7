//! The domain's first console: Xen's page with two rings of bytes to xenconsoled (`io/console.h`).
//!
//! Output never blocks the program. What finds no room in the ring waits in a backlog of [`BACKLOG`] bytes, from which the
//! console's event channel moves it on; what finds no room there either is dropped and counted, and once there is room
//! again, the console says how much is missing. Only boot, the report of a crash and the end of the program wait for
//! xenconsoled, for a bounded time.

pub mod frontend;
mod output;
pub mod ring;
#[cfg(test)]
mod tests;

use alloc::rc::{Rc, Weak};
use core::cell::Cell;
use core::fmt;
use core::task::{Context, Poll, Waker};

use mirage_rt::cell::RefCell;

use crate::events::{EventChannel, EventHandler, Events};
use crate::hypervisor::{Hypervisor, Port};
use ring::Ring;

pub use output::BACKLOG;
pub(crate) use output::{Never, Output, Peer};

/// The first console of a domain that runs. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Console {
    inner: Rc<Inner>,
}

struct Inner {
    hypervisor: Rc<dyn Hypervisor>,
    events: Events,
    output: RefCell<Output>,
    service: Cell<Option<(Ring<'static>, Port)>>,
    /// Bound while somebody waits for an event. Otherwise xenconsoled's events would wake the domain for each line.
    channel: RefCell<Option<EventChannel>>,
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
}

impl Console {
    pub(crate) fn new(hypervisor: Rc<dyn Hypervisor>, events: Events) -> Self {
        let inner = Inner {
            hypervisor,
            events,
            output: RefCell::new(Output::new(BACKLOG)),
            service: Cell::new(None),
            channel: RefCell::default(),
            reader: Cell::default(),
            writer: Cell::default(),
        };
        Self { inner: Rc::new(inner) }
    }

    /// Finds the ring, after boot and after each resume. A domain without a console has none.
    pub(crate) fn attach(&self) {
        let service = self.inner.hypervisor.console_ring().ok();
        self.inner.service.set(service.map(|service| (Ring::new(service.memory), service.port)));
        self.inner.channel.replace(None);
        self.inner.on_event();
    }

    /// The port of its event channel.
    pub(crate) fn port(&self) -> Option<Port> {
        self.inner.service.get().map(|(_, port)| port)
    }

    /// Writes bytes and never waits. A carriage return is put before each line feed.
    pub fn write(&self, bytes: &[u8]) {
        self.output(Some(bytes), &Never);
    }

    /// Writes bytes, waiting for room as long as `peer` does; or, without bytes, waits until all output was read. False when
    /// this interrupts another write, and without a console.
    pub(crate) fn output(&self, bytes: Option<&[u8]>, peer: &dyn Peer) -> bool {
        let Ok(mut output) = self.inner.output.try_borrow_mut() else { return false };
        let Some((ring, port)) = self.inner.service.get() else { return false };
        match bytes {
            Some(bytes) => output.write(&ring, bytes, peer),
            None => output.flush(&ring, peer),
        }
        let waiting = output.is_waiting();
        drop(output);
        // Without the event the output is read a little later.
        let _ = self.inner.hypervisor.event_send(port);
        if waiting {
            self.inner.listen(port);
        }
        true
    }

    /// How many bytes of output were lost.
    pub fn lost(&self) -> u64 {
        self.inner.output.try_borrow().map_or(0, |output| output.lost())
    }

    /// Ready when no output waits behind the ring.
    pub fn poll_drained(&self, context: &mut Context<'_>) -> Poll<()> {
        let waiting = self.inner.output.borrow().is_waiting();
        // Where no event can be waited for, output is dropped rather than kept for ever.
        if !waiting || self.inner.channel.borrow().is_none() {
            return Poll::Ready(());
        }
        self.inner.writer.set(Some(context.waker().clone()));
        Poll::Pending
    }

    /// Takes what was typed: ready with at least one byte, unless `buffer` is empty. Keeps the waker of the latest call only.
    pub fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<usize> {
        let Some((ring, port)) = self.inner.service.get() else { return Poll::Pending };
        // Bound before the look, so that what comes after it is an event.
        self.inner.listen(port);
        match ring.take(buffer).unwrap_or(0) {
            0 if !buffer.is_empty() => {
                self.inner.reader.set(Some(context.waker().clone()));
                Poll::Pending
            }
            count => {
                // xenconsoled may wait for room.
                let _ = self.inner.hypervisor.event_send(port);
                Poll::Ready(count)
            }
        }
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("console")
    }
}

impl Inner {
    fn listen(self: &Rc<Self>, port: Port) {
        let mut channel = self.channel.borrow_mut();
        if channel.is_none() {
            let handler = Rc::downgrade(self);
            let handler: Weak<dyn EventHandler> = handler;
            // With all ports in use, the next write moves the backlog.
            *channel = self.events.adopt(port, Some(handler)).ok();
        }
    }
}

impl EventHandler for Inner {
    fn on_event(&self) {
        let Some((ring, port)) = self.service.get() else { return };
        let Ok(mut output) = self.output.try_borrow_mut() else { return };
        let moved = output.drain(&ring);
        let waiting = output.is_waiting();
        drop(output);
        if moved {
            let _ = self.hypervisor.event_send(port);
        }
        let reader = self.reader.take();
        if !waiting {
            if let Some(writer) = self.writer.take() {
                writer.wake();
            }
            if reader.is_none()
                && let Some(channel) = self.channel.take()
            {
                channel.release();
            }
        }
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}
