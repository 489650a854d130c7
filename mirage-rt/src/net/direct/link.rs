//! Whether the device works, and who wants to know.

use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};

use crate::net::Link;

pub struct LinkState {
    link: Link,
    watchers: Vec<Waker>,
}

impl LinkState {
    /// A link that is up.
    pub fn new(mtu: u16) -> LinkState {
        LinkState { link: Link { up: true, mtu: Some(mtu), changes: 0 }, watchers: Vec::new() }
    }

    pub fn get(&self) -> Link {
        self.link
    }

    pub fn set_up(&mut self, mtu: u16) {
        self.set(Link { up: true, mtu: Some(mtu), ..self.link });
    }

    pub fn set_down(&mut self) {
        self.set(Link { up: false, ..self.link });
    }

    fn set(&mut self, link: Link) {
        if link != self.link {
            self.link = Link { changes: link.changes + 1, ..link };
            self.wake();
        }
    }

    /// Wakes those who watch: the link has changed, or what stands above it.
    pub fn wake(&mut self) {
        self.watchers.drain(..).for_each(Waker::wake);
    }

    pub fn poll_changed(&mut self, context: &mut Context<'_>, since: Link) -> Poll<Link> {
        if self.link.changes != since.changes {
            return Poll::Ready(self.link);
        }
        self.watch(context);
        Poll::Pending
    }

    /// The task is to be woken by [`wake`](LinkState::wake).
    pub fn watch(&mut self, context: &mut Context<'_>) {
        if !self.watchers.iter().any(|watcher| watcher.will_wake(context.waker())) {
            self.watchers.push(context.waker().clone());
        }
    }
}
