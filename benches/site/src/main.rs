//! The code of the example static-site, from its own files, with one page of 1 KiB and room for as many connections as a
//! benchmark makes.

#![no_std]
#![cfg_attr(not(test), no_main)]
#![forbid(unsafe_code)]

extern crate alloc;
// The tests that come with the files; they run with the example.
#[cfg(test)]
extern crate std;

#[path = "../../../examples/static-site/src/connection.rs"]
mod connection;
#[path = "../../../examples/static-site/src/http/mod.rs"]
mod http;

use mirage_rt::println;

mirage_rt::unikernel!();

/// The most connections at a time.
const MAX_CONNECTIONS: usize = 10_000;

#[mirage_rt::main]
async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result {
    let listener = devices.service.tcp().bind(keys.port).await?;
    println!("serving");
    connection::serve_all(listener, devices.htdocs, MAX_CONNECTIONS).await
}
