//! The site on a network stack of its own, on a tap device, against the Linux kernel's stack, in a network namespace that
//! ends with the test.
//!
//! The outer test runs this program again inside `unshare`, where the inner test, ignored otherwise, may make interfaces.
//! Where that is not permitted it says so and passes; as root under `CI=true` it fails.

#![forbid(unsafe_code)]

mod common;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use common::{clients, files, get, program};

#[test]
fn inside_a_namespace() {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "--"]).arg(std::env::current_exe().expect("a program knows its path"));
    match command.args(["--exact", "inner", "--ignored", "--nocapture"]).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            match text.lines().find(|line| line.starts_with("unshare: ") || line.starts_with("NOT PERMITTED")) {
                Some(reason) => skip(reason),
                None => assert!(output.status.success() && text.contains("1 passed"), "{text}"),
            }
        }
        Err(error) => skip(&format!("unshare: {error}")),
    }
}

/// Where namespaces can be made, a test that makes none has failed.
fn skip(reason: &str) {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!(root && ci), "no test on a tap device: {reason}");
    eprintln!("SKIPPED: no test on a tap device, which needs a network namespace, /dev/net/tun and ip: {reason}");
}

/// Runs `ip`; what it can't do ends the inner test with a reason to skip.
fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output();
    let done = output.as_ref().is_ok_and(|output| output.status.success());
    if !done {
        println!("NOT PERMITTED: ip {words}: {output:?}");
        std::process::exit(1);
    }
}

#[test]
#[ignore = "run by inside_a_namespace"]
fn inner() {
    ip("tuntap add tap0 mode tap");
    ip("address add 10.77.0.1/24 dev tap0");
    ip("link set tap0 up");
    refusals();

    let mut site = Site::start();
    let address = SocketAddr::from(([10, 77, 0, 2], 80));
    for (path, expected) in &files() {
        let (head, content) = get(address, path);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {head}");
        assert!(content == *expected, "{path}");
    }
    keeps_connections_open(address);
    let refused = TcpStream::connect((address.ip(), 81)).expect_err("nothing listens there");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // What is sent while the interface is down is lost, and the site outlives it.
    ip("link set tap0 down");
    ip("link set tap0 up");
    get(address, "/");
    let kill = Command::new("kill").args(["-TERM", &site.child.id().to_string()]).status().expect("there is a kill");
    assert!(kill.success());
    assert_eq!(site.child.wait().expect("it ends").code(), Some(0));
    captured();

    // An interface that is taken away ends the site, with a reason.
    let mut site = Site::start();
    clients::use_site(address);
    ip("link delete tap0");
    let rest: Vec<_> = site.lines.by_ref().map_while(Result::ok).collect();
    assert_eq!(site.child.wait().expect("it ends").code(), Some(1));
    let text = rest.join("\n");
    assert!(text.contains("the tap device tap0 is given up: ") && text.contains("error: the network device"), "{text}");
}

/// The program on tap0, ended with the test.
struct Site {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Site {
    /// Starts the program and waits until it serves.
    fn start() -> Site {
        let mut child = program()
            .args(["--interface", "tap0", "--ipv4", "10.77.0.2/24", "--port", "80"])
            .env("MIRAGE_CAPTURE", env!("CARGO_TARGET_TMPDIR"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let output = child.stdout.take().expect("its output is piped");
        let mut site = Site { child, lines: BufReader::new(output).lines() };
        let served = |line: &Result<String, _>| line.as_ref().is_ok_and(|line| line.contains("http://10.77.0.2:80"));
        assert!(site.lines.find(served).is_some(), "the program says where it serves");
        site
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Fifty connections at a time, each with several requests.
fn keeps_connections_open(address: SocketAddr) {
    let mut streams: Vec<_> = (0..50).map(|_| TcpStream::connect(address).expect("the site listens")).collect();
    for _ in 0..5 {
        for stream in &mut streams {
            stream.write_all(b"HEAD /style.css HTTP/1.1\r\nHost: x\r\n\r\n").expect("the site reads");
        }
        for stream in &mut streams {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("the connection stays open");
                head.extend(byte);
            }
            assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", head.escape_ascii());
        }
    }
}

/// The site's capture has whole records, and among them the requests and answers of both directions.
fn captured() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("service.pcap");
    let file = std::fs::read(path).expect("the site has made it");
    let long = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes")) as usize;
    assert_eq!((long(0), long(20)), (0xa1b2_3c4d, 1), "nanoseconds and Ethernet");
    let (mut at, mut requests, mut answers) = (24, 0, 0);
    while at < file.len() {
        let (kept, original) = (long(at + 8), long(at + 12));
        assert_eq!(kept, original);
        let frame = &file[at + 16..at + 16 + kept];
        let carries = |words: &[u8]| frame.windows(words.len()).any(|window| window == words);
        requests += usize::from(carries(b"HEAD /style.css HTTP/1.1\r\n"));
        answers += usize::from(carries(b"HTTP/1.1 200 OK\r\n"));
        at += 16 + kept;
    }
    assert!(requests >= 250 && answers >= 250, "{requests} requests, {answers} answers");
}

/// Words that make no network, and what is said about them.
fn refusals() {
    for (words, message) in [
        ("--interface tap9 --ipv4 10.77.0.2/24", "there is no interface tap9: make it with"),
        ("--interface tap0", "--interface tap0 needs an address: give --ipv4 ADDRESS/PREFIX"),
        ("--interface tap0 --ipv4 10.77.0.1/24", "10.77.0.1 is this host's own address: give --ipv4 another one"),
        ("--interface tap0 --ipv4 10.77.0.2/24 --ipv4-gateway 10.78.0.1", "10.78.0.1 cannot be reached from 10.77.0.2"),
    ] {
        let output = program().args(words.split(' ')).output().expect("the program was built");
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(message), "{words}: {text}");
        assert!(text.contains("network service: "), "{words}: {text}");
        assert_eq!(output.status.code(), Some(1), "{words}");
    }
}
