use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use std::collections::VecDeque;

use proptest::prelude::*;

use super::ring::{Broken, INPUT_SIZE, OUTPUT_SIZE, Ring};
use super::*;
use crate::model::Machine;
use crate::shared::SharedBytes;

/// xenconsoled: reads at most `speed` bytes at each wait, and is waited for `patience` times in all.
struct Daemon {
    ring: Ring<'static>,
    read: RefCell<Vec<u8>>,
    speed: usize,
    patience: Cell<usize>,
}

impl Daemon {
    fn consume(&self, most: usize) {
        let mut buffer = vec![0; most];
        let count = self.ring.take(&mut buffer).unwrap();
        self.read.borrow_mut().extend_from_slice(&buffer[..count]);
    }

    fn text(&self) -> String {
        String::from_utf8(self.read.borrow().clone()).unwrap()
    }
}

impl Peer for Daemon {
    fn wait(&self) -> bool {
        let left = self.patience.get();
        self.patience.set(left.saturating_sub(1));
        self.consume(self.speed);
        left > 0
    }
}

#[allow(unsafe_code)]
fn page() -> SharedBytes<'static> {
    let page = Box::leak(Box::new([0_u64; 512]));
    // SAFETY: the memory is aligned, leaked, and nothing else refers to it.
    unsafe { SharedBytes::new(NonNull::from(page).cast(), 4096) }
}

/// A ring close to the end of the numbers, so that they wrap around.
fn daemon(speed: usize, patience: usize) -> (Ring<'static>, Daemon) {
    let page = page();
    Ring::new(page).start_at(u32::MAX - 10);
    let ring = Ring::of_backend(page);
    (Ring::new(page), Daemon { ring, read: RefCell::default(), speed, patience: Cell::new(patience) })
}

fn letters(count: usize) -> Vec<u8> {
    (0..count).map(|index| b'a' + (index % 26) as u8).collect()
}

#[test]
fn lines_get_carriage_returns() {
    let (ring, daemon) = daemon(0, 0);
    let mut output = Output::new(0);
    output.write(&ring, b"one\ntwo\n\nthree", &Never);
    daemon.consume(100);
    assert_eq!(daemon.text(), "one\r\ntwo\r\n\r\nthree");
}

#[test]
fn who_waits_loses_nothing_to_a_slow_reader() {
    for limit in [0, BACKLOG] {
        let (ring, daemon) = daemon(100, usize::MAX);
        let mut output = Output::new(limit);
        let text = letters(40_000);
        output.write(&ring, &text, &daemon);
        output.flush(&ring, &daemon);
        assert_eq!(*daemon.read.borrow(), text);
        assert_eq!(output.lost(), 0);
    }
}

#[test]
fn a_reader_that_stops_costs_who_waits_output_but_not_time() {
    let (ring, daemon) = daemon(0, 5);
    let mut output = Output::new(0);
    output.write(&ring, &[b'x'; 3000], &daemon);
    output.write(&ring, b"more\n", &daemon);
    assert_eq!(daemon.patience.get(), 0);
    output.flush(&ring, &daemon);
    daemon.consume(4000);
    output.write(&ring, b"again\n", &daemon);
    daemon.consume(4000);
    let (read, lost) = (daemon.text(), 3000 - OUTPUT_SIZE + "more\r\n".len());
    assert!(read.ends_with(&format!("xx\r\n[{lost} bytes of console output were lost]\r\nagain\r\n")), "{read}");
}

#[test]
fn who_never_waits_has_a_backlog() {
    let (ring, daemon) = daemon(100, usize::MAX);
    let mut output = Output::new(BACKLOG);
    let text = letters(OUTPUT_SIZE + BACKLOG);
    output.write(&ring, &text, &Never);
    assert!(output.is_waiting());
    while output.is_waiting() {
        daemon.consume(100);
        assert!(output.drain(&ring));
    }
    daemon.consume(OUTPUT_SIZE);
    assert_eq!(*daemon.read.borrow(), text);
    assert_eq!(output.lost(), 0);
}

#[test]
fn what_the_backlog_cannot_hold_is_counted_and_missed_in_its_place() {
    let (ring, daemon) = daemon(0, 0);
    let mut output = Output::new(BACKLOG);
    let kept = letters(OUTPUT_SIZE + BACKLOG);
    output.write(&ring, &kept, &Never);
    output.write(&ring, b"too much\n", &Never);
    assert_eq!(output.lost(), 10);
    // A little room is not used, so that not every line gets a notice.
    daemon.consume(100);
    output.write(&ring, b"as well\n", &Never);
    assert_eq!(output.lost(), 19);
    while daemon.read.borrow().len() < BACKLOG / 2 {
        daemon.consume(1000);
        output.drain(&ring);
    }
    output.write(&ring, b"goes on\n", &Never);
    while output.is_waiting() {
        daemon.consume(1000);
        output.drain(&ring);
    }
    daemon.consume(OUTPUT_SIZE);
    let expected = "\r\n[19 bytes of console output were lost]\r\ngoes on\r\n";
    assert_eq!(daemon.text(), String::from_utf8(kept).unwrap() + expected);
    assert_eq!(output.lost(), 19);
}

