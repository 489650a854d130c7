//! The console of the machine we run on: usable from the first moments of boot to the last report of a crash.

use core::cell::Cell;
use core::fmt::{self, Write};

use mirage_rt::cell::RefCell;

use crate::abi;
use crate::boot;
use crate::console::ring::Ring;
use crate::console::{Console, Output as Queue, Peer};
use crate::hypervisor::{Hypervisor, PAGE_SIZE, Port};
use crate::single::Single;
use crate::xen;

/// How long output waits for a full ring while the machine boots or ends, in nanoseconds.
const PATIENCE: u64 = 200_000_000;

/// How long the end of the program waits for its output to be read, in nanoseconds.
const LAST_PATIENCE: u64 = 2_000_000_000;

/// How often boot gives way for its first line at most.
const FIRST_PAUSES: u32 = 40;

/// Pauses before there is a clock.
const EARLY_PAUSES: u32 = 1000;

static TERMINAL: Single<Terminal> = Single::empty();

/// The console ring and its event channel.
struct Terminal {
    ring: Ring<'static>,
    address: u64,
    port: Port,
    /// What boot writes, and a report that interrupts a write. Always waits, so that there is no backlog.
    direct: RefCell<Queue>,
    /// What the running program writes to; it never waits.
    console: Cell<Option<&'static Console>>,
    /// The program is at its end: from now on, output waits.
    ending: Cell<bool>,
}

/// Opens the console, if it has one below `limit`, which is where memory is mapped.
///
/// # Safety
///
/// Boot calls it, once, on a PVH guest of Xen with one processor; memory below `limit` is mapped at its own address.
pub(crate) unsafe fn open(limit: u64) {
    let ring = xen::parameter(abi::HVM_PARAM_CONSOLE_PFN).map(|frame| frame.saturating_mul(PAGE_SIZE as u64));
    let port = xen::parameter(abi::HVM_PARAM_CONSOLE_EVTCHN);
    if let (Ok(address), Ok(port)) = (ring, port)
        && address < limit
    {
        let terminal = Terminal {
            // SAFETY: the page is Xen's ring, mapped as promised, and no RAM of ours.
            ring: Ring::new(unsafe { xen::view(address) }),
            address,
            port: Port(port as u32),
            direct: RefCell::new(Queue::new(0)),
            console: Cell::new(None),
            ending: Cell::new(false),
        };
        // SAFETY: promised by the caller.
        unsafe { TERMINAL.set(terminal) };
    }
}

/// From now on output goes to `console`, which never waits.
pub(crate) fn run(console: &'static Console) {
    if let Some(terminal) = TERMINAL.get() {
        terminal.console.set(Some(console));
    }
}

/// From now on output waits for its reader again: nothing runs any more but the end of the program.
pub(crate) fn end() {
    if let Some(terminal) = TERMINAL.get() {
        terminal.ending.set(true);
    }
}

/// Guest-physical address of the ring.
pub(crate) fn address() -> Option<u64> {
    TERMINAL.get().map(|terminal| terminal.address)
}

/// Writes to the console; nothing happens when there is none.
pub(crate) fn write(bytes: &[u8]) {
    output(Some(bytes), PATIENCE);
}

/// Waits until all output was read, for a bounded time.
pub(crate) fn flush() {
    output(None, LAST_PATIENCE);
}

/// Writes bytes; or, without bytes, waits until all output was read.
#[inline(never)]
fn output(bytes: Option<&[u8]>, patience: u64) {
    let Some(terminal) = TERMINAL.get() else { return };
    let console = terminal.console.get();
    let running = bytes.is_some() && console.is_some() && !terminal.ending.get();
    let daemon = Daemon {
        terminal,
        patience: if running { 0 } else { patience },
        deadline: Cell::new(0),
        pauses: Cell::new(EARLY_PAUSES),
    };
    if !console.is_some_and(|console| console.output(bytes, &daemon))
        && let Ok(mut direct) = terminal.direct.try_borrow_mut()
    {
        match bytes {
            Some(bytes) => direct.write(&terminal.ring, bytes, &daemon),
            None => direct.flush(&terminal.ring, &daemon),
        }
        drop(direct);
        terminal.notify();
    }
}

/// Gives way until the output was read, at most [`FIRST_PAUSES`] times, which are microseconds where the reader has another
/// processor: where it has not, the first line would wait for boot to end.
pub(crate) fn offer() {
    let Some(terminal) = TERMINAL.get() else { return };
    for _ in 0..FIRST_PAUSES {
        xen::pause();
        if terminal.ring.is_read() {
            return;
        }
    }
}

impl Terminal {
    fn notify(&self) {
        // Without the event the output is read a little later.
        let _ = xen::send(self.port());
    }

    /// The event channel, which is another one after a resume.
    fn port(&self) -> Port {
        self.console.get().and_then(Console::port).unwrap_or(self.port)
    }
}

/// The console for `write!`.
pub(crate) struct Output;

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }

    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> fmt::Result {
        mirage_rt::console::pieces(text, &mut |piece| write(piece.as_bytes()));
        Ok(())
    }
}

/// xenconsoled, and how long it is waited for from the first wait on.
struct Daemon<'a> {
    terminal: &'a Terminal,
    /// Nanoseconds, 0 for not at all.
    patience: u64,
    /// System time, 0 before the first wait.
    deadline: Cell<u64>,
    pauses: Cell<u32>,
}

impl Peer for Daemon<'_> {
    fn wait(&self) -> bool {
        if self.patience == 0 {
            return false;
        }
        self.terminal.notify();
        let Some(xen) = boot::xen() else {
            xen::pause();
            self.pauses.set(self.pauses.get().saturating_sub(1));
            return self.pauses.get() > 0;
        };
        let now = xen.system_time();
        if self.deadline.get() == 0 {
            self.deadline.set(now.saturating_add(self.patience));
        }
        let (deadline, port) = (self.deadline.get(), self.terminal.port());
        if now >= deadline || xen.sleep(&[port], Some(deadline)).is_err() {
            return false;
        }
        xen.event_take_pending(port);
        true
    }
}
