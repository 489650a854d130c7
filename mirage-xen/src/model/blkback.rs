//! A disk backend in the model: a disk in memory, honest, slow, faulty, or hostile on demand.
//!
//! It behaves as Linux's xen-blkback does where that matters: the same states, nodes and checks, notifications only when
//! the frontend asked for them, and it looks at the ring only after an event, so that a lost one is noticed. Pages are
//! mapped from when a request is taken until it is answered.

mod hostile;
mod link;

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

pub use hostile::DiskMischief;
use link::Link;

use super::{BackRing, Service, Store, World};
use crate::xenbus::State;

/// What a disk is and what its backend offers.
#[derive(Clone, Copy, Debug)]
pub struct DiskFeatures {
    /// Bytes of the disk, a multiple of `sector_size`.
    pub bytes: usize,
    /// Bytes of a sector.
    pub sector_size: u32,
    /// The disk can't be written.
    pub read_only: bool,
    /// `feature-flush-cache`: what is written is durable only after a flush.
    pub flush: bool,
    /// `feature-barrier`.
    pub barrier: bool,
    /// `feature-discard`.
    pub discard: bool,
    /// `discard-secure`.
    pub secure: bool,
    /// `feature-persistent`.
    pub persistent: bool,
    /// `feature-max-indirect-segments`; 0 is none.
    pub indirect: u32,
    /// `max-ring-page-order`; 0 is none.
    pub ring_order: u32,
}

impl Default for DiskFeatures {
    /// 1 MiB, and what Linux offers.
    fn default() -> Self {
        Self {
            bytes: 1 << 20,
            sector_size: 512,
            read_only: false,
            flush: true,
            barrier: true,
            discard: true,
            secure: true,
            persistent: true,
            indirect: 256,
            ring_order: 4,
        }
    }
}

/// A handle to a backend.
#[derive(Clone)]
pub struct Blkback {
    shared: Rc<RefCell<Shared>>,
    store: Store,
    number: u32,
}

/// The backend's and the frontend's directory of disk `number`.
fn paths(store: &Store, number: u32) -> (String, String) {
    let backend = format!("/local/domain/0/backend/vbd/{}/{number}", store.guest());
    (backend, format!("{}/device/vbd/{number}", store.guest_path()))
}

/// Writes what the toolstack does for a disk.
fn announce(store: &Store, path: &str, frontend: &str) {
    store.write(&format!("{path}/frontend"), frontend);
    store.write(&format!("{path}/online"), "1");
    store.write(&format!("{path}/state"), "1");
    for (name, value) in [("backend", path), ("backend-id", "0"), ("state", "1")] {
        store.write_for_guest(&format!("{frontend}/{name}"), value);
    }
    // The directory itself is the guest's, too.
    store.give_to_guest(frontend);
}

struct Shared {
    features: DiskFeatures,
    disk: Vec<u8>,
    /// What would be left after a crash of the host.
    medium: Vec<u8>,
    kicked: bool,
    hold: bool,
    /// The most nanoseconds that a request takes.
    latency: u64,
    random: u64,
    /// Requests to be answered with an error instead of being done.
    failures: u32,
    /// The operation that it does not know after all.
    unknown: Option<u8>,
    mischief: Option<DiskMischief>,
    /// It has done something hostile: what it finds in the ring need not make sense.
    hostile: bool,
    order: Option<State>,
    /// The tools want the disk away.
    offline: bool,
    resized: bool,
    connections: usize,
    notifications: u64,
    /// Requests done, by operation; indirect ones at 6 as well.
    done: [u64; 8],
    most_under_way: usize,
    refused: Vec<&'static str>,
}

struct Backend {
    shared: Rc<RefCell<Shared>>,
    store: Store,
    number: u32,
    path: String,
    frontend: String,
    state: State,
    link: Option<Link>,
    /// What the frontend has published is for the backend before this one, whose answers may lie over requests.
    stale: bool,
    gone: bool,
}

impl Blkback {
    /// Gives the guest disk `number` with a backend.
    pub fn attach(world: &Rc<World>, store: &Store, number: u32, features: DiskFeatures) -> Self {
        let shared = Rc::new(RefCell::new(Shared {
            features,
            disk: alloc::vec![0; features.bytes],
            medium: alloc::vec![0; features.bytes],
            kicked: false,
            hold: false,
            latency: 0,
            random: 1,
            failures: 0,
            unknown: None,
            mischief: None,
            hostile: false,
            order: None,
            offline: false,
            resized: false,
            connections: 0,
            notifications: 0,
            done: [0; 8],
            most_under_way: 0,
            refused: Vec::new(),
        }));
        let blkback = Self { shared, store: store.clone(), number };
        blkback.attach_again(world);
        blkback
    }

