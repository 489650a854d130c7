//! The rings under every order in which two sides can run and see each other's memory (with loom; nothing otherwise):
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p mirage-xen --test loom --release --target-dir target/loom
//! ```
//!
//! An event is a bit that stays set until it is taken, as Xen's is. What is shown: nothing that was sent is lost or torn, and
//! nobody sleeps while something is there for him. A side that sleeps for ever is a deadlock to loom.
#![cfg(loom)]
#![allow(unsafe_code)]

use std::ptr::NonNull;

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use mirage_xen::console::ring::Ring;
use mirage_xen::model::BackRing;
use mirage_xen::ring::{FrontRing, Protocol, RingMemory, Slot};
use mirage_xen::shared::SharedBytes;

/// An event channel's pending bit, and the poll that waits for it.
#[derive(Default)]
struct Event {
    pending: Mutex<bool>,
    changed: Condvar,
}

impl Event {
    fn send(&self) {
        *self.pending.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut pending = self.pending.lock().unwrap();
        while !*pending {
            pending = self.changed.wait(pending).unwrap();
        }
        *pending = false;
    }
}

/// A page whose content is loom's.
#[derive(Clone, Copy)]
struct Page(SharedBytes<'static>);

// SAFETY: a view is an address, and what is there is accessed by atomics.
unsafe impl Send for Page {}

impl Page {
    /// All pages have the same addresses in each execution, as loom wants executions to be alike.
    fn new() -> Self {
        #[repr(align(4096))]
        struct Bytes([u8; 4096]);
        static MEMORY: Bytes = Bytes([0; 4096]);
        mirage_xen::shared::access::begin();
        let base = NonNull::from(&MEMORY.0).cast();
        // SAFETY: aligned and mapped. It is never accessed: loom's atomics stand for it.
        Self(unsafe { SharedBytes::new(base, 4096) })
    }
}

impl RingMemory for Page {
    fn bytes(&self) -> SharedBytes<'_> {
        self.0
    }
}

/// Slots so large that a ring has two.
enum Numbers {}

impl Protocol for Numbers {
    const SLOT: usize = 2016;
    type Request = u32;
    type Response = u32;

    fn write_request(slot: Slot<'_>, request: &u32) {
        slot.write_words(0, &request.to_le_bytes());
    }

    fn read_response(slot: Slot<'_>) -> u32 {
        u32::from_le_bytes(slot.read_words(0))
    }

    fn read_request(slot: Slot<'_>) -> u32 {
        u32::from_le_bytes(slot.read_words(0))
    }

    fn write_response(slot: Slot<'_>, response: &u32) {
        slot.write_words(0, &response.to_le_bytes());
    }
}

/// Runs `test` in every order that has at most so many preemptions. One test at a time: they share their memory's addresses.
fn check(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(test);
}

/// A frontend sends `count` requests and sleeps for the answers; a backend sleeps for requests and answers them.
fn requests_and_responses(count: u32) {
    let page = Page::new();
    let mut front = FrontRing::<Numbers, Page>::starting_at(page, u32::MAX);
    let mut back = BackRing::<Numbers, Page>::new(page);
    for slot in [64, 64 + 2016] {
        page.0.write_words(slot, &[0; 4]);
    }
    let events = Arc::new((Event::default(), Event::default()));
    let backend_events = Arc::clone(&events);
    let backend = thread::spawn(move || {
        let mut taken = 0;
        while taken < count {
            while let Some((_, request)) = back.take() {
                assert_eq!(request, 100 + taken, "a request that was not written yet");
                taken += 1;
                back.push(&(request + 1000));
            }
            if back.publish() {
                backend_events.0.send();
            }
            if taken < count && back.listen() == 0 {
                backend_events.1.wait();
            }
        }
    });
    let (mut sent, mut answered) = (0, 0);
    while answered < count {
        while sent < count && front.push(&(100 + sent)) {
            sent += 1;
        }
        if front.publish() {
            events.1.send();
        }
        while front.available().expect("the backend is honest") > 0 {
            let response = front.take().expect("it is there").for_any_value();
            assert_eq!(response, 1100 + answered, "a response that was not written yet");
            answered += 1;
        }
        let more = sent < count && front.free() > 0;
        if answered < count && !more && front.listen(1).expect("the backend is honest") == 0 {
            events.0.wait();
        }
    }
    backend.join().unwrap();
}

#[test]
fn a_request_and_its_response_are_never_missed() {
    check(3, || requests_and_responses(1));
}

#[test]
fn neither_are_more_than_a_ring_has_slots_for() {
    check(2, || requests_and_responses(3));
}

/// A console whose output has room for one byte: the guest sends three, each when there is room.
#[test]
fn console_output_is_never_stuck_or_torn() {
    check(3, || {
        let page = Page::new();
        let (guest, daemon) = (Ring::new(page.0), Ring::of_backend(page.0));
        guest.start_at(u32::MAX);
        // out_prod is 2047 ahead of out_cons: what is there is of no interest.
        page.0.store_u32(3072 + 12, u32::MAX.wrapping_add(2047), core::sync::atomic::Ordering::Relaxed);
        for index in 0..8 {
            page.0.write_u8(1024 + (u32::MAX.wrapping_add(index) % 2048) as usize, 0);
        }
        page.0.write_u8(1024 + 2046, b'x');
        for index in 2047..2051_u32 {
            page.0.write_u8(1024 + (u32::MAX.wrapping_add(index) % 2048) as usize, 0);
        }
        let events = Arc::new((Event::default(), Event::default()));
        let (page, daemon_events) = (page, Arc::clone(&events));
        let reader = thread::spawn(move || {
            let _ = (page, daemon.is_read());
            let (mut read, mut buffer) = (0, [0; 2]);
            // Two of the bytes that were there before make room for the two that have none.
            while read < 2 {
                let count = daemon.take(&mut buffer[..1]).expect("the guest is honest");
                read += count;
                daemon_events.0.send();
                if count == 0 {
                    daemon_events.1.wait();
                }
            }
        });
        let mut rest = &b"abc"[..];
        while !rest.is_empty() {
            let count = guest.put(rest).expect("the daemon is honest");
            rest = &rest[count..];
            events.1.send();
            if count == 0 {
                events.0.wait();
            }
        }
        reader.join().unwrap();
    });
}

/// What somebody types, into an empty ring: every byte comes, in order.
#[test]
fn console_input_is_never_missed() {
    check(3, || {
        let page = Page::new();
        let (guest, daemon) = (Ring::new(page.0), Ring::of_backend(page.0));
        guest.start_at(u32::MAX);
        for offset in [1023, 0, 1] {
            page.0.write_u8(offset, 0);
        }
        let event = Arc::new(Event::default());
        let typist_event = Arc::clone(&event);
        let typist = thread::spawn(move || {
            for byte in b"abc" {
                assert_eq!(daemon.put(&[*byte]), Ok(1));
                typist_event.send();
            }
        });
        let (mut read, mut buffer) = (Vec::new(), [0; 3]);
        while read.len() < 3 {
            match guest.take(&mut buffer).expect("the typist is honest") {
                0 => event.wait(),
                count => read.extend_from_slice(&buffer[..count]),
            }
        }
        assert_eq!(read, b"abc");
        typist.join().unwrap();
    });
}
