//! The ring below the client: bytes out, bytes in, answers to whom they belong.
//!
//! This is in every image, so there is one copy of everything: requests are one type, and answers are not generic.

use alloc::rc::{Rc, Weak};
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll, Waker, ready};

use mirage_rt::cell::RefCell;

use super::XenstoreError;
use super::watch::Watches;
use crate::attachment::AttachError;
use crate::events::{EventChannel, EventHandler, Events};
use crate::hypervisor::{Hypervisor, PAGE_SIZE};
use crate::lists::{forget_first, take_swapped};
use crate::shared::{SharedBytes, fence};
use crate::untrusted::Untrusted;
use crate::warning::warn;
use crate::xenstore::wire::{self, Assembler, Code, HEADER, Header, Message, Operation, PAYLOAD_MAX};

/// Layout of the page, `struct xenstore_domain_interface`.
pub(crate) const RING: u32 = 1024;
pub(crate) const REQUESTS: usize = 0;
pub(crate) const RESPONSES: usize = RING as usize;
pub(crate) const REQUEST_CONSUMER: usize = 2048;
pub(crate) const REQUEST_PRODUCER: usize = 2052;
pub(crate) const RESPONSE_CONSUMER: usize = 2056;
pub(crate) const RESPONSE_PRODUCER: usize = 2060;
pub(crate) const SERVER_FEATURES: usize = 2064;
pub(crate) const CONNECTION: usize = 2068;
pub(crate) const ERROR: usize = 2072;

/// A feature of the server: the ring can be emptied and connected anew (`docs/misc/xenstore-ring.txt`).
pub(crate) const CAN_RECONNECT: u32 = 1;
/// Written to [`CONNECTION`] to ask for that; the server writes 0 when it is done.
pub(crate) const RECONNECT: u32 = 1;

/// How often an attachment tries that at most: a server that breaks the protocol again and again is no server.
const RECONNECTIONS: u8 = 8;

/// Bytes that may wait for room in the ring before requests wait themselves. What a dropped handle sends does not wait.
const QUEUE: usize = 2 * (HEADER + PAYLOAD_MAX);

/// The domain's connection to xenstore. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Xenstore {
    pub(super) connection: Rc<Connection>,
    /// The transaction its requests belong to, 0 for none.
    pub(super) transaction: u32,
    /// The generation that its requests are for, or of a transaction the session; 0 for any.
    pub(super) generation: u32,
}

pub(super) struct Connection {
    state: RefCell<State>,
    /// How often it was made, for this domain and for those that it was before.
    pub(super) generation: Cell<u32>,
    /// The same, and how often it was made anew because it had become useless: transactions and requests do not outlive that.
    session: Cell<u32>,
    pub(super) watches: RefCell<Watches>,
}

#[derive(Default)]
struct State {
    ring: Option<(SharedBytes<'static>, EventChannel)>,
    lost: Option<Broken>,
    /// xenstored was asked to connect anew and has not done so yet.
    reconnecting: bool,
    reconnections: u8,
    queue: Vec<u8>,
    incoming: Assembler,
    last_request: u32,
    /// What waits for an answer, wanted or not.
    requests: Vec<Rc<Pending>>,
    waiting_for_room: Vec<Waker>,
    /// More requests are about to come: they are shown to xenstored together.
    held: bool,
    /// The domain is about to be suspended: requests wait until it goes on.
    quiet: bool,
}

/// A request that was sent. The connection has it until its answer is there, and whoever waits for that, until it is taken.
pub(super) struct Pending {
    number: u32,
    operation: Operation,
    session: u32,
    answer: Cell<Option<Result<Vec<u8>, XenstoreError>>>,
    waker: Cell<Option<Waker>>,
    unclaimed: Option<Unclaimed>,
}

/// What to do with the payload of an answer that nobody waits for any more.
pub(super) type Unclaimed = fn(&Connection, &[u8]);

impl Pending {
    #[inline(never)]
    fn answer(&self, answer: Result<Vec<u8>, XenstoreError>) {
        self.answer.set(Some(answer));
    }

