//! `load-bulk send|receive ADDRESS WARMUP_MS MEASURED_MS`: moves bytes on one connection.
//!
//! It prints `begin` when it begins to count, and when it ends `end BYTES SECONDS`.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use mirage_bench_peers::{PIECE, Result, address, connect, word};

fn main() -> Result {
    let sends = match word(0)?.as_str() {
        "send" => true,
        "receive" => false,
        other => return Err(format!("{other} is no direction: send or receive").into()),
    };
    let mut stream = connect(address(1)?)?;
    // A server that stands still ends the benchmark.
    let patience = Some(Duration::from_secs(20));
    stream.set_read_timeout(patience)?;
    stream.set_write_timeout(patience)?;
    let (warmup, measured): (u64, u64) = (word(2)?.parse()?, word(3)?.parse()?);
    let mut piece = vec![0x6d; PIECE];
    moves(&mut stream, sends, &mut piece, Duration::from_millis(warmup))?;
    println!("begin");
    let begun = Instant::now();
    let bytes = moves(&mut stream, sends, &mut piece, Duration::from_millis(measured))?;
    println!("end {bytes} {}", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Moves bytes for so long; how many.
fn moves(stream: &mut std::net::TcpStream, sends: bool, piece: &mut [u8], time: Duration) -> Result<u64> {
    let end = Instant::now() + time;
    let mut bytes = 0;
    while Instant::now() < end {
        let length = if sends { stream.write(piece)? } else { stream.read(piece)? };
        if length == 0 {
            return Err("the server has closed the connection".into());
        }
        bytes += length as u64;
    }
    Ok(bytes)
}
