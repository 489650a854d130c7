//! Traffic to a TCP service on connections that stay open: an echo service, whose bytes are compared with what was sent, or
//! examples/block, which writes patterns to its disk, flushes and verifies them.
//!
//! `mirage-lab-agent traffic SERVICE ADDRESS:PORT CONNECTIONS BYTES PAUSE_MS REPORT`: each connection sends pieces of so many
//! bytes, with a pause after each. The file REPORT is rewritten all the time; a file REPORT.stop ends it. See `TrafficReport`.
//! SERVICE is `echo`, `block`, or `detached-block` for a disk that is taken away at times.

use super::protocol::TrafficReport;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::exit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a step may take: as long as a guest may be away.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long the service may take to close its side, when what was under way has come back. A guest that was away may have to wait
/// for Linux to send that once more: up to as long again as it was away.
const GRACE: Duration = PATIENCE;

#[derive(Default)]
struct Counters {
    bytes: AtomicU64,
    round_trips: AtomicU64,
    longest_ns: AtomicU64,
    open: AtomicU64,
}

impl Counters {
    fn count(&self, started: Instant, bytes: u64) {
        self.longest_ns.fetch_max(started.elapsed().as_nanos() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.round_trips.fetch_add(1, Ordering::Relaxed);
    }

    fn report(&self) -> TrafficReport {
        TrafficReport {
            open: self.open.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            round_trips: self.round_trips.load(Ordering::Relaxed),
            longest: Duration::from_nanos(self.longest_ns.load(Ordering::Relaxed)),
        }
    }
}

struct Load {
    service: String,
    server: SocketAddr,
    bytes: usize,
    pause: Duration,
    stop: String,
}

/// Runs until it is stopped or a connection fails, which is an error.
pub fn run(words: &[String]) -> io::Result<()> {
    let usage = || io::Error::other("traffic SERVICE ADDRESS:PORT CONNECTIONS BYTES PAUSE_MS REPORT");
    let [service, server, connections, bytes, pause, path] = words else { return Err(usage()) };
    let load = Load {
        service: service.clone(),
        server: server.parse().map_err(|_| usage())?,
        bytes: bytes.parse().map_err(|_| usage())?,
        pause: Duration::from_millis(pause.parse().map_err(|_| usage())?),
        stop: format!("{path}.stop"),
    };
    let connections: u64 = connections.parse().map_err(|_| usage())?;
    let counters = Counters::default();
    let mut stopped: Option<Instant> = None;
    thread::scope(|scope| {
        let (load, counters) = (&load, &counters);
        let running: Vec<_> = (1..=connections).map(|seed| scope.spawn(move || connection(load, counters, seed))).collect();
        loop {
            // Renamed, so that no reader sees half of it.
            let aside = format!("{path}.part");
            fs::write(&aside, counters.report().to_string())?;
            fs::rename(&aside, path)?;
            if stopped.is_none() && Path::new(&load.stop).exists() {
                stopped = Some(Instant::now());
            }
            let failed = stopped.is_none() && running.iter().any(|thread| thread.is_finished());
            if failed || running.iter().all(|thread| thread.is_finished()) {
                break;
            }
            // A service that is gone closes nothing.
            if stopped.is_some_and(|at| at.elapsed() > GRACE) {
                eprintln!("connections are still open {} s after the end: {}", GRACE.as_secs(), counters.report());
                exit(1);
            }
            thread::sleep(Duration::from_millis(50));
        }
        for thread in running.into_iter().filter(|thread| thread.is_finished()) {
            let ended = thread.join().map_err(|_| io::Error::other("a thread panicked")).flatten();
            if let Err(error) = ended {
                eprintln!("{error}; {}", counters.report());
                exit(1);
            }
        }
        println!("{}", counters.report());
        Ok(())
    })
}

fn connection(load: &Load, counters: &Counters, seed: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&load.server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    counters.open.fetch_add(1, Ordering::Relaxed);
    if load.service != "echo" {
        return disk(load, counters, seed, stream);
    }
    let (mut sent, mut received) = (vec![0; load.bytes], vec![0; load.bytes]);
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    while !Path::new(&load.stop).exists() {
        for chunk in sent.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
        }
        let started = Instant::now();
        let after = |error: io::Error| io::Error::new(error.kind(), format!("connection {seed}: {error} after {:?}", started.elapsed()));
        stream.write_all(&sent).map_err(after)?;
        stream.read_exact(&mut received).map_err(after)?;
        if sent != received {
            return Err(io::Error::other(format!("connection {seed}: what came back differs")));
        }
        counters.count(started, load.bytes as u64);
        thread::sleep(load.pause);
    }
    stream.shutdown(Shutdown::Write)?;
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other(format!("connection {seed}: more came back than was sent"))),
    }
}

/// Patterns in a part of the disk that is this connection's own.
fn disk(load: &Load, counters: &Counters, own: u64, stream: TcpStream) -> io::Result<()> {
    let count = (load.bytes as u64 / 4096).max(1);
    let range = format!("{} {count}", (own - 1) * count);
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut round = own << 32;
    while !Path::new(&load.stop).exists() {
        round += 1;
        let started = Instant::now();
        for line in [format!("fill {round} {range}"), "flush".to_owned(), format!("verify {round} {range}")] {
            loop {
                (&stream).write_all(format!("{line}\n").as_bytes())?;
                let mut answer = String::new();
                answers.read_line(&mut answer)?;
                if answer.starts_with("ok") {
                    break;
                }
                // What the disk's user sees of its absence; what was flushed has to be there when it comes back.
                if load.service != "detached-block" || !answer.contains("detached") {
                    return Err(io::Error::other(format!("connection {own}: {line}: {answer:?} after {:?}", started.elapsed())));
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
        counters.count(started, count * 4096);
        thread::sleep(load.pause);
    }
    (&stream).write_all(b"quit\n")?;
    answers.read_to_end(&mut Vec::new()).map(drop)
}
