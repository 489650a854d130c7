//! Forwards between two networks all but what is for port 9, and says at port 7 of both what it has done.

#![no_std]
#![cfg_attr(not(test), no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::format;

use mirage_rt::net::forward::{Router, Verdict};
use mirage_rt::println;

mirage_rt::unikernel!();

#[mirage_rt::main]
async fn main(devices: Devices, _keys: Keys) -> mirage_rt::Result {
    let both = devices.lan.joined(&devices.wan);
    let router = Router::start(&[devices.lan, devices.wan], |packet| match packet.ports() {
        Some([_, 9]) => Verdict::Reject,
        _ => Verdict::Pass,
    })?;
    let mut listener = both.tcp().bind(7).await?;
    println!("forwarding");
    loop {
        let (stream, _) = listener.accept().await?;
        let done = router.statistics();
        let line = format!("forwarded {} filtered {}\n", done.forwarded, done.filtered);
        // Whoever asked may be gone.
        let _ = stream.write_all(line.as_bytes()).await;
    }
}
