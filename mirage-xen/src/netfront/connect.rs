//! What frontend and backend tell each other through xenstore, once for each connection.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::{Rc, Weak};
use alloc::string::{String, ToString};

use mirage_rt::page::{Page, PagePool};
use mirage_rt::types::network::NetworkInfo;

use super::device::{Channels, Device, Handler, Queues};
use super::receive::ReceiveQueue;
use super::transmit::{MAX_SIZE, Offloads, TransmitQueue};
use super::{ConnectError, ETHERNET_HEADER, Options};
use crate::attachment::Attachment;
use crate::events::EventHandler;
use crate::grants::{Access, Grant};
use crate::hypervisor::{DomainId, PAGE_SIZE};
use crate::ring::FrontRing;
use crate::shared::SharedPage;
use crate::warning::network::warn;
use crate::xenbus::{BackendWatch, Frontend, State, XenbusError};

/// The MTU of a device whose configuration says nothing else.
const DEFAULT_MTU: u16 = 1500;
/// Every IPv4 link carries this much.
const LEAST_MTU: u16 = 68;
/// A frame may have a tag besides its header.
const VLAN_TAG: usize = 4;

/// What does not change from one connection to the next.
pub(super) struct Setup {
    pub(super) attachment: Attachment,
    pub(super) index: u32,
    pub(super) pool: Rc<dyn PagePool>,
    pub(super) options: Options,
}

/// What the backend says of itself.
struct Backend {
    domain: DomainId,
    offloads: Offloads,
    split_channels: bool,
}

pub(super) struct Connection {
    pub(super) watch: BackendWatch,
    pub(super) frontend: Frontend,
    pub(super) queues: Box<Queues>,
    pub(super) info: NetworkInfo,
}

/// What is looked at of the backend's nodes.
const FEATURES: [&str; 7] = [
    "feature-rx-copy",
    "feature-sg",
    "feature-no-csum-offload",
    "feature-ipv6-csum-offload",
    "feature-gso-tcpv4",
    "feature-gso-tcpv6",
    "feature-split-event-channels",
];

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
        let (frontend, own) = Frontend::find(store, "vif", self.index, &["mac", "mtu"]).await?;
        let (mut watch, state, mut features) = frontend.approach(&FEATURES).await?;
        if state != State::InitWait || !frontend.is_initialising() {
            device.wishes.while_connected(watch.until_offered(self.options.limit)).await?;
            features = frontend.backend_values(&FEATURES).await?;
        }
        let backend = Backend::new(&frontend, &features)?;
        let info = describe(&frontend, &backend, &own)?;
        let queues = self.queues(&backend, &info, &Rc::downgrade(device))?;
        match self.publish(device, &frontend, &mut watch, &queues).await {
            Ok(()) => Ok(Connection { watch, frontend, queues, info }),
            Err(error) => {
                if !error.is_interrupted() {
                    frontend.report(&error.to_string()).await;
                }
                // It may have mapped the rings already: take them away only when it has let go, if it ever does.
                if let Err(error) = watch.part(self.options.limit).await {
                    warn(format_args!("{error}"));
                }
                Err(error.into())
            }
        }
    }

    // Not within the futures of its callers, which are copied about.
    #[inline(never)]
    fn queues(
        &self,
        backend: &Backend,
        info: &NetworkInfo,
        device: &Weak<Device>,
    ) -> Result<Box<Queues>, ConnectError> {
        let (events, grants) = (self.attachment.events(), self.attachment.grants());
        let handler = |transmit, receive| Rc::new(Handler { device: device.clone(), transmit, receive });
        let allocate = |handler: &Rc<Handler>| {
            let handler: Weak<dyn EventHandler> = Rc::downgrade(&(Rc::clone(handler) as Rc<dyn EventHandler>));
            events.allocate_with(backend.domain, handler)
        };
        let handlers = [handler(true, !backend.split_channels), handler(false, true)];
        let channels = Channels {
            transmit: allocate(&handlers[0])?,
            receive: if backend.split_channels { Some(allocate(&handlers[1])?) } else { None },
            _handlers: handlers,
        };
        let max_length = usize::from(info.mtu) + ETHERNET_HEADER + VLAN_TAG;
        let ring = FrontRing::starting_at(self.ring_page(backend.domain)?, self.options.first_index);
        let transmit = TransmitQueue::new(ring, grants, backend.domain, backend.offloads, max_length);
        // At most half of what the pool has: the rest is for packets to be sent and those that are being looked at.
        let half = u32::try_from(self.pool.available() / 2).unwrap_or(u32::MAX);
        let most = self.options.receive_pages.min(half);
        let ring = FrontRing::starting_at(self.ring_page(backend.domain)?, self.options.first_index);
        let gso = self.options.receive_gso;
        let receive = ReceiveQueue::new(ring, grants, backend.domain, &self.pool, most, gso)?;
        let (attachment, generation) = (self.attachment.clone(), self.attachment.generation());
        Ok(Box::new(Queues { transmit, receive, channels, attachment, generation }))
    }

    /// A page for a ring, which the backend sees without anything that was in it before.
    fn ring_page(&self, backend: DomainId) -> Result<Grant, ConnectError> {
        let Some(page) = Page::take(&self.pool) else {
            return Err(ConnectError::NoPages { needed: 2, available: 0 });
        };
        let page = SharedPage::from(page);
        page.bytes().clear();
        self.attachment.grants().share(page, backend, Access::ReadWrite).map_err(|(error, _page)| error.into())
    }

    /// Tells the backend of the rings and waits until it uses them.
    async fn publish(
        &self,
        device: &Device,
        frontend: &Frontend,
        watch: &mut BackendWatch,
        queues: &Queues,
    ) -> Result<(), XenbusError> {
        let (rings, options) = (queues.rings(), &self.options);
        let (transmit, receive) = queues.channels.ports();
        let (gso, partial) = (u32::from(options.receive_gso), u32::from(options.receive_partial_checksum));
        let nodes = [
            ("tx-ring-ref", Some(rings.0)),
            ("rx-ring-ref", Some(rings.1)),
            // Of an earlier connection there may be channels of the other kind.
            ("event-channel", receive.is_none().then_some(transmit)),
            ("event-channel-tx", receive.map(|_| transmit)),
            ("event-channel-rx", receive),
            ("request-rx-copy", Some(1)),
            ("feature-rx-notify", Some(1)),
            ("feature-sg", Some(1)),
            ("feature-gso-tcpv4", Some(gso)),
            ("feature-gso-tcpv6", Some(gso)),
            ("request-multicast-control", Some(u32::from(options.only_groups))),
            ("feature-no-csum-offload", Some(1 - partial)),
            ("feature-ipv6-csum-offload", Some(partial)),
        ];
        // xenstored takes them in this order, and the backend looks at them when the state has changed.
        frontend.set_state(State::Connected, &nodes).await?;
        device.wishes.while_connected(watch.until_connected(options.limit)).await?;
        // Whatever either side has missed while the other was not there yet.
        queues.channels.notify(true, true);
        Ok(())
    }
}

