//! From the entry point to main.
//!
//! The image's assembly enters [`start`] on a small stack, with memory below 4 GiB mapped in the simplest way. `start` says the
//! first line on the console, takes over all memory, installs handlers for exceptions, and goes on with the image's main on
//! the program's own stack. Main calls [`run`](crate::platform::run).

mod plan;
#[allow(unsafe_code)]
mod start;
pub mod start_info;

use core::ops::Range;

use crate::memory::ImageLayout;

pub use plan::STACK_SIZE;
pub(crate) use start::{command_line, forget_early_memory, ticks_since_entry, xen};
pub use start::{modules, start};

/// What the image tells about itself.
pub struct Image {
    /// Its name, for messages.
    pub name: &'static str,
    /// Where the linker put it.
    pub layout: ImageLayout,
    /// The memory that only the entry code and [`start`] need: page tables and the first stack. Whole pages in the image's
    /// data; they become free memory when main runs.
    pub early: Range<u64>,
    /// A page for the processor's descriptor tables.
    pub descriptors: u64,
    /// The address behind the stack of the exception handlers, of at least two pages.
    pub trap_stack_end: u64,
    /// The first of the entry points for exceptions, [`ENTRY_STRIDE`](crate::traps::ENTRY_STRIDE) apart.
    pub trap_entries: u64,
    /// The entry point of the interrupt that ends a halt.
    pub wake: u64,
    /// Halts with interrupts on until there is one, and comes back with interrupts off.
    pub halt: extern "C" fn(),
    /// The time stamp counter at the entry point.
    pub entry_ticks: u64,
    /// The linker's build id, or nothing.
    pub build_id: &'static [u8],
    /// What runs on the program's stack; the argument is 0.
    pub main: extern "C" fn(u64) -> !,
}
