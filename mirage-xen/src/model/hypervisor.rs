//! The hypervisor of the model, with the backends' half of event channels and grants.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use mirage_rt::page::PagePool;

use super::memory::GuestMemory;
use super::{BACKEND, GUEST};
use crate::hypervisor::{
    DomainId, Frame, HypercallError, Hypervisor, MAX_PORTS, PAGE_SIZE, Port, Resumed, ServiceRing, ShutdownReason,
};
use crate::shared::SharedBytes;

/// Steps without an event for the guest after which the services are taken to be in a loop.
const STEP_LIMIT: usize = 1_000_000;
const EINVAL: u32 = 22;
const ENOSPC: u32 = 28;

/// Something that runs in the other domain.
pub trait Service {
    /// Does what can be done now; whether it did anything.
    fn step(&mut self, world: &Rc<World>) -> bool;

    /// When it wants to run again although nothing happens, in system time.
    fn wake_at(&self) -> Option<u64> {
        None
    }

    /// The guest has become a new domain: lets go of the old one and serves the new one.
    fn follow_guest(&mut self, _world: &Rc<World>) {}
}

/// How the guest goes on after a suspension.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// As what.
    pub resumed: Resumed,
    /// The system time then, which is another host's perhaps; `None` for a second later.
    pub system_time: Option<u64>,
}

/// A machine with one guest. The guest sees it as a [`Hypervisor`], the backends by the other methods.
pub struct World {
    time: Cell<u64>,
    memory: Rc<GuestMemory>,
    ports: RefCell<Vec<GuestPort>>,
    ends: RefCell<Vec<BackendEnd>>,
    grant_frames: RefCell<Vec<SharedBytes<'static>>>,
    grant_frames_limit: Cell<u32>,
    mapped: RefCell<Vec<(u32, bool)>>,
    /// xenstore's ring, then the console's.
    rings: RefCell<[ServiceRing; 2]>,
    guest: Cell<DomainId>,
    plan: Cell<Plan>,
    suspensions: Cell<u32>,
    services: RefCell<Vec<Box<dyn Service>>>,
    shutdown: Cell<Option<ShutdownReason>>,
    notifications: Cell<u64>,
    refuse_mappings: Cell<bool>,
}

#[derive(Clone, Copy)]
enum PortState {
    Closed,
    Unbound { remote: DomainId },
    Bound { end: usize },
    Virq,
}

struct GuestPort {
    state: PortState,
    pending: bool,
}

struct BackendEnd {
    guest: Option<Port>,
    pending: bool,
}

/// A backend's end of an event channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BackendPort(usize);

/// Why the model's Xen refuses a backend access to a page, as Xen would.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GrantFault {
    /// No such reference, or one that grants nothing.
    NotGranted,
    /// It is granted to another domain.
    WrongDomain,
    /// It is granted for reading only.
    ReadOnly,
    /// It names a frame that is not the guest's.
    BadFrame,
}

/// A page of the guest that a backend has mapped; unmapped on drop.
pub struct Mapping {
    world: Rc<World>,
    reference: u32,
    writable: bool,
    bytes: SharedBytes<'static>,
}

impl Mapping {
    /// The page.
    pub fn bytes(&self) -> SharedBytes<'static> {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let mut mapped = self.world.mapped.borrow_mut();
        if let Some(index) = mapped.iter().position(|entry| *entry == (self.reference, self.writable)) {
            mapped.swap_remove(index);
        }
        let reading = mapped.iter().any(|entry| entry.0 == self.reference);
        let writing = mapped.contains(&(self.reference, true));
        drop(mapped);
        if let Some(entry) = self.world.grant_entry(self.reference) {
            let keep = !(READING | WRITING) | if reading { READING } else { 0 } | if writing { WRITING } else { 0 };
            let flags = entry.load_u16(0, Ordering::SeqCst);
            entry.store_u16(0, flags & keep, Ordering::SeqCst);
        }
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mapping of grant {}", self.reference)
    }
}

const PERMIT_ACCESS: u16 = 1;
const READ_ONLY: u16 = 1 << 2;
const READING: u16 = 1 << 3;
const WRITING: u16 = 1 << 4;

