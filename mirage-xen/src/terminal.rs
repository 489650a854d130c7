//! The console of the machine we run on: usable from the first moments of boot to the last report of a crash.

use core::cell::Cell;
use core::fmt::{self, Write};

use crate::abi;
use crate::console::{Console, Peer};
use crate::hypervisor::{Hypervisor, PAGE_SIZE, Port};
use crate::single::Single;
use crate::xen::{self, Xen};

/// How long output waits for a full ring, in nanoseconds.
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
    console: Console,
    address: u64,
    port: Port,
    xen: Cell<Option<Xen>>,
}

/// Opens the console, if it has one below `limit`, which is where memory is mapped.
///
/// # Safety
///
/// Boot calls it, once, on a PVH guest of Xen with one processor; memory below `limit` is mapped at its own address.
pub(crate) unsafe fn open(limit: u64) {
    let ring = xen::parameter(abi::HVM_PARAM_CONSOLE_PFN).map(|frame| frame.saturating_mul(PAGE_SIZE as u64));
    let port = xen::parameter(abi::HVM_PARAM_CONSOLE_EVTCHN);
    if let (Ok(ring), Ok(port)) = (ring, port)
        && ring < limit
    {
        // SAFETY: the page is Xen's ring, mapped as promised, and no RAM of ours.
        let console = Console::new(unsafe { xen::view(ring) });
        let terminal = Terminal { console, address: ring, port: Port(port as u32), xen: Cell::new(None) };
        // SAFETY: promised by the caller.
        unsafe { TERMINAL.set(terminal) };
    }
}

/// From now on the console can sleep while it waits.
pub(crate) fn attach(xen: Xen) {
    if let Some(terminal) = TERMINAL.get() {
        terminal.xen.set(Some(xen));
    }
}

/// Guest-physical address of the ring.
pub(crate) fn address() -> Option<u64> {
    TERMINAL.get().map(|terminal| terminal.address)
}

/// Writes to the console; nothing happens when there is none.
pub(crate) fn write(bytes: &[u8]) {
    if let Some(terminal) = TERMINAL.get() {
        terminal.console.write(bytes, &Daemon::new(terminal, PATIENCE));
    }
}

/// Gives way until the output was read, at most [`FIRST_PAUSES`] times, which are microseconds where the reader has another
/// processor: where it has not, the first line would wait for boot to end.
pub(crate) fn offer() {
    let Some(terminal) = TERMINAL.get() else { return };
    for _ in 0..FIRST_PAUSES {
        xen::pause();
        if terminal.console.is_read() {
            return;
        }
    }
}

/// Waits until all output was read, for a bounded time.
pub(crate) fn flush() {
    if let Some(terminal) = TERMINAL.get() {
        terminal.console.flush(&Daemon::new(terminal, LAST_PATIENCE));
    }
}

/// The console for `write!`.
pub(crate) struct Output;

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}

/// xenconsoled, and how long it is waited for from the first wait on.
struct Daemon<'a> {
    terminal: &'a Terminal,
    patience: u64,
    deadline: Cell<Option<u64>>,
    pauses: Cell<u32>,
}

impl<'a> Daemon<'a> {
    fn new(terminal: &'a Terminal, patience: u64) -> Self {
        Self { terminal, patience, deadline: Cell::new(None), pauses: Cell::new(EARLY_PAUSES) }
    }
}

impl Peer for Daemon<'_> {
    fn notify(&self) {
        // Without the event the output is read a little later.
        let _ = xen::send(self.terminal.port);
    }

    fn wait(&self) -> bool {
        let Some(xen) = self.terminal.xen.get() else {
            xen::pause();
            self.pauses.set(self.pauses.get().saturating_sub(1));
            return self.pauses.get() > 0;
        };
        let now = xen.system_time();
        let deadline = self.deadline.get().unwrap_or(now.saturating_add(self.patience));
        self.deadline.set(Some(deadline));
        if now >= deadline || xen.poll(&[self.terminal.port], Some(deadline)).is_err() {
            return false;
        }
        xen.event_take_pending(self.terminal.port);
        true
    }
}
