//! Answers frame by frame, without a network stack, so that a test sees what netfront does with what a real backend sends.
//!
//! Its IPv6 address is the IPv4 address behind fd00::/96. For both families:
//!
//! - ARP requests, neighbour solicitations and echo requests are answered, UDP to port 7 comes back with a blank checksum.
//! - TCP port 9 takes what it is sent, in packets as long as the backend makes them, and prints their sum.
//! - TCP port 19 sends a million bytes, in packets of up to 65000 that the backend has to cut.
//! - TCP ports 10 and 20 do the same as fast as they can: without a sum, and without an end.
//! - UDP to port 11 with `+` or `-` and the six bytes of an Ethernet address joins or leaves that group, with `>` (IPv4 only)
//!   it is passed on to UDP port 12 of the group. What is heard there is printed.
//!
//! # As a benchmark of the device alone
//!
//! A real TCP in dom0 is the other side, so that what is sent is taken and what is received comes in packets as large as
//! Linux makes them; this side keeps to the peer's window and acknowledges once for each burst, and does nothing else. Only
//! the domain's processor time counts, so it does not matter how much dom0 has to do for it:
//!
//! ```text
//! before = processor time of the domain
//! receive:   timeout 5 bash -c 'dd if=/dev/zero bs=1M > /dev/tcp/10.0.2.47/10'
//! send:      timeout 5 bash -c 'dd if=/dev/tcp/10.0.2.47/20 bs=1M of=/dev/null'
//! IPv6:      the same with fd00::a00:22f for the address, and `ip address add fd00::1/64 dev xenbr0` once in dom0
//! after = processor time of the domain
//! ```
//!
//! At the end of each connection two lines say how many bytes were moved and what the device had to do for it: packets each
//! way, notifications sent and events taken. Linux's side of the same is iperf3 in a domU, and its lines in /proc/interrupts.

#![no_std]
#![cfg_attr(not(test), no_main)]

extern crate alloc;

#[cfg_attr(not(mirage_target), allow(dead_code))]
mod frame;
#[cfg(mirage_target)]
mod image;
#[cfg(mirage_target)]
mod tcp;

mirage_rt::unikernel!();

#[cfg(not(mirage_target))]
#[mirage_rt::main]
async fn main(_: Devices, _: Keys) -> mirage_rt::Result {
    Err(mirage_rt::Error::message("this looks at Xen's network device: build it with --target x86_64-unknown-xen"))
}
