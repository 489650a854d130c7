//! The program on Xen: the disk is connected, and then worked on.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;

use mirage_rt::block::Block;
use mirage_rt::boot::{BlockConnector, BlockSpec, Boot, Connecting, Connectors};
use mirage_rt::keys::Values;
use mirage_rt::types::block::BlockDevice;
use mirage_rt::{Error, println};
use mirage_xen::attachment::Attachment;
use mirage_xen::blkfront::{Blkfront, Options, device_number};
use mirage_xen::memory::machine::Memory;

use crate::load::{self, Load};
use crate::work;

mirage_xen_image::entry!(@define &crate::UNIKERNEL, start, &[disks]);

/// Pages of the pool.
const PAGES: usize = 8192;

async fn start(boot: Boot) -> mirage_rt::Result {
    // Connecting it is the whole program.
    boot.block("unused").await.map(drop)
}

/// In place of the way that images have, to choose how the disk is connected.
fn disks(attachment: &Attachment, connectors: &mut Connectors) {
    connectors.blocks = Some(Rc::new(Disk { attachment: attachment.clone() }));
}

struct Disk {
    attachment: Attachment,
}

impl BlockConnector for Disk {
    fn block<'a>(&'a self, _: &'static BlockSpec, values: &'a Values) -> Connecting<'a, Block> {
        Box::pin(async move {
            self.run(values).await?;
            // The program goes on until it is destroyed, so that its disk can be looked at.
            println!("the work is done");
            core::future::pending().await
        })
    }
}

impl Disk {
    async fn run(&self, values: &Values) -> mirage_rt::Result {
        let text = |name| values.get::<String>(name).unwrap_or_default();
        let number = |name| values.get::<u32>(name).unwrap_or_default();
        let memory = Memory::machine().ok_or_else(|| Error::message("only an image has memory"))?;
        let pool = memory.io_pool(PAGES.min(memory.free_frames() * 3 / 4));
        let options = Options {
            ring_order: number("ring-order"),
            segments: number("segments"),
            persistent: !values.get("lend").unwrap_or(false),
            ..Options::default()
        };
        let disk = device_number(&text("vdev")).ok_or_else(|| Error::message("there is no disk of that name"))?;
        let device = Rc::new(Blkfront::connect(&self.attachment, disk, Rc::clone(&pool), options).await?);
        println!("{:?}", device.info());
        match text("work").as_str() {
            "info" => work::info(&device).await?,
            "verify" => work::verify(&device).await?,
            "follow" => work::follow(&device).await?,
            "load" => {
                let operation = text("operation");
                let load = Load::new(&operation, number("bytes"), number("depth"), number("seconds"))
                    .ok_or_else(|| Error::message("no such load"))?;
                load::run(&device, load).await?;
            }
            _ => return Err(Error::message("no such work")),
        }
        println!("{:?}", device.control().statistics());
        Ok(())
    }
}
