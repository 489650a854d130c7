//! The handshake between the two halves of a split device (`xen/io/xenbus.h`).
//!
//! Each half keeps its state in xenstore and watches the other's. A frontend first waits for its backend to offer itself
//! ([`State::InitWait`]), publishes its rings, and then both go to [`State::Connected`]; to part, both go through
//! [`State::Closing`] to [`State::Closed`], after which the frontend may start again.

pub(crate) mod wish;

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};

use mirage_rt::time::{Duration, timeout};

use crate::hypervisor::DomainId;
use crate::warning::debug;
use crate::xenstore::wire::Operation;
use crate::xenstore::{Code, Watch, Xenstore, XenstoreError};

/// The state of one half of a device. Values this version does not know are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No state: the half does not exist.
    Unknown,
    /// It is being set up.
    Initialising,
    /// The backend waits for what the frontend publishes.
    InitWait,
    /// The frontend has published what it has.
    Initialised,
    /// It works.
    Connected,
    /// It is about to go.
    Closing,
    /// It does not use anything of the other half any more.
    Closed,
    /// Its settings change.
    Reconfiguring,
    /// Its settings have changed.
    Reconfigured,
    /// A number that is none of these.
    Other(u32),
}

impl From<u32> for State {
    fn from(number: u32) -> Self {
        match number {
            0 => Self::Unknown,
            1 => Self::Initialising,
            2 => Self::InitWait,
            3 => Self::Initialised,
            4 => Self::Connected,
            5 => Self::Closing,
            6 => Self::Closed,
            7 => Self::Reconfiguring,
            8 => Self::Reconfigured,
            other => Self::Other(other),
        }
    }
}

impl From<State> for u32 {
    fn from(state: State) -> Self {
        match state {
            State::Unknown => 0,
            State::Initialising => 1,
            State::InitWait => 2,
            State::Initialised => 3,
            State::Connected => 4,
            State::Closing => 5,
            State::Closed => 6,
            State::Reconfiguring => 7,
            State::Reconfigured => 8,
            State::Other(number) => number,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As Debug would, which knows how to print numbers in eight ways: a KiB in every image.
            Self::Unknown => f.write_str("Unknown"),
            Self::Initialising => f.write_str("Initialising"),
            Self::InitWait => f.write_str("InitWait"),
            Self::Initialised => f.write_str("Initialised"),
            Self::Connected => f.write_str("Connected"),
            Self::Closing => f.write_str("Closing"),
            Self::Closed => f.write_str("Closed"),
            Self::Reconfiguring => f.write_str("Reconfiguring"),
            Self::Reconfigured => f.write_str("Reconfigured"),
            Self::Other(number) => write!(f, "state {}", u64::from(*number)),
        }
    }
}

/// A future of the handshake. Boxed: there are many places that wait for few things, once for each connection, and each of
/// them would have its own copy of the code otherwise.
pub type Step<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A backend's state, and the values of other nodes of its, as far as they have one.
pub type StateAndValues = (State, Vec<Option<String>>);

/// A device's frontend in xenstore.
#[derive(Clone, Debug)]
pub struct Frontend {
    store: Xenstore,
    class: &'static str,
    index: u32,
    /// Its directory, such as `device/vif/0`.
    path: String,
    backend: String,
    backend_domain: DomainId,
    /// What the frontend's own state is known to be.
    state: Rc<Cell<State>>,
}

/// A frontend and its backend did not come together, or apart.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum XenbusError {
    /// The domain has no such device.
    Missing {
        /// Kind of the device, such as `vif`.
        class: &'static str,
        /// Its number.
        index: u32,
    },
    /// The backend did not reach a state in time.
    Timeout {
        /// Which device.
        device: String,
        /// Where its backend lives.
        domain: DomainId,
        /// What the backend did not do.
        missing: &'static str,
        /// How long it had.
        after: Duration,
        /// The state it was in at the end.
        state: State,
    },
    /// xenstore failed.
    Xenstore(XenstoreError),
}

