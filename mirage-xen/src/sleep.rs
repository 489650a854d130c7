//! How the processor sleeps: it halts, and an event interrupts it.
//!
//! That is the one moment at which interrupts are on. While the program runs, Xen finds all selectors of events set, as if the
//! program were about to look at them anyway: an event sets its bit in the shared info page and costs nothing else, neither an
//! interrupt nor an exit to Xen that prepares one. Before a sleep the selectors are cleared, and the bits are looked at once more
//! (Xen's public/xen.h, `struct vcpu_info`).
//!
//! `SCHEDOP_poll` would do the same without an interrupt and with a deadline of its own. But Xen copies its arguments, by walking
//! the domain's page tables and its own, which takes about as long as all the rest of a sleep.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::abi;
use crate::hypervisor::{HypercallError, Hypervisor, Port};
use crate::memory::machine::pointer;
use crate::traps;
use crate::xen::{self, Xen};

/// A port that no event has.
const UNBOUND: u32 = 0;
/// No deadline.
const NEVER: u64 = u64::MAX;
/// The selectors of events while the program runs: all words of bits are to be looked at.
const QUIET: u64 = u64::MAX;

/// The vCPU's timer. It is touched only for a deadline that comes before the one that it has: whoever waits for a later one sleeps
/// again. So a server that waits with each request for an answer, and never gets to the end of its patience, sets it a few times a second.
struct Timer {
    /// The port of its event, which is bound when the timer is first used, or [`UNBOUND`].
    port: AtomicU32,
    /// The system time at which it sends its event, or [`NEVER`].
    due: AtomicU64,
}

// One processor has one timer. It is used by one thread, so no order is needed.
static TIMER: Timer = Timer { port: AtomicU32::new(UNBOUND), due: AtomicU64::new(NEVER) };

/// The start of `struct vcpu_info`: the flag and the selectors by which Xen tells the vCPU of events.
#[repr(C)]
pub(crate) struct Upcall {
    pending: AtomicU8,
    _mask: AtomicU8,
    selectors: AtomicU64,
}

const _: () = {
    assert!(offset_of!(Upcall, pending) == offset_of!(abi::vcpu_info, evtchn_upcall_pending));
    assert!(offset_of!(Upcall, selectors) == offset_of!(abi::vcpu_info, evtchn_pending_sel));
};

impl Upcall {
    /// That of the first vCPU in the shared info page at `page`.
    ///
    /// # Safety
    ///
    /// The page is mapped for ever.
    pub(crate) unsafe fn at(page: u64) -> &'static Self {
        let info = pointer(page + offset_of!(abi::shared_info, vcpu_info) as u64).cast::<Self>();
        // SAFETY: it lies inside of the page, is aligned, and is used with atomic instructions only.
        unsafe { &*info }
    }

    /// Events set their bits, and nothing else happens.
    pub(crate) fn quiet(&self) {
        self.selectors.store(QUIET, Ordering::Relaxed);
        self.pending.store(0, Ordering::Relaxed);
    }

    /// The next event interrupts the processor when it has halted.
    fn listen(&self) {
        // An exchange: a full barrier before the bits are looked at, as Xen sets a bit before it looks at the selectors.
        self.selectors.swap(0, Ordering::SeqCst);
    }
}

/// The domain is new, and so is its timer.
pub(crate) fn forget_timer() {
    TIMER.port.store(UNBOUND, Ordering::Relaxed);
    TIMER.due.store(NEVER, Ordering::Relaxed);
}

/// Sleeps until one of `ports` is pending or the system time reaches `deadline`; at most until the timer rings.
pub(crate) fn sleep(
    domain: &Xen,
    upcall: &Upcall,
    ports: &[Port],
    deadline: Option<u64>,
) -> Result<(), HypercallError> {
    if domain.event_take_pending(timer()) {
        TIMER.due.store(NEVER, Ordering::Relaxed);
    }
    if let Some(deadline) = deadline
        && deadline < TIMER.due.load(Ordering::Relaxed)
    {
        set_timer(domain, deadline)?;
    }
    upcall.listen();
    // The timer may have rung before the selectors were cleared.
    if !domain.is_pending(timer()) && !ports.iter().any(|port| domain.is_pending(*port)) {
        traps::halt();
    }
    upcall.quiet();
    Ok(())
}

fn timer() -> Port {
    Port(TIMER.port.load(Ordering::Relaxed))
}

fn set_timer(domain: &Xen, deadline: u64) -> Result<(), HypercallError> {
    if timer().0 == UNBOUND {
        TIMER.port.store(domain.event_bind_virq(abi::VIRQ_TIMER)?.0, Ordering::Relaxed);
    }
    xen::set_timer(deadline)?;
    TIMER.due.store(deadline, Ordering::Relaxed);
    Ok(())
}
