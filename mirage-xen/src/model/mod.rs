//! The other side, in process: a hypervisor with event channels, a grant table that is checked as Xen checks it, and
//! virtual time; xenstored; and backends. Drivers run against it on the host, unchanged.
//!
//! Everything happens on one thread, and time moves only when the guest sleeps, so a test is the same on every run.
//! The backends run when the guest looks for events or sleeps. A guest that sleeps without a deadline while nothing can
//! ever happen again is a test's failure, and reported at once.

mod blkback;
mod conback;
#[allow(unsafe_code)]
mod hypervisor;
mod machine;
#[allow(unsafe_code)]
mod memory;
mod neighbour;
mod netback;
pub mod restless;
mod ring;
mod xenstored;

pub use blkback::{Blkback, DiskFeatures, DiskMischief};
pub use conback::Conback;
pub use hypervisor::{BackendPort, GrantFault, Guest, Mapping, Plan, Service, World};
pub use machine::Machine;
pub use memory::GUEST_PAGES;
pub use neighbour::{NEIGHBOUR, Neighbour};
pub use netback::{Features, Frame, Mischief, Netback};
pub use ring::BackRing;
pub use xenstored::{Daemon, GUEST_PATH, Store};

/// The guest's number in the model, until it is moved: see [`World::guest`].
pub const GUEST: crate::hypervisor::DomainId = crate::hypervisor::DomainId(1);
/// The number of the domain in which xenstored and the backends live.
pub const BACKEND: crate::hypervisor::DomainId = crate::hypervisor::DomainId(0);