impl fmt::Display for XenbusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { class, index } => {
                write!(f, "the domain has no {class} {index}: add a {class} to its configuration, or attach one to it")
            }
            Self::Timeout { device, domain, missing, after, state } => write!(
                f,
                "{device}: the backend (domain {domain}) did not {missing} within {} s; its state was {state}: \
                 see the log of that domain, and whether its driver and hotplug scripts work",
                after.as_secs()
            ),
            Self::Xenstore(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for XenbusError {}

impl XenbusError {
    /// Whether all is to be done again: the domain was suspended meanwhile and is a new one now, or the backend was told to
    /// close.
    pub fn is_interrupted(&self) -> bool {
        *self == Self::Xenstore(XenstoreError::Interrupted)
    }
}

impl From<XenstoreError> for XenbusError {
    fn from(error: XenstoreError) -> Self {
        Self::Xenstore(error)
    }
}

impl Frontend {
    /// The frontend of a device that the tools have given to this domain, and the values of `more` of its nodes.
    ///
    /// # Errors
    ///
    /// [`XenbusError::Missing`] when there is none.
    pub async fn find(
        store: &Xenstore,
        class: &'static str,
        index: u32,
        more: &[&str],
    ) -> Result<(Self, Vec<Option<String>>), XenbusError> {
        // Another domain has another backend, and nothing of this one may be written there.
        let store = store.bound();
        let path = format!("device/{class}/{index}");
        let names = ["backend", "backend-id", "state"];
        let paths = names.iter().chain(more).map(|name| format!("{path}/{name}")).collect();
        let mut values = store.read_many(paths).await?.into_iter();
        let (backend, domain, state) = (values.next().flatten(), number(&mut values), number(&mut values));
        let domain = domain.and_then(|number| u16::try_from(number).ok());
        match (backend, domain) {
            (Some(backend), Some(domain)) => {
                let state = Rc::new(Cell::new(state.map_or(State::Unknown, State::from)));
                let backend_domain = DomainId(domain);
                Ok((Self { store, class, index, path, backend, backend_domain, state }, values.collect()))
            }
            _ => Err(XenbusError::Missing { class, index }),
        }
    }

    /// The numbers of all devices of a kind, in order.
    ///
    /// # Errors
    ///
    /// When xenstore fails.
    pub async fn list(store: &Xenstore, class: &str) -> Result<Vec<u32>, XenstoreError> {
        match store.directory(&format!("device/{class}")).await {
            Ok(names) => {
                let mut numbers: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
                numbers.sort_unstable();
                Ok(numbers)
            }
            Err(error) if error.is(Code::Enoent) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The device's name in messages, such as `vif 0`.
    pub fn name(&self) -> String {
        format!("{} {}", self.class, self.index)
    }

    /// The domain its backend lives in.
    pub fn backend_domain(&self) -> DomainId {
        self.backend_domain
    }

    /// The store both halves write to.
    pub fn store(&self) -> &Xenstore {
        &self.store
    }

    /// Whether its state says that a backend may wait for what it publishes.
    pub fn is_initialising(&self) -> bool {
        self.state.get() == State::Initialising
    }

    /// Whether this is about the domain of today: another one, after a resume, has other devices.
    pub fn is_current(&self) -> bool {
        self.store.is_current()
    }

    /// The path of one of the frontend's own nodes.
    pub fn node(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    /// The path of one of the backend's nodes.
    pub fn backend_node(&self, name: &str) -> String {
        format!("{}/{name}", self.backend)
    }

    /// Sets the frontend's state, if it is another one. In the same go, and before, `nodes` of the frontend get their values
    /// or are removed.
    ///
    /// # Errors
    ///
    /// When xenstore fails, but for a node to be removed that does not exist.
    pub fn set_state<'a>(
        &'a self,
        state: State,
        nodes: &'a [(&'a str, Option<u32>)],
    ) -> Step<'a, Result<(), XenstoreError>> {
        Box::pin(async move {
            let node = |(name, value): &(&str, Option<u32>)| match value {
                Some(value) => self.store.write(&self.node(name), format!("{value}").as_bytes()),
                None => self.store.remove(&self.node(name)),
            };
            let mut requests: Vec<_> = nodes.iter().map(node).collect();
            if self.state.get() != state {
                debug(format_args!("{}: frontend {state}", self.name()));
                requests.push(node(&("state", Some(u32::from(state)))));
            }
            // Not known until all of it was done.
            self.state.set(State::Unknown);
            for answer in self.store.all(requests).await {
                match answer {
                    Err(XenstoreError::Refused { operation: Operation::Remove, code: Code::Enoent, .. }) | Ok(_) => {}
                    Err(error) => return Err(error),
                }
            }
            self.state.set(state);
            Ok(())
        })
    }

    /// The values of several of the backend's nodes, in one go.
    ///
    /// # Errors
    ///
    /// When there is no answer at all.
    pub async fn backend_values(&self, names: &[&str]) -> Result<Vec<Option<String>>, XenstoreError> {
        self.store.read_many(names.iter().map(|name| self.backend_node(name)).collect()).await
    }

    /// The backend's state now; [`State::Unknown`] when there is none, or none that is a number.
    ///
    /// # Errors
    ///
    /// When there is no connection to xenstore.
    pub fn backend_state(&self) -> Step<'_, Result<State, XenstoreError>> {
        Box::pin(async move { Ok(self.backend_state_and(&[]).await?.0) })
    }

    /// As [`backend_state`](Self::backend_state), and in the same go the values of `more` of its nodes.
    ///
    /// # Errors
    ///
    /// When there is no connection to xenstore.
    pub fn backend_state_and<'a>(&'a self, more: &'a [&'a str]) -> Step<'a, Result<StateAndValues, XenstoreError>> {
        Box::pin(async move {
            let names: Vec<_> = core::iter::once(&"state").chain(more).copied().collect();
            let mut values = self.backend_values(&names).await?.into_iter();
            Ok((state_of(&mut values), values.collect()))
        })
    }

    /// Starts to watch the backend's state and reads it and the values of `more` of its nodes, in one go.
    ///
    /// # Errors
    ///
    /// When xenstore fails.
    pub async fn approach(&self, more: &[&str]) -> Result<(BackendWatch, State, Vec<Option<String>>), XenstoreError> {
        let names: Vec<_> = core::iter::once(&"state").chain(more).copied().collect();
        let mut watch = pin!(self.watch_backend());
        let mut values = pin!(self.backend_values(&names));
        let (mut watched, mut read) = (None, None);
        let (watch, values) = poll_fn(|context| {
            if watched.is_none()
                && let Poll::Ready(result) = watch.as_mut().poll(context)
            {
                watched = Some(result);
            }
            if read.is_none()
                && let Poll::Ready(result) = values.as_mut().poll(context)
            {
                read = Some(result);
            }
            match (watched.take(), read.take()) {
                (Some(watch), Some(values)) => Poll::Ready((watch, values)),
                waiting => {
                    (watched, read) = waiting;
                    Poll::Pending
                }
            }
        })
        .await;
        let (watch, mut values) = (watch?, values?.into_iter());
        let state = state_of(&mut values);
        Ok((watch, state, values.collect()))
    }

    /// Watches the backend's state.
    ///
    /// # Errors
    ///
    /// When xenstore fails.
    pub async fn watch_backend(&self) -> Result<BackendWatch, XenstoreError> {
        let watch = self.store.watch(&self.backend_node("state")).await?;
        Ok(BackendWatch { watch, frontend: self.clone() })
    }

    /// Watches one of the backend's nodes. The first event comes at once, or is the error for which it can't be watched.
    pub fn watch_backend_node(&self, name: &str) -> Watch {
        self.store.start_watch(&self.backend_node(name))
    }

    /// Leaves a message for whoever looks after the host, in the node that the tools read.
    pub async fn report(&self, message: &str) {
        let path = format!("error/{}/error", self.path);
        if let Err(error) = self.store.write(&path, message.as_bytes()).await {
            debug(format_args!("{}: {error}", self.name()));
        }
    }
}

