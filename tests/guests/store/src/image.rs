//! The program on Xen.

use alloc::format;
use alloc::vec::Vec;

use mirage_rt::boot::{Boot, Connectors};
use mirage_rt::println;
use mirage_rt::runtime::spawn;
use mirage_xen::attachment::Attachment;
use mirage_xen::hypervisor::DomainId;
use mirage_xen::xenstore::wire::Operation;
use mirage_xen::xenstore::{Access, Code, Permission, Xenstore, XenstoreError};

mirage_xen_image::entry!(@define &crate::UNIKERNEL, start, &[connect]);

async fn start(_: Boot) -> mirage_rt::Result {
    core::future::pending().await
}

fn connect(attachment: &Attachment, _: &mut Connectors) {
    let store = attachment.xenstore().clone();
    drop(spawn(async move {
        match exercise(&store).await {
            Ok(()) => println!("done"),
            Err(error) => println!("failed: {error}"),
        }
    }));
}

async fn exercise(store: &Xenstore) -> Result<(), XenstoreError> {
    let mut watch = store.watch("data/go").await?;
    println!("waiting");
    while store.read_optional("data/go").await?.is_none() {
        watch.next().await?;
    }
    let mut names = store.directory("data/many").await?;
    names.sort();
    let expected = (0..names.len()).all(|number| names[number] == format!("a-rather-long-name-{number:04}"));
    println!("{} names, as expected: {expected}", names.len());

    store.write("data/a/b", b"value").await?;
    store.mkdir("data/a/c").await?;
    println!("read {:?}, list {:?}", store.read_text("data/a/b").await?, store.directory("data/a").await?);
    store.remove("data/a").await?;
    println!("removed: {}", store.read("data/a/b").await.is_err_and(|error| error.is(Code::Enoent)));

    let number = store.read_number("domid").await?.unwrap_or(0) as u16;
    let own = DomainId(number);
    println!("path is right: {}", store.domain_path(own).await? == format!("/local/domain/{number}"));
    // Some xenstored let no guest ask.
    match store.is_introduced(own).await {
        Err(error) if error.is(Code::Eacces) => println!("introduced: EACCES"),
        answer => println!("introduced: {}", answer?),
    }
    store.write("data/p", b"").await?;
    let permissions =
        [Permission { domain: own, access: Access::None }, Permission { domain: DomainId(0), access: Access::Read }];
    store.set_permissions("data/p", &permissions).await?;
    println!("permissions kept: {}", store.permissions("data/p").await? == permissions);

    let mut tries = 0;
    let done = store.transaction(async |transaction| {
        tries += 1;
        let before = transaction.read("data/p").await?;
        if tries == 1 {
            // Another connection would be refused here as well.
            store.write("data/p", b"outside").await?;
        }
        transaction.write("data/p", &[&before[..], b" and inside"].concat()).await.map(drop)
    });
    done.await?;
    println!("{:?} after {tries} tries", store.read_text("data/p").await?);

    watch.clear();
    match store.reset_watches().await {
        Ok(()) => println!("watch set again: {:?}", watch.next().await?.path),
        Err(error) => println!("watches not reset: {error}"),
    }
    let operations =
        [Operation::Control, Operation::Introduce, Operation::Release, Operation::Resume, Operation::SetTarget];
    let mut codes = Vec::new();
    for operation in operations {
        codes.push(match store.raw(operation, "1", b"1\0").await {
            Err(XenstoreError::Refused { code, .. }) => code.name(),
            _ => "not refused",
        });
    }
    println!("refused: {codes:?}");
    Ok(())
}
