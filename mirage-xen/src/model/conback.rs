//! A backend of further consoles in the model, as QEMU is one: honest, or hostile on demand.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::sync::atomic::Ordering;

use super::hypervisor::{BackendPort, Mapping};
use super::{GUEST_PATH, Service, Store, World};
use crate::console::ring::Ring;
use crate::hypervisor::PAGE_SIZE;
use crate::model::restless;
use crate::xenbus::State;

/// A handle to a backend.
#[derive(Clone)]
pub struct Conback {
    shared: Rc<RefCell<Shared>>,
}

#[derive(Default)]
struct Shared {
    typed: VecDeque<u8>,
    printed: Vec<u8>,
    /// It reads nothing.
    stopped: bool,
    scribble: Option<(u16, u32)>,
    restless: Option<u32>,
    /// It only changes the page from now on.
    silent: bool,
    order: Option<State>,
    connections: usize,
}

struct Backend {
    shared: Rc<RefCell<Shared>>,
    store: Store,
    path: String,
    frontend: String,
    state: State,
    link: Option<(Mapping, BackendPort)>,
    /// There may be something new: it looks only after an event, so that a lost one is noticed.
    kicked: bool,
}

impl Conback {
    /// Gives the guest console device `index` under the name `name`.
    pub fn attach(world: &Rc<World>, store: &Store, index: u32, name: &str) -> Self {
        let path = format!("/local/domain/0/backend/console/1/{index}");
        let frontend = format!("{GUEST_PATH}/device/console/{index}");
        store.write(&format!("{path}/state"), "1");
        for (node, value) in [("backend", &path[..]), ("backend-id", "0"), ("state", "1"), ("name", name)] {
            store.write_for_guest(&format!("{frontend}/{node}"), value);
        }
        store.give_to_guest(&frontend);
        let shared = Rc::<RefCell<Shared>>::default();
        world.add_service(Box::new(Backend {
            shared: Rc::clone(&shared),
            store: store.clone(),
            path,
            frontend,
            state: State::Initialising,
            link: None,
            kicked: false,
        }));
        Self { shared }
    }

    /// Types `bytes`, as far as the guest has room; the rest when it has.
    pub fn type_bytes(&self, bytes: &[u8]) {
        self.shared.borrow_mut().typed.extend(bytes);
    }

    /// Whether all that was typed is in the guest's page.
    pub fn is_typed(&self) -> bool {
        self.shared.borrow().typed.is_empty()
    }

    /// What the guest has printed since the last call.
    pub fn printed(&self) -> Vec<u8> {
        core::mem::take(&mut self.shared.borrow_mut().printed)
    }

    /// Reads nothing any more, or again.
    pub fn stop(&self, stop: bool) {
        self.shared.borrow_mut().stopped = stop;
    }

    /// Writes a number over a 32-bit word of the page, by the word's number.
    pub fn scribble(&self, word: u16, value: u32) {
        self.shared.borrow_mut().scribble = Some((word, value));
    }

    /// Reads nothing any more, and changes what the guest has read of the page, one time in so many.
    pub fn restless(&self, one_in: u32) {
        self.shared.borrow_mut().restless = Some(one_in);
    }

    /// Starts to close, as a backend does that is about to go.
    pub fn close(&self) {
        self.shared.borrow_mut().order = Some(State::Closing);
    }

    /// Dies without a word and comes back as a new one.
    pub fn restart(&self) {
        self.shared.borrow_mut().order = Some(State::Initialising);
    }

    /// Writes `state` as its own and changes nothing else.
    pub fn jump(&self, state: State) {
        self.shared.borrow_mut().order = Some(state);
    }

    /// How often it was connected.
    pub fn connections(&self) -> usize {
        self.shared.borrow().connections
    }
}

impl fmt::Debug for Conback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the model's console backend")
    }
}

impl Backend {
    fn set_state(&mut self, state: State) {
        self.state = state;
        self.store.write(&format!("{}/state", self.path), &format!("{}", u32::from(state)));
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.store.read(&format!("{}/{name}", self.frontend))?.parse().ok()
    }

    fn disconnect(&mut self, world: &World) {
        if let Some((_, port)) = self.link.take() {
            world.unbind(port);
        }
    }

    fn connect(&self, world: &Rc<World>) -> Option<(Mapping, BackendPort)> {
        let mapping = world.map_grant(self.number("ring-ref")?, true).ok()?;
        Some((mapping, world.bind(self.number("port")?)?))
    }

    /// Follows an order or the frontend's state, one step.
    fn follow(&mut self, world: &Rc<World>) -> bool {
        let order = self.shared.borrow_mut().order.take();
        match order {
            Some(state @ (State::Closing | State::Initialising)) => {
                self.disconnect(world);
                self.set_state(state);
                return true;
            }
            Some(state) => {
                self.set_state(state);
                return true;
            }
            None => {}
        }
        let frontend = self.number("state").map_or(State::Unknown, State::from);
        match (self.state, frontend) {
            (State::Initialising, _) | (State::Closed, State::Initialising) => self.set_state(State::InitWait),
            (State::InitWait, State::Initialised | State::Connected) => match self.connect(world) {
                Some(link) => {
                    self.link = Some(link);
                    self.kicked = true;
                    self.shared.borrow_mut().connections += 1;
                    self.set_state(State::Connected);
                }
                None => return false,
            },
            (State::InitWait | State::Connected, State::Closing | State::Closed) => {
                self.disconnect(world);
                self.set_state(State::Closing);
            }
            (State::Closing, State::Closed) => self.set_state(State::Closed),
            _ => return false,
        }
        true
    }

    fn serve(&mut self, world: &World) -> bool {
        let Some((mapping, port)) = &self.link else { return false };
        self.kicked |= world.take_pending(*port);
        let mut shared = self.shared.borrow_mut();
        if let Some((word, value)) = shared.scribble.take() {
            mapping.bytes().store_u32(usize::from(word) % (PAGE_SIZE / 4) * 4, value, Ordering::SeqCst);
            world.notify(*port);
        }
        if let Some(one_in) = shared.restless.take() {
            restless::stir(mapping.bytes(), u64::from(one_in) + 777, one_in);
            shared.silent = true;
            world.notify(*port);
        }
        if shared.silent {
            return false;
        }
        let ring = Ring::of_backend(mapping.bytes());
        let mut moved = 0;
        if self.kicked && !shared.stopped {
            self.kicked = false;
            let mut buffer = [0; 100];
            while let Ok(count @ 1..) = ring.take(&mut buffer) {
                shared.printed.extend_from_slice(&buffer[..count]);
                moved += count;
            }
        }
        while let (first @ [_, ..], _) = shared.typed.as_slices() {
            let Ok(count @ 1..) = ring.put(first) else { break };
            shared.typed.drain(..count);
            moved += count;
        }
        if moved > 0 {
            world.notify(*port);
        }
        moved > 0
    }
}

impl Service for Backend {
    fn step(&mut self, world: &Rc<World>) -> bool {
        let followed = self.follow(world);
        self.serve(world) || followed
    }
}
