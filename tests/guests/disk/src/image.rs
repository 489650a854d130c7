//! The program on Xen: the disk is connected, and then worked on.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;

use mirage_rt::boot::{Boot, Connecting, Connector, NetworkSpec};
use mirage_rt::keys::Values;
use mirage_rt::types::block::BlockDevice;
use mirage_rt::{Error, println};
use mirage_xen::attachment::Attachment;
use mirage_xen::blkfront::{Blkfront, Options, device_number};
use mirage_xen::memory::machine::Memory;

use crate::load::{self, Load};
use crate::work;

mirage_xen_image::entry!(@define &crate::UNIKERNEL, start, ::core::option::Option::Some(devices));

/// Pages of the pool.
const PAGES: usize = 4096;

async fn start(boot: Boot) -> mirage_rt::Result {
    // Connecting it is the whole program.
    boot.network("unused").await.map(drop)
}

fn devices(attachment: &Attachment) -> Rc<dyn Connector> {
    Rc::new(Disk { attachment: attachment.clone() })
}

struct Disk {
    attachment: Attachment,
}

impl Connector for Disk {
    fn network<'a>(&'a self, _: &'static NetworkSpec, values: &'a Values) -> Connecting<'a> {
        Box::pin(async move {
            self.run(values).await?;
            // There is no network to be had here.
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
            persistent: values.get("persistent").unwrap_or(false),
            ..Options::default()
        };
        let disk = device_number(&text("disk")).ok_or_else(|| Error::message("there is no disk of that name"))?;
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
