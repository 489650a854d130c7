//! A declaration that passed its checks.

use crate::folder::Folder;
use crate::key::KeyKind;
use crate::manifest::{Manifest, ManifestBlock, ManifestKey, ManifestNetwork};
use crate::network::NetworkFeatures;

/// What the glue, the manifest, the linker script and the launch files are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) memory_mib: u32,
    /// What it may grow to; then the image has a balloon.
    pub(crate) memory_max_mib: Option<u32>,
    /// Seconds.
    pub(crate) watchdog: Option<u32>,
    /// Whether the program asks for random numbers itself.
    pub(crate) random: bool,
    /// In the order of their declaration.
    pub(crate) devices: Vec<Device>,
    /// The application's keys, then those of the libraries.
    pub(crate) keys: Vec<Key>,
}

/// A field of `Devices`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    Network(Attached, NetworkFeatures),
    Block(Attached),
    Console { name: String },
    FirstConsole { name: String },
    Hotplug { name: String },
    Folder { name: String, folder: Folder },
}

/// A network interface or a disk: what whoever starts the program gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) name: String,
    /// Its number among those of its kind: the vif's on Xen, or the virtual disk's.
    pub(crate) index: u16,
    /// What the names of the keys that configure it begin with: nothing for the only one of its kind.
    pub(crate) key_prefix: String,
}

/// A boot key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) kind: KeyKind,
    /// The type of the field of `Keys`; none for a library's key, which the runtime reads.
    pub(crate) field_type: Option<&'static str>,
    /// The value when none is given, in the form it would be written.
    pub(crate) default: Option<String>,
    /// Whether the boot stops when there is neither a value nor a default.
    pub(crate) required: bool,
    pub(crate) doc: String,
}