    /// Gives the guest the disk again, with its content, after it was detached.
    pub fn attach_again(&self, world: &Rc<World>) {
        let (path, frontend) = paths(&self.store, self.number);
        announce(&self.store, &path, &frontend);
        self.shared.borrow_mut().offline = false;
        world.add_service(Box::new(Backend {
            shared: Rc::clone(&self.shared),
            store: self.store.clone(),
            number: self.number,
            path,
            frontend,
            state: State::Initialising,
            link: None,
            stale: false,
            gone: false,
        }));
    }

    /// Takes the disk away, as `xl block-detach` does: the backend waits for the frontend to close, and then both are removed.
    pub fn detach(&self) {
        self.store.write(&format!("{}/online", paths(&self.store, self.number).0), "0");
        let mut shared = self.shared.borrow_mut();
        shared.offline = true;
        shared.order = Some(State::Closing);
    }

    /// What the disk holds.
    pub fn content(&self) -> Vec<u8> {
        self.shared.borrow().disk.clone()
    }

    /// What would be left of it after a crash of the host.
    pub fn medium(&self) -> Vec<u8> {
        self.shared.borrow().medium.clone()
    }

    /// Gives the disk another size.
    pub fn resize(&self, bytes: usize) {
        let mut shared = self.shared.borrow_mut();
        shared.disk.resize(bytes, 0);
        shared.medium.resize(bytes, 0);
        shared.features.bytes = bytes;
        shared.resized = true;
    }

    /// Offers something else from the next connection on.
    pub fn offer(&self, change: impl FnOnce(&mut DiskFeatures)) {
        change(&mut self.shared.borrow_mut().features);
    }

    /// Answers each request after up to so many nanoseconds, in any order, or at once with 0.
    pub fn slow(&self, nanoseconds: u64) {
        self.shared.borrow_mut().latency = nanoseconds;
    }

    /// Whether to keep requests unanswered and their pages mapped.
    pub fn hold(&self, on: bool) {
        let mut shared = self.shared.borrow_mut();
        (shared.hold, shared.kicked) = (on, true);
    }

    /// Fails the next `count` requests.
    pub fn fail(&self, count: u32) {
        self.shared.borrow_mut().failures = count;
    }

    /// Says of an operation, which it has offered, that it does not know it.
    pub fn forget(&self, operation: Option<u8>) {
        self.shared.borrow_mut().unknown = operation;
    }

    /// Does `mischief` at the next occasion.
    pub fn provoke(&self, mischief: DiskMischief) {
        let mut shared = self.shared.borrow_mut();
        (shared.mischief, shared.kicked) = (Some(mischief), true);
    }

    /// From now on, what it finds in the guest's rings need not make sense: they are those that a hostile one before it left.
    pub fn expect_nonsense(&self) {
        self.shared.borrow_mut().hostile = true;
    }

    /// Starts to close, as a backend does that is about to go.
    pub fn close(&self) {
        self.shared.borrow_mut().order = Some(State::Closing);
    }

    /// Dies without a word and comes back as a new one.
    pub fn restart(&self) {
        self.shared.borrow_mut().order = Some(State::Initialising);
    }

    /// How often it was connected.
    pub fn connections(&self) -> usize {
        self.shared.borrow().connections
    }

    /// How many events it has sent.
    pub fn notifications(&self) -> u64 {
        self.shared.borrow().notifications
    }

    /// How many requests of an operation it has done; of indirect ones also by the operation inside.
    pub fn done(&self, operation: u8) -> u64 {
        self.shared.borrow().done.get(usize::from(operation)).copied().unwrap_or(0)
    }

    /// The most requests that it had at the same time.
    pub fn most_under_way(&self) -> usize {
        self.shared.borrow().most_under_way
    }

    /// What was wrong with requests that it refused: nothing with those of an honest frontend.
    pub fn refused(&self) -> Vec<&'static str> {
        self.shared.borrow().refused.clone()
    }

    /// A value that the frontend published.
    pub fn published(&self, name: &str) -> Option<String> {
        self.store.read(&format!("{}/{name}", paths(&self.store, self.number).1))
    }
}

impl fmt::Debug for Blkback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model's backend {}", paths(&self.store, self.number).0)
    }
}

impl Shared {
    /// The next number of a sequence that looks random.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }
}

impl Backend {
    fn write(&self, name: &str, value: u64) {
        self.store.write(&format!("{}/{name}", self.path), &format!("{value}"));
    }

    fn set_state(&mut self, state: State) {
        self.state = state;
        self.write("state", u32::from(state).into());
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.store.read(&format!("{}/{name}", paths(&self.store, self.number).1))?.parse().ok()
    }

    fn frontend_state(&self) -> State {
        self.number("state").map_or(State::Unknown, State::from)
    }

