//! The ring below the client: bytes out, bytes in, answers to whom they belong.

use alloc::collections::VecDeque;
use alloc::rc::{Rc, Weak};
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{Ordering, fence};
use core::task::{Context, Poll, Waker, ready};

use super::XenstoreError;
use super::watch::Watches;
use crate::attachment::AttachError;
use crate::events::{EventChannel, EventHandler, Events};
use crate::hypervisor::{Hypervisor, PAGE_SIZE};
use crate::shared::SharedBytes;
use crate::untrusted::Untrusted;
use crate::xenstore::wire::{self, Assembler, Code, HEADER, Header, Message, Operation, PAYLOAD_MAX};

/// Layout of the page, `struct xenstore_domain_interface`.
pub(crate) const RING: u32 = 1024;
pub(crate) const REQUESTS: usize = 0;
pub(crate) const RESPONSES: usize = RING as usize;
pub(crate) const REQUEST_CONSUMER: usize = 2048;
pub(crate) const REQUEST_PRODUCER: usize = 2052;
pub(crate) const RESPONSE_CONSUMER: usize = 2056;
pub(crate) const RESPONSE_PRODUCER: usize = 2060;

/// Bytes that may wait for room in the ring before requests wait themselves. What a dropped handle sends does not wait.
const QUEUE: usize = 2 * (HEADER + PAYLOAD_MAX);

/// The domain's connection to xenstore. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Xenstore {
    pub(super) connection: Rc<Connection>,
    /// The transaction its requests belong to, 0 for none.
    pub(super) transaction: u32,
}

pub(super) struct Connection {
    state: RefCell<State>,
    pub(super) watches: RefCell<Watches>,
}

#[derive(Default)]
struct State {
    ring: Option<(SharedBytes<'static>, EventChannel)>,
    lost: bool,
    queue: VecDeque<u8>,
    incoming: Assembler,
    last_request: u32,
    requests: Vec<Pending>,
    waiting_for_room: Vec<Waker>,
}

struct Pending {
    number: u32,
    operation: Operation,
    answer: Answer,
}

enum Answer {
    Awaited(Option<Waker>),
    Here(Result<Vec<u8>, Refusal>),
    /// Nobody waits any more.
    Abandoned,
}

impl Pending {
    /// The transaction that its answer started.
    fn orphan(self) -> Option<u32> {
        match (self.operation, self.answer) {
            (Operation::TransactionStart, Answer::Here(Ok(payload))) => super::transaction::parse_number(&payload),
            _ => None,
        }
    }
}

/// Why there is no payload.
enum Refusal {
    Code(Code),
    Error(XenstoreError),
}

impl Xenstore {
    /// A client without a connection yet; [`attach`](Self::attach) makes it.
    pub(crate) fn new() -> Self {
        let connection = Connection { state: RefCell::default(), watches: RefCell::default() };
        Self { connection: Rc::new(connection), transaction: 0 }
    }

    /// Connects to the ring, at boot or anew after a resume: what was under way is interrupted, watches are set again.
    pub(crate) fn attach(&self, hypervisor: &dyn Hypervisor, events: &Events) -> Result<(), AttachError> {
        let ring = hypervisor.xenstore_ring()?;
        debug_assert_eq!(ring.memory.len(), PAGE_SIZE);
        let handler: Weak<dyn EventHandler> = Rc::downgrade(&(self.connection.clone() as Rc<dyn EventHandler>));
        let channel = events.adopt(ring.port, Some(handler))?;
        let before = {
            let mut state = self.connection.state.borrow_mut();
            let last_request = state.last_request;
            core::mem::replace(
                &mut *state,
                State { ring: Some((ring.memory, channel)), last_request, ..State::default() },
            )
        };
        let interrupted = self.connection.take_over(before);
        interrupted.into_iter().for_each(Waker::wake);
        self.watch_all_again();
        self.connection.serve();
        Ok(())
    }

