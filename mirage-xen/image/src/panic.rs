//! What the panic handler does: a report on the console, then the domain ends as crashed.
//!
//! The handler itself is defined by [`entry!`](crate::entry) in the application: only there it is certain that the program is an
//! image and not one of the host's, which has the handler of `std`.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use mirage_xen::memory::machine::Memory;

/// How alloc's panic begins when memory is used up.
const OUT_OF_MEMORY: &str = "memory allocation of ";

/// Reports a panic and ends the domain as crashed. For the macro [`entry!`](crate::entry).
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    mirage_xen::traps::panic(&Report(info))
}

struct Report<'a>(&'a PanicInfo<'a>);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut start = Start { expected: OUT_OF_MEMORY };
        let _ = write!(start, "{}", self.0.message());
        if start.expected.is_empty() {
            f.write_str("\nmirage: out of memory: raise `memory` in the domain's configuration, or use less")?;
            if let Some(memory) = Memory::machine() {
                write!(f, "\n{memory}")?;
            }
        }
        Ok(())
    }
}

/// Whether what is written to it starts with what is expected; then nothing is expected any more.
struct Start {
    expected: &'static str,
}

impl Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Without slices of text, whose panics would bring tables of Unicode into every image.
        match self.expected.strip_prefix(text) {
            Some(rest) if !rest.is_empty() => {
                self.expected = rest;
                Ok(())
            }
            Some(_) => {
                self.expected = "";
                Err(fmt::Error)
            }
            None => {
                if text.starts_with(self.expected) {
                    self.expected = "";
                }
                Err(fmt::Error)
            }
        }
    }
}
