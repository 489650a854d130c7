//! The tasks that look after a disk: one connects it, parts from its backend and follows what the backend does; the other
//! gives requests to the backend.

use alloc::format;
use alloc::rc::{Rc, Weak};
use core::cell::Cell;
use core::future::poll_fn;
use core::task::Poll;

use mirage_rt::cell::RefCell;
use mirage_rt::page::PagePool;
use mirage_rt::runtime::spawn;
use mirage_rt::time::timeout;
use mirage_rt::types::block::BlockError;

use super::connect::{Connection, Properties, Setup, is_online};
use super::device::{Device, Link, State};
use super::{Blkfront, ConnectError, Control, Options};
use crate::attachment::Attachment;
use crate::warning::{failed, info, warn};
use crate::xenbus::wish::{Wish, Wishes};
use crate::xenbus::{self, BackendWatch, Frontend, XenbusError};
use crate::xenstore::client::XenstoreError;

/// Connects the disk for the first time and starts its tasks.
pub(super) async fn start(
    attachment: Attachment,
    number: u32,
    pool: Rc<dyn PagePool>,
    options: Options,
) -> Result<Blkfront, ConnectError> {
    let setup = Setup { attachment, number, pool: Rc::clone(&pool), options };
    let device = Rc::new(Device {
        name: format!("vbd {number}"),
        state: RefCell::new(State::new(options.requests.max(1) as usize)),
        wishes: Wishes::new(),
        pump: RefCell::default(),
        kicked: Cell::new(false),
    });
    let Some(connection) = setup.connect(&device).await? else {
        unreachable!("nobody else has the device yet, to wish anything");
    };
    let mut supervisor = Supervisor { device: Rc::clone(&device), setup, backend: None };
    supervisor.up(connection);
    spawn(supervisor.run());
    spawn(pump(Rc::downgrade(&device)));
    Ok(Blkfront { control: Control { device }, pool })
}

