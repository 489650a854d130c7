//! Consoles besides the first one: sockets and terminals.

use std::fmt;
use std::path::Path;
use std::rc::Rc;

use mirage_rt::boot::{Connecting, ConsoleConnector, ConsoleSpec};
use mirage_rt::console::Console;
use mirage_rt::keys::Values;
use mirage_rt::log::info;

use crate::UnixPlatform;
use crate::console::{Channel, ChannelError};

/// Connects consoles to what their keys name.
pub(super) struct Consoles {
    platform: Rc<UnixPlatform>,
}

impl Consoles {
    pub(super) fn new(platform: &Rc<UnixPlatform>) -> Consoles {
        Consoles { platform: Rc::clone(platform) }
    }

    fn open(&self, spec: &'static ConsoleSpec, values: &Values) -> Result<Channel, NotConnected> {
        match values.get::<String>(spec.key) {
            Some(path) => {
                Channel::open(self.platform.reactor(), Path::new(&path)).map_err(|error| NotConnected { spec, error })
            }
            None => {
                info!("console {}: nobody is at its other end; give --{} PATH to have one", spec.name, spec.key);
                Ok(Channel::nobody())
            }
        }
    }
}

impl ConsoleConnector for Consoles {
    fn console<'a>(&'a self, spec: &'static ConsoleSpec, values: &'a Values) -> Connecting<'a, Console> {
        Box::pin(async move { Ok(Console::new(Rc::new(self.open(spec, values)?))) })
    }
}

/// A console was not connected.
#[derive(Debug)]
struct NotConnected {
    spec: &'static ConsoleSpec,
    error: ChannelError,
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "console {}: --{}: {}", self.spec.name, self.spec.key, self.error)
    }
}

impl std::error::Error for NotConnected {}
