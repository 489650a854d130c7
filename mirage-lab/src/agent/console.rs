//! Consoles of domains, live.
//!
//! xenconsoled logs each domain to a file of its own. The agent puts a named pipe in that file's place before the domain is
//! made, so that every byte comes at once and nothing has to be polled. When xenconsoled closes the pipe the domain is gone;
//! one of the same name (restored, rebooted) opens it anew.

use crate::Agent;
use crate::protocol::Kind;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

const CHUNK: usize = 16 * 1024;

/// The consoles that are followed, by request.
#[derive(Default)]
pub struct Consoles {
    followed: Mutex<HashMap<u32, Followed>>,
}

struct Followed {
    path: String,
    ended: Arc<AtomicBool>,
}

impl Consoles {
    /// Ends the thread of a request.
    pub fn unfollow(&self, request: u32) {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner).remove(&request);
        if let Some(Followed { path, ended }) = followed {
            ended.store(true, Ordering::Release);
            // The thread may be waiting for a writer: be one, and go.
            drop(OpenOptions::new().read(true).write(true).open(&path));
            let _ = fs::remove_file(path);
        }
    }
}

/// Sends all that a domain of this name prints.
pub fn follow(agent: &Arc<Agent>, request: u32, name: &str) {
    let path = format!("/var/log/xen/console/guest-{name}.log");
    let _ = fs::remove_file(&path);
    if !Command::new("mkfifo").arg(&path).status().is_ok_and(|status| status.success()) {
        return agent.fail(request, format!("no pipe can be made at {path}"));
    }
    let ended = Arc::new(AtomicBool::new(false));
    let followed = Followed { path: path.clone(), ended: ended.clone() };
    agent.consoles.followed.lock().unwrap_or_else(PoisonError::into_inner).insert(request, followed);
    let follower = agent.clone();
    thread::spawn(move || {
        while !ended.load(Ordering::Acquire) {
            let Ok(pipe) = File::open(&path) else { break };
            relay(&follower, request, pipe);
        }
        follower.send(Kind::Answer, request, Vec::new());
    });
    agent.send(Kind::Ready, request, Vec::new());
}

fn relay(agent: &Agent, request: u32, mut pipe: File) {
    let mut chunk = vec![0; CHUNK];
    let mut first = true;
    while let Ok(length @ 1..) = pipe.read(&mut chunk) {
        let mut payload = agent.clock().to_le_bytes().to_vec();
        if first && let Ok(states) = agent.domains.survey() {
            agent.send(Kind::States, request, states.into_bytes());
        }
        first = false;
        payload.extend_from_slice(chunk.get(..length).unwrap_or_default());
        agent.send(Kind::Console, request, payload);
    }
}