impl World {
    /// A machine whose guest has just been built.
    pub fn new() -> Rc<Self> {
        let memory = Rc::new(GuestMemory::new());
        let ring = |port| ServiceRing { memory: memory.take_shared(), port: Port(port) };
        let rings = [ring(1), ring(2)];
        let bound = |end| GuestPort { state: PortState::Bound { end }, pending: false };
        let closed = GuestPort { state: PortState::Closed, pending: false };
        let end = |port| BackendEnd { guest: Some(Port(port)), pending: false };
        Rc::new(Self {
            time: Cell::new(1_000_000_000),
            memory,
            ports: RefCell::new(Vec::from([closed, bound(0), bound(1)])),
            ends: RefCell::new(Vec::from([end(1), end(2)])),
            grant_frames: RefCell::default(),
            grant_frames_limit: Cell::new(4),
            mapped: RefCell::default(),
            rings: RefCell::new(rings),
            guest: Cell::new(GUEST),
            plan: Cell::new(Plan { resumed: Resumed::New, system_time: None }),
            suspensions: Cell::new(0),
            services: RefCell::default(),
            shutdown: Cell::new(None),
            notifications: Cell::new(0),
            refuse_mappings: Cell::new(false),
        })
    }

    /// The system time.
    pub fn now(&self) -> u64 {
        self.time.get()
    }

    /// The pool of the guest's I/O pages.
    pub fn pool(&self) -> Rc<dyn PagePool> {
        self.memory.clone()
    }

