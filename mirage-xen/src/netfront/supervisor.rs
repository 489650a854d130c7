//! The task that looks after a network device: connects it, parts from its backend, and follows what the backend does.

use alloc::format;
use alloc::rc::Rc;
use core::future::poll_fn;
use core::task::Poll;

use mirage_rt::cell::RefCell;
use mirage_rt::page::PagePool;
use mirage_rt::runtime::spawn;

use super::connect::{Connection, Setup};
use super::device::{Device, Groups, Link, Queues, Side, State};
use super::{ConnectError, Control, Netfront, Options, Statistics};
use crate::attachment::Attachment;
use crate::warning::network::{failed, info, warn};
use crate::xenbus::wish::{Wish, Wishes};
use crate::xenbus::{self, BackendWatch, Frontend};
use crate::xenstore::{Watch, XenstoreError};

impl Queues {
    /// The references of the transmit and the receive ring.
    pub(super) fn rings(&self) -> (u32, u32) {
        (self.transmit.ring_reference(), self.receive.ring_reference())
    }
}

/// Connects the device for the first time and starts its task.
pub(super) async fn start(
    attachment: Attachment,
    index: u32,
    pool: Rc<dyn PagePool>,
    options: Options,
) -> Result<Netfront, ConnectError> {
    let setup = Setup { attachment, index, pool, options };
    let info = mirage_rt::types::network::NetworkInfo::new([0; 6], 0);
    let state = State {
        link: Link::Down,
        info,
        statistics: Statistics::default(),
        receive: Side::default(),
        ready: Side::default(),
        carrier: true,
        groups: Groups::default(),
        failure: None,
        busy: false,
    };
    let device = Rc::new(Device { name: Device::name_of(index), state: RefCell::new(state), wishes: Wishes::new() });
    let Some(connection) = setup.connect(&device).await? else {
        unreachable!("nobody else has the device yet, to wish anything");
    };
    let supervisor = Supervisor { device: Rc::clone(&device), setup, backend: None, carrier: None };
    spawn(supervisor.run(connection));
    // `run` brings the link up before it does anything else.
    device.until(|link| !matches!(link, Link::Down)).await;
    Ok(Netfront { control: Control { device } })
}

struct Supervisor {
    device: Rc<Device>,
    setup: Setup,
    /// The backend's watch and the frontend's nodes, of the latest connection.
    backend: Option<(BackendWatch, Frontend)>,
    /// The backend's node about its link, likewise.
    carrier: Option<Watch>,
}

impl Supervisor {
    async fn run(mut self, connection: Connection) {
        self.up(connection);
        loop {
            let wish = self.device.wishes.get();
            match self.need().await {
                Need::Part => {
                    self.part().await;
                    // Whether to connect again is looked at at once: nothing need happen any more.
                    continue;
                }
                Need::Connect if wish == Wish::Connected => self.connect().await,
                _ if wish == Wish::Gone => return,
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
            Link::Up(queues) if !queues.is_current() => return Need::Part,
            Link::Up(_) => {}
        }
        if self.device.wishes.get() != Wish::Connected {
            return Need::Part;
        }
        match &self.backend {
            Some((_, frontend)) => match self.look(frontend).await {
                Ok(xenbus::State::Connected | xenbus::State::Reconfiguring | xenbus::State::Reconfigured) => {
                    Need::Nothing
                }
                Ok(_) | Err(XenstoreError::Interrupted) => Need::Part,
                Err(error) => {
                    failed(format_args!("{}: {error}", self.device.name));
                    Need::Nothing
                }
            },
            None => Need::Part,
        }
    }

    /// The backend's state; and takes down whether it has a link.
    async fn look(&self, frontend: &Frontend) -> Result<xenbus::State, XenstoreError> {
        let (state, values) = frontend.backend_state_and(&["carrier"]).await?;
        // Most backends do not say.
        self.device.set_carrier(values.first().and_then(Option::as_deref).map(str::trim) != Some("0"));
        Ok(state)
    }

    /// Waits until the backend, the wish or the device itself may ask for something.
    async fn change(&mut self, wish: Wish) {
        let (device, backend, carrier) = (&self.device, &mut self.backend, &mut self.carrier);
        let broken = |device: &Device| matches!(device.state.borrow().link, Link::Broken(_, Some(_)));
        poll_fn(|context| {
            device.wishes.remember_supervisor(context);
            if device.wishes.get() != wish || broken(device) || device.lost_generation() {
                return Poll::Ready(());
            }
            if let Some(watch) = carrier {
                match watch.poll_next(context) {
                    Poll::Ready(Ok(_)) => return Poll::Ready(()),
                    Poll::Ready(Err(error)) => {
                        warn(format_args!("{}: changes of the link are not noticed: {error}", device.name));
                        *carrier = None;
                    }
                    Poll::Pending => {}
                }
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
        let Connection { watch, frontend, queues, info } = connection;
        self.carrier = Some(frontend.watch_backend_node("carrier"));
        self.backend = Some((watch, frontend));
        {
            let mut state = self.device.state.borrow_mut();
            state.info = info;
            state.carrier = true;
            state.groups.tell_all();
            state.failure = None;
            state.statistics.connections += 1;
        }
        self.device.set_link(Link::Up(queues));
        self.device.state.borrow_mut().tell_groups();
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
                warn(format_args!("{}: not connected: {error}", self.device.name));
                self.follow().await;
                self.device.state.borrow_mut().failure = Some(error);
                self.device.set_link(Link::Down);
            }
        }
    }

    /// Watches the backend of today, when the one that is watched was another domain's.
    async fn follow(&mut self) {
        let store = self.setup.attachment.xenstore();
        if self.backend.as_ref().is_some_and(|(_, frontend)| frontend.is_current()) {
            return;
        }
        if let Ok((frontend, _)) = Frontend::find(store, "vif", self.setup.index, &[]).await
            && let Ok(mut watch) = frontend.watch_backend().await
            // The first event comes at once and says nothing new.
            && watch.next().await.is_ok()
        {
            self.backend = Some((watch, frontend));
        }
    }

    /// Lets go of the backend, and takes the queues away from it.
    async fn part(&mut self) {
        let broken = match self.device.state.borrow().link {
            Link::Broken(reason, _) => Some(reason),
            Link::Up(_) | Link::Down => None,
        };
        self.carrier = None;
        // The queues are kept aside until the backend does not use them any more.
        self.device.state.borrow_mut().busy = true;
        let queues = self.device.set_link(broken.map_or(Link::Down, |reason| Link::Broken(reason, None)));
        let current = queues.as_ref().is_some_and(|queues| queues.is_current());
        if let Some((watch, frontend)) = self.backend.as_mut().filter(|_| current) {
            if let Some(reason) = broken {
                frontend.report(&format!("the backend broke the protocol: {reason}")).await;
            }
            if let Err(error) = watch.part(self.setup.options.limit).await {
                warn(format_args!("{error}"));
            }
        }
        drop(queues);
        self.device.state.borrow_mut().busy = false;
        self.device.wishes.wake_watchers();
        if broken.is_none() {
            info(format_args!("{}: disconnected", self.device.name));
        }
    }
}

enum Need {
    Nothing,
    Connect,
    Part,
}
