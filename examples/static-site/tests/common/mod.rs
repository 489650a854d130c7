//! What the tests of the process share.

pub mod clients;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

/// The program under test: cargo says where it is.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_static-site"))
}

/// Requests `path` on a connection of its own: head and content.
pub fn get(address: SocketAddr, path: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("the site listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("the site reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the site answers and closes");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("an answer has a head");
    let content = answer.split_off(end + 4);
    (String::from_utf8(answer).expect("a head is ASCII"), content)
}

/// Every file of htdocs, with its path in a request.
pub fn files() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    add(&Path::new(env!("CARGO_MANIFEST_DIR")).join("htdocs"), "", &mut found);
    assert!(found.iter().any(|(path, _)| path == "/guide/index.html"));
    found
}

fn add(folder: &Path, path: &str, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let entry = entry.expect("the folder can be read");
        let path = format!("{path}/{}", entry.file_name().to_str().expect("names are UTF-8"));
        if entry.file_type().expect("an entry has a type").is_dir() {
            add(&entry.path(), &path, found);
        } else {
            found.push((path, std::fs::read(entry.path()).expect("files can be read")));
        }
    }
}
