//! The host's end of the channel to the agent in dom0.

use crate::error::CommandError;
use crate::protocol::{Frame, Kind};
use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for the answer of a machine that is kept awake.
const NUDGE_LIMIT: Duration = Duration::from_secs(10);

/// The channel: requests of many threads, answers sorted to them by number.
pub(crate) struct Link {
    stream: Mutex<UnixStream>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Who waits for which answers.
struct Waiting {
    requests: HashMap<u32, Sender<Frame>>,
    next: u32,
    gone: bool,
}

/// The answers to one request.
pub(crate) struct Answers {
    request: u32,
    frames: Receiver<Frame>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Link {
    /// Takes the connection over. The first frame, that dom0 is ready, is an answer to request 0.
    pub(crate) fn new(stream: UnixStream) -> io::Result<(Self, Answers)> {
        let waiting = Arc::new(Mutex::new(Waiting { requests: HashMap::new(), next: 0, gone: false }));
        let mut input = stream.try_clone()?;
        let link = Self { stream: Mutex::new(stream), waiting: waiting.clone() };
        let ready = link.register();
        thread::spawn(move || {
            while let Ok(frame) = Frame::read(&mut input) {
                let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(sender) = waiting.requests.get(&frame.request) {
                    // Nobody may wait any more.
                    let _ = sender.send(frame);
                }
            }
            let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.gone = true;
            waiting.requests.clear();
        });
        Ok((link, ready))
    }

    /// Interrupts the machine every `pause`, until the link is gone. One that does not answer is asked more seldom, so that what it
    /// does not read is not in the way of others.
    ///
    /// When a guest is left, QEMU 7.2 takes back a flag of its processor by reading and writing all of them, while another thread may
    /// be setting the one of the timer. That interrupt can be lost, and Xen, whose next timer is set when the last one comes, does
    /// nothing more until there is another interrupt: dom0 was seen to stand still for a minute on a busy host.
    pub(crate) fn keep_awake(self: &Arc<Self>, pause: Duration) {
        let link = Arc::downgrade(self);
        thread::spawn(move || {
            loop {
                thread::sleep(pause);
                let Some(asked) = link.upgrade().map(|link| link.request(Kind::Nudge, Vec::new())) else { return };
                if let Err(CommandError::Gone) = asked.and_then(|answers| answers.only(NUDGE_LIMIT)) {
                    return;
                }
            }
        });
    }

    fn register(&self) -> Answers {
        let (sender, frames) = mpsc::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let request = waiting.next;
        waiting.next = waiting.next.wrapping_add(1);
        if !waiting.gone {
            waiting.requests.insert(request, sender);
        }
        Answers { request, frames, waiting: self.waiting.clone() }
    }

    /// Sends a request.
    pub(crate) fn request(&self, kind: Kind, payload: Vec<u8>) -> Result<Answers, CommandError> {
        let answers = self.register();
        self.send(kind, answers.request, payload)?;
        Ok(answers)
    }

    /// Sends more about a request that was made.
    pub(crate) fn send(&self, kind: Kind, request: u32, payload: Vec<u8>) -> Result<(), CommandError> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        Frame { kind, request, payload }.write(&mut *stream).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => CommandError::Refused("the request is longer than 1 MiB".into()),
            _ => CommandError::Gone,
        })
    }

    /// Ends the connection: the reader and all that wait come back.
    pub(crate) fn close(&self) {
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = stream.shutdown(Shutdown::Both);
    }
}

impl Answers {
    /// The number of the request.
    pub(crate) fn request(&self) -> u32 {
        self.request
    }

    /// The next answer.
    pub(crate) fn next(&self, deadline: Instant) -> Result<Frame, CommandError> {
        let start = Instant::now();
        let left = deadline.saturating_duration_since(start);
        let frame = self.frames.recv_timeout(left).map_err(|error| match error {
            RecvTimeoutError::Timeout => CommandError::TimedOut(left),
            RecvTimeoutError::Disconnected => CommandError::Gone,
        })?;
        match frame.kind {
            Kind::Failed => Err(CommandError::Refused(String::from_utf8_lossy(&frame.payload).into_owned())),
            _ => Ok(frame),
        }
    }

    /// The one answer of a request that has one.
    pub(crate) fn only(&self, limit: Duration) -> Result<Vec<u8>, CommandError> {
        let started = Instant::now();
        match self.next(started + limit) {
            Err(CommandError::TimedOut(_)) => Err(CommandError::TimedOut(limit)),
            other => other.map(|frame| frame.payload),
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).requests.remove(&self.request);
    }
}

#[cfg(test)]
mod tests {
    use super::Link;
    use crate::error::CommandError;
    use crate::protocol::{Frame, Kind};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn answers_go_to_who_asked() -> Result<(), Box<dyn std::error::Error>> {
        let (own, mut other) = UnixStream::pair()?;
        let (link, ready) = Link::new(own)?;
        let first = link.request(Kind::Run, b"one".to_vec())?;
        let second = link.request(Kind::Run, b"two".to_vec())?;
        let asked = [Frame::read(&mut other)?, Frame::read(&mut other)?];
        assert_eq!((asked[0].payload.as_slice(), asked[1].payload.as_slice()), (&b"one"[..], &b"two"[..]));
        for frame in asked.iter().rev() {
            Frame { kind: Kind::Answer, request: frame.request, payload: frame.payload.clone() }.write(&mut other)?;
        }
        Frame { kind: Kind::Answer, request: 77, payload: Vec::new() }.write(&mut other)?;
        Frame { kind: Kind::Ready, request: 0, payload: vec![5] }.write(&mut other)?;
        assert_eq!(
            (first.only(LONG)?, second.only(LONG)?, ready.only(LONG)?),
            (b"one".to_vec(), b"two".to_vec(), vec![5])
        );
        Ok(())
    }

    #[test]
    fn the_machine_is_kept_awake_until_the_link_is_closed() -> Result<(), Box<dyn std::error::Error>> {
        let (own, mut other) = UnixStream::pair()?;
        let (link, _ready) = Link::new(own)?;
        let link = Arc::new(link);
        link.keep_awake(Duration::from_millis(1));
        for _ in 0..3 {
            let nudge = Frame::read(&mut other)?;
            assert_eq!(nudge.kind, Kind::Nudge);
            Frame { kind: Kind::Answer, ..nudge }.write(&mut other)?;
        }
        link.close();
        while Frame::read(&mut other).is_ok() {}
        Ok(())
    }

    #[test]
    fn a_request_fails_times_out_or_ends_with_the_link() -> Result<(), Box<dyn std::error::Error>> {
        let (own, mut other) = UnixStream::pair()?;
        let (link, _ready) = Link::new(own)?;
        let request = link.request(Kind::Survey, Vec::new())?;
        assert!(matches!(request.only(Duration::ZERO), Err(CommandError::TimedOut(_))));
        Frame { kind: Kind::Failed, request: request.request(), payload: b"why".to_vec() }.write(&mut other)?;
        assert!(matches!(request.only(LONG), Err(CommandError::Refused(why)) if why == "why"));
        drop(other);
        assert!(matches!(request.only(LONG), Err(CommandError::Gone)));
        let late = link.request(Kind::Survey, Vec::new()).and_then(|answers| answers.only(LONG));
        assert!(matches!(late, Err(CommandError::Gone)));
        Ok(())
    }
}
