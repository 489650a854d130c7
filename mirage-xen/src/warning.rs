//! What this crate has to say about others.

use core::fmt;

/// The target of all messages but those of [network] devices.
const TARGET: &str = "mirage_xen";

/// Warns of what Xen, the tools or a backend did wrong. One function, because each use of `log` is a quarter KiB of code.
#[cold]
pub(crate) fn warn(what: fmt::Arguments<'_>) {
    say(TARGET, log::Level::Warn, what);
}

/// Says that something does not work.
#[cold]
pub(crate) fn failed(what: fmt::Arguments<'_>) {
    say(TARGET, log::Level::Error, what);
}

/// Says what people want to know of.
#[cold]
pub(crate) fn info(what: fmt::Arguments<'_>) {
    say(TARGET, log::Level::Info, what);
}

/// Tells whoever wants to know.
#[cold]
pub(crate) fn debug(what: fmt::Arguments<'_>) {
    say(TARGET, log::Level::Debug, what);
}

/// The same of network devices, with the target that those have everywhere.
pub(crate) mod network {
    use super::{fmt, say};
    use mirage_rt::net::log_targets::DEVICE;

    #[cold]
    pub(crate) fn warn(what: fmt::Arguments<'_>) {
        say(DEVICE, log::Level::Warn, what);
    }

    #[cold]
    pub(crate) fn failed(what: fmt::Arguments<'_>) {
        say(DEVICE, log::Level::Error, what);
    }

    #[cold]
    pub(crate) fn info(what: fmt::Arguments<'_>) {
        say(DEVICE, log::Level::Info, what);
    }
}

#[cold]
#[inline(never)]
fn say(target: &str, level: log::Level, what: fmt::Arguments<'_>) {
    log::log!(target: target, level, "{what}");
}
