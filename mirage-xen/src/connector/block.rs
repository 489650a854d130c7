//! Disks.

use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;

use mirage_rt::block::Block;
use mirage_rt::boot::{BlockConnector, BlockSpec, Connecting, Connectors};
use mirage_rt::keys::Values;

use crate::attachment::Attachment;

/// The way to the disks that a program declares.
pub fn blocks(_: &Attachment, connectors: &mut Connectors) {
    connectors.blocks = Some(Rc::new(Blocks));
}

struct Blocks;

impl BlockConnector for Blocks {
    fn block<'a>(&'a self, spec: &'static BlockSpec, _: &'a Values) -> Connecting<'a, Block> {
        Box::pin(async move {
            let name = spec.name;
            Err(mirage_rt::Error::message(format!("disk {name}: images have no disks yet, run it as a Unix process")))
        })
    }
}
