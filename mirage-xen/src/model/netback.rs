//! A network backend in the model: honest, or hostile on demand.
//!
//! It behaves as Linux's xen-netback does where that matters: the same states, the same order of slots, notifications only
//! when the frontend asked for them, and it looks at a ring only after an event, so that a lost one is noticed.

mod hostile;
mod link;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;

use mirage_rt::packet::Gso;
use mirage_rt::types::network::is_group;

pub use hostile::Mischief;
use link::Link;

use super::{BackRing, Service, Store, World};
use crate::xenbus::State;

/// What a backend offers.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// `feature-rx-copy`.
    pub receive_copy: bool,
    /// `feature-sg`.
    pub scatter_gather: bool,
    /// `feature-gso-tcpv4` and `-tcpv6`.
    pub gso: bool,
    /// The opposite of `feature-no-csum-offload`.
    pub checksum_ipv4: bool,
    /// `feature-ipv6-csum-offload`.
    pub checksum_ipv6: bool,
    /// `feature-split-event-channels`.
    pub split_channels: bool,
    /// `feature-multicast-control`.
    pub groups: bool,
}

impl Default for Features {
    /// What Linux offers.
    fn default() -> Self {
        Self {
            receive_copy: true,
            scatter_gather: true,
            gso: true,
            checksum_ipv4: true,
            checksum_ipv6: true,
            split_channels: true,
            groups: true,
        }
    }
}

/// A frame on the backend's side.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frame {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// The checksum field has the pseudo header's sum only.
    pub blank: bool,
    /// The data is known to be right.
    pub validated: bool,
    /// Whether it is longer than a packet.
    pub gso: Gso,
    /// How many data slots it came in.
    pub slots: usize,
}

/// A handle to a backend.
#[derive(Clone)]
pub struct Netback {
    shared: Rc<RefCell<Shared>>,
    store: Store,
}

#[derive(Default)]
struct Shared {
    /// The backend's directory.
    path: String,
    outgoing: VecDeque<Frame>,
    kicked: bool,
    incoming: Vec<Frame>,
    echo: bool,
    hold: bool,
    /// Of what is kept unanswered, so many are to be answered now.
    release: usize,
    mischief: Option<Mischief>,
    /// It has done something hostile.
    hostile: bool,
    order: Option<State>,
    /// Nanoseconds after which it follows the frontend's state.
    delay: u64,
    connections: usize,
    notifications: u64,
    refused: usize,
    /// The groups the guest has joined; `None` when it gets what is for any.
    groups: Option<Vec<[u8; 6]>>,
}

struct Backend {
    shared: Rc<RefCell<Shared>>,
    store: Store,
    index: u32,
    path: String,
    frontend: String,
    features: Features,
    state: State,
    /// Since when there is something to follow.
    since: Option<u64>,
    link: Option<Link>,
}

impl Netback {
    /// Gives the guest network device `index` with a backend that offers `features`.
    pub fn attach(world: &Rc<World>, store: &Store, index: u32, features: Features) -> Self {
        let shared = Rc::<RefCell<Shared>>::default();
        let mut backend = Backend {
            shared: Rc::clone(&shared),
            store: store.clone(),
            index,
            path: String::new(),
            frontend: String::new(),
            features,
            state: State::Initialising,
            since: None,
            link: None,
        };
        backend.follow_guest(world);
        world.add_service(Box::new(backend));
        Self { shared, store: store.clone() }
    }

    /// Sends a frame to the guest, unless it is for a group that the guest has not joined.
    pub fn send(&self, frame: Frame) {
        let mut shared = self.shared.borrow_mut();
        if let (Some(groups), Some(destination)) = (&shared.groups, frame.bytes.first_chunk::<6>())
            && is_group(*destination)
            && !groups.contains(destination)
        {
            return;
        }
        shared.outgoing.push_back(frame);
        shared.kicked = true;
    }

    /// Frames that wait for the guest to have room.
    pub fn waiting(&self) -> usize {
        self.shared.borrow().outgoing.len()
    }

    /// The frames the guest has sent since the last call.
    pub fn received(&self) -> Vec<Frame> {
        core::mem::take(&mut self.shared.borrow_mut().incoming)
    }

    /// Whether to send every frame back.
    pub fn echo(&self, on: bool) {
        self.shared.borrow_mut().echo = on;
    }