    /// A request about `path`, with what else belongs to it.
    pub(super) fn request(&self, operation: Operation, path: &str, rest: &[u8]) -> Request {
        let payload = [path.as_bytes(), b"\0", rest].concat();
        Request { store: self.clone(), operation, payload, path: path.len(), stage: Stage::Unsent }
    }

    /// Sends a request whose answer does not matter, without waiting: what dropped handles leave behind.
    pub(super) fn send(&self, operation: Operation, payload: &[u8]) {
        self.connection.submit(operation, self.transaction, payload, false);
    }
}

impl fmt::Debug for Xenstore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.connection.state.borrow().lost {
            "lost xenstore connection"
        } else {
            "xenstore connection"
        })
    }
}

impl Connection {
    /// Ready when the queue has room for another message.
    fn poll_room(&self, context: &mut Context<'_>) -> Poll<Result<(), XenstoreError>> {
        let mut state = self.state.borrow_mut();
        if state.lost {
            return Poll::Ready(Err(XenstoreError::Lost));
        }
        if state.queue.len() <= QUEUE - HEADER - PAYLOAD_MAX {
            return Poll::Ready(Ok(()));
        }
        state.waiting_for_room.push(context.waker().clone());
        Poll::Pending
    }

    /// Puts a request into the queue; its number. Its answer is kept only if it is `awaited`.
    fn submit(&self, operation: Operation, transaction: u32, payload: &[u8], awaited: bool) -> u32 {
        let number = {
            let mut state = self.state.borrow_mut();
            let number = state.new_number();
            let answer = match (state.lost, awaited) {
                (true, false) => return number,
                (true, true) => Answer::Here(Err(Refusal::Error(XenstoreError::Lost))),
                (false, true) => Answer::Awaited(None),
                (false, false) => Answer::Abandoned,
            };
            if !state.lost {
                let length = payload.len() as u32;
                let header = Header { operation: operation as u32, request: number, transaction, length };
                state.queue.extend(header.emit());
                state.queue.extend(payload);
            }
            state.requests.push(Pending { number, operation, answer });
            number
        };
        self.serve();
        number
    }

    /// Nobody waits for an answer any more.
    fn abandon(&self, number: u32) {
        let orphan = {
            let mut state = self.state.borrow_mut();
            let Some(index) = state.find(number) else { return };
            if matches!(state.requests[index].answer, Answer::Here(_)) {
                state.requests.swap_remove(index).orphan()
            } else {
                state.requests[index].answer = Answer::Abandoned;
                None
            }
        };
        self.end_orphans(orphan);
    }

    /// Ends transactions that were started for nobody.
    fn end_orphans(&self, transactions: impl IntoIterator<Item = u32>) {
        for transaction in transactions {
            self.submit(Operation::TransactionEnd, transaction, b"F\0", false);
        }
    }

