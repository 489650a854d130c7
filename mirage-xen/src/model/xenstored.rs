//! xenstored in the model: a tree with owners, watches, transactions, and the guest's ring.

mod tree;

use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::sync::atomic::{Ordering, fence};

pub use tree::Tree;

use super::{BACKEND, GUEST, Service, World};
use crate::hypervisor::DomainId;
use crate::xenstore::client::transport::{
    CAN_RECONNECT, CONNECTION, ERROR, RECONNECT, REQUEST_CONSUMER, REQUEST_PRODUCER, REQUESTS, RESPONSE_CONSUMER,
    RESPONSE_PRODUCER, RESPONSES, RING, SERVER_FEATURES,
};
use crate::xenstore::wire::{Assembler, Code, Header, Message, Operation, PAYLOAD_MAX, Permission, strings};

/// The guest's own directory, until it is moved: see [`Store::guest_path`].
pub const GUEST_PATH: &str = "/local/domain/1";

/// The store. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Store {
    inner: Rc<Inner>,
}

struct Inner {
    guest: Cell<DomainId>,
    tree: RefCell<Tree>,
    /// Paths changed that the guest's watches were not told of.
    changes: RefCell<Vec<String>>,
    generation: Cell<u64>,
    refuse_commits: Cell<u32>,
    can_reconnect: Cell<bool>,
    /// Paths that the guest has written, relative to its directory, whether committed or not.
    written: RefCell<Vec<String>>,
    watches: Cell<usize>,
    transactions: Cell<usize>,
}

impl Store {
    /// A store with the directories of the guest, which owns its own.
    pub fn new() -> Self {
        let inner = Inner {
            guest: Cell::new(GUEST),
            tree: RefCell::default(),
            changes: RefCell::default(),
            generation: Cell::new(0),
            refuse_commits: Cell::new(0),
            can_reconnect: Cell::new(false),
            written: RefCell::default(),
            watches: Cell::new(0),
            transactions: Cell::new(0),
        };
        let store = Self { inner: Rc::new(inner) };
        store.write("/local/domain/0/backend", "");
        store.make_guest();
        store
    }

    /// Makes the directories that the guest owns.
    fn make_guest(&self) {
        for name in ["", "/data", "/device", "/control", "/control/shutdown", "/control/sysrq"] {
            self.write_for_guest(&format!("{}{name}", self.guest_path()), "");
        }
    }

    /// The guest's number.
    pub fn guest(&self) -> DomainId {
        self.inner.guest.get()
    }

    /// The guest's own directory.
    pub fn guest_path(&self) -> String {
        format!("/local/domain/{}", self.inner.guest.get())
    }

