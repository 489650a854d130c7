//! Why a tap interface can't be used, and what to do about it.

use std::fmt;

use rustix::io::Errno;

use crate::platform::host_error;

/// A tap interface can't be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum TapError {
    /// An interface's name has 1 to 15 bytes, and no slashes or spaces.
    Name(String),
    /// There is no interface of this name.
    Missing(String),
    /// It is an interface of another kind, or was made for several queues or without a link layer (tun).
    NotTap(String),
    /// Another process has it open.
    Busy(String),
    /// It belongs to another user.
    NotOurs(String),
    /// The system has no tap devices, or does not let this process at them.
    NoDevice(std::io::Error),
    /// Its frames may be larger than this end takes.
    Mtu {
        /// The interface.
        name: String,
        /// Its MTU.
        mtu: u16,
        /// The largest one that is taken.
        most: u16,
    },
    /// Another error of the system.
    Host {
        /// The interface.
        name: String,
        /// What was tried.
        action: &'static str,
        /// The system's error.
        error: std::io::Error,
    },
}

impl TapError {
    pub(super) fn host(name: &str, action: &'static str, errno: Errno) -> TapError {
        TapError::Host { name: name.into(), action, error: host_error(errno) }
    }
}

impl fmt::Display for TapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TapError::Name(name) => {
                write!(f, "\"{name}\" is no name of an interface: give one that `ip link` shows")
            }
            TapError::Missing(name) => write!(
                f,
                "there is no interface {name}: make it with `sudo ip tuntap add {name} mode tap user $USER`, then \
                 `sudo ip address add ADDRESS/PREFIX dev {name}` and `sudo ip link set {name} up`"
            ),
            TapError::NotTap(name) => write!(
                f,
                "{name} is not a tap interface of one queue: make one with `sudo ip tuntap add NAME mode tap user $USER`"
            ),
            TapError::Busy(name) => write!(f, "another process uses {name}: end it, or make an interface of your own"),
            TapError::NotOurs(name) => write!(
                f,
                "{name} belongs to another user: make it anew with `sudo ip tuntap del {name} mode tap` and \
                 `sudo ip tuntap add {name} mode tap user $USER`"
            ),
            TapError::NoDevice(error) => write!(
                f,
                "/dev/net/tun can't be opened: {error}; load the module with `sudo modprobe tun`, or let this user at the device"
            ),
            TapError::Mtu { name, mtu, most } => write!(
                f,
                "the MTU of {name} is {mtu}, at most {most} is supported: set it with `sudo ip link set {name} mtu 1500`"
            ),
            TapError::Host { name, action, error } => write!(f, "{action} failed for {name}: {error}"),
        }
    }
}

impl std::error::Error for TapError {}
