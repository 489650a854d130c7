//! QEMU's monitor (QMP), as far as port forwards and machines that are kept need it.

use crate::error::ForwardError;
use crate::qemu::NETWORK;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The connection to the monitor.
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Greets QEMU.
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.line()?;
        monitor.ask(r#"{"execute":"qmp_capabilities"}"#)?;
        Ok(monitor)
    }

    /// Forwards a TCP port of 127.0.0.1 to a guest.
    pub(crate) fn forward(&mut self, host_port: u16, guest: Ipv4Addr, guest_port: u16) -> Result<(), ForwardError> {
        // QEMU says only that it could not.
        match TcpListener::bind((Ipv4Addr::LOCALHOST, host_port)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(ForwardError::Privileged(host_port));
            }
            Err(_) => return Err(ForwardError::Busy(host_port)),
        }
        self.human(&format!("hostfwd_add {NETWORK} tcp:127.0.0.1:{host_port}-{guest}:{guest_port}"))
    }

    /// Ends a forward.
    pub(crate) fn unforward(&mut self, host_port: u16) -> Result<(), ForwardError> {
        self.human(&format!("hostfwd_remove {NETWORK} tcp:127.0.0.1:{host_port}"))
    }

    /// Stops the machine and writes all of its state but its memory, which is a file, to the file `path`.
    pub(crate) fn keep(&mut self, path: &str) -> io::Result<()> {
        self.migrate_without_memory()?;
        self.execute(r#"{"execute":"stop"}"#)?;
        self.execute(&format!(r#"{{"execute":"migrate","arguments":{{"uri":"exec:cat >{path}"}}}}"#))?;
        self.migrated()
    }

    /// Gives a machine that was started for it the state in the file `path`, and lets it run.
    pub(crate) fn resume(&mut self, path: &str) -> io::Result<()> {
        self.migrate_without_memory()?;
        self.execute(&format!(r#"{{"execute":"migrate-incoming","arguments":{{"uri":"exec:cat {path}"}}}}"#))?;
        self.migrated()?;
        self.execute(r#"{"execute":"cont"}"#)
    }

    fn migrate_without_memory(&mut self) -> io::Result<()> {
        let capability = |name| format!(r#"{{"capability":"{name}","state":true}}"#);
        let capabilities = ["x-ignore-shared", "events"].map(capability).join(",");
        let arguments = format!(r#"{{"capabilities":[{capabilities}]}}"#);
        self.execute(&format!(r#"{{"execute":"migrate-set-capabilities","arguments":{arguments}}}"#))
    }

    /// Waits for the event that tells how a migration ended.
    fn migrated(&mut self) -> io::Result<()> {
        loop {
            let line = self.line()?;
            if !line.contains("\"MIGRATION\"") {
                continue;
            }
            if line.contains("\"completed\"") {
                return Ok(());
            }
            if line.contains("\"failed\"") {
                return Err(io::Error::other("QEMU can't move the machine's state"));
            }
        }
    }

    /// A command that answers nothing.
    fn execute(&mut self, command: &str) -> io::Result<()> {
        let answer = self.ask(command)?;
        match answer.contains("\"error\":") {
            true => Err(io::Error::other(text(&answer))),
            false => Ok(()),
        }
    }

    /// A command of the monitor for people, which prints nothing when it is done.
    fn human(&mut self, command: &str) -> Result<(), ForwardError> {
        let question = format!(r#"{{"execute":"human-monitor-command","arguments":{{"command-line":"{command}"}}}}"#);
        let answer = self.ask(&question).map_err(ForwardError::Monitor)?;
        let said = text(&answer);
        if said.is_empty() || said.contains("removed") {
            return Ok(());
        }
        Err(ForwardError::Refused(said))
    }

    fn ask(&mut self, question: &str) -> io::Result<String> {
        self.stream.get_mut().write_all(format!("{question}\n").as_bytes())?;
        loop {
            let line = self.line()?;
            // What has neither is an event.
            if line.contains("\"error\":") || line.contains("\"return\":") {
                return Ok(line);
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line),
        }
    }
}

/// The text in an answer: that of the result, or the description of the error.
fn text(answer: &str) -> String {
    let start =
        ["\"return\": \"", "\"desc\": \""].into_iter().find_map(|field| answer.split_once(field)).map(|(_, rest)| rest);
    let mut text = String::new();
    let mut letters = start.unwrap_or_default().chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => break,
            '\\' => match letters.next() {
                Some('r' | 'n' | 't') => text.push(' '),
                Some(other) => text.push(other),
                None => break,
            },
            other => text.push(other),
        }
    }
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn answers_are_read() {
        assert_eq!(text("{\"return\": \"\"}\r\n"), "");
        assert_eq!(text(r#"{"return": "could not set up \"it\"\r\n"}"#), r#"could not set up "it""#);
        assert_eq!(text(r#"{"error": {"class": "GenericError", "desc": "no such"}}"#), "no such");
        assert_eq!(text(r#"{"return": {}}"#), "");
    }
}
