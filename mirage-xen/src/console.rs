//! The console: Xen's ring of two kilobytes to xenconsoled (`io/console.h`).
//!
//! Output never blocks the application for ever. When the ring is full it waits for xenconsoled for a bounded time, then
//! drops what has no room, counts it, and waits no more until there is room again; then it says how much is missing.

use core::cell::Cell;
use core::fmt::{self, Write};
use core::mem::offset_of;
use core::sync::atomic::Ordering;

use crate::abi::xencons_interface;
use crate::shared::SharedBytes;

const OUT: usize = offset_of!(xencons_interface, out);
const OUT_SIZE: usize = offset_of!(xencons_interface, in_cons) - OUT;
const CONSUMER: usize = offset_of!(xencons_interface, out_cons);
const PRODUCER: usize = offset_of!(xencons_interface, out_prod);

/// How the console reaches the other side.
pub trait Peer {
    /// Tells it that there is output.
    fn notify(&self);

    /// Waits until it may have read something; false when waiting is over.
    fn wait(&self) -> bool;
}

/// The output half of the ring.
pub struct Console {
    ring: SharedBytes<'static>,
    lost: Cell<u64>,
}

impl Console {
    /// The console whose ring is `ring`, a whole page.
    pub const fn new(ring: SharedBytes<'static>) -> Self {
        Self { ring, lost: Cell::new(0) }
    }

    /// Writes bytes, with a carriage return before each line feed: the ring ends in a terminal without a line discipline.
    pub fn write(&self, bytes: &[u8], peer: &impl Peer) {
        self.report_lost(peer);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    self.put(text, peer);
                    self.put(b"\r\n", peer);
                }
                None => self.put(line, peer),
            }
        }
        peer.notify();
    }

    /// Waits until all output was read, or waiting is over.
    pub fn flush(&self, peer: &impl Peer) {
        self.report_lost(peer);
        peer.notify();
        while !self.is_read() && peer.wait() {}
    }

    /// Whether all output was read.
    pub fn is_read(&self) -> bool {
        self.room() == OUT_SIZE
    }

    fn report_lost(&self, peer: &impl Peer) {
        const LONGEST: usize = 80;
        let lost = self.lost.get();
        if lost > 0 && self.room() >= LONGEST {
            self.lost.set(0);
            let mut text = Writer { console: self, peer };
            let _ = write!(text, "\r\n[{lost} bytes of console output were lost]\r\n");
        }
    }

    fn put(&self, bytes: &[u8], peer: &impl Peer) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = self.put_some(rest);
            rest = &rest[written..];
            if rest.is_empty() {
                return;
            }
            if self.lost.get() > 0 || !self.wait_for_room(peer) {
                self.lost.set(self.lost.get().saturating_add(rest.len() as u64));
                return;
            }
        }
    }

    fn wait_for_room(&self, peer: &impl Peer) -> bool {
        peer.notify();
        while self.room() == 0 {
            if !peer.wait() {
                return false;
            }
        }
        true
    }

    /// Copies what has room and returns how much that was.
    fn put_some(&self, bytes: &[u8]) -> usize {
        let producer = self.ring.load_u32(PRODUCER, Ordering::Relaxed);
        let count = self.room().min(bytes.len());
        let start = producer as usize % OUT_SIZE;
        let first = count.min(OUT_SIZE - start);
        self.ring.copy_in(OUT + start, &bytes[..first]);
        self.ring.copy_in(OUT, &bytes[first..count]);
        self.ring.store_u32(PRODUCER, producer.wrapping_add(count as u32), Ordering::Release);
        count
    }

    /// Bytes that can be written. A consumer index that makes no sense leaves none.
    fn room(&self) -> usize {
        let producer = self.ring.load_u32(PRODUCER, Ordering::Relaxed);
        let consumer = self.ring.load_u32(CONSUMER, Ordering::Acquire);
        OUT_SIZE.saturating_sub(producer.wrapping_sub(consumer) as usize)
    }
}

struct Writer<'a, P> {
    console: &'a Console,
    peer: &'a P,
}