    fn offer(&mut self) {
        let features = self.shared.borrow().features;
        for (name, value) in
            [("feature-max-indirect-segments", features.indirect), ("max-ring-page-order", features.ring_order)]
        {
            match value {
                0 => self.store.remove(&format!("{}/{name}", self.path)),
                value => self.write(name, value.into()),
            }
        }
        self.set_state(State::InitWait);
    }

    /// What the backend says of its disk.
    fn describe(&self) {
        let features = self.shared.borrow().features;
        for (name, value) in [
            ("sectors", features.bytes as u64 / 512),
            ("sector-size", features.sector_size.into()),
            ("physical-sector-size", 4096),
            ("info", if features.read_only { 4 } else { 0 }),
            ("feature-flush-cache", features.flush.into()),
            ("feature-barrier", features.barrier.into()),
            ("feature-discard", features.discard.into()),
            ("discard-granularity", 4096),
            ("discard-alignment", 0),
            ("discard-secure", features.secure.into()),
            ("feature-persistent", features.persistent.into()),
        ] {
            self.write(name, value);
        }
    }

    fn connect(&mut self, world: &Rc<World>) -> Option<Link> {
        if self.store.read(&format!("{}/protocol", self.frontend)).as_deref() != Some("x86_64-abi") {
            return None;
        }
        let features = self.shared.borrow().features;
        let map = |reference| world.map_grant(reference, true).ok();
        let ring: Option<Vec<_>> = match self.number("ring-page-order") {
            Some(order) if order <= features.ring_order => {
                (0..1 << order).map(|index| map(self.number(&format!("ring-ref{index}"))?)).collect()
            }
            Some(_) => None,
            None => Some(Vec::from([map(self.number("ring-ref")?)?])),
        };
        let persistent = features.persistent && self.number("feature-persistent") == Some(1);
        let end = world.bind(self.number("event-channel")?)?;
        Some(Link::new(BackRing::new(ring?), end, persistent, features.indirect))
    }

    fn disconnect(&mut self, world: &World) {
        if let Some(link) = self.link.take() {
            world.unbind(link.end);
        }
    }

    /// Follows the frontend's state and the tools' orders, one step.
    fn follow(&mut self, world: &Rc<World>) -> bool {
        let order = self.shared.borrow_mut().order.take();
        match order {
            Some(State::Closing) if matches!(self.state, State::InitWait | State::Connected) => {
                self.set_state(State::Closing);
                return true;
            }
            Some(State::Initialising) => {
                self.disconnect(world);
                self.stale = true;
                self.set_state(State::Initialising);
                return true;
            }
            Some(State::Other(number)) => {
                // Only what it says of itself.
                self.write("state", number.into());
                return true;
            }
            _ => {}
        }
        let resized = core::mem::take(&mut self.shared.borrow_mut().resized);
        if resized && self.state == State::Connected {
            self.describe();
            self.set_state(State::Connected);
            return true;
        }
        let frontend = self.frontend_state();
        self.stale &= matches!(frontend, State::Initialised | State::Connected);
        match (self.state, frontend) {
            (State::Initialising, _) => self.offer(),
            (State::InitWait, State::Initialised | State::Connected) if self.stale => return false,
            (State::InitWait, State::Initialised | State::Connected) => match self.connect(world) {
                Some(link) => {
                    self.link = Some(link);
                    self.shared.borrow_mut().connections += 1;
                    self.describe();
                    self.set_state(State::Connected);
                }
                // Linux writes an error and stays as it is.
                None => return false,
            },
            (State::InitWait | State::Connected, State::Closing) => self.set_state(State::Closing),
            (State::InitWait | State::Connected | State::Closing, State::Closed) => {
                self.disconnect(world);
                self.set_state(State::Closed);
                if self.shared.borrow().offline {
                    self.gone = true;
                    self.store.remove(&self.path);
                    self.store.remove(&self.frontend);
                }
            }
            (State::Closed, State::Initialising) => self.offer(),
            _ => return false,
        }
        true
    }
}

impl Service for Backend {
    fn step(&mut self, world: &Rc<World>) -> bool {
        if self.gone {
            return false;
        }
        let followed = self.follow(world);
        let Some(link) = &mut self.link else { return followed };
        let served = link.serve(world, &mut self.shared.borrow_mut());
        followed || served
    }

    fn wake_at(&self) -> Option<u64> {
        self.link.as_ref().filter(|_| !self.shared.borrow().hold).and_then(Link::next_due)
    }

    fn follow_guest(&mut self, _world: &Rc<World>) {
        // Whatever was under way is not done, nor answered.
        self.link = None;
        if self.gone {
            return;
        }
        self.store.remove(&self.path);
        (self.path, self.frontend) = paths(&self.store, self.number);
        (self.state, self.stale) = (State::Initialising, false);
        announce(&self.store, &self.path, &self.frontend);
    }
}
