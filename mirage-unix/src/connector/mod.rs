//! From what build.rs declared to the host's devices.

mod block;
mod console;
mod network;

use std::rc::Rc;

use mirage_rt::boot::{Connectors, HotplugConnector, Unikernel};
use mirage_rt::hotplug::DeviceEvents;

use crate::UnixPlatform;
use crate::console::Stdio;

/// The ways to devices of every kind. In a process there is no reason to leave one out.
pub(crate) fn connectors(platform: &Rc<UnixPlatform>) -> Connectors {
    Connectors {
        networks: Some(Rc::new(network::Networks::new(platform))),
        blocks: Some(Rc::new(block::Blocks)),
        consoles: Some(Rc::new(console::Consoles::new(platform))),
        first_console: Some(Rc::new(Stdio::default())),
        hotplug: Some(Rc::new(NoHotplug)),
    }
}

/// A process has the devices that it was started with.
struct NoHotplug;

impl HotplugConnector for NoHotplug {
    fn hotplug(&self, _: &'static Unikernel) -> DeviceEvents {
        DeviceEvents::none()
    }
}
