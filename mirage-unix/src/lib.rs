//! The Unix platform: a Mirage application as an ordinary process.
//!
//! An application does not name this crate in its source: the glue that build.rs generates calls [`entry!`]. Its networks
//! are the host's own sockets, on 127.0.0.1 or on the address given with `--ipv4`, or, with `--interface tap0`, the same
//! network stack as on Xen, on a tap device. SIGINT and SIGTERM ask the program to stop, as `xl shutdown` does; a second one
//! ends it at once.
//!
//! # A network of its own
//!
//! A tap interface is made once, by root, for the user who runs the program; its address is the host's end of the network:
//!
//! ```text
//! sudo ip tuntap add tap0 mode tap user $USER
//! sudo ip address add 10.0.2.2/24 dev tap0
//! sudo ip link set tap0 up
//! cargo run -- --interface tap0 --ipv4 10.0.2.16/24
//! ```
//!
//! With `--ipv4-gateway 10.0.2.2` the program also reaches what the host forwards for it.
//!
//! When the environment variable `MIRAGE_CAPTURE` names a folder, all frames of each such network are written to the file
//! `NETWORK.pcap` there, for tcpdump or Wireshark:
//!
//! ```text
//! MIRAGE_CAPTURE=. cargo run -- --interface tap0 --ipv4 10.0.2.16/24
//! tcpdump -r service.pcap
//! ```
//!
//! A program whose build.rs declares the network with `.capture()` gives them to whoever asks, here as on Xen:
//!
//! ```text
//! cargo run -- --interface tap0 --ipv4 10.0.2.16/24 --capture 5555
//! nc 10.0.2.16 5555 | tcpdump -r -
//! ```
//!
//! Checksums are left to the host and up to 64 KiB of TCP pass as one frame. With `MIRAGE_OFFLOADS=none` in the environment every
//! frame is as it would be on a wire, for measurements.
//!
//! # Disks
//!
//! A declared disk is a file or a block device: `NAME.img` in the current folder, or what `--disk` names. It is never made
//! silently:
//!
//! ```text
//! truncate -s 64M data.img
//! cargo run
//! ```
//!
//! One that can't be written is read-only. It may grow while the program runs.
//!
//! # Tests
//!
//! For tests, [`testing::run`] runs a future on a runtime of its own, in real time and with the host's sockets.

#![deny(unsafe_code)]

mod capture;
mod connector;
mod console;
mod current;
mod disk;
mod platform;
pub mod process;
mod reactor;
mod signals;
mod sockets;
mod tap;
pub mod testing;

pub use capture::{CaptureError, CaptureFile};
pub use disk::{Disk, DiskError};
pub use platform::{StartError, UnixPlatform};
pub use sockets::{HostAddressError, HostRefusal, HostSockets};
pub use tap::{Offloads, Tap, TapError};
