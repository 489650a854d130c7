//! `epoll-http ADDRESS`: serves the page with nothing but epoll, read and write. A request ends where a read does.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use mirage_bench_peers::epoll::Epoll;
use mirage_bench_peers::http::{END, fixed_answer};
use mirage_bench_peers::{Result, address};

fn main() -> Result {
    let listener = TcpListener::bind(address(0)?)?;
    listener.set_nonblocking(true)?;
    let mut epoll = Epoll::new()?;
    epoll.add(&listener, 0)?;
    println!("serving");
    let answer = fixed_answer();
    let mut streams: HashMap<usize, TcpStream> = HashMap::new();
    let mut next = 1;
    loop {
        let ready: Vec<usize> = epoll.wait(None)?.collect();
        for number in ready {
            if number > 0 {
                if streams.get_mut(&number).is_some_and(|stream| !serve(stream, &answer)) {
                    streams.remove(&number);
                }
                continue;
            }
            while let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                epoll.add(&stream, next)?;
                streams.insert(next, stream);
                next += 1;
            }
        }
    }
}

/// Answers what is there; whether the connection goes on.
fn serve(stream: &mut TcpStream, answer: &[u8]) -> bool {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer) {
        Ok(0) => false,
        // The clients of the benchmarks send one request at a time, in one piece.
        Ok(length) if buffer[..length].ends_with(END) => stream.write_all(answer).is_ok(),
        Err(error) if error.kind() == ErrorKind::WouldBlock => true,
        Ok(_) | Err(_) => false,
    }
}