/// The next value as a number.
fn number(values: &mut dyn Iterator<Item = Option<String>>) -> Option<u32> {
    values.next().flatten()?.trim().parse().ok()
}

/// The next value as a state; no state when it is none.
fn state_of(values: &mut dyn Iterator<Item = Option<String>>) -> State {
    number(values).map_or(State::Unknown, State::from)
}

/// Follows a backend's state.
#[derive(Debug)]
pub struct BackendWatch {
    watch: Watch,
    frontend: Frontend,
}

impl BackendWatch {
    /// Waits until something may have changed, then reads the state. Cancel safe, but for a change that was seen and not
    /// read: read the state again after a cancelled call.
    ///
    /// # Errors
    ///
    /// When there is no connection to xenstore.
    pub async fn next(&mut self) -> Result<State, XenstoreError> {
        self.watch.next().await?;
        self.frontend.backend_state().await
    }

    /// The backend's state now.
    ///
    /// # Errors
    ///
    /// When there is no connection to xenstore.
    pub async fn state(&self) -> Result<State, XenstoreError> {
        self.frontend.backend_state().await
    }

    /// Ready when something may have changed: look at the state. A lost connection to xenstore tells of no change.
    pub fn poll_change(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.watch.poll_next(context) {
            Poll::Ready(Err(XenstoreError::Lost)) => Poll::Pending,
            change => change.map(drop),
        }
    }

