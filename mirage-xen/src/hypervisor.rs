//! What a driver needs from Xen, as one object-safe trait.
//!
//! Drivers hold an `Rc<dyn Hypervisor>`. On Xen it is the implementation by hypercalls, in tests the in-process model.
//! The trait is about mechanism only: which ports are ours, what they wake, which grant references are free is kept
//! above it, in the modules for event channels and grants.

use core::fmt;
use core::ptr::NonNull;

use crate::parts::part;
use crate::shared::SharedBytes;

/// Number of a domain, as Xen counts them. Backends usually live in domain 0, but need not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DomainId(pub u16);

/// The calling domain itself (`DOMID_SELF`).
pub const DOMAIN_SELF: DomainId = DomainId(0x7FF0);

impl fmt::Display for DomainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        u64::from(self.0).fmt(f)
    }
}

/// Local number of an event channel.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Port(pub u32);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        u64::from(self.0).fmt(f)
    }
}

/// Guest frame number: guest-physical address divided by [`PAGE_SIZE`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Frame(pub u64);

pub use mirage_rt::page::PAGE_SIZE;

/// No more event channels may be bound: each sleep, and each look at events, goes through all of them.
pub const MAX_PORTS: usize = 128;

/// A hypercall that Xen refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HypercallError {
    /// Name of the operation as in Xen's public headers, such as `EVTCHNOP_send`.
    pub operation: &'static str,
    /// Xen's error number (`xen/errno.h`), positive.
    pub errno: u32,
}

impl HypercallError {
    /// The error for `operation` that returned `-errno`.
    pub const fn new(operation: &'static str, errno: u32) -> Self {
        Self { operation, errno }
    }

    /// The error number's symbolic name, as in `xen/errno.h`.
    pub fn name(&self) -> &'static str {
        let line = match self.errno {
            61 => 39,
            95 => 40,
            number @ ..39 => number,
            _ => 0,
        };
        match part(ERRORS, b'\n', line as usize) {
            "" => "unnamed error",
            name => name,
        }
    }
}

/// The names of errors, in lines by their numbers; then those of 61 and 95.
const ERRORS: &str = "
EPERM
ENOENT
ESRCH



E2BIG

EBADF

EAGAIN
ENOMEM
EACCES
EFAULT

EBUSY
EEXIST




EINVAL





ENOSPC









ENOSYS
ENODATA
EOPNOTSUPP";

impl fmt::Display for HypercallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hypercall {} failed: {} ({})", self.operation, self.name(), u64::from(self.errno))
    }
}

impl core::error::Error for HypercallError {}

/// Why a domain ends (`SHUTDOWN_*` of `xen/sched.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShutdownReason {
    /// The domain finished.
    PowerOff,
    /// The domain wants to be started again.
    Reboot,
    /// The domain failed; `on_crash` of its configuration applies.
    Crash,
}

/// As what a domain goes on after it was suspended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resumed {
    /// As itself: the suspension was cancelled, or a copy was saved only. Ports and grants are what they were.
    Same,
    /// As a new domain with the memory of the old one. Xen and the backends know nothing of it.
    New,
}

/// A page shared with a service that exists before any device does, and the event channel that goes with it.
#[derive(Clone, Debug)]
pub struct ServiceRing {
    /// The shared page, [`PAGE_SIZE`] bytes.
    pub memory: SharedBytes<'static>,
    /// The local port of its event channel, already bound by the domain's builder.
    pub port: Port,
}

/// Xen, as far as a driver uses it.
///
/// All methods take `&self`; an implementation is used by one thread. No method allocates in its ordinary course.
///
/// # Safety
///
/// The drivers give memory to other domains by the frame numbers that [`frame_of`](Self::frame_of) returns, and access
/// the memory that [`grant_frame`](Self::grant_frame), [`xenstore_ring`](Self::xenstore_ring) and the like hand out.
/// An implementor promises that `frame_of` names exactly the frame behind the address it is asked about, and that
/// memory handed out stays mapped, and used for nothing else, for the life of the program.
pub unsafe trait Hypervisor {
    /// Tells Xen about us: shared info, the vCPU's info, grant table frame 0.
    ///
    /// Called once at boot and once after each resume, before anything else of this trait is used. After a resume all
    /// ports and grants of before are gone and so is the placement of the shared frames.
    ///
    /// # Errors
    ///
    /// The hypercall that failed; the domain cannot go on.
    fn attach(&self) -> Result<(), HypercallError>;

    /// Makes a new event channel that `remote` may bind to (`EVTCHNOP_alloc_unbound`).
    ///
    /// # Errors
    ///
    /// `ENOSPC` when the domain has no port left (`max_event_channels`).
    fn event_alloc_unbound(&self, remote: DomainId) -> Result<Port, HypercallError>;

