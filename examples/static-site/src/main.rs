//! Serves the folder `htdocs`, which is embedded in the program, over HTTP/1.1.

#![no_std]
#![cfg_attr(not(test), no_main)]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod connection;
mod http;
// They use a host's sockets and a test harness that no image has.
#[cfg(all(test, not(mirage_target)))]
mod tests;

use core::net::SocketAddr;

use mirage_rt::log::info;

mirage_rt::unikernel!();

/// The most connections at a time.
const MAX_CONNECTIONS: usize = 256;

#[mirage_rt::main]
async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result {
    let listener = devices.service.tcp().bind(keys.port).await?;
    let mut address = listener.local_addr();
    if let Some(&known) = devices.service.addresses().first() {
        address = SocketAddr::new(known, address.port());
    }
    info!("serving on http://{address}");
    connection::serve_all(listener, devices.htdocs, MAX_CONNECTIONS).await
}
