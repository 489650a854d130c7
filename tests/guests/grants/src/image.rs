//! The program on Xen.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;

use mirage_rt::Error;
use mirage_rt::boot::{AddressFrom, Boot, Connecting, Connectors, NetworkConnector, NetworkSpec};
use mirage_rt::keys::Values;
use mirage_rt::net::Network;
use mirage_rt::page::Page;
use mirage_xen::attachment::Attachment;
use mirage_xen::grants::Access;
use mirage_xen::grants::foreign::{Foreign, ForeignPage};
use mirage_xen::hypervisor::DomainId;
use mirage_xen::memory::machine::Memory;
use mirage_xen::shared::SharedPage;

mirage_xen_image::entry!(@define &crate::UNIKERNEL, start, &[networks]);

/// Where a domain is told what it may use: `DOMAIN REFERENCE`.
const LENT: &str = "data/lent";
/// Where the lender is told that the borrower has ended.
const DONE: &str = "data/done";

async fn start(boot: Boot) -> mirage_rt::Result {
    boot.network("none").await.map(drop)
}

fn networks(attachment: &Attachment, connectors: &mut Connectors) {
    connectors.networks = Some(Rc::new(Pages { attachment: attachment.clone() }));
}

struct Pages {
    attachment: Attachment,
}

impl NetworkConnector for Pages {
    fn network<'a>(&'a self, _: &'static NetworkSpec, values: &'a Values, _: AddressFrom) -> Connecting<'a, Network> {
        Box::pin(async move {
            match values.get::<u16>("lend-to") {
                Some(domain) => self.lend(DomainId(domain)).await?,
                None => self.borrow().await?,
            }
            Err(Error::message("done"))
        })
    }
}

impl Pages {
    fn page(&self) -> mirage_rt::Result<SharedPage> {
        let memory = Memory::machine().ok_or_else(|| Error::message("only an image has memory"))?;
        let page = Page::take(&memory.io_pool(8)).ok_or_else(|| Error::message("there are no pages"))?;
        Ok(page.into())
    }

    /// What somebody writes to a node of this domain, once it is there.
    async fn told(&self, path: &str) -> mirage_rt::Result<String> {
        let store = self.attachment.xenstore();
        let mut watch = store.watch(path).await?;
        loop {
            watch.next().await?;
            if let Ok(value) = store.read(path).await {
                return Ok(String::from_utf8_lossy(&value).into_owned());
            }
        }
    }

    async fn lend(&self, domain: DomainId) -> mirage_rt::Result {
        let page = self.page()?;
        page.bytes().copy_in(100, b"from the lender");
        let grant = self.attachment.grants().share(page, domain, Access::ReadWrite).map_err(|(error, _)| error)?;
        mirage_rt::println!("lent by reference {}", grant.number());
        self.told(DONE).await?;
        let (_, page) = grant.end()?;
        let mut bytes = [0; 16];
        for (what, offset) in [("copied", 200), ("written", 300)] {
            page.bytes().copy_out(offset, &mut bytes);
            mirage_rt::println!("{what}: {}", String::from_utf8_lossy(&bytes));
        }
        Ok(())
    }

    async fn borrow(&self) -> mirage_rt::Result {
        let lent = self.told(LENT).await?;
        let (domain, reference) = lent.split_once(' ').ok_or_else(|| Error::message("nothing was lent"))?;
        let page = ForeignPage { domain: DomainId(domain.parse()?), reference: reference.parse()? };
        let foreign = Foreign::machine(&self.attachment).ok_or_else(|| Error::message("only an image has pages"))?;
        let own = self.page()?;
        own.bytes().copy_in(0, b"copied by a copy");

        let mut copies = foreign.copies();
        copies.read(page, 100, &own, 1000, 15)?;
        copies.write(page, 200, &own, 0, 16)?;
        copies.read(ForeignPage { reference: page.reference + 1, ..page }, 0, &own, 2000, 8)?;
        copies.read(ForeignPage { domain: DomainId(999), ..page }, 0, &own, 2000, 8)?;
        for (index, result) in copies.run()?.enumerate() {
            mirage_rt::println!("copy {index}: {result:?}");
        }
        let mut bytes = [0; 15];
        own.bytes().copy_out(1000, &mut bytes);
        mirage_rt::println!("read: {}", String::from_utf8_lossy(&bytes));

        // More often than there are addresses: each is used again.
        for _ in 0..600 {
            let mapping = foreign.map(page, true)?;
            mapping.copy_out(100, &mut bytes);
            mapping.bytes().ok_or_else(|| Error::message("it is not writable"))?.copy_in(300, b"written by a map");
        }
        mirage_rt::println!("mapped: {}", String::from_utf8_lossy(&bytes));
        let wrong = foreign.map(ForeignPage { reference: page.reference + 1, ..page }, false).map(drop);
        mirage_rt::println!("another page: {wrong:?}");
        Ok(())
    }
}
