//! Moves bytes over TCP as fast as it can, so that a benchmark can do to it what it does to a Linux domU.
//!
//! - `--mode iperf3` is a server for iperf3's client: one test at a time, one stream, either direction (`-R`), TCP only. The
//!   peer and the way it counts are then the same as with iperf3's own server in Linux.
//! - `--mode sink` takes all that a connection brings, and prints how much that was when it ends.
//! - `--mode check` gives or takes bytes that say where they belong, for the lab's program `tcp-load`.
//! - `--mode echo` sends back each datagram that comes to the port, over UDP.
//! - `--mode source` writes to each connection until the peer closes it, and prints how much that was.

#![no_std]
#![cfg_attr(not(test), no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

mod check;
mod iperf;

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use mirage_rt::net::{Network, TcpListener, TcpStream};
use mirage_rt::{Error, println};

mirage_rt::unikernel!();

/// Bytes that are read or written at once: as many as iperf3 does.
const PIECE: usize = 128 * 1024;

#[mirage_rt::main]
async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result {
    let listener = devices.service.tcp().bind(keys.port).await?;
    println!("{} on port {}", keys.mode, listener.local_addr().port());
    match keys.mode.as_str() {
        "iperf3" => iperf::serve(listener).await,
        "check" => check::serve(listener).await,
        "echo" => echo(&devices.service, keys.port).await,
        "sink" => each(listener, sink).await,
        "source" => each(listener, source).await,
        other => Err(Error::message(format!("\"{other}\" is no mode: iperf3, check, echo, source or sink"))),
    }
}

/// Serves one connection after the other, and prints what became of it.
async fn each(mut listener: TcpListener, serve: impl AsyncFn(TcpStream, &mut [u8]) -> u64) -> mirage_rt::Result {
    let mut piece = piece();
    loop {
        let (connection, _) = listener.accept().await?;
        let bytes = serve(connection, &mut piece).await;
        println!("moved {bytes} bytes");
    }
}

/// Something to be sent, or room for what is received.
fn piece() -> Vec<u8> {
    vec![0x6d; PIECE]
}

/// Takes all there is; how much.
async fn sink(connection: TcpStream, piece: &mut [u8]) -> u64 {
    let mut taken = 0;
    while let Ok(length @ 1..) = connection.read(piece).await {
        taken += length as u64;
    }
    taken
}

/// Writes until the peer has enough; how much.
async fn source(connection: TcpStream, piece: &mut [u8]) -> u64 {
    let mut given = 0;
    while let Ok(length) = connection.write(piece).await {
        given += length as u64;
    }
    given
}

/// Sends back each datagram that comes to `port`.
async fn echo(network: &Network, port: u16) -> mirage_rt::Result {
    let socket = network.udp().bind(port).await?;
    let mut buffer = [0; 2048];
    loop {
        let (length, from) = socket.receive_from(&mut buffer).await?;
        // What can't be sent now is lost, as datagrams may be.
        let _ = socket.send_to(buffer.get(..length).unwrap_or_default(), from).await;
    }
}
