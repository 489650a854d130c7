//! Networks: netfront below a stack.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::fmt;

use mirage_rt::boot::{AddressFrom, Connecting, Connectors, NetworkConnector, NetworkSpec};
use mirage_rt::keys::Values;
use mirage_rt::net::{Config, ConfigError, Network};
use mirage_rt::page::{PAGE_SIZE, PagePool};

use super::random;
use crate::attachment::Attachment;
use crate::memory::machine::Memory;
use crate::netfront::{self, Netfront};
use crate::xenbus::XenbusError;

/// The part of the free memory that a network device may use for pages: one in so many.
const IO_SHARE: usize = 3;
/// The part of it that connections may use for buffers, if that is more than they have in any case; and the most.
const CONNECTION_SHARE: usize = 8;
const MOST_CONNECTION_MEMORY: usize = 32 << 20;
/// Pages a network device has at most: two full rings, and as much again in packets that are being looked at.
const IO_PAGES: usize = 1024;

/// The way to the networks that a program declares. A program without any is linked without this, and so without all
/// that networks need.
pub fn networks(attachment: &Attachment, connectors: &mut Connectors) {
    // The stack has secrets of its own.
    random(attachment, connectors);
    connectors.networks = Some(Rc::new(Networks { attachment: attachment.clone(), start: start_plain }));
}

/// As [`networks`], of a program that declares one whose frames can be read.
pub fn captured_networks(attachment: &Attachment, connectors: &mut Connectors) {
    random(attachment, connectors);
    connectors.networks = Some(Rc::new(Networks { attachment: attachment.clone(), start: start_captured }));
}

/// What makes a network of a device; an image has only the one that it needs.
type Start = fn(Netfront, Rc<dyn PagePool>, Config, AddressFrom, &NetworkSpec, &Values) -> Result<Network, ConfigError>;

fn start_plain(
    device: Netfront,
    pool: Rc<dyn PagePool>,
    config: Config,
    address: AddressFrom,
    _: &NetworkSpec,
    _: &Values,
) -> Result<Network, ConfigError> {
    Network::start(device, pool, config, address)
}

fn start_captured(
    device: Netfront,
    pool: Rc<dyn PagePool>,
    config: Config,
    address: AddressFrom,
    spec: &NetworkSpec,
    values: &Values,
) -> Result<Network, ConfigError> {
    match spec.key(values, "capture") {
        Some(port) => Network::start_captured(device, pool, config, address, port),
        None => Network::start(device, pool, config, address),
    }
}

/// Connects the network devices of this domain.
struct Networks {
    attachment: Attachment,
    start: Start,
}

impl Networks {
    async fn connect(
        &self,
        spec: &'static NetworkSpec,
        values: &Values,
        address: AddressFrom,
    ) -> Result<Network, Reason> {
        let mut config = spec.config(values);
        let memory = Memory::machine().ok_or(Reason::NoMachine)?;
        config.connection_memory = (memory.free_frames() * PAGE_SIZE / CONNECTION_SHARE)
            .clamp(config.connection_memory, MOST_CONNECTION_MEMORY);
        let pool = memory.io_pool((memory.free_frames() / IO_SHARE).min(IO_PAGES));
        let options = netfront::Options::default();
        let device = match Netfront::connect(&self.attachment, spec.index.into(), Rc::clone(&pool), options).await {
            Ok(device) => device,
            Err(netfront::ConnectError::Xenbus(XenbusError::Missing { .. })) => return Err(Reason::Missing),
            Err(error) => return Err(Reason::Device(error)),
        };
        (self.start)(device, pool, config, address, spec, values).map_err(Reason::Config)
    }
}

impl NetworkConnector for Networks {
    fn network<'a>(
        &'a self,
        spec: &'static NetworkSpec,
        values: &'a Values,
        address: AddressFrom,
    ) -> Connecting<'a, Network> {
        Box::pin(async move {
            Ok(self.connect(spec, values, address).await.map_err(|reason| NotConnected { spec, reason })?)
        })
    }
}

/// A network was not connected.
#[derive(Debug)]
struct NotConnected {
    spec: &'static NetworkSpec,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    /// There is no such vif.
    Missing,
    Device(netfront::ConnectError),
    Config(ConfigError),
    NoMachine,
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NetworkSpec { name, index, .. } = self.spec;
        write!(f, "network {name}: ")?;
        match &self.reason {
            Reason::Missing => write!(
                f,
                "it needs vif {index} of the domain, which has none of that number: \
                 add it to `vif = [...]` in the domain's configuration"
            ),
            Reason::Device(error) => error.fmt(f),
            Reason::Config(error) => error.fmt(f),
            Reason::NoMachine => f.write_str("only an image that has booted has devices"),
        }
    }
}

impl core::error::Error for NotConnected {}
