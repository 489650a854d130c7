//! The declaration of a unikernel, as a build script writes it.

use std::path::PathBuf;

use crate::key::{Key, KeyDeclaration, KeyType};
use crate::network::{Network, NetworkFeatures};

/// What a unikernel needs: its devices, its boot keys, its memory and the targets that it supports.
///
/// Nothing is checked before [`emit`](Config::emit) (or [`plan`](crate::plan)), so that every mistake can be reported at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a declaration does nothing before `.emit()`"]
pub struct Config {
    pub(crate) name: Option<String>,
    pub(crate) devices: Vec<DeviceDeclaration>,
    pub(crate) keys: Vec<KeyDeclaration>,
    pub(crate) memory_mib: u32,
    pub(crate) memory_max_mib: Option<u32>,
    pub(crate) watchdog: Option<u32>,
    pub(crate) random: bool,
    pub(crate) xen: bool,
    pub(crate) unix: bool,
}

/// A device and the name of its field in `Devices`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceDeclaration {
    pub(crate) name: String,
    pub(crate) kind: DeviceKind,
}

/// What stands behind a device's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeviceKind {
    Network(NetworkFeatures),
    Block,
    Console,
    FirstConsole,
    Hotplug,
    Folder(PathBuf),
}

/// Memory of a domain that declares none, MiB.
const DEFAULT_MEMORY_MIB: u32 = 16;

impl Default for Config {
    fn default() -> Self {
        Config::new()
    }
}

impl Config {
    /// A unikernel without devices and keys, with 16 MiB of memory, for no target yet.
    pub fn new() -> Self {
        Config {
            name: None,
            devices: Vec::new(),
            keys: Vec::new(),
            memory_mib: DEFAULT_MEMORY_MIB,
            memory_max_mib: None,
            watchdog: None,
            random: false,
            xen: false,
            unix: false,
        }
    }

    /// The name of the binary target, where it is not the package's: launch files and `--help` use it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// A network interface with a stack of its own: `mirage_rt::net::Network` in `Devices`.
    ///
    /// On Xen the first one is vif 0, the second vif 1 and so on. On Unix it is the host's sockets, or a tap interface
    /// when `--interface` (`--NAME-interface` with several networks) names one.
    ///
    /// A name declares a network with an address of `--ipv4`; a [`Network`] can ask for DHCP and more.
    pub fn network(mut self, network: impl Into<Network>) -> Self {
        let Network { name, features } = network.into();
        self.devices.push(DeviceDeclaration { name, kind: DeviceKind::Network(features) });
        self
    }

    /// A disk: `mirage_rt::block::Block` in `Devices`.
    ///
    /// On Xen the first one is the virtual disk xvda, the second xvdb and so on, up to 16. On Unix it is a file or block
    /// device, `NAME.img` in the current folder unless `--disk` (`--NAME-disk` with several disks) names another one. The
    /// file has to be there: it is never made.
    pub fn block(mut self, name: impl Into<String>) -> Self {
        self.devices.push(DeviceDeclaration { name: name.into(), kind: DeviceKind::Block });
        self
    }

    /// A console besides the first one: `mirage_rt::console::Console` in `Devices`, a stream of bytes both ways.
    ///
    /// On Xen it is the channel of this name in the domain's configuration (xen-pv-channel(7)), whose backend is QEMU. libxl 4.17
    /// starts it for a PVH domain, but leaves out the channel's nodes in xenstore, so that whoever starts the domain has to
    /// write them. On Unix it is a socket that
    /// the program makes, or a terminal that is there, under the path that `--NAME-console` gives; without that key nobody is
    /// at its other end.
    pub fn console(mut self, name: impl Into<String>) -> Self {
        self.devices.push(DeviceDeclaration { name: name.into(), kind: DeviceKind::Console });
        self
    }

    /// The first console as a stream of bytes both ways: `mirage_rt::console::Console` in `Devices`, for programs that read
    /// what somebody types. The log and `println!` go there in any case.
    ///
    /// On Xen it is what `xl console` opens, on Unix standard input and output.
    pub fn first_console(mut self, name: impl Into<String>) -> Self {
        self.devices.push(DeviceDeclaration { name: name.into(), kind: DeviceKind::FirstConsole });
        self
    }

    /// Devices that come and go while the program runs: `mirage_rt::hotplug::DeviceEvents` in `Devices`, a stream of networks
    /// and disks that are not declared, each of which can be opened. An image has the code of both then.
    ///
    /// On Xen they are what `xl network-attach`, `xl block-attach` and their opposites do. On Unix nothing ever comes.
    pub fn hotplug(mut self, name: impl Into<String>) -> Self {
        self.devices.push(DeviceDeclaration { name: name.into(), kind: DeviceKind::Hotplug });
        self
    }

    /// A read-only folder, embedded in the program: `mirage_rt::kv::Embedded` in `Devices`.
    ///
    /// `folder` is relative to the package. Every file below it is taken, hidden ones too.
    pub fn kv_ro(mut self, name: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        self.devices.push(DeviceDeclaration { name: name.into(), kind: DeviceKind::Folder(folder.into()) });
        self
    }

    /// A boot key: a field of `Keys`, and `--name` on the command line of the process or of the kernel.
    pub fn key<T: KeyType>(mut self, key: Key<T>) -> Self {
        self.keys.push(key.declaration);
        self
    }

    /// Memory of the domain on Xen, MiB. 16 when it is not called. The program's stack has 256 KiB of it.
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Memory that the domain may grow to while it runs, MiB, at least what [`memory_mib`](Config::memory_mib) says. The image then
    /// has a balloon: it gives memory back and takes it again as `xl mem-set` wants, and `mirage_rt::memory::pressure` tells when
    /// memory gets short.
    ///
    /// For a balloon that only gives back and takes again what the domain starts with, say the same number twice.
    pub fn memory_max_mib(mut self, mib: u32) -> Self {
        self.memory_max_mib = Some(mib);
        self
    }

    /// On Xen, ends the domain when its tasks do not let each other run for so many seconds, at least 2: one of them is stuck.
    /// What happens then is `on_watchdog` of the domain's configuration. A paused domain is stuck, too; a suspended one is not.
    pub fn watchdog(mut self, seconds: u32) -> Self {
        self.watchdog = Some(seconds);
        self
    }

    /// Random numbers for the program's own use: `mirage_rt::Runtime::fill_random`. A network brings them along.
    ///
    /// An image without them has no code for them, and there the call says so. On Unix they are always there.
    pub fn random(mut self) -> Self {
        self.random = true;
        self
    }

    /// This unikernel can be built as a bootable image for Xen.
    pub fn xen(mut self) -> Self {
        self.xen = true;
        self
    }

    /// This unikernel can be built as a Unix process.
    pub fn unix(mut self) -> Self {
        self.unix = true;
        self
    }

    /// Checks the declaration and does what a build script has to: writes into `OUT_DIR` and prints cargo's directives.
    ///
    /// Each mistake is one `cargo::error=` line, after which cargo ends the build.
    pub fn emit(self) {
        crate::cargo::emit(&self);
    }
}
