//! The little of the xenstore protocol that the agent needs, on the daemon's socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

const SOCKET: &str = "/run/xenstored/socket";
const DIRECTORY: u32 = 1;
const READ: u32 = 2;
const WATCH: u32 = 4;
const WRITE: u32 = 11;
const WATCH_EVENT: u32 = 15;
const ERROR: u32 = 16;
const LARGEST: u32 = 4096;

/// A connection of its own to xenstored.
pub struct Xenstore {
    stream: UnixStream,
    events: usize,
}

impl Xenstore {
    /// Connects.
    pub fn connect() -> io::Result<Self> {
        Ok(Self {
            stream: UnixStream::connect(SOCKET)?,
            events: 0,
        })
    }

    /// The value of a node.
    pub fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        self.ask(READ, &[path.as_bytes(), b"\0"])
    }

    /// Sets the value of a node.
    pub fn write(&mut self, path: &str, value: &[u8]) -> io::Result<()> {
        self.ask(WRITE, &[path.as_bytes(), b"\0", value]).map(drop)
    }

    /// The names of a node's children.
    pub fn directory(&mut self, path: &str) -> io::Result<Vec<String>> {
        let names = self.ask(DIRECTORY, &[path.as_bytes(), b"\0"])?;
        Ok(names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect())
    }

    /// The number of the domain that the toolstack has named so.
    pub fn identify(&mut self, name: &str) -> io::Result<Option<u32>> {
        for number in self.directory("/local/domain")? {
            let Ok(found) = self.read(&format!("/local/domain/{number}/name")) else {
                continue;
            };
            if found == name.as_bytes() {
                return Ok(number.parse().ok());
            }
        }
        Ok(None)
    }

    /// Watches a node. The first event comes at once.
    pub fn watch(&mut self, path: &str) -> io::Result<()> {
        self.ask(WATCH, &[path.as_bytes(), b"\0mirage-lab\0"])
            .map(drop)
    }

    /// Waits for the next event of a watch.
    pub fn next_event(&mut self) -> io::Result<()> {
        while self.events == 0 {
            let (kind, _) = self.receive()?;
            self.events += usize::from(kind == WATCH_EVENT);
        }
        self.events -= 1;
        Ok(())
    }

    fn ask(&mut self, kind: u32, parts: &[&[u8]]) -> io::Result<Vec<u8>> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut message = Vec::with_capacity(16 + length);
        for field in [kind, 0, 0, length as u32] {
            message.extend_from_slice(&field.to_le_bytes());
        }
        for part in parts {
            message.extend_from_slice(part);
        }
        self.stream.write_all(&message)?;
        loop {
            let (answer, payload) = self.receive()?;
            match answer {
                WATCH_EVENT => self.events += 1,
                ERROR => {
                    let name = String::from_utf8_lossy(&payload);
                    let name = name.trim_end_matches('\0');
                    return Err(io::Error::other(format!("xenstore answered {name}")));
                }
                _ => return Ok(payload),
            }
        }
    }

    fn receive(&mut self) -> io::Result<(u32, Vec<u8>)> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        let [k0, k1, k2, k3, .., l0, l1, l2, l3] = head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if length > LARGEST {
            return Err(io::Error::other("a xenstore answer is too long"));
        }
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload)?;
        Ok((u32::from_le_bytes([k0, k1, k2, k3]), payload))
    }
}
