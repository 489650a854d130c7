//! The way from declared devices to the domain's virtual ones.
//!
//! One function for each kind of devices. The glue of a program names those that it declares, and so an image has no code for
//! the others.

mod block;
mod console;
mod hotplug;
mod network;
mod watchdog;

pub use crate::balloon::connect as balloon;
pub use crate::entropy::connect as random;
pub use block::blocks;
pub use console::{consoles, first_console};
pub use hotplug::hotplug;
pub use network::{captured_networks, networks};
pub use watchdog::watchdog;
