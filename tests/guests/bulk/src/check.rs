//! Keeps what it is sent, answers with its checksum, and sends it back to whoever asks at the next port. `cksum` of the other
//! side's own copy says whether every byte has come, each way.

use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

use mirage_rt::net::{Network, TcpListener, TcpStream};
use mirage_rt::{println, spawn};

use crate::piece;

/// The most bytes that are kept.
const MOST: usize = 160 << 20;

/// The generator of the checksum (POSIX, cksum).
const GENERATOR: u32 = 0x04c1_1db7;

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            remainder = (remainder << 1) ^ if remainder >> 31 == 1 { GENERATOR } else { 0 };
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
}

/// What cksum prints of `bytes` in their length.
struct Sum(u32);

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) ^ TABLE[usize::from((self.0 >> 24) as u8 ^ byte)];
        }
    }

    fn end(mut self, length: usize) -> u32 {
        let mut left = length;
        while left > 0 {
            self.add(&[left as u8]);
            left >>= 8;
        }
        !self.0
    }
}

/// Serves both ports, one connection at a time each.
pub async fn serve(network: &Network, mut listener: TcpListener) -> mirage_rt::Result {
    let kept = Rc::new(RefCell::new(Vec::new()));
    let port = listener.local_addr().port();
    let mut back = network.tcp().bind(port.saturating_add(1)).await?;
    drop(spawn({
        let kept = Rc::clone(&kept);
        async move {
            while let Ok((connection, _)) = back.accept().await {
                let bytes = kept.take();
                if connection.write_all(&bytes).await.is_err() {
                    println!("the peer has enough");
                }
                kept.replace(bytes);
            }
        }
    }));
    loop {
        let (connection, _) = listener.accept().await?;
        let bytes = take(&connection, kept.take()).await;
        let mut sum = Sum(0);
        sum.add(&bytes);
        let answer = format!("{} {}\n", sum.end(bytes.len()), bytes.len());
        kept.replace(bytes);
        if connection.write_all(answer.as_bytes()).await.is_err() {
            println!("the peer did not wait for the sum");
        }
    }
}

/// Takes all that comes, instead of what was kept before.
async fn take(connection: &TcpStream, mut bytes: Vec<u8>) -> Vec<u8> {
    let mut piece = piece();
    bytes.clear();
    while let Ok(length @ 1..) = connection.read(&mut piece).await {
        if bytes.len() + length > MOST || bytes.try_reserve(length).is_err() {
            println!("more was sent than can be kept");
            connection.abort();
            break;
        }
        bytes.extend_from_slice(&piece[..length]);
    }
    bytes
}
