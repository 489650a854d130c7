//! `load-http ADDRESS CONNECTIONS WARMUP_MS MEASURED_MS`: asks for the page on so many connections, one request at a time on each.
//!
//! It prints `begin` when it begins to count, and when it ends `end REQUESTS SECONDS P50_US P99_US`.

#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mirage_bench_peers::epoll::Epoll;
use mirage_bench_peers::http::{self, REQUEST};
use mirage_bench_peers::{Result, address, connect, word};

/// Seconds without any answer that end the program.
const PATIENCE: Option<i64> = Some(10);

fn main() -> Result {
    let (address, connections): (_, usize) = (address(0)?, word(1)?.parse()?);
    let (warmup, measured): (u64, u64) = (word(2)?.parse()?, word(3)?.parse()?);
    let mut epoll = Epoll::new()?;
    let mut clients = Vec::new();
    for number in 0..connections {
        let client = Client::connect(address)?;
        epoll.add(&client.stream, number)?;
        clients.push(client);
    }
    let mut buffer = vec![0; 1 << 16];
    run(&mut epoll, &mut clients, &mut buffer, Duration::from_millis(warmup))?;
    println!("begin");
    let begun = Instant::now();
    let mut latencies = run(&mut epoll, &mut clients, &mut buffer, Duration::from_millis(measured))?;
    let seconds = begun.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let part = |percent: usize| {
        let nanoseconds = latencies.get(latencies.len() * percent / 100).copied().unwrap_or(0);
        f64::from(nanoseconds) / 1000.0
    };
    println!("end {} {seconds} {} {}", latencies.len(), part(50), part(99));
    Ok(())
}

/// Asks for so long; what each answer took, in nanoseconds.
fn run(epoll: &mut Epoll, clients: &mut [Client], buffer: &mut [u8], time: Duration) -> Result<Vec<u32>> {
    let end = Instant::now() + time;
    let mut latencies = Vec::with_capacity(1 << 20);
    loop {
        let ready = epoll.wait(PATIENCE).map_err(|error| format!("no answer: {error}"))?;
        let mut now = Instant::now();
        if now >= end {
            return Ok(latencies);
        }
        for number in ready {
            if clients[number].receive(buffer)? {
                let took = now - clients[number].asked;
                latencies.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
                now = Instant::now();
                clients[number].ask(now)?;
            }
        }
    }
}

/// A connection with a request under way.
struct Client {
    stream: TcpStream,
    asked: Instant,
    /// Bytes of an answer: known since the first one, and the same for all.
    answer: usize,
    received: usize,
}

impl Client {
    fn connect(address: SocketAddr) -> Result<Client> {
        let stream = connect(address)?;
        stream.set_nodelay(true)?;
        let mut client = Client { stream, asked: Instant::now(), answer: 0, received: 0 };
        client.ask(Instant::now())?;
        client.stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut first = Vec::new();
        let mut buffer = [0; 4096];
        while client.answer == 0 || first.len() < client.answer {
            match client.stream.read(&mut buffer)? {
                0 => return Err("the server has closed the connection".into()),
                length => first.extend_from_slice(&buffer[..length]),
            }
            client.answer = http::length(&first)?.unwrap_or(0);
        }
        client.stream.set_nonblocking(true)?;
        client.ask(Instant::now())?;
        Ok(client)
    }

    fn ask(&mut self, now: Instant) -> Result {
        (self.asked, self.received) = (now, 0);
        match self.stream.write(REQUEST)? {
            length if length == REQUEST.len() => Ok(()),
            _ => Err("a request was not sent in one piece".into()),
        }
    }

    /// Takes what is there; whether that is the rest of an answer.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let length = match self.stream.read(buffer) {
            Ok(0) => return Err("the server has closed a connection".into()),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if self.received == 0 && !buffer[..length].starts_with(b"HTTP/1.1 200 ") {
            return Err("something else than a page came".into());
        }
        self.received += length;
        match self.received {
            received if received > self.answer => Err("more came than an answer".into()),
            received => Ok(received == self.answer),
        }
    }
}
