//! Answers frame by frame, without a network stack, so that a test sees what netfront does with what a real backend sends.
//!
//! - ARP and ICMP echo requests are answered, UDP to port 7 comes back with a blank checksum.
//! - TCP port 9 takes what it is sent, in packets as long as the backend makes them, and prints their sum.
//! - TCP port 19 sends [`tcp::SENT`] bytes, in packets that the backend has to cut.

#![no_std]
#![cfg_attr(not(test), no_main)]

extern crate alloc;

#[cfg_attr(not(mirage_target), allow(dead_code))]
mod frame;
#[cfg(mirage_target)]
mod image;
#[cfg_attr(not(mirage_target), allow(dead_code))]
mod tcp;

mirage_rt::unikernel!();

#[cfg(not(mirage_target))]
#[mirage_rt::main]
async fn main(_: Devices, _: Keys) -> mirage_rt::Result {
    Err(mirage_rt::Error::message("this looks at Xen's network device: build it with --target x86_64-unknown-xen"))
}
