//! From what build.rs declared to the host's devices.

use std::fmt;
use std::net::Ipv4Addr;
use std::rc::Rc;

use mirage_rt::boot::{Connecting, Connector, NetworkSpec};
use mirage_rt::keys::{Cidr, Values};
use mirage_rt::log::warn;
use mirage_rt::net::{Config, ConfigError, Network};
use mirage_rt::page::HeapPool;

use crate::UnixPlatform;
use crate::sockets::{HostAddressError, HostSockets};
use crate::tap::{Tap, TapError};

/// Pages for what a stack on a tap device sends: 1 MiB.
const SEND_PAGES: usize = 256;

/// Connects networks to the host's sockets, or to tap devices where the key `interface` names one.
pub(crate) struct UnixConnector {
    platform: Rc<UnixPlatform>,
}

impl UnixConnector {
    pub(crate) fn new(platform: &Rc<UnixPlatform>) -> UnixConnector {
        UnixConnector { platform: Rc::clone(platform) }
    }

    fn connect(&self, spec: &'static NetworkSpec, values: &Values) -> Result<Network, Reason> {
        let ipv4: Option<Cidr> = spec.key(values, "ipv4");
        let gateway: Option<Ipv4Addr> = spec.key(values, "ipv4-gateway");
        match spec.key::<String>(values, "interface") {
            None => {
                if gateway.is_some() {
                    warn!("--{}ipv4-gateway is not used: the host's sockets use the host's routes", spec.key_prefix);
                }
                self.sockets(ipv4.map_or(Ipv4Addr::LOCALHOST, Cidr::address))
            }
            Some(interface) => self.tap(&interface, ipv4.ok_or(Reason::NoAddress(interface.clone()))?, gateway),
        }
    }

    fn sockets(&self, address: Ipv4Addr) -> Result<Network, Reason> {
        let sockets = HostSockets::new(&self.platform, address);
        sockets.check_address()?;
        Ok(Network::host(Rc::new(sockets)))
    }

    fn tap(&self, interface: &str, ipv4: Cidr, gateway: Option<Ipv4Addr>) -> Result<Network, Reason> {
        let tap = Tap::open(&self.platform, interface)?;
        if HostSockets::new(&self.platform, ipv4.address()).check_address().is_ok() {
            return Err(Reason::HostsOwn(ipv4.address()));
        }
        let config = Config::from_keys(Some(ipv4), gateway);
        Ok(Network::direct(tap, HeapPool::with_pages(SEND_PAGES), config)?)
    }
}

impl Connector for UnixConnector {
    fn network<'a>(&'a self, spec: &'static NetworkSpec, values: &'a Values) -> Connecting<'a> {
        Box::pin(async move { Ok(self.connect(spec, values).map_err(|reason| ConnectError { spec, reason })?) })
    }
}

/// A network was not connected.
#[derive(Debug)]
struct ConnectError {
    spec: &'static NetworkSpec,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Address(HostAddressError),
    NoAddress(String),
    HostsOwn(Ipv4Addr),
    Tap(TapError),
    Config(ConfigError),
}

impl From<HostAddressError> for Reason {
    fn from(error: HostAddressError) -> Reason {
        Reason::Address(error)
    }
}

impl From<TapError> for Reason {
    fn from(error: TapError) -> Reason {
        Reason::Tap(error)
    }
}

impl From<ConfigError> for Reason {
    fn from(error: ConfigError) -> Reason {
        Reason::Config(error)
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NetworkSpec { name, key_prefix: prefix, .. } = self.spec;
        write!(f, "network {name}: ")?;
        match &self.reason {
            Reason::Address(error @ HostAddressError::NotOurs(_)) => write!(
                f,
                "{error}: give --{prefix}ipv4 one that `ip address` shows, or name a tap interface with \
                 --{prefix}interface to have a network of its own"
            ),
            Reason::Address(error) => error.fmt(f),
            Reason::NoAddress(interface) => write!(
                f,
                "--{prefix}interface {interface} needs an address: give --{prefix}ipv4 ADDRESS/PREFIX, in the \
                 interface's network, but not the interface's own"
            ),
            Reason::HostsOwn(address) => {
                write!(f, "{address} is this host's own address: give --{prefix}ipv4 another one of the same network")
            }
            Reason::Tap(error) => error.fmt(f),
            Reason::Config(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {}