    /// Whether to keep requests unanswered and their pages mapped.
    pub fn hold(&self, on: bool) {
        self.shared.borrow_mut().hold = on;
    }

    /// Answers so many requests of those that it keeps, the oldest first.
    pub fn release(&self, count: usize) {
        let mut shared = self.shared.borrow_mut();
        (shared.release, shared.kicked) = (count, true);
    }

    /// Does `mischief` at the next occasion.
    pub fn provoke(&self, mischief: Mischief) {
        let mut shared = self.shared.borrow_mut();
        shared.mischief = Some(mischief);
        shared.hostile = true;
        shared.kicked = true;
    }

    /// Says whether it has a link to its network.
    pub fn set_carrier(&self, carrier: bool) {
        self.store.write(&format!("{}/carrier", self.shared.borrow().path), if carrier { "1" } else { "0" });
    }

    /// The groups the guest has joined; `None` when it gets what is for any.
    pub fn groups(&self) -> Option<Vec<[u8; 6]>> {
        self.shared.borrow().groups.clone()
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

    /// Follows the frontend's state only after so many nanoseconds.
    pub fn delay(&self, nanoseconds: u64) {
        self.shared.borrow_mut().delay = nanoseconds;
    }

    /// How often it was connected.
    pub fn connections(&self) -> usize {
        self.shared.borrow().connections
    }

    /// How many events it has sent.
    pub fn notifications(&self) -> u64 {
        self.shared.borrow().notifications
    }

    /// How many packets of the guest it refused because they were malformed: none of an honest one.
    pub fn refused(&self) -> usize {
        self.shared.borrow().refused
    }

    /// A value that the frontend published.
    pub fn published(&self, name: &str) -> Option<String> {
        let frontend = self.store.read(&format!("{}/frontend", self.shared.borrow().path))?;
        self.store.read(&format!("{frontend}/{name}"))
    }
}

impl fmt::Debug for Netback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model's backend {}", self.shared.borrow().path)
    }
}

impl Backend {
    fn set_state(&mut self, state: State) {
        self.state = state;
        self.store.write(&format!("{}/state", self.path), &format!("{}", u32::from(state)));
    }

    fn frontend_state(&self) -> State {
        let text = self.store.read(&format!("{}/state", self.frontend));
        text.and_then(|text| text.parse::<u32>().ok()).map_or(State::Unknown, State::from)
    }

    fn offer(&mut self) {
        let Features { receive_copy, scatter_gather, gso, checksum_ipv4, checksum_ipv6, split_channels, groups } =
            self.features;
        for (name, on) in [
            ("feature-rx-copy", receive_copy),
            ("feature-sg", scatter_gather),
            ("feature-gso-tcpv4", gso),
            ("feature-gso-tcpv6", gso),
            ("feature-no-csum-offload", !checksum_ipv4),
            ("feature-ipv6-csum-offload", checksum_ipv6),
            ("feature-split-event-channels", split_channels),
            ("feature-multicast-control", groups),
        ] {
            self.store.write(&format!("{}/{name}", self.path), if on { "1" } else { "0" });
        }
        self.set_state(State::InitWait);
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.store.read(&format!("{}/{name}", self.frontend))?.parse().ok()
    }

    fn connect(&mut self, world: &Rc<World>) -> Option<Link> {
        let map = |reference| world.map_grant(reference, true).ok();
        let (transmit, receive) = (map(self.number("tx-ring-ref")?)?, map(self.number("rx-ring-ref")?)?);
        let (transmit_end, receive_end) = match self.number("event-channel") {
            Some(port) => (world.bind(port)?, None),
            None => {
                (world.bind(self.number("event-channel-tx")?)?, Some(world.bind(self.number("event-channel-rx")?)?))
            }
        };
        let only_groups = self.features.groups && self.number("request-multicast-control") == Some(1);
        self.shared.borrow_mut().groups = only_groups.then(Vec::new);
        Some(Link {
            transmit: BackRing::new(transmit),
            receive: BackRing::new(receive),
            transmit_end,
            receive_end,
            transmit_kicked: true,
            receive_kicked: true,
            held: Vec::new(),
            kept: Vec::new(),
            scribbles: false,
            lenient: false,
        })
    }