    /// Waits until the backend is in a state that `wanted` takes, at most for `limit`; that state.
    ///
    /// # Errors
    ///
    /// [`XenbusError::Timeout`], which says that the backend did not `missing`.
    pub fn until(
        &mut self,
        limit: Duration,
        missing: &'static str,
        wanted: fn(State) -> bool,
    ) -> Step<'_, Result<State, XenbusError>> {
        Box::pin(async move {
            let reached = timeout(limit, async {
                // What they tell of is seen by the next line.
                self.watch.clear();
                let mut state = self.frontend.backend_state().await?;
                while !wanted(state) {
                    state = self.next().await?;
                    debug(format_args!("{}: backend {state}", self.frontend.name()));
                }
                Ok::<_, XenstoreError>(state)
            });
            match reached.await {
                Ok(state) => Ok(state?),
                Err(_) => Err(XenbusError::Timeout {
                    device: self.frontend.name(),
                    domain: self.frontend.backend_domain,
                    missing,
                    after: limit,
                    state: self.frontend.backend_state().await?,
                }),
            }
        })
    }

    /// Waits until the backend is ready for a frontend to publish its rings, and tells it first that there is one, when it
    /// is left from an earlier connection.
    ///
    /// # Errors
    ///
    /// As [`until`](Self::until).
    pub fn until_offered(&mut self, limit: Duration) -> Step<'_, Result<(), XenbusError>> {
        Box::pin(async move {
            let mut state = self.frontend.backend_state().await?;
            loop {
                if !matches!(state, State::Unknown | State::Initialising | State::InitWait) {
                    // Left from an earlier connection, or told to close meanwhile: part from it properly first.
                    self.part(limit).await?;
                }
                self.frontend.set_state(State::Initialising, &[]).await?;
                let wanted = |state| matches!(state, State::InitWait | State::Closing);
                state = self.until(limit, "offer itself", wanted).await?;
                if state == State::InitWait {
                    return Ok(());
                }
            }
        })
    }

    /// Waits until the backend uses what was published.
    ///
    /// # Errors
    ///
    /// As [`until`](Self::until); [`XenstoreError::Interrupted`] when it was told to close meanwhile, so that all is to be done
    /// again after [parting](Self::part) from it.
    pub fn until_connected(&mut self, limit: Duration) -> Step<'_, Result<(), XenbusError>> {
        Box::pin(async move {
            let wanted = |state| matches!(state, State::Connected | State::Closing);
            match self.until(limit, "connect", wanted).await? {
                State::Connected => Ok(()),
                _ => Err(XenstoreError::Interrupted.into()),
            }
        })
    }

    /// Parts from the backend: when this returns, it uses nothing of ours any more.
    ///
    /// # Errors
    ///
    /// As [`until`](Self::until): then it may still use pages that were granted to it.
    pub fn part(&mut self, limit: Duration) -> Step<'_, Result<(), XenbusError>> {
        // InitWait does not count: it may be about to connect to what we have published.
        fn gone(state: State) -> bool {
            matches!(state, State::Unknown | State::Closed | State::Initialising)
        }
        Box::pin(async move {
            if !gone(self.frontend.backend_state().await?) {
                self.frontend.set_state(State::Closing, &[]).await?;
                self.until(limit, "start to close", |state| state == State::Closing || gone(state)).await?;
            }
            self.frontend.set_state(State::Closed, &[]).await?;
            self.until(limit, "close", gone).await?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
