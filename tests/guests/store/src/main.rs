//! Makes every request to xenstore that a guest may make, when `data/go` is written, and says what came of it.

#![no_std]
#![cfg_attr(not(test), no_main)]

#[cfg(mirage_target)]
extern crate alloc;

#[cfg(mirage_target)]
mod image;

mirage_rt::unikernel!();

#[cfg(not(mirage_target))]
#[mirage_rt::main]
async fn main(_: Devices, _: Keys) -> mirage_rt::Result {
    Err(mirage_rt::Error::message("this talks to xenstore: build it with --target x86_64-unknown-xen"))
}