    /// Deals with an answer that nobody will take, if there is one.
    fn give_up(&self, connection: &Connection) {
        if let Some(unclaimed) = self.unclaimed.filter(|_| self.session == connection.session.get())
            && let Some(Ok(payload)) = self.answer.take()
        {
            unclaimed(connection, &payload);
        }
    }
}

/// What there is to do when nothing is borrowed any more.
#[derive(Default)]
struct Consequences {
    answered: Vec<Rc<Pending>>,
    wake: Vec<Waker>,
    /// The watches are to be set again.
    watch: bool,
}

impl Consequences {
    /// Answers all of `state`'s requests with an error.
    fn fail(&mut self, state: &mut State) {
        for request in &state.requests {
            request.answer(Err(if state.lost.is_some() { XenstoreError::Lost } else { XenstoreError::Interrupted }));
        }
        self.answered.append(&mut state.requests);
        self.wake.append(&mut state.waiting_for_room);
    }

    fn happen(self, connection: &Connection) {
        for request in &self.answered {
            if let Some(waker) = request.waker.take() {
                waker.wake();
            }
            if Rc::strong_count(request) == 1 {
                request.give_up(connection);
            }
        }
        self.wake.iter().for_each(Waker::wake_by_ref);
        if self.watch {
            connection.watch_all_again();
        }
    }
}

/// How xenstored has broken the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// The indices of the request ring are more than a ring apart.
    RequestIndices,
    /// The indices of the response ring are more than a ring apart.
    ResponseIndices,
    /// A message was longer than the protocol allows.
    LongMessage,
    /// xenstored says itself that there was an error.
    Reported,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RequestIndices => "requests: indices more than a ring apart",
            Self::ResponseIndices => "responses: indices more than a ring apart",
            Self::LongMessage => "a message longer than the protocol allows",
            Self::Reported => "xenstored says that there was an error",
        })
    }
}

impl Xenstore {
    /// Why the connection was given up, if it was. It is made anew with the attachment.
    pub fn broken(&self) -> Option<Broken> {
        self.connection.state.borrow().lost
    }

    /// A client without a connection yet; [`attach`](Self::attach) makes it.
    pub(crate) fn new() -> Self {
        let connection = Connection {
            state: RefCell::default(),
            generation: Cell::new(0),
            session: Cell::new(0),
            watches: RefCell::default(),
        };
        Self { connection: Rc::new(connection), transaction: 0, generation: 0 }
    }

    /// Connects to the ring, at boot or anew after a resume: what was under way is interrupted, watches are set again.
    pub(crate) fn attach(&self, hypervisor: &dyn Hypervisor, events: &Events) -> Result<(), AttachError> {
        let ring = hypervisor.xenstore_ring()?;
        debug_assert_eq!(ring.memory.len(), PAGE_SIZE);
        let handler: Weak<dyn EventHandler> = Rc::downgrade(&(self.connection.clone() as Rc<dyn EventHandler>));
        let channel = events.adopt(ring.port, Some(handler))?;
        let mut before = {
            let mut state = self.connection.state.borrow_mut();
            let last_request = state.last_request;
            let state_now = State { ring: Some((ring.memory, channel)), last_request, ..State::default() };
            core::mem::replace(&mut *state, state_now)
        };
        self.connection.generation.set(self.generation() + 1);
        self.connection.session.set(self.connection.session.get() + 1);
        let mut consequences = Consequences::default();
        consequences.fail(&mut before);
        consequences.happen(&self.connection);
        self.connection.watch_all_again();
        Ok(())
    }

    /// How often the connection was made: what xenstore said before may not be true of another one.
    pub fn generation(&self) -> u32 {
        self.connection.generation.get()
    }

    /// A handle to this connection alone: when it is made anew, after a resume as a new domain, requests that were not sent
    /// before fail with [`XenstoreError::Interrupted`]. For those who must not mix what was said before with what comes after.
    pub fn bound(&self) -> Self {
        Self { generation: self.generation(), ..self.clone() }
    }

    /// Whether this handle is for the connection of today, as one that is not [bound](Self::bound) is for each.
    pub fn is_current(&self) -> bool {
        let Connection { generation, session, .. } = &*self.connection;
        self.generation == 0 || self.generation == if self.transaction == 0 { generation } else { session }.get()
    }

