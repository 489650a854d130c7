//! A disk, used over TCP: an append-only log that survives crashes, and seeded patterns that prove what a disk keeps.
//!
//! The log has the disk's first 4 MiB, one record in each page ([`log`]); an append is answered when it is durable. The
//! rest of the disk is for patterns ([`pattern`]). [`command`] lists what a client may say, a line each:
//!
//! ```text
//! $ truncate -s 64M data.img && cargo run -p block &
//! $ printf 'append Moin\nread 0\nfill 7 0 256\nflush\nverify 7 0 256\nquit\n' | nc 127.0.0.1 8081
//! ok 0
//! ok Moin
//! ok 256 pages, sum 9da22fbf
//! ok
//! ok 256 pages, sum 9da22fbf
//! ok
//! ```

#![no_std]
#![cfg_attr(not(test), no_main)]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod command;
mod connection;
mod log;
mod pattern;
mod store;
// They use a host's sockets and a test harness that no image has.
#[cfg(all(test, not(mirage_target)))]
mod tests;

use core::net::SocketAddr;

use mirage_rt::log::info;

mirage_rt::unikernel!();

#[mirage_rt::main]
async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result {
    let store = store::Store::open(devices.data).await?;
    info!("{}", store.describe());
    let listener = devices.service.tcp().bind(keys.port).await?;
    let mut address = listener.local_addr();
    if let Some(&known) = devices.service.addresses().first() {
        address = SocketAddr::new(known, address.port());
    }
    info!("serving the disk on {address}");
    connection::serve_all(listener, store).await
}