/// Gives requests to the backend, those of all tasks that ran before it in one go.
async fn pump(device: Weak<Device>) {
    poll_fn(|context| {
        let Some(device) = device.upgrade() else { return Poll::Ready(()) };
        // It does not end the wait: nothing is to be kept across it.
        if device.kicked.replace(false) {
            device.serve();
        }
        let mut waker = device.pump.borrow_mut();
        if waker.is_none() {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    })
    .await;
}

struct Supervisor {
    device: Rc<Device>,
    setup: Setup,
    /// The backend's watch and the frontend's nodes, of the latest connection.
    backend: Option<(BackendWatch, Frontend)>,
}

impl Supervisor {
    async fn run(mut self) {
        loop {
            let wish = self.device.wishes.get();
            match self.need().await {
                Need::Part => {
                    self.part().await;
                    // Whether to connect again is looked at at once: nothing need happen any more.
                    continue;
                }
                Need::Connect if wish == Wish::Connected => self.connect().await,
                _ if wish == Wish::Gone => return self.end(),
                Need::Connect | Need::Nothing => {}
            }
            self.change(wish).await;
        }
    }

    /// What is to be done about the link, given the backend's state and the wish.
    async fn need(&self) -> Need {
        match &self.device.state.borrow().link {
            Link::Down => return Need::Connect,
            Link::Broken(_, None) => return Need::Nothing,
            Link::Broken(_, Some(_)) => return Need::Part,
            Link::Up(connected) if !connected.is_current() => return Need::Part,
            Link::Up(_) => {}
        }
        if self.device.wishes.get() != Wish::Connected {
            return Need::Part;
        }
        let Some((_, frontend)) = &self.backend else { return Need::Part };
        match frontend.backend_state().await {
            Ok(xenbus::State::Connected | xenbus::State::Reconfiguring | xenbus::State::Reconfigured) => {
                // A backend that has resized its disk says again that it is connected.
                match Properties::read(frontend).await {
                    Ok(properties) => self.describe(properties),
                    Err(error) => warn(format_args!("{}: {error}", self.device.name)),
                }
                Need::Nothing
            }
            Ok(_) | Err(XenstoreError::Interrupted) => Need::Part,
            Err(error) => {
                failed(format_args!("{}: {error}", self.device.name));
                Need::Nothing
            }
        }
    }

    /// Takes over what the backend says of the disk while it is connected.
    fn describe(&self, properties: Properties) {
        let mut state = self.device.state.borrow_mut();
        let (before, now) = (state.info, properties.info);
        if (before.sectors, before.read_only) == (now.sectors, now.read_only) || before.sector_size != now.sector_size {
            return;
        }
        info(format_args!("{}: {} sectors now, {} before", self.device.name, now.sectors, before.sectors));
        // What it turned out not to know stays so.
        (state.info.sectors, state.info.read_only) = (now.sectors, now.read_only);
        state.change();
    }

    /// Waits until the backend, the wish or the device itself may ask for something.
    async fn change(&mut self, wish: Wish) {
        let (device, backend) = (&self.device, &mut self.backend);
        let broken = |device: &Device| matches!(device.state.borrow().link, Link::Broken(_, Some(_)));
        poll_fn(|context| {
            device.wishes.remember_supervisor(context);
            if device.wishes.get() != wish || broken(device) || device.lost_generation() {
                return Poll::Ready(());
            }
            match backend {
                // With or without an error: look at the state.
                Some((watch, _)) => watch.poll_change(context),
                None => Poll::Pending,
            }
        })
        .await;
    }

    fn up(&mut self, connection: Connection) {
        let Connection { watch, frontend, connected, properties } = connection;
        self.backend = Some((watch, frontend));
        {
            let mut state = self.device.state.borrow_mut();
            state.info = properties.info;
            state.jobs.flush = properties.flush;
            state.failure = None;
            state.detached = false;
            state.draining = false;
            state.statistics.connections += 1;
            state.change();
        }
        self.device.set_link(Link::Up(connected));
        // What waited for the backend, and whatever either side has missed while the other was not there yet.
        self.device.serve();
    }

    async fn connect(&mut self) {
        self.device.state.borrow_mut().busy = true;
        let result = self.setup.connect(&self.device).await;
        self.device.state.borrow_mut().busy = false;
        match result {
            Ok(None) => self.device.wishes.wake_watchers(),
            Ok(Some(connection)) => {
                info(format_args!("{}: connected again", self.device.name));
                self.up(connection);
            }
            Err(error) => {
                let detached =
                    matches!(error, ConnectError::Detached | ConnectError::Xenbus(XenbusError::Missing { .. }));
                if detached {
                    self.detach();
                } else {
                    warn(format_args!("{}: not connected: {error}", self.device.name));
                }
                self.device.state.borrow_mut().failure = Some(error);
                self.device.set_link(Link::Down);
            }
        }
    }

    /// Answers all that waits, because the disk will not come back by itself.
    fn detach(&self) {
        let mut state = self.device.state.borrow_mut();
        if !core::mem::replace(&mut state.detached, true) {
            info(format_args!("{}: detached", self.device.name));
            state.change();
        }
        state.jobs.fail_waiting(BlockError::Detached);
        state.jobs.wake_all();
    }

    /// Lets go of the backend, and takes away from it what it has.
    async fn part(&mut self) {
        let (broken, current) = match &self.device.state.borrow().link {
            Link::Broken(reason, Some(connected)) => (Some(*reason), connected.is_current()),
            Link::Up(connected) => (None, connected.is_current()),
            Link::Broken(_, None) | Link::Down => return,
        };
        self.device.state.borrow_mut().busy = true;
        if current && broken.is_none() {
            self.drain().await;
        }
        // A backend that broke the protocol while it was waited for.
        let broken = broken.or(match self.device.state.borrow().link {
            Link::Broken(reason, _) => Some(reason),
            Link::Up(_) | Link::Down => None,
        });
        // The connection is kept aside until the backend does not use it any more.
        let connected = self.device.set_link(broken.map_or(Link::Down, |reason| Link::Broken(reason, None)));
        let mut detached = false;
        if let Some((watch, frontend)) = self.backend.as_mut().filter(|_| current) {
            detached = !is_online(frontend).await.unwrap_or(true);
            if let Some(reason) = broken {
                frontend.report(&format!("the backend broke the protocol: {reason}")).await;
            }
            if let Err(error) = watch.part(self.setup.options.limit).await {
                warn(format_args!("{error}"));
            }
        }
        if let Some(connected) = connected {
            let mut state = self.device.state.borrow_mut();
            let state = &mut *state;
            state.statistics.replayed += connected.flight.abandon(&mut state.jobs);
        }
        if broken.is_some() {
            self.device.state.borrow_mut().jobs.fail_waiting(BlockError::Broken);
        } else {
            info(format_args!("{}: disconnected", self.device.name));
            if detached {
                // Before another disk may be attached in its place.
                self.detach();
            }
        }
        let mut state = self.device.state.borrow_mut();
        (state.busy, state.draining) = (false, false);
        drop(state);
        self.device.wishes.wake_watchers();
    }

    /// Waits until the backend has answered what it has, so that it uses none of our pages when it closes; not for ever, and
    /// not if it is gone already.
    async fn drain(&mut self) {
        self.device.state.borrow_mut().draining = true;
        if let Some((_, frontend)) = &self.backend {
            match frontend.backend_state().await {
                Ok(xenbus::State::Connected | xenbus::State::Closing) => {}
                _ => return,
            }
        }
        let empty = |state: &State| state.under_way() == 0 || matches!(state.link, Link::Broken(..));
        if timeout(self.setup.options.limit, self.device.until_state(empty)).await.is_err() {
            warn(format_args!(
                "{}: the backend does not answer: requests are repeated when it is back",
                self.device.name
            ));
        }
    }

    /// The device was dropped, and so can't be connected again.
    fn end(&self) {
        self.device.state.borrow_mut().jobs.fail_waiting(BlockError::Detached);
        let waker = self.device.pump.borrow_mut().take();
        drop(waker);
    }
}

enum Need {
    Nothing,
    Connect,
    Part,
}