    /// Ready when no request is under way. New ones wait until [`go_on`](Self::go_on), or until the connection was made
    /// anew, so that a suspension loses none and none is done twice.
    pub(crate) fn poll_quiet(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.connection.state.borrow_mut();
        state.quiet = true;
        if state.requests.is_empty() {
            return Poll::Ready(());
        }
        state.waiting_for_room.push(context.waker().clone());
        Poll::Pending
    }

    /// Lets requests go on after [`poll_quiet`](Self::poll_quiet).
    pub(crate) fn go_on(&self) {
        let waiting = {
            let mut state = self.connection.state.borrow_mut();
            state.quiet = false;
            core::mem::take(&mut state.waiting_for_room)
        };
        waiting.iter().for_each(Waker::wake_by_ref);
    }

    /// Sends requests together, and waits neither for room nor for their answers: for what dropped handles leave behind and
    /// for what may fail.
    pub(crate) fn send(&self, requests: impl Iterator<Item = Request>) {
        self.connection.hold(true);
        requests.for_each(Request::send);
        self.connection.hold(false);
    }

    /// A request about `path`, with what else belongs to it.
    pub(super) fn request(&self, operation: Operation, path: &str, rest: &[u8]) -> Request {
        let mut payload = Vec::with_capacity(path.len() + 1 + rest.len());
        payload.extend_from_slice(path.as_bytes());
        payload.push(0);
        payload.extend_from_slice(rest);
        Request { store: self.clone(), operation, payload, path: path.len(), unclaimed: None, sent: None }
    }
}

