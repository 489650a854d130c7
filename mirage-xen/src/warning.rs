//! What this crate has to say about others.

use core::fmt;

/// Warns of what Xen, the tools or a backend did wrong. One function, because each use of `log` is a quarter KiB of code.
#[cold]
#[inline(never)]
pub(crate) fn warn(what: fmt::Arguments<'_>) {
    log::warn!(target: "mirage_xen", "{what}");
}
