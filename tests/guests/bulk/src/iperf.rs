//! The server's side of iperf3's protocol, as far as a test of one TCP stream needs it.
//!
//! A control connection carries a cookie of 37 bytes, then states of one byte from either side, and twice a JSON object
//! behind its length in four bytes: the client's parameters, and both sides' results. The stream is a connection of its own
//! that starts with the same cookie. (iperf3 has no written specification; this was written from what its client sends.)

use alloc::format;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;

use mirage_rt::net::{TcpListener, TcpStream};
use mirage_rt::time::Duration;
use mirage_rt::{Error, println, spawn};

use super::piece;

const COOKIE: usize = 37;
/// The longest object that a client sends in such a test is a few hundred bytes.
const MOST_JSON: usize = 16 * 1024;

const TEST_START: u8 = 1;
const TEST_RUNNING: u8 = 2;
const TEST_END: u8 = 4;
const PARAM_EXCHANGE: u8 = 9;
const CREATE_STREAMS: u8 = 10;
const EXCHANGE_RESULTS: u8 = 13;
const DISPLAY_RESULTS: u8 = 14;

/// Serves one test after the other.
pub async fn serve(mut listener: TcpListener) -> mirage_rt::Result {
    loop {
        let (control, peer) = listener.accept().await?;
        match test(&mut listener, &control).await {
            Ok(done) => println!("{done}"),
            Err(error) => println!("a test for {peer} went wrong: {error}"),
        }
    }
}

/// Leads a test to its end; what to print of it.
async fn test(listener: &mut TcpListener, control: &TcpStream) -> mirage_rt::Result<alloc::string::String> {
    let cookie = exactly(control, COOKIE).await?;
    control.write_all(&[PARAM_EXCHANGE]).await?;
    let parameters = object(control).await?;
    let reverse = says(&parameters, r#""reverse":true"#);
    if says(&parameters, r#""udp":true"#) || !says(&parameters, r#""parallel":1"#) {
        return Err(Error::message("only one TCP stream is supported"));
    }
    control.write_all(&[CREATE_STREAMS]).await?;
    let (stream, _) = listener.accept().await?;
    if exactly(&stream, COOKIE).await? != cookie {
        return Err(Error::message("the stream is not the test's"));
    }
    control.write_all(&[TEST_START, TEST_RUNNING]).await?;
    let started = mirage_rt::now();
    let moved = Rc::new(Cell::new(0));
    let moving = spawn(run(stream.clone(), reverse, Rc::clone(&moved)));
    let ended = exactly(control, 1).await;
    let took = mirage_rt::now() - started;
    // What the client sends or takes after this does not count. If it takes, it reads until the end.
    moving.abort();
    if reverse {
        drop(stream.shutdown())
    } else {
        stream.abort()
    }
    let state = ended?;
    if state != [TEST_END] {
        return Err(Error::message("the client gave up"));
    }
    control.write_all(&[EXCHANGE_RESULTS]).await?;
    object(control).await?;
    send_object(control, &results(moved.get(), took)).await?;
    control.write_all(&[DISPLAY_RESULTS]).await?;
    // Until the client is done.
    let mut last = [0];
    let _ = control.read(&mut last).await;
    let direction = if reverse { "sent" } else { "received" };
    Ok(format!("{direction} {} bytes in {} ms", moved.get(), took.as_millis()))
}

/// Moves bytes until the stream ends, and counts them.
async fn run(stream: TcpStream, reverse: bool, moved: Rc<Cell<u64>>) {
    let mut piece = piece();
    loop {
        let length =
            if reverse { stream.write(&piece).await.unwrap_or(0) } else { stream.read(&mut piece).await.unwrap_or(0) };
        if length == 0 {
            return;
        }
        moved.set(moved.get() + length as u64);
    }
}

/// What the client is told of this side. Nothing is known here of processor time and retransmissions.
fn results(bytes: u64, took: Duration) -> Vec<u8> {
    let seconds = took.as_secs_f64();
    format!(
        r#"{{"cpu_util_total":0,"cpu_util_user":0,"cpu_util_system":0,"sender_has_retransmits":0,"streams":[{{"id":1,"bytes":{bytes},"retransmits":-1,"jitter":0,"errors":0,"packets":0,"start_time":0,"end_time":{seconds}}}]}}"#
    )
    .into_bytes()
}

fn says(object: &[u8], words: &str) -> bool {
    object.windows(words.len()).any(|window| window == words.as_bytes())
}

/// Reads so many bytes.
pub async fn exactly(connection: &TcpStream, length: usize) -> mirage_rt::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut done = 0;
    while done < length {
        match connection.read(&mut bytes[done..]).await? {
            0 => return Err(Error::message("the client closed the connection")),
            count => done += count,
        }
    }
    Ok(bytes)
}

/// Reads an object.
async fn object(connection: &TcpStream) -> mirage_rt::Result<Vec<u8>> {
    let length = exactly(connection, 4).await?;
    let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    if length > MOST_JSON {
        return Err(Error::message("that is no iperf3 client"));
    }
    exactly(connection, length).await
}

async fn send_object(connection: &TcpStream, object: &[u8]) -> mirage_rt::Result {
    let length = object.len() as u32;
    connection.write_all(&length.to_be_bytes()).await?;
    connection.write_all(object).await?;
    Ok(())
}
