//! The server as a process: its words, its log line, its exit status.

#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A running server. It ends with the test.
struct Server {
    child: Child,
    // Kept open for as long as the server may write to it.
    _output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Server {
    /// Starts the program on a free port and waits for the line that says where it serves.
    fn start() -> Server {
        // Between the look for a free port and its use another process may take it.
        (0..10).find_map(|_| Server::try_start(free_port())).expect("one of ten ports that were free still is")
    }

    fn try_start(port: u16) -> Option<Server> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_echo-server"))
            .args(["--port", &port.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let mut output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("its output is text");
        let Some((_, address)) = line.trim_end().split_once("echoing on ") else {
            child.wait().expect("the program ended by itself");
            return None;
        };
        let address = address.parse().expect("the line ends in an address");
        Some(Server { child, _output: output, address })
    }
}

impl Drop for Server {
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

#[test]
fn what_is_sent_comes_back_and_a_request_to_stop_is_a_success() {
    let mut server = Server::start();
    let mut stream = TcpStream::connect(server.address).expect("the server listens");
    stream.write_all(b"to and fro").expect("the server reads");
    stream.shutdown(Shutdown::Write).expect("the connection is open");
    let mut back = Vec::new();
    stream.read_to_end(&mut back).expect("the server answers and closes");
    assert_eq!(back, b"to and fro");
    let kill = Command::new("kill").args(["-TERM", &server.child.id().to_string()]).status().expect("there is a kill");
    assert!(kill.success());
    assert_eq!(server.child.wait().expect("the program ends").code(), Some(0));
}

#[test]
fn a_port_in_use_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("a listener has an address").port();
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo-server"));
    let output = command.args(["--port", &port.to_string()]).output().expect("the program was built");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(&format!("port {port} is in use")), "{text}");
}
