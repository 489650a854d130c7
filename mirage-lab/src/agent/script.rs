//! Scripts that the host has run.

use crate::Agent;
use crate::protocol::Kind;
use std::collections::HashMap;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

const CHUNK: usize = 32 * 1024;
/// How long the end of a script's output may take, once the script has ended, before somebody is looked for who holds it open.
const GRACE: Duration = Duration::from_millis(200);

/// The scripts that run, by request.
#[derive(Default)]
pub struct Scripts {
    groups: Mutex<HashMap<u32, u32>>,
}

impl Scripts {
    /// Ends a script and all that it started.
    pub fn kill(&self, request: u32) {
        let group = self.groups.lock().unwrap_or_else(PoisonError::into_inner).get(&request).copied();
        if let Some(group) = group {
            let _ = Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).status();
        }
    }
}

/// Runs a script to its end; its output goes out as it comes.
pub fn run(agent: &Arc<Agent>, request: u32, text: &str) {
    let started = agent.clock();
    let spawned = Command::new("/bin/sh")
        .args(["-c", text])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return agent.fail(request, error),
    };
    agent.scripts.groups.lock().unwrap_or_else(PoisonError::into_inner).insert(request, child.id());
    let (tell, told) = mpsc::channel();
    if let Some(pipe) = child.stdout.take() {
        pump(agent, request, Kind::Output, pipe, tell.clone());
    }
    if let Some(pipe) = child.stderr.take() {
        pump(agent, request, Kind::ErrorOutput, pipe, tell.clone());
    }
    drop(tell);
    let status = child.wait();
    let ended = agent.clock();
    agent.scripts.groups.lock().unwrap_or_else(PoisonError::into_inner).remove(&request);
    // A daemon that the script left behind may hold the pipes: then the output has no end to wait for. Nobody sends anything:
    // the channel ends with the last reader.
    if told.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) && !left_behind(child.id()) {
        let _ = told.recv();
    }
    let status = match status {
        Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        Err(error) => return agent.fail(request, error),
    };
    let mut payload = status.to_le_bytes().to_vec();
    payload.extend_from_slice(&started.to_le_bytes());
    payload.extend_from_slice(&ended.to_le_bytes());
    agent.send(Kind::Ended, request, payload);
}

/// Whether a process of the script's group is still there.
fn left_behind(group: u32) -> bool {
    Command::new("kill")
        .args(["-0", "--", &format!("-{group}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Sends what comes out of a pipe, and drops `end` after the last of it.
fn pump(agent: &Arc<Agent>, request: u32, kind: Kind, mut pipe: impl Read + Send + 'static, end: Sender<()>) {
    let agent = agent.clone();
    thread::spawn(move || {
        let mut chunk = vec![0; CHUNK];
        while let Ok(length @ 1..) = pipe.read(&mut chunk) {
            agent.send(kind, request, chunk.get(..length).unwrap_or_default().to_vec());
        }
        drop(end);
    });
}
