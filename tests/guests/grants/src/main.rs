//! Two domains and a page. One lends it and says by which reference; the other finds that in its part of xenstore, copies from the
//! page and to it, maps it and writes to it. Then the first says what it finds, and ends its grant.

#![no_std]
#![cfg_attr(not(test), no_main)]

extern crate alloc;

#[cfg(mirage_target)]
mod image;

mirage_rt::unikernel!();

#[cfg(not(mirage_target))]
#[mirage_rt::main]
async fn main(_: Devices, _: Keys) -> mirage_rt::Result {
    Err(mirage_rt::Error::message("this uses Xen's grants: build it with --target x86_64-unknown-xen"))
}