    /// The value of a node as text, as the tools see it.
    pub fn read(&self, path: &str) -> Option<String> {
        self.inner.tree.borrow().value(path).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Writes a node as the tools do. The guest's watches fire.
    pub fn write(&self, path: &str, value: &str) {
        self.inner.tree.borrow_mut().write(path, value.as_bytes(), None);
        self.changed(path);
    }

    /// Writes a node that the guest owns, as the tools do for a frontend's directory.
    pub fn write_for_guest(&self, path: &str, value: &str) {
        self.write(path, value);
        self.inner.tree.borrow_mut().own(path, self.inner.guest.get());
    }

    /// Makes the guest the owner of a node.
    pub fn give_to_guest(&self, path: &str) {
        self.inner.tree.borrow_mut().own(path, self.inner.guest.get());
    }

    /// Removes a node and all below, as the tools do.
    pub fn remove(&self, path: &str) {
        if self.inner.tree.borrow_mut().remove(path) {
            self.changed(path);
        }
    }

    /// Answers the next `count` commits with `EAGAIN`.
    pub fn refuse_commits(&self, count: u32) {
        self.inner.refuse_commits.set(count);
    }

    /// Offers to connect the ring anew.
    pub fn offer_reconnection(&self) {
        self.inner.can_reconnect.set(true);
    }

    /// How often the guest has written to nodes whose path, relative to its directory, starts with `prefix`.
    pub fn writes_of_guest(&self, prefix: &str) -> usize {
        self.inner.written.borrow().iter().filter(|path| path.starts_with(prefix)).count()
    }

    /// How many watches the guest has.
    pub fn watches(&self) -> usize {
        self.inner.watches.get()
    }

    /// How many transactions of the guest are open.
    pub fn transactions(&self) -> usize {
        self.inner.transactions.get()
    }

    /// The daemon that serves the guest's ring from this store.
    pub fn daemon(&self) -> Daemon {
        Daemon {
            store: self.clone(),
            incoming: Assembler::default(),
            outgoing: VecDeque::new(),
            watches: Vec::new(),
            transactions: Vec::new(),
            last_transaction: 0,
        }
    }

    fn changed(&self, path: &str) {
        self.inner.generation.set(self.inner.generation.get() + 1);
        self.inner.changes.borrow_mut().push(path.to_string());
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the model's xenstore")
    }
}

struct Transaction {
    number: u32,
    tree: Tree,
    generation: u64,
    changes: Vec<String>,
}

/// The process that serves the guest's ring.
pub struct Daemon {
    store: Store,
    incoming: Assembler,
    outgoing: VecDeque<u8>,
    watches: Vec<(String, String)>,
    transactions: Vec<Transaction>,
    last_transaction: u32,
}

type Answer = Result<Vec<u8>, Code>;

fn ok() -> Answer {
    Ok(b"OK\0".to_vec())
}

fn text(bytes: &[u8]) -> Result<&str, Code> {
    core::str::from_utf8(bytes).map_err(|_| Code::Einval)
}

impl Daemon {
    /// The absolute form of a path of the guest.
    fn absolute(&self, path: &str) -> String {
        if path.starts_with(['/', '@']) { path.to_string() } else { format!("{}/{path}", self.store.guest_path()) }
    }

    fn answer(&mut self, message: &Message) -> Answer {
        let operation = Operation::from_code(message.header.operation).ok_or(Code::Enosys)?;
        let payload = &message.payload[..];
        let (first, rest) = match payload.iter().position(|byte| *byte == 0) {
            Some(end) => (text(&payload[..end])?, &payload[end + 1..]),
            None => (text(payload)?, &[][..]),
        };
        match operation {
            Operation::IsDomainIntroduced => {
                let known = [self.store.inner.guest.get(), BACKEND].iter().any(|known| known.to_string() == first);
                Ok(if known { b"T\0" } else { b"F\0" }.to_vec())
            }
            Operation::ResetWatches => {
                self.watches.clear();
                self.transactions.clear();
                ok()
            }
            Operation::Control
            | Operation::Introduce
            | Operation::Release
            | Operation::Resume
            | Operation::SetTarget => Err(Code::Eacces),
            Operation::GetDomainPath => Ok(format!("/local/domain/{first}\0").into_bytes()),
            Operation::Watch => {
                let token = strings(rest).next().ok_or(Code::Einval)?;
                self.watches.push((first.to_string(), text(token)?.to_string()));
                Ok(b"OK\0".to_vec())
            }
            Operation::Unwatch => {
                let token = strings(rest).next().ok_or(Code::Einval)?;
                let known = self.watches.iter().position(|(path, known)| path == first && known.as_bytes() == token);
                self.watches.swap_remove(known.ok_or(Code::Enoent)?);
                ok()
            }
            Operation::TransactionStart => {
                self.last_transaction += 1;
                let (tree, generation) = (self.store.inner.tree.borrow().clone(), self.store.inner.generation.get());
                let number = self.last_transaction;
                self.transactions.push(Transaction { number, tree, generation, changes: Vec::new() });
                Ok(format!("{number}\0").into_bytes())
            }
            Operation::TransactionEnd => self.end(message.header.transaction, first == "T"),
            _ => self.on_tree(operation, message.header.transaction, &self.absolute(first), rest),
        }
    }