    /// The memory of one of the guest's frames.
    pub(super) fn frame(&self, frame: Frame) -> Option<SharedBytes<'static>> {
        self.memory.frame(frame)
    }

    /// A page that nobody else has, for ever.
    pub(super) fn take_shared(&self) -> SharedBytes<'static> {
        self.memory.take_shared()
    }

    /// Adds something that runs in the other domain.
    pub fn add_service(&self, service: Box<dyn Service>) {
        self.services.borrow_mut().push(service);
    }

    /// Ends all services but the first `keep`, as if their domains had died.
    pub fn end_services(&self, keep: usize) {
        let ended: Vec<_> = self.services.borrow_mut().drain(keep..).collect();
        drop(ended);
    }

    /// Closes the guest's ports, but for xenstore's and the console's, behind its back.
    pub fn lose_ports(&self) {
        for guest in self.ports.borrow_mut().iter_mut().skip(3) {
            if let PortState::Bound { end } = guest.state {
                self.ends.borrow_mut()[end].guest = None;
            }
            *guest = GuestPort { state: PortState::Closed, pending: false };
        }
    }

    /// The backend's end of the xenstore ring.
    pub fn xenstore_end(&self) -> (SharedBytes<'static>, BackendPort) {
        self.service_end(0)
    }

    fn service_end(&self, service: usize) -> (SharedBytes<'static>, BackendPort) {
        let ring = &self.rings.borrow()[service];
        match self.ports.borrow()[ring.port.0 as usize].state {
            PortState::Bound { end } => (ring.memory, BackendPort(end)),
            _ => panic!("the guest closed the port of a service"),
        }
    }

    /// The guest's number, another one after each move.
    pub fn guest(&self) -> DomainId {
        self.guest.get()
    }

    /// Says how the guest goes on after each suspension from now on. At first it is [`Resumed::New`], a second later.
    pub fn plan(&self, resumed: Resumed, system_time: Option<u64>) {
        self.plan.set(Plan { resumed, system_time });
    }

    /// How often the guest was suspended.
    pub fn suspensions(&self) -> u32 {
        self.suspensions.get()
    }

    /// The guest stands still, is saved or moved, and goes on.
    fn suspend(self: &Rc<Self>) -> Resumed {
        self.suspensions.set(self.suspensions.get() + 1);
        let Plan { resumed, system_time } = self.plan.get();
        if resumed == Resumed::New {
            self.rebuild();
        }
        self.time.set(system_time.unwrap_or(self.time.get() + 1_000_000_000));
        resumed
    }

    /// Makes the guest a new domain: nothing is left of it but its memory.
    fn rebuild(self: &Rc<Self>) {
        self.guest.set(DomainId(self.guest.get().0 + 1));
        self.ends.borrow_mut().iter_mut().for_each(|end| *end = BackendEnd { guest: None, pending: false });
        self.ports.borrow_mut().clear();
        let closed = GuestPort { state: PortState::Closed, pending: false };
        self.ports.borrow_mut().push(closed);
        // The other way round than at boot, and every other time as at boot: one port is the other's before.
        let order = if self.guest.get().0.is_multiple_of(2) { [1, 0] } else { [0, 1] };
        for service in order {
            let mut ends = self.ends.borrow_mut();
            let port = Port(self.ports.borrow().len() as u32);
            let state = PortState::Bound { end: ends.len() };
            self.ports.borrow_mut().push(GuestPort { state, pending: false });
            ends.push(BackendEnd { guest: Some(port), pending: false });
            self.rings.borrow_mut()[service] = ServiceRing { memory: self.memory.take_shared(), port };
        }
        let mut services = core::mem::take(&mut *self.services.borrow_mut());
        services.iter_mut().for_each(|service| service.follow_guest(self));
        *self.services.borrow_mut() = services;
        assert_eq!(self.mapped(), 0, "the backends of the old domain have let go of it");
        self.grant_frames.borrow_mut().clear();
    }

    /// The backend's end of the console ring.
    pub fn console_end(&self) -> (SharedBytes<'static>, BackendPort) {
        self.service_end(1)
    }

    /// Lets every service do what it can now; whether any did anything.
    pub fn step(self: &Rc<Self>) -> bool {
        let mut services = core::mem::take(&mut *self.services.borrow_mut());
        let mut any = false;
        for service in &mut services {
            any |= service.step(self);
        }
        let mut added = self.services.borrow_mut();
        services.append(&mut added);
        *added = services;
        any
    }

    /// Binds a backend to the guest's unbound port; `None` when the guest has made no such port for it.
    pub fn bind(&self, port: u32) -> Option<BackendPort> {
        let mut ports = self.ports.borrow_mut();
        let guest = ports.get_mut(port as usize)?;
        let PortState::Unbound { remote: BACKEND } = guest.state else { return None };
        let mut ends = self.ends.borrow_mut();
        guest.state = PortState::Bound { end: ends.len() };
        // As Xen does: the new end looks once.
        ends.push(BackendEnd { guest: Some(Port(port)), pending: true });
        Some(BackendPort(ends.len() - 1))
    }

    /// Closes a backend's end: the guest's port can be bound again.
    pub fn unbind(&self, end: BackendPort) {
        if let Some(port) = self.ends.borrow_mut()[end.0].guest.take()
            && let Some(guest) = self.ports.borrow_mut().get_mut(port.0 as usize)
        {
            guest.state = PortState::Unbound { remote: BACKEND };
        }
    }

    /// Sends an event to the guest.
    pub fn notify(&self, end: BackendPort) {
        let guest = self.ends.borrow()[end.0].guest;
        if let Some(port) = guest {
            self.raise(port);
        }
    }

    fn raise(&self, port: Port) {
        if let Some(guest) = self.ports.borrow_mut().get_mut(port.0 as usize) {
            guest.pending = true;
        }
    }

    /// Whether the guest sent an event since the last call.
    pub fn take_pending(&self, end: BackendPort) -> bool {
        core::mem::take(&mut self.ends.borrow_mut()[end.0].pending)
    }

    /// How many events the guest has sent.
    pub fn notifications(&self) -> u64 {
        self.notifications.get()
    }

    /// How many ports the guest has open, xenstore's and the console's included.
    pub fn open_ports(&self) -> usize {
        self.ports.borrow().iter().filter(|port| !matches!(port.state, PortState::Closed)).count()
    }

    /// Why the guest ended, if it did.
    pub fn shutdown_reason(&self) -> Option<ShutdownReason> {
        self.shutdown.get()
    }

    /// Sets how many frames the grant table may have.
    pub fn limit_grant_frames(&self, limit: u32) {
        self.grant_frames_limit.set(limit);
    }

    fn grant_entry(&self, reference: u32) -> Option<SharedBytes<'static>> {
        const PER_FRAME: u32 = (PAGE_SIZE / 8) as u32;
        let frames = self.grant_frames.borrow();
        let frame = frames.get((reference / PER_FRAME) as usize)?;
        Some(frame.part((reference % PER_FRAME) as usize * 8, 8))
    }

    /// Refuses every further mapping of a grant, or no more.
    pub fn refuse_mappings(&self, refuse: bool) {
        self.refuse_mappings.set(refuse);
    }

    /// Maps a page that the guest granted to the backends' domain.
    ///
    /// # Errors
    ///
    /// What Xen would refuse.
    pub fn map_grant(self: &Rc<Self>, reference: u32, writable: bool) -> Result<Mapping, GrantFault> {
        let entry =
            self.grant_entry(reference).filter(|_| !self.refuse_mappings.get()).ok_or(GrantFault::NotGranted)?;
        let flags = entry.load_u16(0, Ordering::SeqCst);
        if flags & 3 != PERMIT_ACCESS {
            return Err(GrantFault::NotGranted);
        }
        if entry.load_u16(2, Ordering::SeqCst) != BACKEND.0 {
            return Err(GrantFault::WrongDomain);
        }
        if writable && flags & READ_ONLY != 0 {
            return Err(GrantFault::ReadOnly);
        }
        let frame = Frame(u64::from(entry.load_u32(4, Ordering::SeqCst)));
        let bytes = self.memory.frame(frame).ok_or(GrantFault::BadFrame)?;
        entry.store_u16(0, flags | READING | if writable { WRITING } else { 0 }, Ordering::SeqCst);
        self.mapped.borrow_mut().push((reference, writable));
        Ok(Mapping { world: Rc::clone(self), reference, writable, bytes })
    }

    /// How many pages of the guest the backends have mapped.
    pub fn mapped(&self) -> usize {
        self.mapped.borrow().len()
    }

    /// How many grant references give somebody access now.
    pub fn granted(&self) -> usize {
        let entries = self.grant_frames.borrow().len() * (PAGE_SIZE / 8);
        let active = |number: &usize| {
            self.grant_entry(*number as u32).is_some_and(|entry| entry.load_u16(0, Ordering::SeqCst) != 0)
        };
        (0..entries).filter(active).count()
    }

    /// Takes away what does not survive a save and restore: ports and grants.
    pub fn forget_guest(&self) {
        for (number, port) in self.ports.borrow_mut().iter_mut().enumerate() {
            if number > 2 {
                *port = GuestPort { state: PortState::Closed, pending: false };
            }
        }
        for frame in self.grant_frames.borrow().iter() {
            frame.clear();
        }
    }

    fn open(&self, state: PortState) -> Port {
        let mut ports = self.ports.borrow_mut();
        let port = GuestPort { state, pending: false };
        match ports.iter().skip(1).position(|port| matches!(port.state, PortState::Closed)) {
            Some(index) => {
                ports[index + 1] = port;
                Port(index as u32 + 1)
            }
            None => {
                ports.push(port);
                Port(ports.len() as u32 - 1)
            }
        }
    }

    fn is_pending(&self, port: Port) -> bool {
        self.ports.borrow().get(port.0 as usize).is_some_and(|port| port.pending)
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model of domain {} at {} ns", self.guest.get(), self.time.get())
    }
}

