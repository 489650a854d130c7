//! What frontend and backend tell each other through xenstore, once for each connection, and again when the disk is resized.

use alloc::boxed::Box;
use alloc::rc::{Rc, Weak};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use mirage_rt::page::{Page, PagePool};
use mirage_rt::types::block::{BlockInfo, Discard, WriteCache};

use super::device::{Connected, Device, Handler};
use super::flight::{Flight, Terms};
use super::jobs::Flushing;
use super::wire::{DIRECT_SEGMENTS, PROTOCOL, SECTOR, disk_flags};
use super::{ConnectError, MOST_RING_ORDER, MOST_SEGMENTS, Options};
use crate::attachment::Attachment;
use crate::events::EventHandler;
use crate::grants::{Access, Grant};
use crate::hypervisor::{DomainId, PAGE_SIZE};
use crate::ring::FrontRing;
use crate::shared::SharedPage;
use crate::warning::warn;
use crate::xenbus::{BackendWatch, Frontend, State};
use crate::xenstore::XenstoreError;

/// What does not change from one connection to the next.
pub(super) struct Setup {
    pub(super) attachment: Attachment,
    pub(super) number: u32,
    pub(super) pool: Rc<dyn PagePool>,
    pub(super) options: Options,
}

pub(super) struct Connection {
    pub(super) watch: BackendWatch,
    pub(super) frontend: Frontend,
    pub(super) connected: Box<Connected>,
    pub(super) properties: Properties,
}

/// What is looked at of the backend's nodes before it is connected.
const OFFER: [&str; 3] = ["online", "max-ring-page-order", "feature-max-indirect-segments"];

/// What it says of the disk when it is.
const PROPERTIES: [&str; 11] = [
    "sectors",
    "sector-size",
    "physical-sector-size",
    "info",
    "feature-flush-cache",
    "feature-barrier",
    "feature-discard",
    "discard-granularity",
    "discard-alignment",
    "discard-secure",
    "feature-persistent",
];

/// A disk as its backend describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Properties {
    pub(super) info: BlockInfo,
    pub(super) flush: Flushing,
    /// The backend keeps grants mapped.
    persistent: bool,
}

impl Setup {
    /// Connects to the backend, from whatever state the two are in; again from the start when the domain is moved meanwhile.
    /// `None` when it was given up because the device is not to be connected any more; nothing is granted then.
    pub(super) async fn connect(&self, device: &Rc<Device>) -> Result<Option<Connection>, ConnectError> {
        loop {
            match self.attempt(device).await {
                Err(ConnectError::Xenbus(error)) if error.is_interrupted() => {
                    if !device.wishes.is_connected() {
                        return Ok(None);
                    }
                }
                result => return result.map(Some),
            }
        }
    }

    async fn attempt(&self, device: &Rc<Device>) -> Result<Connection, ConnectError> {
        let store = self.attachment.xenstore();
        let (frontend, own) = Frontend::find(store, "vbd", self.number, &["protocol"]).await?;
        let (mut watch, state, mut offer) = frontend.approach(&OFFER).await?;
        if text(&offer, 0) == Some("0") {
            return Err(ConnectError::Detached);
        }
        if state != State::InitWait || !frontend.is_initialising() {
            device.wishes.while_connected(watch.until_offered(self.options.limit)).await?;
            offer = frontend.backend_values(&OFFER).await?;
        }
        let (terms, order) = self.terms(&frontend, &offer);
        let protocol = text(&own, 0) == Some(PROTOCOL);
        let mut connected = Box::new(self.connected(terms, order, &Rc::downgrade(device))?);
        match self.publish(device, &frontend, &mut watch, &connected, protocol).await {
            Ok(properties) => {
                connected.flight.persist(self.options.persistent && properties.persistent);
                Ok(Connection { watch, frontend, connected, properties })
            }
            Err(error) => {
                if !matches!(&error, ConnectError::Xenbus(error) if error.is_interrupted()) {
                    frontend.report(&error.to_string()).await;
                }
                // It may have mapped the ring already: take it away only when it has let go, if it ever does.
                if let Err(error) = watch.part(self.options.limit).await {
                    warn(format_args!("{error}"));
                }
                Err(error)
            }
        }
    }

    /// What a connection to a backend with this offer is like, and the order of its ring's pages.
    fn terms(&self, frontend: &Frontend, offer: &[Option<String>]) -> (Terms, u32) {
        let limit = |index, default: u32| number(offer, index).unwrap_or(default);
        let order = self.options.ring_order.min(limit(1, 0)).min(MOST_RING_ORDER);
        let segments = self.options.segments.min(limit(2, 0)).min(MOST_SEGMENTS as u32);
        let terms = Terms {
            backend: frontend.backend_domain(),
            // As all frontends do: the lower half of a number that may have 29 bits.
            handle: self.number as u16,
            segments: (segments as usize).max(DIRECT_SEGMENTS),
            persistent: self.options.persistent,
        };
        (terms, order)
    }

    fn connected(&self, terms: Terms, order: u32, device: &Weak<Device>) -> Result<Connected, ConnectError> {
        let handler = Rc::new(Handler(device.clone()));
        let weak: Weak<dyn EventHandler> = Rc::downgrade(&(Rc::clone(&handler) as Rc<dyn EventHandler>));
        let channel = self.attachment.events().allocate_with(terms.backend, weak)?;
        let pages: Result<Vec<_>, _> = (0..1 << order).map(|_| self.ring_page(terms.backend, order)).collect();
        let ring = FrontRing::starting_at(pages?, self.options.first_index);
        let flight = Flight::new(ring, self.attachment.grants(), &self.pool, terms);
        let (attachment, generation) = (self.attachment.clone(), self.attachment.generation());
        Ok(Connected { flight, channel, _handler: handler, attachment, generation })
    }

