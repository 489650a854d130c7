//! The lab's hand in dom0: runs scripts, follows consoles, watches domains and takes times, for the host.
//!
//! Built by the build script into one static program that dom0's `/init` starts last. It talks over one virtio serial
//! port and ends, and dom0 with it, when the host closes that port.
#![forbid(unsafe_code)]
// The protocol is shared with the host, which uses the other half of it.
#![allow(dead_code)]

mod console;
mod domains;
mod protocol;
mod script;
mod traffic;
mod xenstore;

use protocol::{Frame, Kind, PORT_NAME, take_u32, take_u64};
use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, exit};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Xen's reason of a shutdown that is a suspension (`SHUTDOWN_suspend`).
const SUSPENDED: u8 = 2;

/// What the threads of the agent share.
struct Agent {
    port: Mutex<File>,
    started: Instant,
    domains: domains::Domains,
    scripts: script::Scripts,
    consoles: console::Consoles,
}

impl Agent {
    /// Nanoseconds since the agent started: the clock of everything it reports.
    fn clock(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn send(&self, kind: Kind, request: u32, payload: Vec<u8>) {
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        // A port that can't be written has lost its host: the reader sees the same and ends dom0.
        let _ = Frame { kind, request, payload }.write(&mut *port);
    }

    fn fail(&self, request: u32, error: impl ToString) {
        self.send(Kind::Failed, request, error.to_string().into_bytes());
    }

    fn answer(&self, request: u32, result: io::Result<Vec<u8>>) {
        match result {
            Ok(value) => self.send(Kind::Answer, request, value),
            Err(error) => self.fail(request, error),
        }
    }
}

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    if let Some(("traffic", words)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        if let Err(error) = traffic::run(words) {
            eprintln!("{error}");
            exit(1);
        }
        return;
    }
    if let Err(error) = serve() {
        eprintln!("mirage-lab agent: {error}");
    }
    // Without its host the lab has no purpose.
    let _ = Command::new("poweroff").arg("-f").status();
}

fn serve() -> io::Result<()> {
    let path = find_port()?;
    let port = OpenOptions::new().read(true).write(true).open(path)?;
    let mut input = port.try_clone()?;
    let agent = Arc::new(Agent {
        port: Mutex::new(port),
        started: Instant::now(),
        domains: domains::Domains::new(),
        scripts: script::Scripts::default(),
        consoles: console::Consoles::default(),
    });
    agent.send(Kind::Ready, 0, agent.clock().to_le_bytes().to_vec());
    loop {
        let frame = Frame::read(&mut input)?;
        dispatch(&agent, frame);
    }
}

/// The port's device: without udev its name is only in sysfs.
fn find_port() -> io::Result<String> {
    for entry in fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == PORT_NAME {
            return Ok(format!("/dev/{}", entry.file_name().to_string_lossy()));
        }
    }
    Err(io::Error::other("there is no port to the host"))
}

fn dispatch(agent: &Arc<Agent>, frame: Frame) {
    let Frame { kind, request, payload } = frame;
    match kind {
        Kind::Nudge => agent.answer(request, Ok(Vec::new())),
        Kind::Kill => agent.scripts.kill(request),
        Kind::Unfollow => agent.consoles.unfollow(request),
        // The console has to be ready before the next request, which creates the domain.
        Kind::Follow => console::follow(agent, request, &String::from_utf8_lossy(&payload)),
        Kind::Run
        | Kind::Await
        | Kind::Survey
        | Kind::Sample
        | Kind::Identify
        | Kind::Probe
        | Kind::StoreRead
        | Kind::StoreWrite
        | Kind::Copy => {
            let agent = agent.clone();
            thread::spawn(move || answer(&agent, kind, request, &payload));
        }
        _ => agent.fail(request, "not a request"),
    }
}

