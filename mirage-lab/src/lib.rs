//! A real Xen with a real Linux dom0, driven from Rust: for tests, for benchmarks and for `cargo run`.
//!
//! Everything runs in an emulated machine (QEMU without KVM), so that neither root nor special hardware is needed. Xen, Linux
//! and Xen's tools are Debian's packages, fetched with the host's apt into a cache folder and never installed;
//! `MIRAGE_LAB_CACHE` chooses the folder, the user's cache folder is the default; remove it to fetch newer packages. The
//! first lab takes a minute and keeps a machine that has booted; later ones go on from it and take a second, until the host
//! boots again. `MIRAGE_LAB_BOOT_SECONDS` says how long a boot may take (120).
//!
//! ```no_run
//! use mirage_lab::Lab;
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let lab = Lab::start()?;
//! let domain = lab.domain("target/release/hello").memory(16).cmdline("--greeting Moin").start()?;
//! domain.console().wait_for("Moin", Duration::from_secs(20))?;
//! assert_eq!(domain.exit(Duration::from_secs(20))?.status(), 0);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod cache;
mod console;
mod domain;
mod error;
mod images;
mod kept;
mod lab;
mod link;
mod linux;
mod monitor;
mod packages;
mod process;
mod programs;
#[path = "agent/protocol.rs"]
mod protocol;
mod qemu;
pub mod runner;
mod sample;
mod shared;
mod traffic;

pub use console::{Console, ConsoleError, Line};
pub use domain::{Access, Domain, DomainBuilder, ExitReport, FirstOutput, StopReason, Times};
pub use error::{CommandError, CreateError, ForwardError, SetupError, StartError};
pub use lab::{Dom0Time, Finished, Lab, LabOptions};
pub use programs::Programs;
pub use protocol::TrafficReport;
pub use sample::Sample;
pub use shared::Alone;
pub use traffic::{Service, Traffic};