/// The guest's view of a [`World`].
#[derive(Clone, Debug)]
pub struct Guest(pub Rc<World>);

// SAFETY: `frame_of` and the memory handed out come from the same allocation, which is never freed, and `take_shared`
// gives its pages to nobody else.
#[allow(unsafe_code)]
unsafe impl Hypervisor for Guest {
    fn attach(&self) -> Result<(), HypercallError> {
        Ok(())
    }

    fn event_alloc_unbound(&self, remote: DomainId) -> Result<Port, HypercallError> {
        Ok(self.0.open(PortState::Unbound { remote }))
    }

    fn event_bind_interdomain(&self, _remote: DomainId, _port: Port) -> Result<Port, HypercallError> {
        // No backend of the model offers a channel.
        Err(HypercallError::new("EVTCHNOP_bind_interdomain", EINVAL))
    }

    fn event_bind_virq(&self, _virq: u32) -> Result<Port, HypercallError> {
        Ok(self.0.open(PortState::Virq))
    }

    fn event_close(&self, port: Port) -> Result<(), HypercallError> {
        let mut ports = self.0.ports.borrow_mut();
        let guest = ports.get_mut(port.0 as usize).filter(|guest| !matches!(guest.state, PortState::Closed));
        let guest = guest.ok_or(HypercallError::new("EVTCHNOP_close", EINVAL))?;
        if let PortState::Bound { end } = guest.state {
            self.0.ends.borrow_mut()[end].guest = None;
        }
        *guest = GuestPort { state: PortState::Closed, pending: false };
        Ok(())
    }

