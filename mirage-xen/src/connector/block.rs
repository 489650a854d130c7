//! Disks: blkfront below a handle.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::fmt;

use mirage_rt::block::Block;
use mirage_rt::boot::{BlockConnector, BlockSpec, Connecting, Connectors};
use mirage_rt::keys::Values;

use crate::attachment::Attachment;
use crate::blkfront::{self, Blkfront};
use crate::memory::machine::Memory;
use crate::xenbus::XenbusError;

/// The part of the free memory that a disk may use for pages: one in so many.
const IO_SHARE: usize = 4;
/// Pages a disk has at most: 4 MiB.
const IO_PAGES: usize = 1024;

/// The number of `xvda`; each further disk, up to the sixteenth, is [`STEP`] later (xen-vbd-interface(7)).
const FIRST: u32 = 51712;
const STEP: u32 = 16;

/// The device number of a declared disk.
pub(super) fn disk_number(spec: &BlockSpec) -> u32 {
    FIRST + STEP * u32::from(spec.index)
}

/// The way to the disks that a program declares. A program without any is linked without this.
pub fn blocks(attachment: &Attachment, connectors: &mut Connectors) {
    connectors.blocks = Some(Rc::new(Blocks { attachment: attachment.clone() }));
}

/// Connects the disks of this domain.
struct Blocks {
    attachment: Attachment,
}

impl Blocks {
    async fn connect(&self, spec: &'static BlockSpec) -> Result<Block, Reason> {
        let memory = Memory::machine().ok_or(Reason::NoMachine)?;
        let pool = memory.io_pool((memory.free_frames() / IO_SHARE).min(IO_PAGES));
        let options = blkfront::Options::default();
        match Blkfront::connect(&self.attachment, disk_number(spec), pool, options).await {
            Ok(device) => Ok(Block::new(Rc::new(device))),
            Err(blkfront::ConnectError::Xenbus(XenbusError::Missing { .. })) => Err(Reason::Missing),
            Err(error) => Err(Reason::Device(error)),
        }
    }
}

impl BlockConnector for Blocks {
    fn block<'a>(&'a self, spec: &'static BlockSpec, _: &'a Values) -> Connecting<'a, Block> {
        Box::pin(async move { Ok(self.connect(spec).await.map_err(|reason| NotConnected { spec, reason })?) })
    }
}

/// A disk was not connected.
#[derive(Debug)]
struct NotConnected {
    spec: &'static BlockSpec,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    /// There is no such virtual disk.
    Missing,
    Device(blkfront::ConnectError),
    NoMachine,
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BlockSpec { name, index, .. } = self.spec;
        write!(f, "disk {name}: ")?;
        match &self.reason {
            Reason::Missing => {
                // build.rs refuses more disks than there are letters.
                let letter = char::from(b'a' + (*index % 26) as u8);
                write!(
                    f,
                    "it needs the virtual disk xvd{letter} of the domain, which has none of that name: add \
                     'format=raw, vdev=xvd{letter}, access=rw, target=FILE' to `disk = [...]` in the domain's configuration"
                )
            }
            Reason::Device(error) => error.fmt(f),
            Reason::NoMachine => f.write_str("only an image that has booted has devices"),
        }
    }
}

impl core::error::Error for NotConnected {}