    /// Moves bytes both ways until neither is possible, notifies xenstored, and wakes whom it concerns.
    fn serve(&self) {
        let mut wake = Vec::new();
        let mut orphans = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            let mut moved = false;
            loop {
                match state.exchange() {
                    Ok(Exchange { moved: false, .. }) => break,
                    Ok(Exchange { messages, .. }) => {
                        moved = true;
                        messages
                            .into_iter()
                            .for_each(|message| self.deliver(&mut state, message, &mut wake, &mut orphans));
                    }
                    Err(reason) => {
                        log::error!("xenstore: connection given up: {reason}");
                        state.lose(&mut wake);
                        self.watches.borrow_mut().lose(&mut wake);
                        break;
                    }
                }
            }
            if moved {
                if let Some((_, channel)) = &state.ring
                    && let Err(error) = channel.notify()
                {
                    log::error!("xenstore: {error}");
                }
                wake.append(&mut state.waiting_for_room);
            }
        }
        wake.into_iter().for_each(Waker::wake);
        self.end_orphans(orphans);
    }

    fn deliver(&self, state: &mut State, message: Message, wake: &mut Vec<Waker>, orphans: &mut Vec<u32>) {
        let operation = Operation::from_code(message.header.operation);
        if operation == Some(Operation::WatchEvent) {
            self.watches.borrow_mut().deliver(&message.payload, wake);
            return;
        }
        let Some(index) = state.find(message.header.request) else {
            log::warn!("xenstore: an answer to request {}, which was not made", message.header.request);
            return;
        };
        let request = &mut state.requests[index];
        let answer = match operation {
            Some(Operation::Error) => Err(Refusal::Code(Code::parse(&message.payload))),
            Some(operation) if operation == request.operation => Ok(message.payload),
            _ => Err(Refusal::Error(XenstoreError::Reply(request.operation))),
        };
        match core::mem::replace(&mut request.answer, Answer::Here(answer)) {
            Answer::Awaited(waker) => wake.extend(waker),
            Answer::Here(_) => {}
            Answer::Abandoned => orphans.extend(state.requests.swap_remove(index).orphan()),
        }
    }

    /// Answers what was under way on an earlier connection; whom to wake.
    fn take_over(&self, before: State) -> Vec<Waker> {
        let mut wake = before.waiting_for_room;
        let mut state = self.state.borrow_mut();
        for mut request in before.requests {
            match request.answer {
                Answer::Awaited(waker) => {
                    wake.extend(waker);
                    request.answer = Answer::Here(Err(Refusal::Error(XenstoreError::Interrupted)));
                    state.requests.push(request);
                }
                Answer::Here(_) => state.requests.push(request),
                Answer::Abandoned => {}
            }
        }
        wake
    }
}

impl EventHandler for Connection {
    fn on_event(&self) {
        self.serve();
    }
}

#[derive(Default)]
struct Exchange {
    moved: bool,
    messages: Vec<Message>,
}

impl State {
    fn find(&self, number: u32) -> Option<usize> {
        self.requests.iter().position(|request| request.number == number)
    }

    /// A number that no request under way has.
    fn new_number(&mut self) -> u32 {
        loop {
            self.last_request = self.last_request.wrapping_add(1);
            if self.requests.iter().all(|request| request.number != self.last_request) {
                return self.last_request;
            }
        }
    }

    /// Writes what fits into the ring and reads what is there.
    fn exchange(&mut self) -> Result<Exchange, &'static str> {
        let Some((page, _)) = &self.ring else { return Ok(Exchange::default()) };
        if self.lost {
            return Ok(Exchange::default());
        }
        let mut result = Exchange::default();
        // Our own indices stand in the page as well. xenstored has no reason to write them; if it does, the checks hold.
        let consumer = page.load_u32(REQUEST_CONSUMER, Ordering::Acquire);
        let mut producer = page.load_u32(REQUEST_PRODUCER, Ordering::Relaxed);
        let waiting = Untrusted::new(producer.wrapping_sub(consumer)).at_most(RING);
        let mut room = RING - waiting.ok_or("the indices of the request ring are more than a ring apart")?;
        while room > 0
            && let Some(byte) = self.queue.pop_front()
        {
            page.write_u8(REQUESTS + (producer % RING) as usize, byte);
            producer = producer.wrapping_add(1);
            room -= 1;
            result.moved = true;
        }
        page.store_u32(REQUEST_PRODUCER, producer, Ordering::Release);

