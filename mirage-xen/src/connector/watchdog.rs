//! The way to a declared watchdog.

use mirage_rt::boot::Connectors;

use crate::attachment::Attachment;

use crate::{watchdog, xen};

/// Starts the watchdog of a program that declares one of `SECONDS`.
pub fn watchdog<const SECONDS: u32>(attachment: &Attachment, _: &mut Connectors) {
    watchdog::start(attachment, xen::watchdog, SECONDS);
}
