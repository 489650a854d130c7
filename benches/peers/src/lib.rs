//! What the peers and the clients of the benchmarks have in common: the page that is served, and how bytes are moved.

#![forbid(unsafe_code)]

pub mod epoll;
pub mod http;

use std::error::Error;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Why a program ends early.
pub type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Bytes that are read or written at once where bytes are moved in bulk: as many as iperf3 does.
pub const PIECE: usize = 128 * 1024;

/// The word number `index` behind the program's name.
///
/// # Errors
///
/// When there is none.
pub fn word(index: usize) -> Result<String> {
    std::env::args().nth(index + 1).ok_or_else(|| format!("word {} is missing", index + 1).into())
}

/// The address in the word number `index`.
///
/// # Errors
///
/// When there is none.
pub fn address(index: usize) -> Result<SocketAddr> {
    Ok(word(index)?.parse()?)
}

/// Connects to a server that may still be starting.
///
/// # Errors
///
/// When it refuses for ten seconds, or for another reason.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(address) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            result => return Ok(result?),
        }
    }
}