impl Backend {
    fn new(frontend: &Frontend, features: &[Option<String>]) -> Result<Self, ConnectError> {
        let mut flags = [false; FEATURES.len()];
        for (flag, feature) in flags.iter_mut().zip(features) {
            *flag = feature.as_deref().is_some_and(|text| text.trim() == "1");
        }
        let [receive_copy, scatter_gather, no_checksum, checksum_ipv6, gso_ipv4, gso_ipv6, split_channels] = flags;
        if !receive_copy {
            return Err(ConnectError::NoReceiveCopy);
        }
        Ok(Self {
            domain: frontend.backend_domain(),
            offloads: Offloads {
                scatter_gather,
                checksum_ipv4: !no_checksum,
                checksum_ipv6,
                gso_ipv4: scatter_gather && gso_ipv4,
                gso_ipv6: scatter_gather && gso_ipv6,
            },
            split_channels,
        })
    }
}

#[inline(never)]
/// The device as its user sees it, given its Ethernet address and MTU in xenstore.
fn describe(frontend: &Frontend, backend: &Backend, own: &[Option<String>]) -> Result<NetworkInfo, ConnectError> {
    let text = |index: usize| own.get(index).and_then(Option::as_deref).map(str::trim);
    let mac = text(0).and_then(parse_mac).ok_or_else(|| ConnectError::Mac { path: frontend.node("mac") })?;
    let offloads = &backend.offloads;
    // Without scatter-gather, a packet is a page.
    let most = if offloads.scatter_gather { MAX_SIZE } else { PAGE_SIZE } - ETHERNET_HEADER - VLAN_TAG;
    // One that can't be read is no reason to have no network.
    let mtu: Option<u32> = text(1).and_then(|text| text.parse().ok());
    let mtu = mtu.map_or(DEFAULT_MTU, |mtu| u16::try_from(mtu).unwrap_or(u16::MAX)).clamp(LEAST_MTU, most as u16);
    let size = |offered: bool| if offered { MAX_SIZE as u32 } else { 0 };
    let mut info = NetworkInfo::new(mac, mtu);
    info.checksum_ipv4 = offloads.checksum_ipv4;
    info.checksum_ipv6 = offloads.checksum_ipv6;
    info.gso_ipv4 = size(offloads.gso_ipv4);
    info.gso_ipv6 = size(offloads.gso_ipv6);
    Ok(info)
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.trim().split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    // The lowest bit of the first byte marks a group of stations.
    (parts.next().is_none() && mac[0] & 1 == 0).then_some(mac)
}

impl Device {
    pub(super) fn name_of(index: u32) -> String {
        format!("vif {index}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_six_bytes_of_one_station() {
        assert_eq!(parse_mac("00:16:3e:00:0A:ff"), Some([0, 0x16, 0x3E, 0, 0x0A, 0xFF]));
        for bad in
            ["", "00:16:3e:00:00", "00:16:3e:00:00:00:00", "01:00:5e:00:00:01", "0:16:3e:0:0:1", "00:16:3e:00:+1:00"]
        {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
    }
}
