//! What the panic handler does: a report on the console, then the domain ends as crashed.
//!
//! The handler itself is defined by [`entry!`](crate::entry) in the application: only there it is certain that the program is an
//! image and not one of the host's, which has the handler of `std`.

use core::fmt;
use core::panic::{Location, PanicInfo};

use mirage_xen::memory::machine::Memory;

/// Where alloc panics when memory is used up. Its message is no constant, so it could only be known by formatting it twice.
const OUT_OF_MEMORY: &str = "library/alloc/src/alloc.rs";

/// Reports a panic and ends the domain as crashed. For the macro [`entry!`](crate::entry).
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    mirage_xen::traps::panic(&Report(info))
}

struct Report<'a>(&'a PanicInfo<'a>);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = self.0.location();
        let file = location.map_or("", Location::file);
        // As 64 bits, which are printed anyway: each size is code of its own.
        let [line, column] = location.map_or([0; 2], |place| [place.line(), place.column()].map(u64::from));
        write!(f, "panicked at {file}:{line}:{column}:\n{}", self.0.message())?;
        if file.ends_with(OUT_OF_MEMORY) {
            f.write_str("\nmirage: out of memory: raise `memory` in the domain's configuration, or use less")?;
            if let Some(memory) = Memory::machine() {
                write!(f, "\n{memory}")?;
            }
        }
        Ok(())
    }
}