    fn event_send(&self, port: Port) -> Result<(), HypercallError> {
        let state = self.0.ports.borrow().get(port.0 as usize).map(|guest| guest.state);
        self.0.notifications.set(self.0.notifications.get() + 1);
        match state {
            None | Some(PortState::Closed | PortState::Virq) => Err(HypercallError::new("EVTCHNOP_send", EINVAL)),
            Some(PortState::Unbound { .. }) => Ok(()),
            Some(PortState::Bound { end }) => {
                self.0.ends.borrow_mut()[end].pending = true;
                Ok(())
            }
        }
    }

    fn event_take_pending(&self, port: Port) -> bool {
        self.0.ports.borrow_mut().get_mut(port.0 as usize).is_some_and(|port| core::mem::take(&mut port.pending))
    }

    /// # Panics
    ///
    /// When there is no deadline and nothing can happen any more, or when the services never come to rest.
    fn sleep(&self, ports: &[Port], deadline: Option<u64>) -> Result<(), HypercallError> {
        assert!(ports.len() <= MAX_PORTS, "more ports are bound than there may be");
        for _ in 0..STEP_LIMIT {
            if ports.iter().any(|port| self.0.is_pending(*port)) {
                return Ok(());
            }
            if self.0.step() {
                continue;
            }
            let wishes = self.0.services.borrow().iter().filter_map(|service| service.wake_at()).min();
            let now = self.0.time.get();
            match (wishes, deadline) {
                (Some(wish), end) if end.is_none_or(|end| wish < end) => self.0.time.set(now.max(wish)),
                (_, Some(deadline)) => {
                    self.0.time.set(now.max(deadline));
                    return Ok(());
                }
                (_, None) => panic!("the guest sleeps for ever: no event can come and it set no deadline"),
            }
        }
        panic!("the model's services are busy for ever");
    }

    fn grant_frames_limit(&self) -> u32 {
        self.0.grant_frames_limit.get()
    }

    fn grant_frame(&self, index: u32) -> Result<SharedBytes<'static>, HypercallError> {
        if index >= self.0.grant_frames_limit.get() {
            return Err(HypercallError::new("GNTTABOP_setup_table", ENOSPC));
        }
        let mut frames = self.0.grant_frames.borrow_mut();
        while frames.len() <= index as usize {
            frames.push(self.0.memory.take_shared());
        }
        Ok(frames[index as usize])
    }

    fn frame_of(&self, page: NonNull<u8>) -> Option<Frame> {
        self.0.memory.frame_of(page)
    }

    fn xenstore_ring(&self) -> Result<ServiceRing, HypercallError> {
        Ok(self.0.rings.borrow()[0].clone())
    }

    fn console_ring(&self) -> Result<ServiceRing, HypercallError> {
        Ok(self.0.rings.borrow()[1].clone())
    }

    fn system_time(&self) -> u64 {
        self.0.time.get()
    }

    fn suspend(&self) -> Result<Resumed, HypercallError> {
        Ok(self.0.suspend())
    }

    fn shutdown(&self, reason: ShutdownReason) {
        self.0.shutdown.set(Some(reason));
    }
}