impl fmt::Debug for Xenstore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.connection.state.borrow().lost.is_some() {
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
        if state.lost.is_some() {
            return Poll::Ready(Err(XenstoreError::Lost));
        }
        if !state.quiet && state.queue.len() <= QUEUE - HEADER - PAYLOAD_MAX {
            return Poll::Ready(Ok(()));
        }
        state.waiting_for_room.push(context.waker().clone());
        Poll::Pending
    }

    /// Puts a request into the queue.
    pub(super) fn submit(
        &self,
        operation: Operation,
        transaction: u32,
        payload: &[u8],
        unclaimed: Option<Unclaimed>,
    ) -> Rc<Pending> {
        let mut state = self.state.borrow_mut();
        let number = state.new_number();
        let session = self.session.get();
        let request =
            Pending { number, operation, session, answer: Cell::default(), waker: Cell::default(), unclaimed };
        let request = Rc::new(request);
        if state.lost.is_some() {
            request.answer(Err(XenstoreError::Lost));
        } else {
            let header =
                Header { operation: operation as u32, request: number, transaction, length: payload.len() as u32 };
            state.queue.extend_from_slice(&header.emit());
            state.queue.extend_from_slice(payload);
            state.requests.push(Rc::clone(&request));
        }
        drop(state);
        self.serve();
        request
    }

    /// Holds requests back, until they are let go together: one notification for all.
    pub(super) fn hold(&self, held: bool) {
        self.state.borrow_mut().held = held;
        if !held {
            self.serve();
        }
    }

    /// Ends a transaction that nobody will use any more.
    pub(super) fn roll_back(&self, transaction: u32) {
        self.submit(Operation::TransactionEnd, transaction, b"F\0", None);
    }

    /// Moves bytes both ways until neither is possible, notifies xenstored, and wakes whom it concerns.
    fn serve(&self) {
        let mut consequences = Consequences::default();
        let mut state = self.state.borrow_mut();
        let mut any = false;
        while !(state.lost.is_some() || state.held) {
            match self.exchange(&mut state, &mut consequences) {
                Ok(false) => break,
                Ok(true) => any = true,
                Err(reason) => {
                    any = self.reconnect(&mut state, reason);
                    let what = if any { "made anew" } else { "given up" };
                    warn(format_args!("xenstore: the connection is {what}: {reason}"));
                    state.queue.clear();
                    consequences.fail(&mut state);
                    if state.lost.is_some() {
                        self.watches.borrow_mut().lose(&mut consequences.wake);
                    }
                }
            }
        }
        if any {
            if let Some((_, channel)) = &state.ring
                && let Err(error) = channel.notify()
            {
                warn(format_args!("xenstore: {error}"));
            }
            consequences.wake.append(&mut state.waiting_for_room);
        }
        drop(state);
        consequences.happen(self);
    }

    /// Asks xenstored to connect anew. When it can't do that, or had to too often, the connection is lost.
    fn reconnect(&self, state: &mut State, reason: Broken) -> bool {
        if let Some((page, _)) = &state.ring
            && page.load_u32(SERVER_FEATURES, Ordering::Relaxed) & CAN_RECONNECT != 0
            && state.reconnections < RECONNECTIONS
        {
            page.store_u32(CONNECTION, RECONNECT, Ordering::Release);
            state.reconnecting = true;
            state.reconnections += 1;
            state.incoming = Assembler::default();
            self.session.set(self.session.get() + 1);
        } else {
            state.lost = Some(reason);
        }
        state.reconnecting
    }

    /// Writes what fits into the ring and reads what is there; whether there was anything.
    fn exchange(&self, state: &mut State, consequences: &mut Consequences) -> Result<bool, Broken> {
        // Between a resume and the new connection, the old one must not be touched.
        let Some((page, channel)) = &state.ring else { return Ok(false) };
        if !channel.is_current() {
            return Ok(false);
        }
        let page = *page;
        if state.reconnecting {
            if page.load_u32(CONNECTION, Ordering::Acquire) != 0 {
                return Ok(false);
            }
            state.reconnecting = false;
            consequences.watch = true;
        }
        if page.load_u32(ERROR, Ordering::Relaxed) != 0 {
            return Err(Broken::Reported);
        }
        // Our own indices stand in the page as well. xenstored has no reason to write them; if it does, the checks hold.
        let consumer = page.load_u32(REQUEST_CONSUMER, Ordering::Acquire);
        let mut producer = page.load_u32(REQUEST_PRODUCER, Ordering::Relaxed);
        let waiting = Untrusted::new(producer.wrapping_sub(consumer)).at_most(RING);
        let room = RING - waiting.ok_or(Broken::RequestIndices)?;
        let written = state.queue.len().min(room as usize);
        for byte in state.queue.iter().take(written) {
            page.write_u8(REQUESTS + (producer % RING) as usize, *byte);
            producer = producer.wrapping_add(1);
        }
        forget_first(&mut state.queue, written);
        page.store_u32(REQUEST_PRODUCER, producer, Ordering::Release);

        let producer = page.load_u32(RESPONSE_PRODUCER, Ordering::Acquire);
        let mut consumer = page.load_u32(RESPONSE_CONSUMER, Ordering::Relaxed);
        let count = Untrusted::new(producer.wrapping_sub(consumer)).at_most(RING);
        let count = count.ok_or(Broken::ResponseIndices)?;
        for _ in 0..count {
            let byte = page.read_u8(RESPONSES + (consumer % RING) as usize);
            consumer = consumer.wrapping_add(1);
            let message = state.incoming.feed(&mut &[byte][..]);
            if let Some(message) = message.map_err(|_| Broken::LongMessage)? {
                self.deliver(state, message, consequences);
            }
        }
        page.store_u32(RESPONSE_CONSUMER, consumer, Ordering::Release);
        fence(Ordering::SeqCst);
        Ok(written > 0 || count > 0)
    }

    fn deliver(&self, state: &mut State, message: Message, consequences: &mut Consequences) {
        let operation = Operation::from_code(message.header.operation);
        if operation == Some(Operation::WatchEvent) {
            return self.watches.borrow_mut().deliver(&message.payload, &mut consequences.wake);
        }
        let number = message.header.request;
        let index = state.requests.iter().position(|request| request.number == number);
        let Some(request) = index.and_then(|index| take_swapped(&mut state.requests, index)) else {
            return warn(format_args!("xenstore: an answer to request {}, which was not made", u64::from(number)));
        };
        let asked = request.operation;
        request.answer(match operation {
            // The path is known to who asked.
            Some(Operation::Error) => Err(XenstoreError::Refused {
                operation: asked,
                path: String::new(),
                code: Code::parse(&message.payload),
            }),
            Some(operation) if operation == asked => Ok(message.payload),
            _ => Err(XenstoreError::Reply(asked)),
        });
        consequences.answered.push(request);
    }
}

