//! `linux-bulk sink|source ADDRESS`: a plain program on the kernel's sockets that takes, or gives, all that one connection at a
//! time can carry.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::TcpListener;

use mirage_bench_peers::{PIECE, Result, address, word};

fn main() -> Result {
    let gives = match word(0)?.as_str() {
        "source" => true,
        "sink" => false,
        other => return Err(format!("{other} is no mode: sink or source").into()),
    };
    let listener = TcpListener::bind(address(1)?)?;
    println!("serving");
    let mut piece = vec![0x6d; PIECE];
    loop {
        let (mut stream, _) = listener.accept()?;
        // The client ends it.
        while let Ok(1..) = if gives { stream.write(&piece) } else { stream.read(&mut piece) } {}
    }
}