    fn end(&mut self, number: u32, commit: bool) -> Answer {
        let index = self.transactions.iter().position(|transaction| transaction.number == number);
        let transaction = self.transactions.swap_remove(index.ok_or(Code::Enoent)?);
        if !commit {
            return ok();
        }
        let refuse = self.store.inner.refuse_commits.get();
        self.store.inner.refuse_commits.set(refuse.saturating_sub(1));
        if refuse > 0 || transaction.generation != self.store.inner.generation.get() {
            return Err(Code::Eagain);
        }
        *self.store.inner.tree.borrow_mut() = transaction.tree;
        transaction.changes.iter().for_each(|path| self.store.changed(path));
        ok()
    }

    fn on_tree(&mut self, operation: Operation, transaction: u32, path: &str, rest: &[u8]) -> Answer {
        let store = self.store.clone();
        let guest = store.inner.guest.get();
        let mut shared;
        let mut own = None;
        let tree = if transaction == 0 {
            shared = store.inner.tree.borrow_mut();
            &mut *shared
        } else {
            let found = self.transactions.iter_mut().find(|open| open.number == transaction).ok_or(Code::Enoent)?;
            own = Some(&mut found.changes);
            &mut found.tree
        };
        let answer = match operation {
            Operation::Read => return tree.value(path).map(<[u8]>::to_vec).ok_or(Code::Enoent),
            Operation::Directory => {
                let list = tree.children(path).ok_or(Code::Enoent)?;
                return if list.len() > PAYLOAD_MAX { Err(Code::E2big) } else { Ok(list) };
            }
            Operation::DirectoryPart => {
                let offset = text(strings(rest).next().unwrap_or_default())?.parse().map_err(|_| Code::Einval)?;
                return directory_part(&tree.children(path).ok_or(Code::Enoent)?, offset, store.inner.generation.get());
            }
            Operation::GetPermissions => {
                let mut list = String::new();
                tree.permissions(path).ok_or(Code::Enoent)?.iter().for_each(|entry| entry.emit(&mut list));
                return Ok(list.into_bytes());
            }
            _ if !tree.may_write(path, guest) => return Err(Code::Eacces),
            Operation::Write => {
                let relative = path.strip_prefix(&store.guest_path()).map_or(path, |rest| rest.trim_start_matches('/'));
                store.inner.written.borrow_mut().push(relative.to_string());
                tree.write(path, rest, Some(guest));
                ok()
            }
            Operation::Mkdir => {
                if tree.value(path).is_none() {
                    tree.write(path, b"", Some(guest));
                }
                ok()
            }
            Operation::Remove => {
                if tree.remove(path) {
                    ok()
                } else {
                    Err(Code::Enoent)
                }
            }
            Operation::SetPermissions => {
                let list: Option<Vec<_>> = strings(rest).map(Permission::parse).collect();
                if tree.set_permissions(path, list.ok_or(Code::Einval)?) { ok() } else { Err(Code::Enoent) }
            }
            _ => Err(Code::Enosys),
        }?;
        match own {
            Some(changes) => changes.push(path.to_string()),
            None => store.changed(path),
        }
        Ok(answer)
    }

    fn send(&mut self, header: Header, payload: &[u8]) {
        self.outgoing.extend(Header { length: payload.len() as u32, ..header }.emit());
        self.outgoing.extend(payload);
    }

    fn send_event(&mut self, path: &str, token: &str) {
        let operation = Operation::WatchEvent as u32;
        let payload = format!("{path}\0{token}\0").into_bytes();
        self.send(Header { operation, request: 0, transaction: 0, length: 0 }, &payload);
    }

