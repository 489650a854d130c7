//! Connections: what [`Session`] decides, done on a stream, and how long a client may take.

use core::cell::Cell;

use alloc::rc::Rc;
use alloc::vec::Vec;

use mirage_rt::kv::{self, Embedded};
use mirage_rt::log::{info, warn};
use mirage_rt::net::{AcceptError, TcpListener, TcpStream};
use mirage_rt::{Duration, Instant, Runtime, TimeLimit, now, sleep, spawn, yield_now};

use crate::http::date::{Clock, Date, imf_fixdate};
use crate::http::response::{self, Delivery};
use crate::http::session::{Session, Step};
use crate::http::site::{Answer, Fields, File, Files, INDEX};
use crate::http::status::Status;

/// How long a connection may be silent between requests.
const IDLE: Duration = Duration::from_secs(30);

/// How long the head of a request may take from its first byte.
const REQUEST: Duration = Duration::from_secs(10);

/// How long the client may take to read an answer, however short.
const ANSWER: Duration = Duration::from_secs(30);

/// The slowest client that is served, bytes in a second, for answers that are long.
const SLOWEST: u64 = 4096;

/// Steps that a connection takes, and connections that are accepted, before others have their turn, when nothing lets them wait.
const TURN: u32 = 16;

/// What is read away of a request's body after an answer that ends the connection, and for how long.
const DRAIN: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// How long to wait before the next try when the host has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// The machine's clock, whose line is made once a second: a busy server asks for it many times.
#[derive(Default)]
struct WallClock {
    /// The line, and until when it is right.
    latest: Cell<Option<(Instant, Date)>>,
}

impl Clock for WallClock {
    fn date(&self) -> Option<Date> {
        let runtime = Runtime::current();
        let now = runtime.recent();
        if let Some((until, date)) = self.latest.get()
            && now < until
        {
            return Some(date);
        }
        let time = runtime.wall_clock()?;
        let date = imf_fixdate(time.as_secs());
        let left = 1_000_000_000 - time.as_nanos() % 1_000_000_000;
        self.latest.set(Some((now + Duration::from_nanos(left), date)));
        Some(date)
    }
}

/// The embedded files, and what is said of each.
struct Site {
    files: Embedded,
    /// In the order of the files.
    fields: Vec<Fields>,
    /// The root's place among them.
    index: Option<usize>,
}

impl Site {
    fn new(files: Embedded) -> Site {
        let fields = |file: &kv::File| Fields::new(file.name, file.digest, file.content.len());
        let mut site = Site { files, fields: files.files().iter().map(fields).collect(), index: None };
        site.index = site.position(INDEX);
        site
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.files.files().binary_search_by(|file| file.name.as_bytes().cmp(name.as_bytes())).ok()
    }

    fn at(&self, index: usize) -> Option<File<'_>> {
        let file = self.files.files().get(index)?;
        Some(File { content: file.content, digest: file.digest, fields: self.fields.get(index)? })
    }
}

impl Files for Site {
    fn find(&self, name: &str) -> Option<File<'_>> {
        self.at(self.position(name)?)
    }

    fn index(&self) -> Option<File<'_>> {
        self.at(self.index?)
    }
}