    fn disconnect(&mut self, world: &World) {
        if let Some(link) = self.link.take() {
            world.unbind(link.transmit_end);
            if let Some(end) = link.receive_end {
                world.unbind(end);
            }
        }
    }

    /// Whether there is something to follow, and it has waited long enough.
    fn is_due(&mut self, world: &World) -> bool {
        use State::{Closed, Closing, Connected, InitWait, Initialising};
        let follows = matches!(
            (self.state, self.frontend_state()),
            (Initialising, _)
                | (InitWait, Connected | Closing | Closed)
                | (Connected | Closing, Closed)
                | (Connected, Closing)
                | (Closed, Initialising)
        );
        if !follows {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(world.now());
        let due = world.now() >= since + self.shared.borrow().delay;
        if due {
            self.since = None;
        }
        due
    }

    /// Follows the frontend's state, one step.
    fn follow(&mut self, world: &Rc<World>) -> bool {
        let order = self.shared.borrow_mut().order.take();
        match order {
            Some(State::Closing) if self.state == State::Connected => {
                self.disconnect(world);
                self.set_state(State::Closing);
                return true;
            }
            Some(State::Initialising) => {
                self.disconnect(world);
                self.set_state(State::Initialising);
                return true;
            }
            _ => {}
        }
        if !self.is_due(world) {
            return false;
        }
        match (self.state, self.frontend_state()) {
            (State::Initialising, _) => self.offer(),
            (State::InitWait, State::Connected) => match self.connect(world) {
                Some(link) => {
                    self.link = Some(link);
                    self.shared.borrow_mut().connections += 1;
                    self.set_state(State::Connected);
                }
                // Linux writes an error and stays as it is.
                None => return false,
            },
            (State::InitWait | State::Connected, State::Closing | State::Closed) => {
                self.disconnect(world);
                self.set_state(State::Closing);
            }
            (State::Closing, State::Closed) => self.set_state(State::Closed),
            (State::Closed, State::Initialising) => self.set_state(State::InitWait),
            _ => return false,
        }
        true
    }
}

impl Service for Backend {
    fn step(&mut self, world: &Rc<World>) -> bool {
        let followed = self.follow(world);
        let Some(link) = &mut self.link else { return followed };
        link.hear(world);
        link.lenient = self.shared.borrow().hostile;
        (link.transmit.lenient, link.receive.lenient) = (link.lenient, link.lenient);
        let mut shared = self.shared.borrow_mut();
        if let Some(Mischief::Scribble { receive, word, value }) = shared.mischief {
            shared.mischief = None;
            link.scribble(receive, word, value);
            link.notify(world, &mut shared, receive);
            return true;
        }
        if let Some(Mischief::Restless { receive, one_in }) = shared.mischief {
            shared.mischief = None;
            link.stir(receive, one_in);
            link.notify(world, &mut shared, receive);
            return true;
        }
        if link.scribbles {
            return followed;
        }
        let transmitted = link.serve_transmit(world, &mut shared);
        let received = link.serve_receive(world, &mut shared);
        followed || transmitted || received
    }

    fn wake_at(&self) -> Option<u64> {
        self.since.map(|since| since + self.shared.borrow().delay)
    }

    /// What the toolstack writes for a device of a new domain.
    fn follow_guest(&mut self, world: &Rc<World>) {
        self.disconnect(world);
        self.since = None;
        self.state = State::Initialising;
        if !self.path.is_empty() {
            self.store.remove(&self.path);
        }
        self.path = format!("/local/domain/0/backend/vif/{}/{}", world.guest(), self.index);
        self.frontend = format!("{}/device/vif/{}", self.store.guest_path(), self.index);
        let Self { store, index, path, frontend, .. } = self;
        store.write(&format!("{path}/frontend"), frontend);
        store.write(&format!("{path}/online"), "1");
        store.write(&format!("{path}/state"), "1");
        for (name, value) in [("backend", &path[..]), ("backend-id", "0"), ("handle", "0"), ("state", "1")] {
            store.write_for_guest(&format!("{frontend}/{name}"), value);
        }
        store.write_for_guest(&format!("{frontend}/mac"), &format!("00:16:3e:00:00:{index:02x}"));
        // The directory itself is the guest's, too.
        store.give_to_guest(frontend);
        self.shared.borrow_mut().path.clone_from(path);
    }
}