fn answer(agent: &Arc<Agent>, kind: Kind, request: u32, payload: &[u8]) {
    let text = String::from_utf8_lossy(payload);
    match kind {
        Kind::Run => script::run(agent, request, &text),
        Kind::Await => match await_stop(agent, payload) {
            Ok(report) => agent.send(Kind::Stopped, request, report),
            Err(error) => agent.fail(request, error),
        },
        Kind::Survey => match agent.domains.survey() {
            Ok(states) => agent.send(Kind::States, request, states.into_bytes()),
            Err(error) => agent.fail(request, error),
        },
        Kind::Sample => match sample(agent, &text) {
            Ok(sample) => agent.send(Kind::Sampled, request, sample),
            Err(error) => agent.fail(request, error),
        },
        Kind::Identify => {
            let found = xenstore::Xenstore::connect().and_then(|mut store| store.identify(&text));
            agent.answer(
                request,
                found.map(|number| number.map(|number| number.to_string()).unwrap_or_default().into_bytes()),
            );
        }
        Kind::Probe => probe(agent, request, payload),
        Kind::StoreRead => agent.answer(
            request,
            xenstore::Xenstore::connect().and_then(|mut store| store.read(&text)),
        ),
        Kind::StoreWrite => {
            let (path, value) = text.split_once('\0').unwrap_or((&text, ""));
            let done = xenstore::Xenstore::connect().and_then(|mut store| store.write(path, value.as_bytes()));
            agent.answer(request, done.map(|()| Vec::new()));
        }
        Kind::Copy => {
            let (from, to) = text.split_once('\0').unwrap_or((&text, ""));
            agent.answer(request, copy(from, to).map(|()| Vec::new()));
        }
        _ => {}
    }
}

/// Copies a file in large pieces, each of which is a message to the host if the file is on its share.
fn copy(from: &str, to: &str) -> io::Result<()> {
    let named = |path: &str, error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
    let mut source = File::open(from).map_err(|error| named(from, error))?;
    let mut copy = File::create(to).map_err(|error| named(to, error))?;
    let mut piece = vec![0; 256 * 1024];
    loop {
        match source.read(&mut piece).map_err(|error| named(from, error))? {
            0 => return Ok(()),
            length => copy.write_all(piece.get(..length).unwrap_or_default()).map_err(|error| named(to, error))?,
        }
    }
}

/// What the domains have run and what counters stand at, at one time: reading them is a matter of microseconds.
fn sample(agent: &Agent, files: &str) -> io::Result<Vec<u8>> {
    let mut sample = agent.clock().to_le_bytes().to_vec();
    sample.extend_from_slice(agent.domains.survey()?.as_bytes());
    for file in files.lines() {
        sample.push(0);
        sample.extend_from_slice(&fs::read(file).unwrap_or_default());
    }
    Ok(sample)
}

/// Waits until the domain is shut down or gone: xenstored tells of both by `@releaseDomain`.
fn await_stop(agent: &Agent, mut payload: &[u8]) -> io::Result<Vec<u8>> {
    let number = take_u32(&mut payload).ok_or_else(|| io::Error::other("no domain"))?;
    let mut store = xenstore::Xenstore::connect()?;
    store.watch("@releaseDomain")?;
    loop {
        store.next_event()?;
        let states = agent.domains.survey()?;
        let own = protocol::DomainState::parse_all(&states).into_iter().find(|state| state.number == number);
        // A domain that is being saved is suspended for a moment: it goes on, or is gone.
        if own.is_some_and(|state| matches!(state.shutdown, None | Some(SUSPENDED)) && !state.dying) {
            continue;
        }
        let code = store.read(&format!("/local/domain/{number}/data/mirage/exit-code")).unwrap_or_default();
        let mut report = agent.clock().to_le_bytes().to_vec();
        report.extend_from_slice(states.lines().find(|line| line.starts_with(&format!("{number} "))).unwrap_or("").as_bytes());
        report.push(b'\n');
        report.extend_from_slice(&code);
        return Ok(report);
    }
}

/// Asks for a page until it is answered with 200.
fn probe(agent: &Agent, request: u32, mut payload: &[u8]) {
    let deadline = Duration::from_millis(take_u64(&mut payload).unwrap_or(0));
    let text = String::from_utf8_lossy(payload);
    let (address, path) = text.split_once('\0').unwrap_or((&text, "/"));
    let Ok(address) = address.parse::<SocketAddr>() else {
        return agent.fail(request, format!("{address} is no address:port"));
    };
    let started = Instant::now();
    let mut tries = 0_u32;
    while started.elapsed() < deadline {
        tries += 1;
        if fetch(address, path).is_ok_and(|answered| answered) {
            let mut report = agent.clock().to_le_bytes().to_vec();
            report.extend_from_slice(&tries.to_le_bytes());
            return agent.send(Kind::Probed, request, report);
        }
        // A refusal comes at once: leave the processor, which dom0 and the guest share, to the guest for a moment.
        thread::sleep(Duration::from_millis(2));
    }
    agent.fail(request, format!("no answer 200 from {address} after {tries} tries in {} ms", deadline.as_millis()));
}

fn fetch(address: SocketAddr, path: &str) -> io::Result<bool> {
    // Short, because a lost SYN is repeated after a whole second.
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(50))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(head.starts_with(b"HTTP/1.") && head.ends_with(b"200"))
}