/// Serves `files` to all who connect, for ever: `most` at a time, others are answered with 503 and closed.
///
/// # Errors
///
/// When the network is gone.
pub async fn serve_all(mut listener: TcpListener, files: Embedded, most: usize) -> mirage_rt::Result {
    let open = Rc::new(Cell::new(0));
    let (site, clock) = (Rc::new(Site::new(files)), Rc::new(WallClock::default()));
    let mut failing = false;
    for left in (0..TURN).rev().cycle() {
        if left == 0 {
            // Those who connect without end must not keep those who are connected waiting.
            yield_now().await;
        }
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(AcceptError::Host(error)) => {
                // Once for as long as it lasts.
                if !failing {
                    warn!("no connection accepted: {error}");
                }
                failing = true;
                sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        failing = false;
        match Place::take(&open, most) {
            Some(place) => {
                let (site, clock) = (Rc::clone(&site), Rc::clone(&clock));
                drop(spawn(async move {
                    serve(stream, &site, &*clock).await;
                    drop(place);
                }));
            }
            None => turn_away(&stream, most, &*clock).await,
        }
    }
    Ok(())
}

/// One of the places for connections, given back on drop.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(open: &Rc<Cell<usize>>, most: usize) -> Option<Place> {
        if open.get() >= most {
            return None;
        }
        open.set(open.get() + 1);
        Some(Place(Rc::clone(open)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Says why and closes, without waiting for the client.
async fn turn_away(stream: &TcpStream, most: usize, clock: &impl Clock) {
    info!("503 for {}: {most} connections are open", stream.peer_addr());
    let delivery = Delivery { date: clock.date(), head_only: false, keep_alive: false, http_1_0: false };
    let mut answer = Vec::new();
    if response::write(&Answer::status(Status::ServiceUnavailable), delivery, &mut answer).is_ok() {
        // There is room in a new connection; a client for which there is none gets nothing but the end.
        let _ = send(stream, &answer, &[], Duration::ZERO, &mut TimeLimit::new()).await;
    }
    let _ = stream.shutdown();
}

/// Serves one connection until it ends. What ends it early is the client's affair: nothing is logged.
async fn serve(stream: TcpStream, site: &Site, clock: &impl Clock) {
    let mut session = Session::new();
    let mut patience = TimeLimit::new();
    // When the head that has begun to arrive must be complete.
    let mut head_due: Option<Instant> = None;
    let mut left = TURN;
    loop {
        if left == 0 {
            yield_now().await;
            left = TURN;
        }
        left -= 1;
        match session.step(site, clock) {
            Step::Receive { idle } => {
                let limit = if idle {
                    head_due = None;
                    IDLE
                } else {
                    head_due.get_or_insert_with(|| now() + REQUEST).saturating_duration_since(now())
                };
                let space = session.space();
                let room = space.len();
                match patience.run(limit, stream.read(space)).await {
                    Ok(Ok(0) | Err(_)) => return,
                    Ok(Ok(length)) => {
                        session.received(length);
                        if length < room {
                            // Nothing is left to be read: the next read waits, and others have their turn.
                            left = TURN;
                        }
                    }
                    Err(_) if idle => return,
                    Err(_) => session.refuse(Status::RequestTimeout, clock),
                }
            }
            Step::Send(content) => {
                let output = session.output();
                let limit = ANSWER + Duration::from_secs((output.len() + content.len()) as u64 / SLOWEST);
                if !send(&stream, output, content, limit, &mut patience).await {
                    return stream.abort();
                }
                session.written();
                head_due = None;
            }
            Step::Close { drain } => {
                let buffer = drain.then(|| session.forget());
                return close(&stream, buffer, &mut patience).await;
            }
        }
    }
}

/// Writes both parts; whether the client took them in time.
async fn send(stream: &TcpStream, head: &[u8], content: &[u8], limit: Duration, patience: &mut TimeLimit) -> bool {
    let mut parts = [head, content];
    let all = stream.write_all_vectored(&mut parts);
    matches!(patience.run(limit, all).await, Ok(Ok(())))
}

/// Ends this side, and reads away for a while, if there is a buffer for it, what the client still sends: closing a connection with
/// unread bytes resets it, which may take the answer away from the client.
async fn close(stream: &TcpStream, buffer: Option<&mut [u8]>, patience: &mut TimeLimit) {
    if stream.shutdown().is_err() {
        return;
    }
    let Some(buffer) = buffer else { return };
    let rest = async {
        let mut left = DRAIN;
        while let Ok(length @ 1..) = stream.read(buffer).await {
            left = left.saturating_sub(length);
            if left == 0 {
                break;
            }
        }
    };
    // What is left after that time is lost with the connection.
    let _ = patience.run(DRAIN_TIME, rest).await;
}