        let producer = page.load_u32(RESPONSE_PRODUCER, Ordering::Acquire);
        let mut consumer = page.load_u32(RESPONSE_CONSUMER, Ordering::Relaxed);
        let count = Untrusted::new(producer.wrapping_sub(consumer)).at_most(RING);
        let count = count.ok_or("the indices of the response ring are more than a ring apart")?;
        let mut bytes = [0; RING as usize];
        let bytes = &mut bytes[..count as usize];
        for byte in bytes.iter_mut() {
            *byte = page.read_u8(RESPONSES + (consumer % RING) as usize);
            consumer = consumer.wrapping_add(1);
        }
        page.store_u32(RESPONSE_CONSUMER, consumer, Ordering::Release);
        fence(Ordering::SeqCst);
        result.moved |= count > 0;
        let mut rest = &*bytes;
        while !rest.is_empty() {
            match self.incoming.feed(&mut rest) {
                Ok(message) => result.messages.extend(message),
                Err(_) => return Err("xenstored sent a message longer than the protocol allows"),
            }
        }
        Ok(result)
    }

    fn lose(&mut self, wake: &mut Vec<Waker>) {
        self.lost = true;
        self.queue.clear();
        wake.append(&mut self.waiting_for_room);
        self.requests.retain(|request| !matches!(request.answer, Answer::Abandoned));
        for request in &mut self.requests {
            if let Answer::Awaited(waker) = &mut request.answer {
                wake.extend(waker.take());
                request.answer = Answer::Here(Err(Refusal::Error(XenstoreError::Lost)));
            }
        }
    }
}

/// A request under way: ready with the payload of its answer.
///
/// It is sent when it is first polled and there is room in the queue. Cancel safe: dropped before that, nothing is done;
/// dropped later, its answer is thrown away.
#[must_use = "nothing is asked until this is awaited"]
pub struct Request {
    store: Xenstore,
    operation: Operation,
    payload: Vec<u8>,
    /// Bytes of the path, which comes first.
    path: usize,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    Unsent,
    Sent(u32),
    Done,
}

impl Request {
    /// Whether its payload is on its way, or was.
    pub(super) fn is_sent(&self) -> bool {
        !matches!(self.stage, Stage::Unsent)
    }

    fn path(&self) -> String {
        String::from_utf8_lossy(&self.payload[..self.path]).into_owned()
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<u32, XenstoreError>> {
        let path = core::str::from_utf8(&self.payload[..self.path]);
        if self.operation.has_path() && !path.is_ok_and(wire::is_valid_path) {
            return Poll::Ready(Err(XenstoreError::Path(self.path())));
        }
        if self.payload.len() > PAYLOAD_MAX {
            return Poll::Ready(Err(XenstoreError::TooLong { length: self.payload.len() }));
        }
        let connection = &self.store.connection;
        ready!(connection.poll_room(context))?;
        Poll::Ready(Ok(connection.submit(self.operation, self.store.transaction, &self.payload, true)))
    }

    fn poll_answer(&self, number: u32, context: &mut Context<'_>) -> Poll<Result<Vec<u8>, XenstoreError>> {
        let mut state = self.store.connection.state.borrow_mut();
        let Some(index) = state.find(number) else { return Poll::Ready(Err(XenstoreError::Interrupted)) };
        if let Answer::Awaited(waker) = &mut state.requests[index].answer {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(match state.requests.swap_remove(index).answer {
            Answer::Here(Ok(payload)) => Ok(payload),
            Answer::Here(Err(Refusal::Error(error))) => Err(error),
            Answer::Here(Err(Refusal::Code(code))) => {
                Err(XenstoreError::Refused { operation: self.operation, path: self.path(), code })
            }
            Answer::Awaited(_) | Answer::Abandoned => Err(XenstoreError::Interrupted),
        })
    }
}

impl Future for Request {
    type Output = Result<Vec<u8>, XenstoreError>;

    // One copy of this, not one for each place that asks for something.
    #[inline(never)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let number = match self.stage {
            Stage::Done => return Poll::Ready(Err(XenstoreError::Interrupted)),
            Stage::Sent(number) => number,
            Stage::Unsent => match ready!(self.poll_send(context)) {
                Ok(number) => number,
                Err(error) => {
                    self.stage = Stage::Done;
                    return Poll::Ready(Err(error));
                }
            },
        };
        self.stage = Stage::Sent(number);
        let answer = ready!(self.poll_answer(number, context));
        self.stage = Stage::Done;
        Poll::Ready(answer)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Stage::Sent(number) = self.stage {
            self.store.connection.abandon(number);
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request to {} {}", self.operation.verb(), self.path())
    }
}
