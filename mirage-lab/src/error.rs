//! What can go wrong, one enum per operation.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the packages or the images that the lab is made of could not be had.
#[derive(Debug)]
pub enum SetupError {
    /// A program that the host has to have is not on the PATH.
    NoTool {
        /// The program.
        tool: &'static str,
        /// What it is wanted for and which package has it.
        remedy: &'static str,
    },
    /// The lab runs on x86-64 Linux only.
    OtherHost,
    /// The lab's program for dom0 was not compiled when the lab was built.
    NoAgent,
    /// apt knows no package that the lab needs.
    NotOffered {
        /// What was asked for.
        wanted: String,
        /// What apt said.
        said: String,
    },
    /// Neither `MIRAGE_LAB_CACHE` nor `XDG_CACHE_HOME` nor `HOME` says where the packages can be kept.
    NoCacheFolder,
    /// The cache folder's path has a character that apt's configuration can't hold.
    CacheFolderName(PathBuf),
    /// A program failed.
    Tool {
        /// What was being done.
        doing: String,
        /// What it wrote to its standard error.
        said: String,
    },
    /// A file could not be read or written.
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The packages have no such file.
    Missing {
        /// What was looked for.
        what: String,
    },
    /// A file of the packages is not what it should be.
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl SetupError {
    /// Whether this host can't have a lab at all: tests are then skipped rather than failed, see [`Lab::shared_or_skip`](crate::Lab::shared_or_skip).
    pub fn is_unsupported_host(&self) -> bool {
        matches!(self, Self::NoTool { .. } | Self::OtherHost | Self::NoAgent | Self::NotOffered { .. })
    }

    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTool { tool, remedy } => write!(f, "`{tool}` is not on the PATH: {remedy}"),
            Self::OtherHost => f.write_str("the lab runs on x86-64 Linux only"),
            Self::NoAgent => f.write_str(
                "the lab's program for dom0 could not be compiled: install a C compiler and the C library's static form \
                 (gcc, libc6-dev) and build the lab again",
            ),
            Self::NotOffered { wanted, said } => write!(
                f,
                "apt offers no {wanted}: the lab needs Debian 12 or later with `main` in /etc/apt and the network to fetch it; apt said: {said}"
            ),
            Self::NoCacheFolder => f.write_str("no folder for the lab's packages: set MIRAGE_LAB_CACHE or HOME"),
            Self::CacheFolderName(path) => write!(
                f,
                "{}: apt can't use a path with quotes, colons, semicolons or control characters; set MIRAGE_LAB_CACHE to another folder",
                path.display()
            ),
            Self::Tool { doing, said } => write!(f, "{doing} failed: {said}"),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Missing { what } => write!(
                f,
                "the packages have no {what}: this version of them is not known to the lab; remove the cache folder to fetch them anew"
            ),
            Self::Format { path, what } => write!(f, "{}: {what}", path.display()),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why no lab came up.
#[derive(Debug)]
pub enum StartError {
    /// What it is made of could not be had.
    Setup(SetupError),
    /// QEMU could not be started or spoken to.
    Qemu {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
        /// The end of what QEMU, Xen and dom0 had printed.
        log: String,
    },
    /// dom0 did not come up.
    NotReady {
        /// How long it was waited for.
        after: Duration,
        /// The end of what QEMU, Xen and dom0 had printed.
        log: String,
    },
}

impl StartError {
    /// Whether this host can't have a lab at all, see [`SetupError::is_unsupported_host`].
    pub fn is_unsupported_host(&self) -> bool {
        matches!(self, Self::Setup(error) if error.is_unsupported_host())
    }
}

impl From<SetupError> for StartError {
    fn from(error: SetupError) -> Self {
        Self::Setup(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => error.fmt(f),
            Self::Qemu { doing, source, log } => write!(f, "{doing}: {source}; the last it printed:\n{log}"),
            Self::NotReady { after, log } => write!(
                f,
                "Xen and dom0 were not up after {} s (MIRAGE_LAB_BOOT_SECONDS raises the limit); the last they printed:\n{log}",
                after.as_secs()
            ),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Setup(error) => Some(error),
            Self::Qemu { source, .. } => Some(source),
            Self::NotReady { .. } => None,
        }
    }
}

/// Why something asked of dom0 failed.
#[derive(Debug)]
pub enum CommandError {
    /// The lab is gone: QEMU ended.
    Gone,
    /// No answer in time.
    TimedOut(Duration),
    /// The script did not end in time, and was killed.
    TooLong {
        /// The script.
        script: String,
        /// The limit.
        after: Duration,
        /// What it had written to its standard error and output.
        said: String,
    },
    /// The script ended with another status than 0.
    Status {
        /// The script.
        script: String,
        /// Its status; 128 and the signal's number if a signal ended it.
        status: i32,
        /// What it wrote to its standard error and output.
        said: String,
    },
    /// dom0 refused.
    Refused(String),
    /// A file could not be handed over.
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl CommandError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("the lab's QEMU has ended"),
            Self::TimedOut(after) => write!(f, "dom0 gave no answer within {} ms", after.as_millis()),
            Self::TooLong { script, after, said } => {
                write!(f, "`{script}` did not end within {} ms in dom0: {said}", after.as_millis())
            }
            Self::Status { script, status, said } => write!(f, "`{script}` ended with {status} in dom0: {said}"),
            Self::Refused(why) => write!(f, "dom0: {why}"),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why a domain could not be made.
#[derive(Debug)]
pub enum CreateError {
    /// The name can't be a domain's name.
    Name(String),
    /// A value can't stand in a line of xl's configuration.
    Line(String),
    /// dom0 could not be asked.
    Command(CommandError),
    /// `xl create` refused.
    Refused {
        /// Its status: 128 and a signal's number if that has ended it.
        status: i32,
        /// What it said, and the end of the hotplug scripts' log.
        said: String,
    },
}

impl From<CommandError> for CreateError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name:?} is no name for a domain: use letters, digits, - and _, at most 40"),
            Self::Line(line) => {
                write!(f, "{line:?} can't be in xl's configuration: it has a line break or another control character")
            }
            Self::Command(error) => error.fmt(f),
            Self::Refused { status, said } => write!(f, "xl create ended with {status}: {said}"),
        }
    }
}

impl std::error::Error for CreateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Command(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a port of the host is not forwarded.
#[derive(Debug)]
pub enum ForwardError {
    /// Something else has the port.
    Busy(u16),
    /// Ports below 1024 are for root on this host.
    Privileged(u16),
    /// QEMU refused.
    Refused(String),
    /// QEMU could not be asked.
    Monitor(io::Error),
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(port) => write!(f, "port {port} of 127.0.0.1 is in use"),
            Self::Privileged(port) => {
                write!(f, "port {port} of 127.0.0.1 may only be used by root: choose one from 1024 on")
            }
            Self::Refused(why) => write!(f, "QEMU does not forward: {why}"),
            Self::Monitor(source) => write!(f, "QEMU can't be asked: {source}"),
        }
    }
}

impl std::error::Error for ForwardError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Monitor(source) => Some(source),
            _ => None,
        }
    }
}
