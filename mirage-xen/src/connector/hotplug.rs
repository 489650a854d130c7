//! Devices that come and go.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;

use mirage_rt::boot::{Connectors, HotplugConnector, Unikernel};
use mirage_rt::hotplug::{DeviceEvents, DeviceId, DeviceKind};
use mirage_rt::page::PagePool;

use super::block::disk_number;
use super::random;
use crate::attachment::Attachment;
use crate::hotplug::Plugged;
use crate::memory::machine::Memory;

/// The part of the free memory that a device which is opened may use for pages: one in so many.
const IO_SHARE: usize = 4;
/// Pages that it has at most: 2 MiB, as nobody knows how many will come.
const IO_PAGES: usize = 512;
/// Pages that it needs.
const LEAST: usize = 64;

/// The way to devices that come while the program runs. A program that does not declare to follow them is linked without this.
pub fn hotplug(attachment: &Attachment, connectors: &mut Connectors) {
    // A network may come, and its stack has secrets of its own.
    random(attachment, connectors);
    connectors.hotplug = Some(Rc::new(Hotplug { attachment: attachment.clone() }));
}

struct Hotplug {
    attachment: Attachment,
}

impl HotplugConnector for Hotplug {
    fn hotplug(&self, unikernel: &'static Unikernel) -> DeviceEvents {
        let networks = unikernel.networks.iter().map(|spec| DeviceId::network(spec.index.into()));
        let blocks = unikernel.blocks.iter().map(|spec| DeviceId::block(disk_number(spec)));
        let declared: Vec<_> = networks.chain(blocks).collect();
        DeviceEvents::new(Rc::new(Plugged::start(&self.attachment, declared, Box::new(pool))))
    }
}

/// Pages for one device.
fn pool(_: DeviceKind) -> Option<Rc<dyn PagePool>> {
    let memory = Memory::machine()?;
    let pages = (memory.free_frames() / IO_SHARE).min(IO_PAGES);
    let pool: Rc<dyn PagePool> = memory.io_pool(pages);
    (pages >= LEAST).then_some(pool)
}
