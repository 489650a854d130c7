//! Networks: the host's sockets, or a tap device.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::rc::Rc;

use mirage_rt::boot::{AddressFrom, Connecting, NetworkConnector, NetworkSpec};
use mirage_rt::keys::Values;
use mirage_rt::log::{info, warn};
use mirage_rt::net::capture::{Capture, SinkFailed};
use mirage_rt::net::{Config, ConfigError, Network, log_targets};
use mirage_rt::page::{HeapPool, PagePool};
use mirage_rt::types::network::NetworkDevice;

use crate::UnixPlatform;
use crate::capture::{CaptureError, CaptureFile};
use crate::sockets::{HostAddressError, HostSockets};
use crate::tap::{Offloads, Tap, TapError};

/// Pages for what a stack on a tap device sends: 1 MiB.
const SEND_PAGES: usize = 256;

/// The environment variable that names the folder for packet captures. It is no key: those are for Xen, too.
const CAPTURE: &str = "MIRAGE_CAPTURE";

/// The environment variable that, with the value `none`, has the kernel and our stack do what the device would do. It is no key
/// for the same reason.
const OFFLOADS: &str = "MIRAGE_OFFLOADS";

/// Bytes for all connections of a network on a tap device. A process is given more memory than an image.
const CONNECTION_MEMORY: usize = 64 << 20;

/// Connects networks to the host's sockets, or to tap devices where the key `interface` names one.
pub(super) struct Networks {
    platform: Rc<UnixPlatform>,
}

impl Networks {
    pub(super) fn new(platform: &Rc<UnixPlatform>) -> Networks {
        Networks { platform: Rc::clone(platform) }
    }

    fn connect(&self, spec: &'static NetworkSpec, values: &Values, from: AddressFrom) -> Result<Network, Reason> {
        let config = spec.config(values);
        match spec.key::<String>(values, "interface") {
            None => self.sockets(spec, values, &config),
            Some(interface) => {
                if from == AddressFrom::Keys && config.ipv4.is_none() && !config.has_ipv6() {
                    return Err(Reason::NoAddress(interface));
                }
                self.tap(spec, values, &interface, config, from)
            }
        }
    }

    fn sockets(&self, spec: &NetworkSpec, values: &Values, config: &Config) -> Result<Network, Reason> {
        let prefix = spec.key_prefix;
        if config.gateway.is_some() {
            ignored(format_args!("{prefix}ipv4-gateway"), "the host's sockets use the host's routes");
        }
        if spec.key::<u16>(values, "capture").is_some() {
            let why = format!("frames are seen on a network of its own, which --{prefix}interface gives");
            ignored(format_args!("{prefix}capture"), &why);
        }
        let address = match (config.ipv4, config.ipv6_address()) {
            (Some(ipv4), ipv6) => {
                if ipv6.is_some() {
                    let why = format!("the host's sockets serve at one address; --{prefix}ipv6-only chooses");
                    ignored(format_args!("{prefix}ipv6"), &why);
                }
                IpAddr::V4(ipv4.address())
            }
            (None, Some(ipv6)) => IpAddr::V6(ipv6),
            (None, None) if spec.key(values, "ipv6-only") == Some(true) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            (None, None) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let sockets = HostSockets::new(&self.platform, address);
        sockets.check_address()?;
        Ok(Network::host(Rc::new(sockets)))
    }

    fn tap(
        &self,
        spec: &NetworkSpec,
        values: &Values,
        interface: &str,
        mut config: Config,
        from: AddressFrom,
    ) -> Result<Network, Reason> {
        let offloads = if std::env::var_os(OFFLOADS).is_some_and(|value| value == "none") {
            Offloads::None
        } else {
            Offloads::All
        };
        let tap = Tap::open_with(&self.platform, interface, offloads)?;
        let given = [config.ipv4.map(|ipv4| IpAddr::V4(ipv4.address())), config.ipv6_address().map(IpAddr::V6)];
        for address in given.into_iter().flatten() {
            if HostSockets::new(&self.platform, address).check_address().is_ok() {
                return Err(Reason::HostsOwn(address));
            }
        }
        config.connection_memory = CONNECTION_MEMORY;
        let pool = HeapPool::with_pages(SEND_PAGES);
        let port = spec.key::<u16>(values, "capture");
        match std::env::var_os(CAPTURE) {
            None => start(tap, pool, config, from, port),
            Some(folder) => start(capture(tap, folder.as_ref(), spec.name)?, pool, config, from, port),
        }
    }
}

/// A network on `device`, whose frames are read at `port` if that is given.
fn start<D: NetworkDevice + 'static>(
    device: D,
    pool: Rc<dyn PagePool>,
    config: Config,
    from: AddressFrom,
    port: Option<u16>,
) -> Result<Network, Reason> {
    Ok(match port {
        Some(port) => Network::start_captured(device, pool, config, from, port)?,
        None => Network::start(device, pool, config, from)?,
    })
}

/// Says that a key does nothing here.
fn ignored(key: fmt::Arguments<'_>, why: &str) {
    warn!(target: log_targets::SOCKETS, "--{key} is not used: {why}");
}

