//! Further consoles of a domain: frontends of class `console`, which `channel = [...]` gives it (xen-pv-channel(7)).
//!
//! They have the first console's page (`io/console.h`), but find it as other devices do: the frontend grants the page and
//! publishes `ring-ref` and `port`. Their backend has a name for each, by which the program finds it.

use alloc::format;
use alloc::rc::{Rc, Weak};
use alloc::string::{String, ToString};
use core::cell::Cell;
use core::fmt;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};

use mirage_rt::cell::RefCell;
use mirage_rt::page::{Page, PagePool};
use mirage_rt::runtime::spawn;
use mirage_rt::time::Duration;
use mirage_rt::types::console::{ConsoleDevice, ConsoleError};

use super::ring::{Broken, Ring};
use crate::attachment::Attachment;
use crate::events::{EventChannel, EventError, EventHandler};
use crate::grants::{Access, Grant, GrantError};
use crate::shared::SharedPage;
use crate::warning::{failed, info, warn};
use crate::xenbus::{BackendWatch, Frontend, State, XenbusError};

/// Kind of the device in xenstore.
const CLASS: &str = "console";

/// How long a backend has for each step of the handshake.
pub const LIMIT: Duration = Duration::from_secs(10);

/// A console could not be opened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The domain has no console of this name.
    Missing(String),
    /// No page is left to be shared with the backend.
    NoPage,
    /// The handshake failed.
    Xenbus(XenbusError),
    /// No event channel could be had.
    Event(EventError),
    /// The page could not be granted.
    Grant(GrantError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(
                f,
                "the domain has no console of the name \"{name}\": add \"name={name}, connection=pty\" to `channel = [...]` \
                 in the domain's configuration"
            ),
            Self::NoPage => f.write_str("no page is left for its ring: give the domain more memory"),
            Self::Xenbus(error) => error.fmt(f),
            Self::Event(error) => error.fmt(f),
            Self::Grant(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for OpenError {}

impl From<XenbusError> for OpenError {
    fn from(error: XenbusError) -> Self {
        Self::Xenbus(error)
    }
}

impl From<crate::xenstore::XenstoreError> for OpenError {
    fn from(error: crate::xenstore::XenstoreError) -> Self {
        Self::Xenbus(error.into())
    }
}

impl From<EventError> for OpenError {
    fn from(error: EventError) -> Self {
        Self::Event(error)
    }
}

impl From<GrantError> for OpenError {
    fn from(error: GrantError) -> Self {
        Self::Grant(error)
    }
}

/// A further console of the domain. Dropping it parts from its backend.
///
/// While the backend is away, reads and writes wait; what was in the page when it went is lost.
pub struct ConsoleFrontend {
    device: Rc<Device>,
}

/// What the handle, the event handler and the task share.
struct Device {
    name: String,
    link: RefCell<Option<Link>>,
    broken: Cell<Option<Broken>>,
    closed: Cell<bool>,
    reader: Cell<Option<Waker>>,
    writer: Cell<Option<Waker>>,
    task: Cell<Option<Waker>>,
}

/// A page and a channel that the backend uses.
struct Link {
    page: Grant,
    channel: EventChannel,
    generation: u64,
}

impl Link {
    fn ring(&self) -> Ring<'_> {
        Ring::new(self.page.bytes())
    }
}

impl Device {
    fn wake_all(&self) {
        for waker in [&self.reader, &self.writer, &self.task] {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }

    /// Moves bytes with `act`; waits when it moved none.
    fn poll_move(
        &self,
        context: &Context<'_>,
        waiting: &Cell<Option<Waker>>,
        act: impl FnOnce(Ring<'_>) -> Result<usize, Broken>,
    ) -> Poll<Result<usize, ConsoleError>> {
        if self.broken.get().is_some() {
            return Poll::Ready(Err(ConsoleError::Broken));
        }
        let link = self.link.borrow();
        let moved = link.as_ref().map_or(Ok(0), |link| act(link.ring()));
        match (moved, &*link) {
            (Err(reason), _) => {
                failed(format_args!("console {}: given up: {reason}", self.name));
                self.broken.set(Some(reason));
                drop(link);
                self.wake_all();
                Poll::Ready(Err(ConsoleError::Broken))
            }
            (Ok(count), Some(link)) if count > 0 => {
                if let Err(error) = link.channel.notify() {
                    warn(format_args!("console {}: {error}", self.name));
                }
                Poll::Ready(Ok(count))
            }
            _ => {
                waiting.set(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl EventHandler for Device {
    fn on_event(&self) {
        self.wake_all();
    }
}

impl ConsoleDevice for ConsoleFrontend {
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, ConsoleError>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let device = &self.device;
        device.poll_move(context, &device.reader, |ring| ring.take(buffer))
    }

    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, ConsoleError>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let device = &self.device;
        device.poll_move(context, &device.writer, |ring| ring.put(bytes))
    }

    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<Result<(), ConsoleError>> {
        let device = &self.device;
        // One byte stands for "read".
        let read = device.poll_move(context, &device.writer, |ring| Ok(usize::from(ring.is_read())));
        read.map_ok(|_| ())
    }
}

impl Drop for ConsoleFrontend {
    fn drop(&mut self) {
        self.device.closed.set(true);
        self.device.wake_all();
    }
}

impl fmt::Debug for ConsoleFrontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "console {}", self.device.name)
    }
}

impl ConsoleFrontend {
    /// Why the console was given up, if it was.
    pub fn broken(&self) -> Option<Broken> {
        self.device.broken.get()
    }

    /// Opens the console called `name`, with a page of `pool`. Ready when its backend is connected.
    ///
    /// # Errors
    ///
    /// [`OpenError`], whose message says what to change.
    pub async fn open(attachment: &Attachment, name: &str, pool: Rc<dyn PagePool>) -> Result<Self, OpenError> {
        let store = attachment.xenstore();
        let indices = Frontend::list(store, CLASS).await?;
        let names =
            store.read_many(indices.iter().map(|index| format!("device/{CLASS}/{index}/name")).collect()).await?;
        let found = indices.into_iter().zip(names).find(|(_, found)| found.as_deref() == Some(name));
        let (index, _) = found.ok_or_else(|| OpenError::Missing(name.to_string()))?;
        let device = Rc::new(Device {
            name: name.to_string(),
            link: RefCell::default(),
            broken: Cell::default(),
            closed: Cell::new(false),
            reader: Cell::default(),
            writer: Cell::default(),
            task: Cell::default(),
        });
        let setup = Setup { attachment: attachment.clone(), index, pool };
        let backend = setup.connect(&device).await?;
        spawn(look_after(Rc::clone(&device), setup, backend));
        Ok(Self { device })
    }
}

struct Setup {
    attachment: Attachment,
    index: u32,
    pool: Rc<dyn PagePool>,
}

impl Setup {
    /// Connects to the backend, from whatever state the two are in, and gives `device` the link.
    async fn connect(&self, device: &Rc<Device>) -> Result<BackendWatch, OpenError> {
        let attachment = &self.attachment;
        let (frontend, _) = Frontend::find(attachment.xenstore(), CLASS, self.index, &[]).await?;
        let mut watch = frontend.watch_backend().await?;
        watch.until_offered(LIMIT).await?;
        let page = SharedPage::from(Page::take(&self.pool).ok_or(OpenError::NoPage)?);
        page.bytes().clear();
        let domain = frontend.backend_domain();
        let page = attachment.grants().share(page, domain, Access::ReadWrite).map_err(|(error, _)| error)?;
        let handler: Weak<dyn EventHandler> = Rc::downgrade(&(Rc::clone(device) as Rc<dyn EventHandler>));
        let channel = attachment.events().allocate_with(domain, handler)?;
        let nodes = [("ring-ref", Some(page.number())), ("port", Some(channel.port().0))];
        frontend.set_state(State::Connected, &nodes).await?;
        let connected = watch.until(LIMIT, "connect", |state| state == State::Connected).await;
        let link = Link { page, channel, generation: attachment.generation() };
        if let Err(error) = connected {
            // It may have mapped the page already: take it away only when it has let go, if it ever does.
            frontend.report(&error.to_string()).await;
            if let Err(error) = watch.part(LIMIT).await {
                warn(format_args!("{error}"));
            }
            return Err(error.into());
        }
        device.link.replace(Some(link));
        device.wake_all();
        Ok(watch)
    }
}

/// The task of a console: parts from its backend when one of both wants to, and connects again.
async fn look_after(device: Rc<Device>, setup: Setup, backend: BackendWatch) {
    let mut backend = Some(backend);
    loop {
        let mut state = State::Unknown;
        if let Some(watch) = &mut backend {
            change(&device, &setup, watch).await;
            state = watch.state().await.unwrap_or(State::Unknown);
        }
        let lost = device.link.borrow().as_ref().is_none_or(|link| link.generation != setup.attachment.generation());
        if device.closed.get() || device.broken.get().is_some() || lost || state != State::Connected {
            // Kept until the backend does not use it any more, which after a resume it can't.
            let link = device.link.take();
            if let Some(watch) = backend.as_mut().filter(|_| !lost)
                && let Err(error) = watch.part(LIMIT).await
            {
                warn(format_args!("{error}"));
            }
            drop(link);
            if device.closed.get() || device.broken.get().is_some() {
                return;
            }
            info(format_args!("console {}: disconnected", device.name));
            match setup.connect(&device).await {
                Ok(watch) => backend = Some(watch),
                Err(error) => warn(format_args!("console {}: not connected: {error}", device.name)),
            }
        }
    }
}

/// Waits until the backend, the handle or the attachment may ask for something.
async fn change(device: &Device, setup: &Setup, watch: &mut BackendWatch) {
    poll_fn(|context| {
        device.task.set(Some(context.waker().clone()));
        let link = device.link.borrow();
        let lost = link.as_ref().is_some_and(|link| link.generation != setup.attachment.generation());
        if device.closed.get() || device.broken.get().is_some() || lost {
            return Poll::Ready(());
        }
        watch.poll_change(context)
    })
    .await;
}

/// The first console as a device, for programs that declare it.
#[derive(Debug)]
pub struct FirstConsole(pub super::Console);

impl ConsoleDevice for FirstConsole {
    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, ConsoleError>> {
        self.0.poll_read(context, buffer).map(Ok)
    }

    fn poll_write(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize, ConsoleError>> {
        self.0.poll_drained(context).map(|()| {
            // So much fits into the backlog, even if each byte is a line.
            let bytes = &bytes[..bytes.len().min(super::BACKLOG / 2)];
            self.0.write(bytes);
            Ok(bytes.len())
        })
    }

    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<Result<(), ConsoleError>> {
        self.0.poll_drained(context).map(Ok)
    }
}

#[cfg(test)]
mod tests;
