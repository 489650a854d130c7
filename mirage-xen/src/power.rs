//! How a domain ends.

use core::fmt::Write;

use mirage_rt::boot::ExitCode;

use crate::hypervisor::ShutdownReason;
use crate::terminal::{self, Output};
use crate::traps;
use crate::xen;

/// Says how the program ended, waits until that was read, and ends the domain.
pub(crate) fn exit(code: ExitCode, reason: ShutdownReason) -> ! {
    let _ = writeln!(Output, "mirage: exit {}", code.0);
    terminal::flush();
    xen::end(reason);
    traps::stop()
}

/// Ends a domain that cannot boot, with a message that says why.
pub(crate) fn refuse(message: core::fmt::Arguments<'_>) -> ! {
    let _ = writeln!(Output, "mirage: {message}");
    exit(ExitCode::FAILURE, ShutdownReason::PowerOff)
}
