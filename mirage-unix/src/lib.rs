//! The Unix platform: a Mirage application as an ordinary process.
//!
//! An application does not name this crate in its source: the glue that build.rs generates calls [`entry!`]. Its networks
//! are the host's own sockets, on 127.0.0.1 or on the address given with `--ipv4`, or, with `--interface tap0`, the same
//! network stack as on Xen, on a tap device. SIGINT and SIGTERM ask the program to stop, as `xl shutdown` does; a second one
//! ends it at once.
//!
//! For tests, [`testing::run`] runs a future on a runtime of its own, in real time and with the host's sockets.

#![deny(unsafe_code)]

mod connector;
mod current;
mod platform;
pub mod process;
mod reactor;
mod signals;
mod sockets;
mod tap;
pub mod testing;

pub use platform::{StartError, UnixPlatform};
pub use sockets::{HostAddressError, HostRefusal, HostSockets};
pub use tap::{Tap, TapError};
