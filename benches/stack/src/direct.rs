//! An application without tasks: the stack and its handles are all that is counted.

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use mirage_rt::net::TcpStream;

use crate::ROOM;

/// Connections, each with a waker that tells which of them has something to read.
#[derive(Default)]
pub struct Connections {
    streams: RefCell<Vec<(TcpStream, Waker)>>,
    told: Arc<Mutex<Vec<usize>>>,
}

/// Puts its connection into the list of those with something to do.
struct Told {
    number: usize,
    list: Arc<Mutex<Vec<usize>>>,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.list.lock().expect("nobody panics with it").push(self.number);
    }
}

impl Connections {
    /// One more. It is looked at for the first time in the next [`serve`](Connections::serve).
    pub fn keep(&self, stream: TcpStream) {
        let mut streams = self.streams.borrow_mut();
        let told = Arc::new(Told { number: streams.len(), list: self.told.clone() });
        told.wake_by_ref();
        streams.push((stream, Waker::from(told)));
    }

    /// Sends back what has come; whether anything has.
    pub fn serve(&self) -> bool {
        let streams = self.streams.borrow();
        let mut any = false;
        loop {
            let Some(number) = self.told.lock().expect("nobody panics with it").pop() else { return any };
            if let Some((stream, waker)) = streams.get(number) {
                any |= serve_one(stream, waker);
            }
        }
    }
}

/// Echoes until there is nothing more to read, and the waker waits for the next; whether there was anything.
fn serve_one(stream: &TcpStream, waker: &Waker) -> bool {
    let mut context = Context::from_waker(waker);
    let mut buffer = [0; ROOM];
    let mut any = false;
    while let Poll::Ready(Ok(length @ 1..)) = stream.poll_read(&mut context, &mut buffer) {
        // A request is answered before the next one comes, so that there is always room.
        let written = stream.poll_write(&mut context, &buffer[..length]);
        assert!(matches!(written, Poll::Ready(Ok(written)) if written == length), "there is room for the answer");
        any = true;
    }
    any
}