#[test]
fn nonsense_indices_are_a_full_ring_and_no_input() {
    let page = page();
    let ring = Ring::new(page);
    // struct xencons_interface: in_cons, in_prod, out_cons, out_prod, behind 3072 bytes.
    page.store_u32(3072 + 8, 77, Ordering::Relaxed);
    assert_eq!((ring.room(), ring.put(b"lost")), (Err(Broken::Consumer), Err(Broken::Consumer)));
    let mut output = Output::new(0);
    output.write(&ring, b"lost", &Never);
    assert_eq!(output.lost(), 4);
    page.store_u32(3072 + 4, 1025, Ordering::Relaxed);
    assert_eq!(ring.take(&mut [0; 10]), Err(Broken::Producer));
}

#[test]
fn the_event_channel_moves_the_backlog_and_is_bound_only_while_it_has_to() {
    let machine = Machine::new(1);
    let console = machine.attachment.console().clone();
    let (page, port) = machine.world.console_end();
    let daemon = Ring::of_backend(page);
    let idle = machine.attachment.events().bound();
    console.write(b"a line\n");
    assert_eq!(machine.attachment.events().bound(), idle, "a line that fits waits for nothing");

    let text = letters(10_000);
    console.write(&text);
    assert_eq!(machine.attachment.events().bound(), idle + 1);
    let mut read = Vec::new();
    let mut rounds = 0;
    while read.len() < text.len() + 8 {
        let mut buffer = [0; 600];
        let count = daemon.take(&mut buffer).unwrap();
        assert!(count > 0, "{} bytes came", read.len());
        read.extend_from_slice(&buffer[..count]);
        machine.world.notify(port);
        machine.attachment.events().dispatch();
        rounds += 1;
    }
    assert!(rounds > 16);
    assert_eq!(read, [b"a line\r\n", text.as_slice()].concat());
    assert_eq!(machine.attachment.events().bound(), idle);
    assert_eq!(console.lost(), 0);
}

#[test]
fn input_is_a_stream() {
    let machine = Machine::new(1);
    let console = machine.attachment.console().clone();
    let (page, port) = machine.world.console_end();
    let daemon = Ring::of_backend(page);
    let world = Rc::clone(&machine.world);
    machine.run(async move {
        let mut expected = 0_u8;
        let typist = mirage_rt::spawn(async move {
            let mut number = 0_u8;
            for round in 0..200_usize {
                let bytes: Vec<u8> = (0..round).map(|offset| number.wrapping_add(offset as u8)).collect();
                let written = daemon.put(&bytes).unwrap();
                number = number.wrapping_add(written as u8);
                world.notify(port);
                mirage_rt::sleep(mirage_rt::Duration::from_millis(1)).await;
            }
            number
        });
        let mut total = 0_usize;
        let mut buffer = [0; 70];
        while let Ok(count) = mirage_rt::timeout(
            mirage_rt::Duration::from_millis(50),
            core::future::poll_fn(|context| console.poll_read(context, &mut buffer)),
        )
        .await
        {
            for byte in &buffer[..count] {
                assert_eq!(*byte, expected);
                expected = expected.wrapping_add(1);
            }
            total += count;
        }
        assert_eq!(total, (0..200).sum::<usize>());
        assert_eq!(typist.await, Ok(expected));
    });
}

proptest! {
    /// Bytes both ways, in pieces of any size, from indices that wrap around: what comes out is what went in, and as much
    /// goes in as has room.
    #[test]
    fn rings_are_queues_of_bytes(pieces in prop::collection::vec((any::<bool>(), any::<bool>(), 0..3000_usize), 1..80)) {
        let page = page();
        Ring::new(page).start_at(0xFFFF_FFF0);
        let (guest, backend) = (Ring::new(page), Ring::of_backend(page));
        let mut queues = [VecDeque::new(), VecDeque::new()];
        let mut number = 0_u8;
        for (to_guest, put, length) in pieces {
            let (sender, receiver) = if to_guest { (&backend, &guest) } else { (&guest, &backend) };
            let queue = &mut queues[usize::from(to_guest)];
            let size = if to_guest { INPUT_SIZE } else { OUTPUT_SIZE };
            if put {
                let bytes: Vec<u8> = (0..length).map(|index| number.wrapping_add(index as u8)).collect();
                let count = sender.put(&bytes).unwrap();
                prop_assert_eq!(count, length.min(size - queue.len()));
                queue.extend(&bytes[..count]);
                number = number.wrapping_add(count as u8);
            } else {
                let mut buffer = vec![0; length];
                let count = receiver.take(&mut buffer).unwrap();
                prop_assert_eq!(count, length.min(queue.len()));
                prop_assert_eq!(&buffer[..count], queue.drain(..count).collect::<Vec<u8>>());
            }
            prop_assert_eq!(sender.room(), Ok(size - queue.len()));
        }
    }
}
