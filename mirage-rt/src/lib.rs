//! What a Mirage application uses, the same on every platform: tasks and timers, devices, the network, stores, the log and
//! boot keys.
//!
//! An application's build.rs declares what it needs with `mirage_build::Config`; [`unikernel!`] brings the `Devices` and
//! `Keys` made from that into its source, and [`main`] marks the function that gets them:
//!
//! ```text
//! #![no_std]
//! #![cfg_attr(not(test), no_main)]
//!
//! mirage_rt::unikernel!();
//!
//! #[mirage_rt::main]
//! async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result {
//!     mirage_rt::println!("{}", keys.greeting);
//!     Ok(())
//! }
//! ```
//!
//! One thread runs everything. Code between two `await`s is not interrupted by other tasks, so it must not compute for long.
//!
//! # Features
//!
//! - `smoltcp-tcp`: networks of one's own ([`net::Network::direct`]) speak TCP by smoltcp's machine instead of mirage's own, to
//!   compare them: it has no SACK, no timeout below a second and none of [`net::TcpStream::set_keep_alive`] and its like.
//!   `--features mirage-rt/smoltcp-tcp` chooses it for one build.
//! - `ipv6`: networks of one's own can have IPv6 ([`net::Config`]'s `ipv6`). Without it, an image has none of the code.
//! - `datagrams`: groups of hosts for datagram sockets (`net::UdpSocket::join`), fragments, errors of ICMP at sockets, echo requests.
//!   Without it, an image has none of the code.
//! - `edge-nal`: the traits of edge-nal on networks, for libraries that are written to them.
//! - `test-utils`: a runtime with virtual time and an in-memory switch, for tests on a host. Uses std.

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

pub mod block;
pub mod boot;
pub mod cell;
pub mod console;
mod deadlines;
mod error;
pub mod hotplug;
pub mod keys;
pub mod kv;
pub mod memory;
pub mod net;
pub mod packet;
pub mod page;
pub mod platform;
pub mod runtime;
#[cfg(any(test, feature = "test-utils"))]
pub mod testing;
pub mod time;
pub mod types;

pub use error::{Error, Result};
pub use log;
pub use mirage_rt_macros::main;
pub use runtime::{JoinHandle, Runtime, now, spawn, yield_now};
pub use time::{Duration, Instant, TimeLimit, sleep, sleep_until, timeout};

/// Brings in what build.rs declared: `struct Devices`, `struct Keys`, and what [`main`] needs.
#[macro_export]
macro_rules! unikernel {
    () => {
        ::core::include!(::core::concat!(::core::env!("OUT_DIR"), "/unikernel.rs"));
    };
}

/// What the generated glue makes of a network that has IPv6: an error, if this crate has none. Not part of the interface.
#[doc(hidden)]
#[macro_export]
#[cfg(feature = "ipv6")]
macro_rules! with_ipv6 {
    ($network:expr) => {
        $network
    };
}

/// What the generated glue makes of a network that has IPv6: an error, if this crate has none. Not part of the interface.
#[doc(hidden)]
#[macro_export]
#[cfg(not(feature = "ipv6"))]
macro_rules! with_ipv6 {
    ($network:expr) => {
        ::core::compile_error!(
            "build.rs declares a network with `.ipv6()`, and mirage-rt is built without IPv6: write `mirage-rt = { \
             workspace = true, features = [\"ipv6\"] }` in Cargo.toml's [dependencies], with `path`, `git` or `version` \
             as it is there now for `workspace`"
        )
    };
}

/// What the generated glue names. Not part of the interface.
#[doc(hidden)]
pub mod glue {
    pub use alloc::string::String;
    pub use core::net::Ipv4Addr;
}
