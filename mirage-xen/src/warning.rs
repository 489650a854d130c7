//! What this crate has to say about others.

use core::fmt;

/// Warns of what Xen, the tools or a backend did wrong. One function, because each use of `log` is a quarter KiB of code.
#[cold]
pub(crate) fn warn(what: fmt::Arguments<'_>) {
    say(log::Level::Warn, what);
}

/// Says that something does not work.
#[cold]
pub(crate) fn failed(what: fmt::Arguments<'_>) {
    say(log::Level::Error, what);
}

/// Says what people want to know of.
#[cold]
pub(crate) fn info(what: fmt::Arguments<'_>) {
    say(log::Level::Info, what);
}

/// Tells whoever wants to know.
#[cold]
pub(crate) fn debug(what: fmt::Arguments<'_>) {
    say(log::Level::Debug, what);
}

#[cold]
#[inline(never)]
fn say(level: log::Level, what: fmt::Arguments<'_>) {
    log::log!(target: "mirage_xen", level, "{what}");
}