    /// Tells the guest of changes it watches.
    fn fire(&mut self, changed: &str) {
        for (watched, token) in self.watches.clone() {
            let whole = self.absolute(&watched);
            let below = |path: &str, root: &str| {
                path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let path = if below(changed, &whole) {
                // In the form the watch was set with.
                format!("{watched}{}", &changed[whole.len()..])
            } else if below(&whole, changed) {
                watched.clone()
            } else {
                continue;
            };
            self.send_event(&path, &token);
        }
    }

    fn handle(&mut self, message: &Message) {
        let answer = self.answer(message);
        let (operation, payload) = match answer {
            Ok(payload) => (message.header.operation, payload),
            Err(code) => (Operation::Error as u32, format!("{}\0", code.name()).into_bytes()),
        };
        self.send(Header { operation, ..message.header }, &payload);
        if operation == Operation::Watch as u32
            && let Some((watched, token)) = self.watches.last().cloned()
        {
            self.send_event(&watched, &token);
        }
    }
}

fn directory_part(list: &[u8], offset: usize, generation: u64) -> Answer {
    let mut answer = format!("{generation}\0").into_bytes();
    let rest = list.get(offset..).unwrap_or_default();
    let mut taken = 0;
    for name in rest.split_inclusive(|byte| *byte == 0) {
        if answer.len() + name.len() + 1 > PAYLOAD_MAX {
            return Ok(answer);
        }
        answer.extend_from_slice(name);
        taken += name.len();
    }
    if offset + taken >= list.len() {
        answer.push(0);
    }
    Ok(answer)
}

impl Service for Daemon {
    fn step(&mut self, world: &Rc<World>) -> bool {
        let (page, end) = world.xenstore_end();
        page.store_u32(
            SERVER_FEATURES,
            if self.store.inner.can_reconnect.get() { CAN_RECONNECT } else { 0 },
            Ordering::Relaxed,
        );
        if page.load_u32(CONNECTION, Ordering::Acquire) == RECONNECT {
            *self = self.store.clone().daemon();
            for index in [REQUEST_CONSUMER, REQUEST_PRODUCER, RESPONSE_CONSUMER, RESPONSE_PRODUCER, ERROR] {
                page.store_u32(index, 0, Ordering::Relaxed);
            }
            page.store_u32(CONNECTION, 0, Ordering::Release);
            world.notify(end);
            return true;
        }
        let mut moved = false;
        let producer = page.load_u32(REQUEST_PRODUCER, Ordering::Acquire);
        let mut consumer = page.load_u32(REQUEST_CONSUMER, Ordering::Relaxed);
        assert!(producer.wrapping_sub(consumer) <= RING, "the guest's request indices are more than a ring apart");
        // One answer at a time, as the real one does: no reading while much waits to be written.
        while consumer != producer && self.outgoing.len() < PAYLOAD_MAX {
            let byte = page.read_u8(REQUESTS + (consumer % RING) as usize);
            consumer = consumer.wrapping_add(1);
            moved = true;
            let message = self.incoming.feed(&mut &[byte][..]);
            if let Some(message) = message.expect("the guest keeps to the longest payload") {
                self.handle(&message);
            }
        }
        page.store_u32(REQUEST_CONSUMER, consumer, Ordering::Release);
        let changes = core::mem::take(&mut *self.store.inner.changes.borrow_mut());
        changes.iter().for_each(|path| self.fire(path));

        let consumer = page.load_u32(RESPONSE_CONSUMER, Ordering::Acquire);
        let mut producer = page.load_u32(RESPONSE_PRODUCER, Ordering::Relaxed);
        while producer.wrapping_sub(consumer) < RING
            && let Some(byte) = self.outgoing.pop_front()
        {
            page.write_u8(RESPONSES + (producer % RING) as usize, byte);
            producer = producer.wrapping_add(1);
            moved = true;
        }
        page.store_u32(RESPONSE_PRODUCER, producer, Ordering::Release);
        fence(Ordering::SeqCst);
        world.take_pending(end);
        if moved {
            world.notify(end);
        }
        self.store.inner.watches.set(self.watches.len());
        self.store.inner.transactions.set(self.transactions.len());
        moved
    }

    fn follow_guest(&mut self, world: &Rc<World>) {
        let store = self.store.clone();
        store.remove(&store.guest_path());
        store.inner.guest.set(world.guest());
        store.make_guest();
        *self = store.daemon();
    }
}

impl fmt::Debug for Daemon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model's xenstored, {} watches", self.watches.len())
    }
}
