//! Consoles: the first one as a stream, and further ones.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::fmt;

use mirage_rt::boot::{Connecting, Connectors, ConsoleConnector, ConsoleSpec};
use mirage_rt::console::Console;
use mirage_rt::keys::Values;

use crate::attachment::Attachment;
use crate::console::frontend::{ConsoleFrontend, FirstConsole, OpenError};
use crate::memory::machine::Memory;

/// Pages of a console: its ring, and another one while the first can't be taken back from a backend that is gone.
const PAGES: usize = 2;

/// The way to the consoles besides the first one.
pub fn consoles(attachment: &Attachment, connectors: &mut Connectors) {
    connectors.consoles = Some(Rc::new(Consoles { attachment: attachment.clone() }));
}

/// The first console as a stream.
pub fn first_console(attachment: &Attachment, connectors: &mut Connectors) {
    connectors.first_console = Some(Rc::new(FirstConsole(attachment.console().clone())));
}

struct Consoles {
    attachment: Attachment,
}

impl ConsoleConnector for Consoles {
    fn console<'a>(&'a self, spec: &'static ConsoleSpec, _: &'a Values) -> Connecting<'a, Console> {
        Box::pin(async move {
            let name = spec.name;
            let pool = Memory::machine().ok_or(NotConnected { name, error: OpenError::NoPage })?.io_pool(PAGES);
            match ConsoleFrontend::open(&self.attachment, name, pool).await {
                Ok(console) => Ok(Console::new(Rc::new(console))),
                Err(error) => Err(NotConnected { name, error }.into()),
            }
        })
    }
}

/// A console was not connected.
#[derive(Debug)]
struct NotConnected {
    name: &'static str,
    error: OpenError,
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "console {}: {}", self.name, self.error)
    }
}

impl core::error::Error for NotConnected {}
