//! Everything that can be wrong with a declaration, with what to change.

mod folder;
mod key;
mod project;

use std::fmt;
use std::path::PathBuf;

pub use folder::FolderMistake;
pub use key::KeyMistake;
pub use project::ProjectMistake;

/// The longest name of a device or key, in bytes.
pub(crate) const MAX_NAME: usize = 48;
/// What a watchdog's seconds may be.
pub(crate) const WATCHDOG_SECONDS: core::ops::RangeInclusive<u32> = 2..=86_400;

/// The most networks of one unikernel.
pub(crate) const MAX_NETWORKS: usize = 8;
/// The most disks of one unikernel: xvda to xvdp, which have numbers of one kind.
pub(crate) const MAX_BLOCKS: usize = 16;

/// One mistake in a declaration or in the project around it. Its text names the thing and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Diagnostic {
    /// Neither `.xen()` nor `.unix()`.
    NoTarget,
    /// An image is being built, but `.xen()` was not called.
    XenNotDeclared,
    /// A Unix process is being built, but `.unix()` was not called.
    UnixNotDeclared,
    /// The unikernel's name can not be a file's name.
    BadName(String),
    /// A device's name is not a field's name.
    BadDeviceName(String),
    /// Two devices have this name.
    DuplicateDevice(String),
    /// More networks than a domain may have.
    TooManyNetworks(usize),
    /// More disks than a domain may have.
    TooManyBlocks(usize),
    /// The first console is declared once more, under this name.
    SecondFirstConsole(String),
    /// A watchdog that no domain can feed, or that nobody would wait for.
    Watchdog(u32),
    /// The devices that come and go are declared once more, under this name.
    SecondHotplug(String),
    /// Less memory than any image needs, MiB.
    MemoryTooSmall {
        /// What was declared.
        declared: u32,
        /// The least that could do, with what is embedded.
        least: u64,
    },
    /// The domain is to grow to less memory than it starts with, MiB.
    MemoryMaximum {
        /// What it starts with.
        declared: u32,
        /// What it is to grow to.
        most: u32,
    },
    /// A boot key.
    Key {
        /// Its name.
        name: String,
        /// What is wrong with it.
        mistake: KeyMistake,
    },
    /// A folder to embed.
    Folder {
        /// The device.
        device: String,
        /// The folder, or what is wrong below it.
        path: PathBuf,
        /// What is wrong with it.
        mistake: FolderMistake,
    },
    /// The project around the build script.
    Project(ProjectMistake),
}

impl std::error::Error for Diagnostic {}

impl From<ProjectMistake> for Diagnostic {
    fn from(mistake: ProjectMistake) -> Self {
        Diagnostic::Project(mistake)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Diagnostic::NoTarget => f.write_str(
                "this unikernel supports no target: call `.unix()`, `.xen()` or both before `.emit()` in build.rs",
            ),
            Diagnostic::XenNotDeclared => f.write_str(
                "this unikernel does not support Xen: call `.xen()` before `.emit()` in build.rs, or build without \
                 `--features xen` and `--target x86_64-unknown-xen`",
            ),
            Diagnostic::UnixNotDeclared => f.write_str(
                "this unikernel does not support Unix: build it with `--features xen` or `--target \
                 x86_64-unknown-xen`, or call `.unix()` before `.emit()` in build.rs",
            ),
            Diagnostic::BadName(name) => write!(
                f,
                "`{name}` can not be the unikernel's name: Config::name takes the name of the binary target, letters, \
                 digits, `-` and `_` only"
            ),
            Diagnostic::BadDeviceName(name) => write!(
                f,
                "`{name}` can not be a device's name: it becomes a field of Devices, so it must start with a lower \
                 case letter, go on with lower case letters, digits and `_`, be no Rust keyword and at most \
                 {MAX_NAME} bytes long"
            ),
            Diagnostic::DuplicateDevice(name) => {
                write!(f, "two devices have the name `{name}`: give one of them another name in build.rs")
            }
            Diagnostic::TooManyNetworks(count) => write!(
                f,
                "{count} networks are declared, and a unikernel can have {MAX_NETWORKS}: remove some `.network(..)` \
                 from build.rs"
            ),
            Diagnostic::Watchdog(seconds) => {
                let (least, most) = (WATCHDOG_SECONDS.start(), WATCHDOG_SECONDS.end());
                write!(
                    f,
                    "a watchdog of {seconds} seconds is declared: say `.watchdog({least})` to `.watchdog({most})` in build.rs"
                )
            }
            Diagnostic::TooManyBlocks(count) => write!(
                f,
                "{count} block devices are declared, and a unikernel can have {MAX_BLOCKS}: remove some `.block(..)` \
                 from build.rs"
            ),
            Diagnostic::SecondFirstConsole(name) => write!(
                f,
                "there is one first console, and `{name}` is another: remove it from build.rs, or make it a further console \
                 with `.console({name:?})`"
            ),
            Diagnostic::SecondHotplug(name) => write!(
                f,
                "there is one stream of devices that come and go, and `{name}` is another: remove one `.hotplug(..)` from \
                 build.rs"
            ),
            Diagnostic::MemoryTooSmall { declared, least } => write!(
                f,
                "{declared} MiB of memory are declared, and this unikernel needs at least {least} MiB with what it \
                 embeds: raise `.memory_mib(..)` in build.rs"
            ),
            Diagnostic::MemoryMaximum { declared, most } => write!(
                f,
                "the domain starts with {declared} MiB of memory and is to grow to {most} MiB: raise `.memory_max_mib(..)` \
                 or lower `.memory_mib(..)` in build.rs"
            ),
            Diagnostic::Key { name, mistake } => mistake.write(f, name),
            Diagnostic::Folder { device, path, mistake } => mistake.write(f, device, path),
            Diagnostic::Project(mistake) => mistake.fmt(f),
        }
    }
}
