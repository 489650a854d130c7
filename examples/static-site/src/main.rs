//! Serves a folder over HTTP/1.1.
#![no_std]
extern crate alloc;
#[cfg(not(test))]
extern crate std;
#[cfg(test)]
extern crate std;
mod http;
fn main() {}
