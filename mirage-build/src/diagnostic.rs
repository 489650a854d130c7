//! Everything that can be wrong with a declaration, with what to change.

use std::fmt;
use std::path::PathBuf;

use crate::key::KeyKind;

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
    /// A key's name is not of the form that a command line needs.
    BadKeyName(String),
    /// Two keys have this name.
    DuplicateKey(String),
    /// The key has the name of one that every unikernel of this kind has.
    LibraryKey(String),
    /// The key's default is not a value of its type.
    BadDefault {
        /// The key.
        key: String,
        /// Its type.
        kind: KeyKind,
        /// The default as it was given.
        value: String,
    },
    /// The key has a default and is optional.
    OptionalWithDefault(String),
    /// A text holds a control character, which no help page and no launch file can show.
    ControlCharacter {
        /// The key.
        key: String,
    },
    /// Less memory than any image needs, MiB.
    MemoryTooSmall {
        /// What was declared.
        declared: u32,
        /// The least that could do, with what is embedded.
        least: u64,
    },
    /// The folder is not there.
    MissingFolder {
        /// The device.
        device: String,
        /// The folder, as it was looked for.
        folder: PathBuf,
    },
    /// The folder's path names something else.
    NotAFolder {
        /// The device.
        device: String,
        /// What was found.
        path: PathBuf,
    },
    /// The folder has nothing in it.
    EmptyFolder {
        /// The device.
        device: String,
        /// The folder.
        folder: PathBuf,
    },
    /// A file or folder below can not be read.
    Unreadable {
        /// The device.
        device: String,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A name below is not UTF-8.
    NotUtf8 {
        /// The device.
        device: String,
        /// The path, with replacement characters.
        path: PathBuf,
    },
    /// A symbolic link below leads out of the folder.
    LinkEscapes {
        /// The device.
        device: String,
        /// The link.
        path: PathBuf,
    },
    /// Neither a file nor a folder.
    SpecialFile {
        /// The device.
        device: String,
        /// The path.
        path: PathBuf,
    },
    /// Folders are nested too deeply, as they are in a loop of links.
    TooDeep {
        /// The device.
        device: String,
        /// Where it was given up.
        path: PathBuf,
        /// How deep folders may be nested.
        limit: usize,
    },
    /// More files than are embedded.
    TooManyFiles {
        /// The device.
        device: String,
        /// How many there may be.
        limit: usize,
    },
    /// More content than is embedded, MiB.
    TooLarge {
        /// The device.
        device: String,
        /// How much there may be, MiB.
        limit_mib: u64,
    },
    /// The package does not depend on this crate.
    MissingDependency {
        /// The crate.
        name: &'static str,
        /// What to write into Cargo.toml, and where.
        remedy: &'static str,
    },
    /// The wrapper scripts in `.cargo` are of another version.
    WrapperVersion {
        /// What the scripts say.
        found: String,
        /// What fits.
        expected: &'static str,
    },
    /// Images exist for one architecture only.
    UnsupportedHost(String),
    /// A path that goes into generated code or link arguments is not UTF-8, or has a line break.
    UnusablePath(PathBuf),
    /// The program was not started by cargo.
    NotRunByCargo(&'static str),
    /// The package's Cargo.toml can not be read.
    ReadManifest {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file could not be written.
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl std::error::Error for Diagnostic {}

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
                "{count} networks are declared, and a unikernel can have {MAX_NETWORKS}: remove some `.network(..)` from \
                 build.rs"
            ),
            Diagnostic::BadKeyName(name) => write!(
                f,
                "`{name}` can not be a key's name: it must start with a lower case letter, go on with lower case \
                 letters, digits and single `-`, be no Rust keyword and at most {MAX_NAME} bytes long"
            ),
            Diagnostic::DuplicateKey(name) => {
                write!(f, "two keys have the name `{name}`: give one of them another name in build.rs")
            }
            Diagnostic::LibraryKey(name) => write!(
                f,
                "the key `{name}` exists already: every unikernel with these devices has it (see `--help`); give yours \
                 another name in build.rs"
            ),
            Diagnostic::BadDefault { key, kind, value } => write!(
                f,
                "`{value}` can not be the default of the key `{key}`: it must be {}; correct `.default(..)` in build.rs",
                kind.describe()
            ),
            Diagnostic::OptionalWithDefault(key) => write!(
                f,
                "the key `{key}` has a default and is optional: remove `.default(..)` or `.optional()` in build.rs"
            ),
            Diagnostic::ControlCharacter { key } => write!(
                f,
                "the doc or the default of the key `{key}` holds a line break or another control character: write it \
                 as one line in build.rs"
            ),
            Diagnostic::MemoryTooSmall { declared, least } => write!(
                f,
                "{declared} MiB of memory are declared, and this unikernel needs at least {least} MiB with what it \
                 embeds: raise `.memory_mib(..)` in build.rs"
            ),
            Diagnostic::MissingFolder { device, folder } => write!(
                f,
                "the folder `{}` of the device `{device}` is missing: create it, or correct the path in `.kv_ro(..)` \
                 in build.rs (it is relative to the package)",
                folder.display()
            ),
            Diagnostic::NotAFolder { device, path } => write!(
                f,
                "`{}` of the device `{device}` is not a folder: `.kv_ro(..)` in build.rs takes a folder",
                path.display()
            ),
            Diagnostic::EmptyFolder { device, folder } => write!(
                f,
                "the folder `{}` of the device `{device}` has no file in it: add one, or remove `.kv_ro(..)` from \
                 build.rs",
                folder.display()
            ),
            Diagnostic::Unreadable { device, path, reason } => write!(
                f,
                "`{}` of the device `{device}` can not be read ({reason}): change its permissions, or take it out of \
                 the folder",
                path.display()
            ),
            Diagnostic::NotUtf8 { device, path } => write!(
                f,
                "the name `{}` in the folder of the device `{device}` is not UTF-8: rename it",
                path.display()
            ),
            Diagnostic::LinkEscapes { device, path } => write!(
                f,
                "the symbolic link `{}` of the device `{device}` leads out of its folder: replace it by what it \
                 points to, or remove it",
                path.display()
            ),
            Diagnostic::SpecialFile { device, path } => write!(
                f,
                "`{}` of the device `{device}` is neither a file nor a folder: remove it from the folder",
                path.display()
            ),
            Diagnostic::TooDeep { device, path, limit } => write!(
                f,
                "`{}` of the device `{device}` is more than {limit} folders deep: flatten the folder, or remove the \
                 symbolic link that leads back to one of its parents",
                path.display()
            ),
            Diagnostic::TooManyFiles { device, limit } => write!(
                f,
                "the folder of the device `{device}` has more than {limit} files: embed fewer, this is meant for \
                 content that fits into memory"
            ),
            Diagnostic::TooLarge { device, limit_mib } => write!(
                f,
                "the folder of the device `{device}` has more than {limit_mib} MiB: embed less, this is meant for \
                 content that fits into memory"
            ),
            Diagnostic::MissingDependency { name, remedy } => {
                write!(f, "the package does not depend on {name}: add {remedy} to Cargo.toml")
            }
            Diagnostic::WrapperVersion { found, expected } => write!(
                f,
                "the scripts in .cargo that know the target x86_64-unknown-xen have version {found}, and this \
                 mirage-build needs version {expected}: copy the folder templates/hello/.cargo of the same release of \
                 Mirage over yours"
            ),
            Diagnostic::UnsupportedHost(target) => write!(
                f,
                "`--features xen` builds an image for the target `{target}`, and images are made for x86_64 Linux \
                 only: add `--target x86_64-unknown-linux-gnu`, or use `--target x86_64-unknown-xen`"
            ),
            Diagnostic::UnusablePath(path) => write!(
                f,
                "the path `{}` is not UTF-8 or has a line break, and it is needed in generated code: move the project \
                 to another folder",
                path.display()
            ),
            Diagnostic::NotRunByCargo(variable) => write!(
                f,
                "the environment variable {variable} is missing: Config::emit is for build.rs, which cargo runs"
            ),
            Diagnostic::ReadManifest { path, reason } => write!(
                f,
                "`{}` can not be read ({reason}): run the build script with cargo, from a package",
                path.display()
            ),
            Diagnostic::Write { path, reason } => write!(
                f,
                "`{}` can not be written ({reason}): check the permissions and the space of the target folder",
                path.display()
            ),
        }
    }
}

/// The longest name of a device or key, in bytes.
pub(crate) const MAX_NAME: usize = 48;
/// The most networks of one unikernel.
pub(crate) const MAX_NETWORKS: usize = 8;