impl EventHandler for Connection {
    fn on_event(&self) {
        self.serve();
    }
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
}

impl Xenstore {
    /// Asks for several things at once, in this order; their answers. Cancel safe as each [`Request`] is.
    pub async fn all(&self, mut requests: Vec<Request>) -> Vec<Result<Vec<u8>, XenstoreError>> {
        let mut answers: Vec<_> = requests.iter().map(|_| None).collect();
        poll_fn(|context| self.poll_all(&mut requests, &mut answers, context)).await;
        // Every one is there: `poll_all` was ready.
        answers.into_iter().flatten().collect()
    }

    /// Ready when every request has its answer.
    #[inline(never)]
    fn poll_all(
        &self,
        requests: &mut [Request],
        answers: &mut [Option<Result<Vec<u8>, XenstoreError>>],
        context: &mut Context<'_>,
    ) -> Poll<()> {
        self.connection.hold(true);
        let mut missing = false;
        for (request, answer) in requests.iter_mut().zip(answers) {
            if answer.is_none() {
                match Pin::new(request).poll(context) {
                    Poll::Ready(result) => *answer = Some(result),
                    Poll::Pending => missing = true,
                }
            }
        }
        self.connection.hold(false);
        if missing { Poll::Pending } else { Poll::Ready(()) }
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
    unclaimed: Option<Unclaimed>,
    sent: Option<Rc<Pending>>,
}

impl Request {
    /// Says what to do with the payload of an answer that comes when nobody waits for it any more.
    pub(super) fn if_unclaimed(mut self, unclaimed: Unclaimed) -> Self {
        self.unclaimed = Some(unclaimed);
        self
    }

    /// Sends it without waiting for room or an answer: what dropped handles leave behind.
    pub(super) fn send(self) {
        self.store.connection.submit(self.operation, self.store.transaction, &self.payload, None);
    }

    /// Whether its payload is on its way, or was.
    pub(super) fn is_sent(&self) -> bool {
        self.sent.is_some()
    }

    /// The session that it was sent in.
    pub(super) fn session(&self) -> u32 {
        self.sent.as_ref().map_or(0, |sent| sent.session)
    }

    fn path(&self) -> &[u8] {
        self.payload.get(..self.path).unwrap_or_default()
    }

    /// The path for messages.
    fn path_text(&self) -> String {
        String::from_utf8(self.path().to_vec()).unwrap_or_default()
    }

    fn poll_send(&self, context: &mut Context<'_>) -> Poll<Result<Rc<Pending>, XenstoreError>> {
        if self.operation.has_path() && !wire::is_valid_path(self.path()) {
            return Poll::Ready(Err(XenstoreError::Path(self.path_text())));
        }
        if self.payload.len() > PAYLOAD_MAX {
            return Poll::Ready(Err(XenstoreError::TooLong { length: self.payload.len() }));
        }
        let connection = &self.store.connection;
        ready!(connection.poll_room(context))?;
        if !self.store.is_current() {
            // xenstored does not know a transaction of before: those who start again are right.
            let (operation, path) = (self.operation, self.path_text());
            return Poll::Ready(Err(match self.store.transaction {
                0 => XenstoreError::Interrupted,
                _ => XenstoreError::Refused { operation, path, code: Code::Eagain },
            }));
        }
        Poll::Ready(Ok(connection.submit(self.operation, self.store.transaction, &self.payload, self.unclaimed)))
    }
}

impl Future for Request {
    type Output = Result<Vec<u8>, XenstoreError>;

    #[inline(never)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.sent.is_none() {
            self.sent = Some(ready!(self.poll_send(context))?);
        }
        let Some(request) = &self.sent else { return Poll::Pending };
        let Some(mut answer) = request.answer.take() else {
            request.waker.set(Some(context.waker().clone()));
            return Poll::Pending;
        };
        if let Err(XenstoreError::Refused { path, .. }) = &mut answer {
            *path = self.path_text();
        }
        Poll::Ready(answer)
    }
}

impl Drop for Request {
    #[inline(never)]
    fn drop(&mut self) {
        if let Some(request) = self.sent.take() {
            request.give_up(&self.store.connection);
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request to {} {}", self.operation.verb(), self.path_text())
    }
}