impl Model {
    pub(crate) fn networks(&self) -> impl Iterator<Item = &Attached> {
        networks(&self.devices)
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Attached> {
        blocks(&self.devices)
    }

    /// The names of the consoles besides the first one.
    pub(crate) fn consoles(&self) -> impl Iterator<Item = &str> {
        consoles(&self.devices)
    }

    /// Whether what passes a network can be read.
    pub(crate) fn has_capture(&self) -> bool {
        self.devices.iter().any(|device| matches!(device, Device::Network(_, features) if features.capture))
    }

    pub(crate) fn has_hotplug(&self) -> bool {
        self.devices.iter().any(|device| matches!(device, Device::Hotplug { .. }))
    }

    pub(crate) fn has_first_console(&self) -> bool {
        self.devices.iter().any(|device| matches!(device, Device::FirstConsole { .. }))
    }

    pub(crate) fn manifest(&self) -> Manifest {
        Manifest {
            name: self.name.clone(),
            version: self.version.clone(),
            memory_mib: self.memory_mib,
            memory_max_mib: self.memory_max_mib,
            networks: self
                .networks()
                .map(|network| ManifestNetwork { name: network.name.clone(), key_prefix: network.key_prefix.clone() })
                .collect(),
            blocks: self
                .blocks()
                .map(|block| ManifestBlock { name: block.name.clone(), key_prefix: block.key_prefix.clone() })
                .collect(),
            consoles: self.consoles().map(str::to_owned).collect(),
            keys: self
                .keys
                .iter()
                .map(|key| ManifestKey {
                    name: key.name.clone(),
                    kind: Some(key.kind),
                    default: key.default.clone(),
                    required: key.required,
                    doc: key.doc.clone(),
                    library: key.field_type.is_none(),
                })
                .collect(),
        }
    }
}

pub(crate) fn networks(devices: &[Device]) -> impl Iterator<Item = &Attached> {
    devices.iter().filter_map(|device| if let Device::Network(network, _) = device { Some(network) } else { None })
}

pub(crate) fn blocks(devices: &[Device]) -> impl Iterator<Item = &Attached> {
    devices.iter().filter_map(|device| if let Device::Block(block) = device { Some(block) } else { None })
}

pub(crate) fn consoles(devices: &[Device]) -> impl Iterator<Item = &str> {
    devices.iter().filter_map(|device| if let Device::Console { name } = device { Some(name.as_str()) } else { None })
}

/// The least MTU that IPv4 allows a host.
const LEAST_MTU: i64 = 576;

/// The name of the key for the path of a console, of a Unix process.
pub(crate) fn console_key(name: &str) -> String {
    format!("{}-console", name.replace('_', "-"))
}

/// A key that the runtime reads.
fn key(name: String, kind: KeyKind, default: Option<&str>, doc: String) -> Key {
    Key { name, kind, field_type: None, default: default.map(str::to_owned), required: false, doc }
}

/// The keys of one network.
fn network_keys(network: &Attached, features: NetworkFeatures) -> Vec<Key> {
    let prefix = &network.key_prefix;
    let of = if prefix.is_empty() { String::new() } else { format!(" of the network {}", network.name) };
    let name = |key: &str| format!("{prefix}{key}");
    let mut keys = Vec::new();
    if features.dhcp {
        let doc = format!("IPv4 address and prefix length{of}, or dhcp to ask the network");
        keys.push(key(name("ipv4"), KeyKind::CidrOrDhcp, Some("dhcp"), doc));
        let doc = format!("IPv4 address of the router{of}, instead of the lease's");
        keys.push(key(name("ipv4-gateway"), KeyKind::Ipv4, None, doc));
    } else {
        keys.push(key(name("ipv4"), KeyKind::Cidr, None, format!("IPv4 address and prefix length{of}")));
        keys.push(key(name("ipv4-gateway"), KeyKind::Ipv4, None, format!("IPv4 address of the router{of}")));
    }
    if features.ipv6 {
        let doc = format!("IPv6 address and prefix length{of}, or auto to have routers say");
        keys.push(key(name("ipv6"), KeyKind::Cidr6OrAuto, Some("auto"), doc));
        let doc = format!("IPv6 address of the router{of}, instead of those that say they are");
        keys.push(key(name("ipv6-gateway"), KeyKind::Ipv6, None, doc));
        keys.push(key(name("ipv4-only"), KeyKind::Flag, Some("false"), format!("No IPv6{of}")));
        keys.push(key(name("ipv6-only"), KeyKind::Flag, Some("false"), format!("No IPv4{of}")));
    }
    if features.routes {
        let doc = format!("Routers{of} to networks behind others than the gateway");
        keys.push(key(name("routes"), KeyKind::Routes, None, doc));
    }
    if features.routes && features.ipv6 {
        let doc = format!("IPv6 routers{of} to networks behind others than the gateway");
        keys.push(key(name("ipv6-routes"), KeyKind::Ipv6Routes, None, doc));
    }
    if features.mtu {
        let doc = format!("Most bytes of an IP packet{of}, where that is less than the device takes");
        keys.push(key(name("mtu"), KeyKind::Integer { min: LEAST_MTU, max: u16::MAX.into() }, None, doc));
    }
    if features.names {
        let doc = format!("Name servers{of}, instead of the lease's or the host's");
        keys.push(key(name("dns"), KeyKind::Addresses, None, doc));
        let doc = format!("Domains to look for names in{of}, instead of the lease's or the host's");
        keys.push(key(name("search"), KeyKind::Domains, None, doc));
    }
    if features.capture {
        let doc = format!("TCP port{of} at which everybody can read all its frames, as pcap");
        keys.push(key(name("capture"), KeyKind::Port, None, doc));
    }
    let doc = format!("On Unix, the tap interface{of}; without it the host's sockets serve");
    keys.push(key(name("interface"), KeyKind::Text, None, doc));
    keys
}

/// The keys that the runtime reads, of every unikernel with these devices. (`--help` is no key: it ends the parsing.)
pub(crate) fn library_keys(devices: &[Device]) -> Vec<Key> {
    let mut keys = Vec::new();
    for device in devices {
        if let Device::Network(network, features) = device {
            keys.extend(network_keys(network, *features));
        }
    }
    for block in blocks(devices) {
        let name = &block.name;
        let doc = format!("File or block device that is the disk {name} (xl takes it from its configuration)");
        keys.push(key(format!("{}disk", block.key_prefix), KeyKind::Text, Some(&format!("{name}.img")), doc));
    }
    for name in consoles(devices) {
        let doc = format!("On Unix, the socket to be made or the terminal that is the console {name}");
        keys.push(key(console_key(name), KeyKind::Text, None, doc));
    }
    let doc = "Least important log messages to print".to_owned();
    keys.push(key("log".to_owned(), KeyKind::LogLevel, Some("info"), doc));
    keys
}
