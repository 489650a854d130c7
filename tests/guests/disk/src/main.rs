//! Works on a disk as its keys say, so that a test sees what blkfront does with what a real backend does.
//!
//! - `info` prints what the disk is, and whether it can be written.
//! - `verify` writes all of the disk with a pattern, many requests of many sizes at once, reads it back and tries all
//!   other operations.
//! - `follow` writes and reads for ever, and prints what changes: the size, detached, attached again.
//! - `load` keeps requests under way for some seconds and prints how many there were.

#![no_std]
#![cfg_attr(not(test), no_main)]

extern crate alloc;

#[cfg(mirage_target)]
mod image;
#[cfg(mirage_target)]
mod load;
#[cfg_attr(not(mirage_target), allow(dead_code))]
mod pattern;
#[cfg(mirage_target)]
mod work;

mirage_rt::unikernel!();

#[cfg(not(mirage_target))]
#[mirage_rt::main]
async fn main(_: Devices, _: Keys) -> mirage_rt::Result {
    Err(mirage_rt::Error::message("this looks at Xen's disks: build it with --target x86_64-unknown-xen"))
}
