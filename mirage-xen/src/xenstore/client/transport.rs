//! The ring below the client: bytes out, bytes in, answers to whom they belong.

use alloc::collections::VecDeque;
use alloc::rc::{Rc, Weak};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::sync::atomic::{Ordering, fence};
use core::task::{Context, Poll, Waker};

use super::XenstoreError;
use super::watch::Watches;
use crate::attachment::AttachError;
use crate::events::{EventChannel, EventHandler, Events};
use crate::hypervisor::{Hypervisor, PAGE_SIZE};
use crate::shared::SharedBytes;
use crate::untrusted::Untrusted;
use crate::xenstore::wire::{Assembler, Code, HEADER, Header, Message, Operation, PAYLOAD_MAX};

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
    requests: Vec<Request>,
    waiting_for_room: Vec<Waker>,
}

struct Request {
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

    /// Sends a request and waits for its answer.
    pub(super) async fn request(
        &self,
        operation: Operation,
        path: &str,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, XenstoreError> {
        let length = parts.iter().map(|part| part.len()).sum();
        if length > PAYLOAD_MAX {
            return Err(XenstoreError::TooLong { length });
        }
        self.room().await?;
        self.ask(operation, path, parts).await
    }

    /// Waits until the queue has room for another message.
    pub(super) async fn room(&self) -> Result<(), XenstoreError> {
        poll_fn(|context| self.connection.poll_room(context)).await
    }

    /// Sends a request at once, and waits for its answer.
    pub(super) async fn ask(
        &self,
        operation: Operation,
        path: &str,
        parts: &[&[u8]],
    ) -> Result<Vec<u8>, XenstoreError> {
        let number = self.connection.submit(operation, self.transaction, parts, Answer::Awaited(None));
        match (Reply { connection: &self.connection, number }.await) {
            Ok(payload) => Ok(payload),
            Err(Refusal::Code(code)) => Err(XenstoreError::Refused { operation, path: path.to_string(), code }),
            Err(Refusal::Error(error)) => Err(error),
        }
    }

    /// Sends a request whose answer does not matter, without waiting: what dropped handles leave behind.
    pub(super) fn send(&self, operation: Operation, parts: &[&[u8]]) {
        self.connection.submit(operation, self.transaction, parts, Answer::Abandoned);
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

    fn submit(&self, operation: Operation, transaction: u32, parts: &[&[u8]], answer: Answer) -> u32 {
        let number = {
            let mut state = self.state.borrow_mut();
            let number = state.new_number();
            let length = parts.iter().map(|part| part.len()).sum::<usize>() as u32;
            let header = Header { operation: operation as u32, request: number, transaction, length };
            if !state.lost {
                state.queue.extend(header.emit());
                parts.iter().for_each(|part| state.queue.extend(*part));
            }
            let answer = match answer {
                Answer::Awaited(_) if state.lost => Answer::Here(Err(Refusal::Error(XenstoreError::Lost))),
                answer => answer,
            };
            if !(state.lost && matches!(answer, Answer::Abandoned)) {
                state.requests.push(Request { number, operation, answer });
            }
            number
        };
        self.serve();
        number
    }

    /// Moves bytes both ways until neither is possible, notifies xenstored, and wakes whom it concerns.
    fn serve(&self) {
        let mut wake = Vec::new();
        // Transactions that were started for nobody.
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
        for transaction in orphans {
            self.submit(Operation::TransactionEnd, transaction, &[b"F\0"], Answer::Abandoned);
        }
    }

    fn deliver(&self, state: &mut State, message: Message, wake: &mut Vec<Waker>, orphans: &mut Vec<u32>) {
        let operation = Operation::from_code(message.header.operation);
        if operation == Some(Operation::WatchEvent) {
            self.watches.borrow_mut().deliver(&message.payload, wake);
            return;
        }
        let Some(index) = state.requests.iter().position(|request| request.number == message.header.request) else {
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
            Answer::Abandoned => {
                let request = state.requests.swap_remove(index);
                if let (Operation::TransactionStart, Answer::Here(Ok(payload))) = (request.operation, request.answer) {
                    orphans.extend(super::transaction::parse_number(&payload));
                }
            }
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

/// The answer to a request.
struct Reply<'a> {
    connection: &'a Connection,
    number: u32,
}

impl Future for Reply<'_> {
    type Output = Result<Vec<u8>, Refusal>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.connection.state.borrow_mut();
        let Some(index) = state.requests.iter().position(|request| request.number == self.number) else {
            return Poll::Ready(Err(Refusal::Error(XenstoreError::Interrupted)));
        };
        if let Answer::Awaited(waker) = &mut state.requests[index].answer {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        match state.requests.swap_remove(index).answer {
            Answer::Here(result) => Poll::Ready(result),
            Answer::Awaited(_) | Answer::Abandoned => Poll::Ready(Err(Refusal::Error(XenstoreError::Interrupted))),
        }
    }
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        let mut state = self.connection.state.borrow_mut();
        let Some(index) = state.requests.iter().position(|request| request.number == self.number) else { return };
        if matches!(state.requests[index].answer, Answer::Here(_)) {
            // An answer nobody took. Deliver it once more, to nobody.
            let request = state.requests.swap_remove(index);
            if let (Operation::TransactionStart, Answer::Here(Ok(payload))) = (request.operation, request.answer)
                && let Some(transaction) = super::transaction::parse_number(&payload)
            {
                drop(state);
                self.connection.submit(Operation::TransactionEnd, transaction, &[b"F\0"], Answer::Abandoned);
            }
        } else {
            state.requests[index].answer = Answer::Abandoned;
        }
    }
}
