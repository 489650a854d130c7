//! Watches: streams of changes, bounded.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};

use super::transport::{Connection, Request};
use super::{Xenstore, XenstoreError};
use crate::lists::take_swapped;
use crate::warning::warn;
use crate::xenstore::wire::{self, Operation};

/// Events that wait at one watch. Further ones are merged into a single "look at everything".
const QUEUE: usize = 16;

/// Something at or below a watched path has changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchEvent {
    /// The node that changed, in the form the watch was set with; the watched path itself when there were more changes
    /// than were kept.
    pub path: String,
}

/// A watch, ended when this is dropped.
///
/// xenstored tells of each change once, and once when the watch is set. Equal events that wait are one: an event means
/// "look again", not what changed to what.
pub struct Watch {
    store: Xenstore,
    token: u32,
    /// The request that sets it, until that was answered.
    setting: Option<Request>,
}

#[derive(Default)]
pub(super) struct Watches {
    last_token: u32,
    entries: Vec<Entry>,
}

struct Entry {
    token: u32,
    path: String,
    queue: Vec<String>,
    waker: Option<Waker>,
    lost: bool,
}

impl Watches {
    fn find(&mut self, token: u32) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.token == token)
    }

    /// Takes the payload of an event: path and token.
    pub(super) fn deliver(&mut self, payload: &[u8], wake: &mut Vec<Waker>) {
        let mut strings = wire::strings(payload);
        let (path, token) = (strings.next().unwrap_or_default(), strings.next().unwrap_or_default());
        let Ok(path) = core::str::from_utf8(path) else {
            return warn(format_args!("xenstore: an event of a path that is no text"));
        };
        // One of a watch that has just been ended is no error.
        let Some(entry) = self.entries.iter_mut().find(|entry| token_text(entry.token)[..] == *token) else { return };
        if !entry.queue.iter().any(|waiting| waiting == path) {
            let full = entry.queue.len() == QUEUE;
            if full {
                entry.queue.clear();
            }
            entry.queue.push(if full { &entry.path } else { path }.to_string());
        }
        wake.extend(entry.waker.take());
    }

    pub(super) fn lose(&mut self, wake: &mut Vec<Waker>) {
        for entry in &mut self.entries {
            entry.lost = true;
            wake.extend(entry.waker.take());
        }
    }
}

/// How a token is written: eight digits.
fn token_text(token: u32) -> [u8; 8] {
    core::array::from_fn(|digit| b"0123456789abcdef"[(token >> (28 - 4 * digit)) as usize % 16])
}

impl Xenstore {
    /// Watches a node and all below it. The first event comes at once.
    ///
    /// Cancel safe: a dropped future leaves no watch behind.
    ///
    /// # Errors
    ///
    /// `E2BIG` when the domain has as many watches as it may.
    pub async fn watch(&self, path: &str) -> Result<Watch, XenstoreError> {
        let mut watch = self.start_watch(path);
        poll_fn(|context| watch.poll_set(context)).await?;
        Ok(watch)
    }

    /// As [`watch`](Self::watch), without waiting: when the watch is refused, the first event is the error.
    pub(crate) fn start_watch(&self, path: &str) -> Watch {
        let mut watches = self.connection.watches.borrow_mut();
        watches.last_token = watches.last_token.wrapping_add(1);
        let token = watches.last_token;
        watches.entries.push(Entry { token, path: path.to_string(), queue: Vec::new(), waker: None, lost: false });
        let store = Xenstore { transaction: 0, generation: 0, ..self.clone() };
        let setting = store.about_watch(Operation::Watch, path, token);
        Watch { store, token, setting: Some(setting) }
    }

    fn about_watch(&self, operation: Operation, path: &str, token: u32) -> Request {
        let mut rest = [0; 9];
        rest[..8].copy_from_slice(&token_text(token));
        self.request(operation, path, &rest)
    }
}

impl Connection {
    /// Sets all watches again, on a new connection.
    pub(super) fn watch_all_again(&self) {
        self.hold(true);
        // While requests are held back, nothing comes in that would change the watches.
        for entry in &mut self.watches.borrow_mut().entries {
            entry.lost = false;
            let mut payload = entry.path.clone().into_bytes();
            payload.push(0);
            payload.extend_from_slice(&token_text(entry.token));
            payload.push(0);
            self.submit(Operation::Watch, 0, &payload, None);
        }
        self.hold(false);
    }
}

impl Watch {
    /// The watched path.
    pub fn path(&self) -> String {
        let mut watches = self.store.connection.watches.borrow_mut();
        watches.find(self.token).map(|entry| entry.path.clone()).unwrap_or_default()
    }

    fn poll_set(&mut self, context: &mut Context<'_>) -> Poll<Result<(), XenstoreError>> {
        if let Some(setting) = &mut self.setting {
            ready!(Pin::new(setting).poll(context))?;
            self.setting = None;
        }
        Poll::Ready(Ok(()))
    }

    /// The next event, when there is one. Keeps the waker of the latest call only.
    ///
    /// # Errors
    ///
    /// [`XenstoreError::Lost`]: there will be none any more.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchEvent, XenstoreError>> {
        ready!(self.poll_set(context))?;
        let mut watches = self.store.connection.watches.borrow_mut();
        let Some(entry) = watches.find(self.token) else { return Poll::Ready(Err(XenstoreError::Lost)) };
        // The first one: they are few, and this needs no text about a panic in every image.
        entry.queue.reverse();
        let first = entry.queue.pop();
        entry.queue.reverse();
        if let Some(path) = first {
            return Poll::Ready(Ok(WatchEvent { path }));
        }
        if entry.lost {
            return Poll::Ready(Err(XenstoreError::Lost));
        }
        entry.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Forgets the events that wait: for whoever is about to look at everything.
    pub fn clear(&mut self) {
        if let Some(entry) = self.store.connection.watches.borrow_mut().find(self.token) {
            entry.queue.clear();
        }
    }

    /// Waits for the next event. Cancel safe: an event is taken only by a call that returns it.
    ///
    /// # Errors
    ///
    /// As [`poll_next`](Self::poll_next).
    pub async fn next(&mut self) -> Result<WatchEvent, XenstoreError> {
        poll_fn(|context| self.poll_next(context)).await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let entry = {
            let mut watches = self.store.connection.watches.borrow_mut();
            let index = watches.entries.iter().position(|entry| entry.token == self.token);
            index.and_then(|index| take_swapped(&mut watches.entries, index))
        };
        if let Some(entry) = entry {
            self.store.about_watch(Operation::Unwatch, &entry.path, self.token).send();
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watch of {}", self.path())
    }
}