impl<P: Peer> Write for Writer<'_, P> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.console.put(text.as_bytes(), self.peer);
        Ok(())
    }
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use core::cell::RefCell;
    use core::ptr::NonNull;

    use super::*;

    /// xenconsoled: reads at most `speed` bytes at each wait, and waits `patience` times in all.
    struct Daemon {
        ring: SharedBytes<'static>,
        read: RefCell<Vec<u8>>,
        speed: Cell<usize>,
        patience: Cell<usize>,
        notified: Cell<usize>,
    }

    impl Daemon {
        fn consume(&self, most: usize) {
            let mut consumer = self.ring.load_u32(CONSUMER, Ordering::Relaxed);
            for _ in 0..most {
                if consumer == self.ring.load_u32(PRODUCER, Ordering::Acquire) {
                    break;
                }
                self.read.borrow_mut().push(self.ring.read_u8(OUT + consumer as usize % OUT_SIZE));
                consumer = consumer.wrapping_add(1);
            }
            self.ring.store_u32(CONSUMER, consumer, Ordering::Release);
        }
    }

    impl Peer for Daemon {
        fn notify(&self) {
            self.notified.set(self.notified.get() + 1);
        }

        fn wait(&self) -> bool {
            let left = self.patience.get();
            self.patience.set(left.saturating_sub(1));
            self.consume(self.speed.get());
            left > 0
        }
    }

    fn console(speed: usize, patience: usize) -> (Console, Daemon) {
        let page = Box::leak(Box::new([0_u64; 512]));
        // SAFETY: the memory is aligned, leaked, and nothing else refers to it.
        let ring = unsafe { SharedBytes::new(NonNull::from(page).cast(), 4096) };
        // Close to the end of the numbers, so that they wrap around.
        ring.store_u32(PRODUCER, u32::MAX - 10, Ordering::Relaxed);
        ring.store_u32(CONSUMER, u32::MAX - 10, Ordering::Relaxed);
        let daemon = Daemon {
            ring,
            read: RefCell::default(),
            speed: Cell::new(speed),
            patience: Cell::new(patience),
            notified: Cell::new(0),
        };
        (Console::new(ring), daemon)
    }

    #[test]
    fn lines_get_carriage_returns() {
        let (console, daemon) = console(0, 0);
        console.write(b"one\ntwo\n\nthree", &daemon);
        daemon.consume(100);
        assert_eq!(daemon.read.borrow().as_slice(), b"one\r\ntwo\r\n\r\nthree");
        assert_eq!(daemon.notified.get(), 1);
    }

    #[test]
    fn long_output_waits_for_a_slow_reader() {
        let (console, daemon) = console(100, usize::MAX);
        let text: Vec<u8> = (0..10_000_u32).map(|index| b'a' + (index % 26) as u8).collect();
        console.write(&text, &daemon);
        console.flush(&daemon);
        assert_eq!(*daemon.read.borrow(), text);
    }

    #[test]
    fn a_reader_that_stops_costs_output_but_not_time() {
        let (console, daemon) = console(0, 5);
        console.write(&[b'x'; 3000], &daemon);
        console.write(b"more\n", &daemon);
        assert_eq!(daemon.patience.get(), 0);
        console.flush(&daemon);
        daemon.consume(usize::MAX);
        console.write(b"again\n", &daemon);
        daemon.consume(usize::MAX);
        let read = String::from_utf8(daemon.read.borrow().clone()).unwrap();
        let lost = 3000 - OUT_SIZE + "more\r\n".len();
        assert!(read.ends_with(&format!("xx\r\n[{lost} bytes of console output were lost]\r\nagain\r\n")), "{read}");
    }

    #[test]
    fn a_nonsense_consumer_is_a_full_ring() {
        let (console, daemon) = console(0, 0);
        daemon.ring.store_u32(CONSUMER, 77, Ordering::Relaxed);
        console.write(b"lost", &daemon);
        assert_eq!(console.lost.get(), 4);
    }
}