    /// Binds to a channel that `remote` made for us (`EVTCHNOP_bind_interdomain`) and returns our end of it.
    ///
    /// # Errors
    ///
    /// `EINVAL` when `remote` has no such unbound port for this domain.
    fn event_bind_interdomain(&self, remote: DomainId, port: Port) -> Result<Port, HypercallError>;

    /// Binds a virtual interrupt of vCPU 0 (`EVTCHNOP_bind_virq`).
    ///
    /// # Errors
    ///
    /// `EEXIST` when it is bound already.
    fn event_bind_virq(&self, virq: u32) -> Result<Port, HypercallError>;

    /// Closes a port (`EVTCHNOP_close`) and clears its pending bit.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the port is not open.
    fn event_close(&self, port: Port) -> Result<(), HypercallError>;

    /// Notifies the other end (`EVTCHNOP_send`). A full barrier: what was written to shared memory before is visible
    /// to whoever sees the event.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the port is not open. Sending to a port whose other end is not bound yet is no error.
    fn event_send(&self, port: Port) -> Result<(), HypercallError>;

    /// Takes the pending bit of `port`: returns whether it was set, and leaves it clear. No hypercall.
    ///
    /// The clearing is ordered before every later read of shared memory, so that an event sent after the read sets
    /// the bit again. A port out of range is never pending.
    fn event_take_pending(&self, port: Port) -> bool;

    /// Waits until one of `ports` is pending or the system time reaches `deadline`, whichever is first.
    ///
    /// Returns at once when a port is already pending or the deadline has passed; may also return
    /// early for no reason. Takes no pending bit. `None` means no deadline.
    ///
    /// # Errors
    ///
    /// The hypercall that Xen refused: the processor's timer cannot be had.
    fn sleep(&self, ports: &[Port], deadline: Option<u64>) -> Result<(), HypercallError>;

    /// How many grant table frames the domain may have (`GNTTABOP_query_size`, `max_grant_frames`).
    fn grant_frames_limit(&self) -> u32;

    /// The grant table's frame number `index`, made to exist and mapped if need be: [`PAGE_SIZE`] bytes of version 1
    /// entries, 8 bytes each.
    ///
    /// Frames are asked for in order from 0. The memory of a frame once returned stays where it is, also across
    /// [`attach`](Self::attach).
    ///
    /// # Errors
    ///
    /// `ENOSPC` from [`grant_frames_limit`](Self::grant_frames_limit) on, `ENOMEM` when Xen has no memory for it.
    fn grant_frame(&self, index: u32) -> Result<SharedBytes<'static>, HypercallError>;

    /// The frame behind a page-aligned address of this program's memory, or `None` when the address is not in memory
    /// that may be granted (image, heap, stack, memory of another domain).
    fn frame_of(&self, page: NonNull<u8>) -> Option<Frame>;

    /// The xenstore ring and its port (`HVM_PARAM_STORE_PFN`, `HVM_PARAM_STORE_EVTCHN`), read anew at each call because
    /// both change with a resume.
    ///
    /// # Errors
    ///
    /// The hypercall that failed, or `ENODATA` when the domain was built without xenstore.
    fn xenstore_ring(&self) -> Result<ServiceRing, HypercallError>;

    /// The console ring and its port (`HVM_PARAM_CONSOLE_PFN`, `HVM_PARAM_CONSOLE_EVTCHN`).
    ///
    /// # Errors
    ///
    /// As [`xenstore_ring`](Self::xenstore_ring).
    fn console_ring(&self) -> Result<ServiceRing, HypercallError>;

    /// Nanoseconds since the host booted, monotonic; the scale of [`sleep`](Self::sleep)'s deadline.
    fn system_time(&self) -> u64;

    /// Stops until the toolstack lets the domain go on (`SCHEDOP_shutdown` with `SHUTDOWN_suspend`). After
    /// [`Resumed::New`], [`attach`](Self::attach) must be the next call.
    ///
    /// # Errors
    ///
    /// The hypercall that Xen refused; the domain was not suspended.
    fn suspend(&self) -> Result<Resumed, HypercallError>;

    /// Ends the domain (`SCHEDOP_shutdown`). On Xen this does not return; the model records the reason and does.
    fn shutdown(&self, reason: ShutdownReason);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_names() {
        let names = [
            (1, "EPERM"),
            (3, "ESRCH"),
            (7, "E2BIG"),
            (9, "EBADF"),
            (14, "EFAULT"),
            (17, "EEXIST"),
            (22, "EINVAL"),
            (28, "ENOSPC"),
            (38, "ENOSYS"),
            (61, "ENODATA"),
            (95, "EOPNOTSUPP"),
        ];
        for (errno, name) in names {
            assert_eq!(HypercallError::new("EVTCHNOP_send", errno).name(), name);
        }
        for errno in [0, 4, 39, 40, 60, u32::MAX] {
            assert_eq!(HypercallError::new("EVTCHNOP_send", errno).name(), "unnamed error");
        }
    }
}
