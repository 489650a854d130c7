//! Bytes that say where they belong, to be taken or given: the server's side of the lab's program `tcp-load`, which compares each byte
//! that comes with what it must be, as this side does.
//!
//! A connection starts with four numbers: 1 if the client takes and 0 if it gives, then SEED, BYTES and MILLISECONDS. Word I of
//! the bytes is (SEED + I) * [`FACTOR`]. Who took them from the client answers with two numbers: how many there were, and the
//! place of the first that was wrong, or [`NONE`]. Numbers have 64 bits, the least significant byte first.

use alloc::vec;
use alloc::vec::Vec;

use mirage_rt::net::{TcpListener, TcpStream};
use mirage_rt::time::Duration;
use mirage_rt::{Error, println};

use crate::PIECE;
use crate::iperf::exactly;

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
const NONE: u64 = u64::MAX;
const WORD: usize = 8;

/// What a client wants.
struct Wish {
    takes: bool,
    seed: u64,
    bytes: u64,
    time: Duration,
}

/// Serves one client after the other.
pub async fn serve(mut listener: TcpListener) -> mirage_rt::Result {
    let mut piece = vec![0; PIECE];
    loop {
        let (connection, peer) = listener.accept().await?;
        match answer(&connection, &mut piece).await {
            Ok(bytes) => println!("moved {bytes} bytes"),
            Err(error) => println!("what {peer} wanted went wrong: {error}"),
        }
    }
}

/// Does what the client wants; how many bytes were moved.
async fn answer(connection: &TcpStream, piece: &mut [u8]) -> mirage_rt::Result<u64> {
    let wish = Wish::read(connection).await?;
    if wish.takes {
        let given = give(connection, &wish, piece).await?;
        connection.shutdown()?;
        return Ok(given);
    }
    let (taken, wrong) = take(connection, wish.seed, piece).await?;
    connection.write_all(&[taken, wrong].map(u64::to_le_bytes).concat()).await?;
    Ok(taken)
}

impl Wish {
    async fn read(connection: &TcpStream) -> mirage_rt::Result<Wish> {
        let bytes = exactly(connection, 4 * WORD).await?;
        let (words, []) = bytes.as_chunks() else { return Err(Error::message("that is no tcp-load")) };
        let numbers: Vec<u64> = words.iter().copied().map(u64::from_le_bytes).collect();
        let [takes @ (0 | 1), seed, bytes, milliseconds] = numbers[..] else {
            return Err(Error::message("that is no tcp-load"));
        };
        Ok(Wish { takes: takes == 1, seed, bytes, time: Duration::from_millis(milliseconds) })
    }
}

/// Sends until there is enough; how much that was.
async fn give(connection: &TcpStream, wish: &Wish, piece: &mut [u8]) -> mirage_rt::Result<u64> {
    let start = mirage_rt::now();
    let mut sent = 0;
    while sent < wish.bytes && mirage_rt::now() - start < wish.time {
        let mut place = wish.seed.wrapping_add(sent / WORD as u64);
        for word in piece.as_chunks_mut().0 {
            *word = wanted(place);
            place = place.wrapping_add(1);
        }
        let length = (wish.bytes - sent).min(piece.len() as u64);
        connection.write_all(&piece[..length as usize]).await?;
        sent += length;
    }
    Ok(sent)
}

/// Takes all there is; how much it was, and where the first wrong byte was, at most so many bytes too early as a word has.
async fn take(connection: &TcpStream, seed: u64, piece: &mut [u8]) -> mirage_rt::Result<(u64, u64)> {
    let (mut taken, mut wrong, mut kept) = (0, NONE, 0);
    loop {
        let got = connection.read(&mut piece[kept..]).await?;
        let mut at = taken - kept as u64;
        let (words, rest) = piece[..kept + got].as_chunks();
        for word in words {
            if *word != wanted(seed.wrapping_add(at / WORD as u64)) {
                wrong = wrong.min(at);
            }
            at += WORD as u64;
        }
        taken += got as u64;
        kept = rest.len();
        if got == 0 {
            // Less than a word.
            if *rest != wanted(seed.wrapping_add(at / WORD as u64))[..kept] {
                wrong = wrong.min(at);
            }
            return Ok((taken, wrong));
        }
        let start = words.len() * WORD;
        piece.copy_within(start..start + kept, 0);
    }
}

fn wanted(place: u64) -> [u8; WORD] {
    place.wrapping_mul(FACTOR).to_le_bytes()
}
