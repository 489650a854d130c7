//! All that Xen remembers of us, established in one place.
//!
//! Shared info, grant table, ports, watches and device handshakes are lost when the domain is saved and restored. So they are
//! made by one function, at boot and again after each resume, and counted: ports and grants carry the number of the
//! attachment they were made in, and those of an earlier one do nothing when used or dropped.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;

use mirage_rt::cell::RefCell;

use crate::clock::Monotonic;
use crate::console::Console;
use crate::events::{EventError, Events};
use crate::grants::Grants;
use crate::hypervisor::{HypercallError, Hypervisor, Resumed};
use crate::warning::warn;
use crate::xenstore::Xenstore;

/// The domain's connection to Xen. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Attachment {
    inner: Rc<Inner>,
}

struct Inner {
    generation: Cell<u64>,
    hypervisor: Rc<dyn Hypervisor>,
    events: Events,
    grants: Grants,
    xenstore: Xenstore,
    console: Console,
    companions: RefCell<Vec<Rc<dyn Companion>>>,
}

/// What has to be told of each suspension. Most things need not: they see the new generation, or nothing has changed for them.
pub trait Companion {
    /// The domain is about to be suspended, at this moment.
    fn suspending(&self);

    /// The domain goes on, attached if it is a new one, or was not suspended after all.
    fn resumed(&self, resumed: Resumed);
}

/// The domain could not be attached to Xen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// The hypercall that Xen refused.
    Hypercall(HypercallError),
    /// The port of xenstore or the console could not be taken over.
    Event(EventError),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the domain can't be attached to Xen: ")?;
        match self {
            Self::Hypercall(error) => error.fmt(f),
            Self::Event(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for AttachError {}

impl From<HypercallError> for AttachError {
    fn from(error: HypercallError) -> Self {
        Self::Hypercall(error)
    }
}

impl From<EventError> for AttachError {
    fn from(error: EventError) -> Self {
        Self::Event(error)
    }
}

impl Attachment {
    /// Attaches a domain that has just booted.
    ///
    /// # Errors
    ///
    /// What Xen refused. The domain can do nothing but report it.
    pub fn establish(hypervisor: Rc<dyn Hypervisor>) -> Result<Self, AttachError> {
        let events = Events::new(Rc::clone(&hypervisor));
        let grants = Grants::new(Rc::clone(&hypervisor));
        let xenstore = Xenstore::new();
        let console = Console::new(Rc::clone(&hypervisor), events.clone());
        let inner = Inner {
            generation: Cell::new(0),
            hypervisor,
            events,
            grants,
            xenstore,
            console,
            companions: RefCell::default(),
        };
        let attachment = Self { inner: Rc::new(inner) };
        attachment.reestablish()?;
        Ok(attachment)
    }

    /// Attaches the domain anew, after a resume. Devices are to be connected again after it.
    ///
    /// # Errors
    ///
    /// As [`establish`](Self::establish).
    pub fn reestablish(&self) -> Result<(), AttachError> {
        let inner = &self.inner;
        let generation = inner.generation.get() + 1;
        inner.generation.set(generation);
        inner.hypervisor.attach()?;
        inner.grants.reset();
        inner.events.reset(generation);
        inner.console.attach();
        inner.xenstore.attach(&*inner.hypervisor, &inner.events)
    }

    /// Lets the toolstack save the domain or move it, and goes on when it is done, attached anew if need be. `clock` stands
    /// still meanwhile. No request to xenstore may be under way: see [`Xenstore::poll_quiet`].
    ///
    /// Devices need not be told: their ports and grants are of another generation then, and their watches fire.
    ///
    /// # Errors
    ///
    /// As [`establish`](Self::establish).
    pub(crate) fn suspend(&self, clock: &Monotonic) -> Result<Resumed, AttachError> {
        let hypervisor = self.hypervisor();
        let companions = self.inner.companions.borrow();
        companions.iter().for_each(|companion| companion.suspending());
        clock.stop(hypervisor.system_time());
        let resumed = hypervisor.suspend().unwrap_or_else(|error| {
            warn(format_args!("not suspended: {error}"));
            Resumed::Same
        });
        match resumed {
            Resumed::Same => self.xenstore().go_on(),
            Resumed::New => self.reestablish()?,
        }
        clock.go_on(hypervisor.system_time());
        companions.iter().for_each(|companion| companion.resumed(resumed));
        Ok(resumed)
    }

    /// Tells `companion` of each suspension from now on.
    pub fn accompany(&self, companion: Rc<dyn Companion>) {
        self.inner.companions.borrow_mut().push(companion);
    }

    /// How often the domain was attached: 1 after boot.
    pub fn generation(&self) -> u64 {
        self.inner.generation.get()
    }

    /// Xen itself.
    pub fn hypervisor(&self) -> &Rc<dyn Hypervisor> {
        &self.inner.hypervisor
    }

    /// The event channels.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// The grant table.
    pub fn grants(&self) -> &Grants {
        &self.inner.grants
    }

    /// The connection to xenstore.
    pub fn xenstore(&self) -> &Xenstore {
        &self.inner.xenstore
    }

    /// The domain's first console.
    pub fn console(&self) -> &Console {
        &self.inner.console
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attachment {}", self.generation())
    }
}