/// `tap`, with a capture of all its frames in `folder`.
fn capture(tap: Tap, folder: &Path, name: &str) -> Result<Capture<Tap, CaptureFile>, Reason> {
    let path = folder.join(format!("{name}.pcap"));
    let file = CaptureFile::create(&path)?;
    info!(target: log_targets::CAPTURE, "the frames of the network {name} are written to {}", path.display());
    Capture::new(tap, file).map_err(Reason::CaptureFull)
}

impl NetworkConnector for Networks {
    fn network<'a>(
        &'a self,
        spec: &'static NetworkSpec,
        values: &'a Values,
        address: AddressFrom,
    ) -> Connecting<'a, Network> {
        Box::pin(
            async move { Ok(self.connect(spec, values, address).map_err(|reason| ConnectError { spec, reason })?) },
        )
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
    HostsOwn(IpAddr),
    Tap(TapError),
    Config(ConfigError),
    Capture(CaptureError),
    CaptureFull(SinkFailed),
}

impl From<CaptureError> for Reason {
    fn from(error: CaptureError) -> Reason {
        Reason::Capture(error)
    }
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
            Reason::Address(error @ HostAddressError::NotOurs(address)) => {
                let version = if address.is_ipv4() { 4 } else { 6 };
                write!(
                    f,
                    "{error}: give --{prefix}ipv{version} one that `ip address` shows, or name a tap interface with \
                     --{prefix}interface to have a network of its own"
                )
            }
            Reason::Address(error) => error.fmt(f),
            Reason::NoAddress(interface) => write!(
                f,
                "--{prefix}interface {interface} needs an address: give --{prefix}ipv4 ADDRESS/PREFIX, in the \
                 interface's network, but not the interface's own"
            ),
            Reason::HostsOwn(address) => {
                let version = if address.is_ipv4() { 4 } else { 6 };
                write!(
                    f,
                    "{address} is this host's own address: give --{prefix}ipv{version} another one of the same network"
                )
            }
            Reason::Tap(error) => error.fmt(f),
            Reason::Config(error) => error.fmt(f),
            Reason::Capture(error) => error.fmt(f),
            Reason::CaptureFull(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {}

#[cfg(test)]
mod tests {
    use mirage_rt::Runtime;
    use mirage_rt::keys::{KeyKind, KeySpec, Parsed, parse, read};

    use super::*;

    const fn key(name: &'static str, kind: KeyKind) -> KeySpec {
        let read = if matches!(kind, KeyKind::Cidr) { read::cidr } else { read::text };
        KeySpec { name, kind, read, default: None, required: false, doc: "" }
    }

    static KEYS: [KeySpec; 4] = [
        key("inner-ipv4", KeyKind::Cidr),
        key("inner-interface", KeyKind::Text),
        key("outer-ipv4", KeyKind::Cidr),
        key("outer-interface", KeyKind::Text),
    ];

    static NETWORKS: [NetworkSpec; 2] = [
        NetworkSpec { name: "inner", index: 0, key_prefix: "inner-" },
        NetworkSpec { name: "outer", index: 1, key_prefix: "outer-" },
    ];

    fn connect(network: usize, words: &[&str]) -> mirage_rt::Result<Network> {
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        let Ok(Parsed::Values(values)) = parse(&KEYS, &words) else { panic!("these words are right: {words:?}") };
        let platform = UnixPlatform::new().expect("a test may open descriptors");
        let connector = Networks::new(&platform);
        Runtime::new(platform).run(connector.network(&NETWORKS[network], &values, AddressFrom::Keys))
    }

    #[test]
    fn each_network_has_keys_of_its_own() {
        let words = ["--inner-ipv4", "127.0.0.2/8", "--outer-ipv4", "127.0.0.3/8"];
        for (network, address) in [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)].into_iter().enumerate() {
            let network = connect(network, &words).expect("every host has these addresses");
            assert_eq!(network.addresses(), [std::net::IpAddr::V4(address)]);
        }
        let default = connect(0, &[]).expect("every host has this address");
        assert_eq!(default.addresses(), [std::net::IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }

    #[test]
    fn errors_name_the_network_and_its_keys() {
        let error = |network, words: &[&str]| connect(network, words).expect_err("this can't be connected").to_string();
        let foreign = error(1, &["--outer-ipv4", "192.0.2.1/24"]);
        assert!(
            foreign.starts_with("network outer: 192.0.2.1 is not an address of this host: give --outer-ipv4 "),
            "{foreign}"
        );
        let nowhere = error(0, &["--inner-interface", "none", "--outer-ipv4", "127.0.0.3/8"]);
        assert!(
            nowhere.contains("--inner-interface none needs an address: give --inner-ipv4 ADDRESS/PREFIX"),
            "{nowhere}"
        );
        let missing = error(0, &["--inner-interface", "no such name", "--inner-ipv4", "10.0.0.2/24"]);
        assert_eq!(
            missing,
            "network inner: \"no such name\" is no name of an interface: give one that `ip link` shows"
        );
    }
}
