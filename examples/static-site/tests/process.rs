//! The site as a process: its words, its log line, its exit status, and the whole folder byte for byte.

#![forbid(unsafe_code)]

mod common;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use common::{files, program};

/// A running site. It ends with the test.
struct Site {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Site {
    /// Starts the program on a free port and waits for the line that says where it serves.
    fn start() -> Site {
        // Between the look for a free port and its use another process may take it.
        (0..10).find_map(|_| Site::try_start(free_port())).expect("one of ten ports that were free still is")
    }

    fn try_start(port: u16) -> Option<Site> {
        let mut child = program()
            .args(["--port", &port.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("its output is text");
        let Some((_, address)) = line.trim_end().split_once("serving on http://") else {
            child.wait().expect("the program ended by itself");
            return None;
        };
        let address: SocketAddr = address.parse().expect("the line ends in an address");
        assert_eq!(address, SocketAddr::from(([127, 0, 0, 1], port)));
        Some(Site { child, output: Some(output), address })
    }

    fn get(&self, path: &str) -> (String, Vec<u8>) {
        common::get(self.address, path)
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("there is a kill");
        assert!(kill.success());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("a listener has an address").port()
}

fn run(words: &[&str]) -> Output {
    program().args(words).output().expect("the program was built")
}

#[test]
fn the_folder_is_served_byte_for_byte() {
    let site = Site::start();
    for (path, expected) in &files() {
        let (head, content) = site.get(path);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {head}");
        assert!(content == *expected, "{path}");
        if let Some(folder) = path.strip_suffix("index.html") {
            assert!(site.get(folder).1 == *expected, "{folder}");
        }
    }
    assert!(site.get("/logo.svg").0.contains("\r\nContent-Type: image/svg+xml\r\n"));
    assert!(site.get("/none").0.starts_with("HTTP/1.1 404 "));
}

#[test]
fn clients_that_others_wrote_are_served() {
    common::clients::use_site(Site::start().address);
}

#[test]
fn a_request_to_stop_is_a_success() {
    for name in ["-TERM", "-INT"] {
        let mut site = Site::start();
        site.get("/");
        site.signal(name);
        assert_eq!(site.child.wait().expect("the program ends").code(), Some(0), "{name}");
        assert!(TcpStream::connect(site.address).is_err());
    }
}

#[test]
fn a_closed_console_does_not_stop_it() {
    let mut site = Site::start();
    site.output = None;
    // Turning connections away is logged.
    let open: Vec<_> = (0..300).map_while(|_| TcpStream::connect(site.address).ok()).collect();
    assert_eq!(open.len(), 300);
    drop(open);
    let served = (0..1000).any(|_| site.get("/").0.starts_with("HTTP/1.1 200 "));
    assert!(served, "the site lives");
}

#[test]
fn words() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).expect("help is text");
    for part in ["--port", "8080", "TCP port to serve", "--ipv4", "--interface", "--log"] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    let wrong = run(&["--prot", "80"]);
    assert_eq!(wrong.status.code(), Some(64));
    let text = String::from_utf8_lossy(&wrong.stdout).into_owned() + &String::from_utf8_lossy(&wrong.stderr);
    assert!(text.contains("unknown key --prot, did you mean --port?"), "{text}");
}

#[test]
fn what_can_not_be_bound_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("a listener has an address").port();
    for (words, message) in [
        (vec!["--port".to_string(), port.to_string()], format!("port {port} is in use: choose another one")),
        (
            vec!["--ipv4".to_string(), "192.0.2.1/24".to_string()],
            "192.0.2.1 is not an address of this host".to_string(),
        ),
    ] {
        let output = run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(&message), "{text}");
    }
}