    /// A page for the ring, which the backend sees without anything that was in it before.
    fn ring_page(&self, backend: DomainId, order: u32) -> Result<Grant, ConnectError> {
        let Some(page) = Page::take(&self.pool) else { return Err(ConnectError::NoPages { needed: 1 << order }) };
        let page = SharedPage::from(page);
        page.bytes().clear();
        self.attachment.grants().share(page, backend, Access::ReadWrite).map_err(|(error, _page)| error.into())
    }

    /// Tells the backend of the ring and waits until it uses it; what it says of the disk.
    async fn publish(
        &self,
        device: &Device,
        frontend: &Frontend,
        watch: &mut BackendWatch,
        connected: &Connected,
        protocol: bool,
    ) -> Result<Properties, ConnectError> {
        const RING_REFERENCES: [&str; 1 << MOST_RING_ORDER] = [
            "ring-ref0",
            "ring-ref1",
            "ring-ref2",
            "ring-ref3",
            "ring-ref4",
            "ring-ref5",
            "ring-ref6",
            "ring-ref7",
            "ring-ref8",
            "ring-ref9",
            "ring-ref10",
            "ring-ref11",
            "ring-ref12",
            "ring-ref13",
            "ring-ref14",
            "ring-ref15",
        ];
        let references: Vec<u32> = connected.flight.ring_references().collect();
        let single = references.len() == 1;
        // A ring of one page has another form, and of an earlier connection there may be nodes of the other one.
        let mut nodes = Vec::from([
            ("event-channel", Some(connected.channel.port().0)),
            ("feature-persistent", Some(u32::from(self.options.persistent))),
            ("ring-ref", references.first().copied().filter(|_| single)),
            ("ring-page-order", (!single).then(|| references.len().ilog2())),
            ("num-ring-pages", (!single).then_some(references.len() as u32)),
        ]);
        if !single {
            nodes.extend(RING_REFERENCES.iter().zip(&references).map(|(name, reference)| (*name, Some(*reference))));
        }
        if !protocol {
            frontend.store().write(&frontend.node("protocol"), PROTOCOL.as_bytes()).await?;
        }
        // xenstored takes them in this order, and the backend looks at them when the state has changed.
        frontend.set_state(State::Initialised, &nodes).await?;
        device.wishes.while_connected(watch.until_connected(self.options.limit)).await?;
        let properties = Properties::read(frontend).await?;
        frontend.set_state(State::Connected, &[]).await?;
        Ok(properties)
    }
}

impl Properties {
    /// What the backend says of the disk now.
    pub(super) async fn read(frontend: &Frontend) -> Result<Self, ConnectError> {
        let values = frontend.backend_values(&PROPERTIES).await?;
        Self::parse(frontend, &values)
    }

    fn parse(frontend: &Frontend, values: &[Option<String>]) -> Result<Self, ConnectError> {
        let flag = |index| number(values, index).is_some_and(|number| number != 0);
        let sector_size = number(values, 1).unwrap_or(SECTOR);
        let fits = sector_size.is_power_of_two() && (SECTOR..=PAGE_SIZE as u32).contains(&sector_size);
        if !fits {
            return Err(ConnectError::SectorSize { path: frontend.backend_node(PROPERTIES[1]) });
        }
        let scale = sector_size / SECTOR;
        let sectors = text(values, 0).and_then(|text| text.parse::<u64>().ok());
        // So that bytes can be counted.
        let sectors = sectors.filter(|sectors| sectors.checked_mul(SECTOR.into()).is_some());
        let sectors = sectors.ok_or_else(|| ConnectError::Size { path: frontend.backend_node(PROPERTIES[0]) })?;
        let read_only = number(values, 3).is_some_and(|flags| flags & disk_flags::READ_ONLY != 0);
        let mut info = BlockInfo::new(sector_size, sectors / u64::from(scale), read_only);
        let physical = number(values, 2).filter(|size| *size > 0 && size.is_multiple_of(sector_size));
        info.physical_sector_size = physical.unwrap_or(sector_size);
        let flush = match (flag(4), flag(5)) {
            (true, or_barrier) => Flushing::Flush { or_barrier },
            (false, true) => Flushing::Barrier,
            (false, false) => Flushing::Needless,
        };
        info.cache = if flush == Flushing::Needless { WriteCache::None } else { WriteCache::Flushed };
        if flag(6) {
            let sectors = |index, default| number(values, index).unwrap_or(default).div_ceil(sector_size);
            info.discard = Some(Discard::new(sectors(7, sector_size), sectors(8, 0)));
            info.erase = flag(9);
        }
        Ok(Self { info, flush, persistent: flag(10) })
    }
}

/// Whether the tools have left the device with its backend.
pub(super) async fn is_online(frontend: &Frontend) -> Result<bool, XenstoreError> {
    let values = frontend.backend_values(&["online", "state"]).await?;
    Ok(text(&values, 0) != Some("0") && text(&values, 1).is_some())
}

fn text(values: &[Option<String>], index: usize) -> Option<&str> {
    values.get(index)?.as_deref().map(str::trim)
}

fn number(values: &[Option<String>], index: usize) -> Option<u32> {
    text(values, index)?.parse().ok()
}
