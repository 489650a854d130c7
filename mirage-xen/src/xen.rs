//! The hypervisor itself: [`Hypervisor`] by hypercalls.

use core::mem::offset_of;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::abi;
use crate::clock::Clock;
use crate::hypercall::{self, operate};
use crate::hypervisor::{
    DOMAIN_SELF, DomainId, Frame, HypercallError, Hypervisor, PAGE_SIZE, Port, Resumed, ServiceRing, ShutdownReason,
};
use crate::memory::machine::{Memory, pointer};
use crate::memory::map::MAX_REGIONS;
use crate::memory::{Kind, MemoryMap, Region};
use crate::shared::SharedBytes;
use crate::sleep::{self, Upcall};
use crate::traps;

const PAGE: u64 = PAGE_SIZE as u64;
const WORD_BITS: u32 = u64::BITS;
const PORTS: u32 = 64 * WORD_BITS;

/// Error number of a parameter that the domain's builder did not set.
const ENODATA: u32 = 61;
const ENOSPC: u32 = 28;
const ENOMEM: u32 = 12;

/// An upcall by a vector of the processor (`HVM_PARAM_CALLBACK_TYPE_VECTOR`): the interrupt that ends a sleep.
const UPCALL: u64 = 2 << 56 | traps::WAKE as u64;

/// Xen, as the domain this program is sees it.
#[derive(Clone, Copy)]
pub struct Xen {
    memory: &'static Memory,
    /// The shared info page first, then the frames of the grant table.
    window: u64,
    grant_frames: u32,
}

impl Xen {
    /// Xen below the machine that has `memory`.
    ///
    /// # Safety
    ///
    /// The program is a PVH guest of Xen, and [`hypercall::detect`] has run.
    pub(crate) unsafe fn new(memory: &'static Memory) -> Result<Self, HypercallError> {
        let window = memory.window().start;
        let mut query = abi::gnttab_query_size { dom: DOMAIN_SELF.0, nr_frames: 0, max_nr_frames: 0, status: 0 };
        let arguments = [u64::from(abi::GNTTABOP_query_size), address_of(&mut query), 1];
        // SAFETY: promised by the caller; the structure is the operation's.
        hypercall::check("GNTTABOP_query_size", unsafe {
            hypercall::call(abi::__HYPERVISOR_grant_table_op, arguments)
        })?;
        let room = (memory.window().end - window) / PAGE - 1;
        let grant_frames = query.max_nr_frames.min(u32::try_from(room).unwrap_or(u32::MAX));
        Ok(Self { memory, window, grant_frames })
    }

    /// The shared info page.
    ///
    /// # Safety
    ///
    /// [`Hypervisor::attach`] has succeeded.
    pub(crate) unsafe fn shared_info(&self) -> SharedBytes<'static> {
        // SAFETY: attach has mapped the page; nothing but views of shared memory points to it.
        unsafe { view(self.window) }
    }

    /// Wall time as Xen has it.
    pub fn clock(&self) -> Clock {
        // SAFETY: whoever has a `Xen` has it from boot, which attaches it at once.
        Clock::new(unsafe { self.shared_info() })
    }

    fn words(&self, offset: usize) -> *mut u64 {
        pointer(self.window + offset as u64).cast()
    }

    fn pending(&self, port: Port) -> Option<(&AtomicU64, u64)> {
        if port.0 >= PORTS {
            return None;
        }
        let index = (port.0 / WORD_BITS) as usize;
        // SAFETY: the word lies inside of the mapped shared info page and is used with atomic instructions only.
        let word = unsafe { AtomicU64::from_ptr(self.words(offset_of!(abi::shared_info, evtchn_pending)).add(index)) };
        Some((word, 1 << (port.0 % WORD_BITS)))
    }

    /// Whether an event has come and was not taken.
    #[inline(never)]
    pub(crate) fn is_pending(&self, port: Port) -> bool {
        self.pending(port).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    /// Makes a frame of Xen's visible at `address`.
    fn add_to_physmap(&self, space: u32, index: u64, address: u64) -> Result<(), HypercallError> {
        let mut request =
            abi::xen_add_to_physmap { domid: DOMAIN_SELF.0, size: 0, space, idx: index, gpfn: address / PAGE };
        // SAFETY: the address lies in the window, where no memory is.
        unsafe {
            operate("XENMEM_add_to_physmap", abi::__HYPERVISOR_memory_op, abi::XENMEM_add_to_physmap, &mut request)
        }?;
        self.memory.map_special(address).map_err(|_| HypercallError::new("XENMEM_add_to_physmap", ENOMEM))
    }

    fn service(&self, page: u32, event: u32) -> Result<ServiceRing, HypercallError> {
        let address = parameter(page)?.checked_mul(PAGE).ok_or(HypercallError::new("HVMOP_get_param", ENODATA))?;
        let port = u32::try_from(parameter(event)?).map_err(|_| HypercallError::new("HVMOP_get_param", ENODATA))?;
        self.memory.map_special(address).map_err(|_| HypercallError::new("HVMOP_get_param", ENOMEM))?;
        // SAFETY: the page is Xen's ring and was just mapped; it is no RAM of ours, so no reference points there.
        Ok(ServiceRing { memory: unsafe { view(address) }, port: Port(port) })
    }
}

/// A parameter of the domain that its builder set.
///
/// # Errors
///
/// Xen's error, or `ENODATA` when it is not set.
pub(crate) fn parameter(index: u32) -> Result<u64, HypercallError> {
    let mut request = abi::xen_hvm_param { domid: DOMAIN_SELF.0, pad: 0, index, value: 0 };
    // SAFETY: reading a parameter has no effect but to fill in the structure.
    unsafe { operate("HVMOP_get_param", abi::__HYPERVISOR_hvm_op, abi::HVMOP_get_param, &mut request) }?;
    match request.value {
        0 | u64::MAX => Err(HypercallError::new("HVMOP_get_param", ENODATA)),
        value => Ok(value),
    }
}

/// Adds the memory map that Xen keeps for the domain to `map`: what the start info of version 0 does not have.
pub(crate) fn memory_map(map: &mut MemoryMap) -> Result<(), HypercallError> {
    let mut entries = [E820::default(); MAX_REGIONS];
    let mut request = abi::xen_memory_map {
        nr_entries: entries.len() as u32,
        buffer: abi::__guest_handle_void { p: entries.as_mut_ptr().cast() },
    };
    // SAFETY: Xen writes at most `nr_entries` entries to the buffer.
    unsafe { operate("XENMEM_memory_map", abi::__HYPERVISOR_memory_op, abi::XENMEM_memory_map, &mut request) }?;
    for entry in entries.iter().take(request.nr_entries as usize) {
        let kind = if entry.kind == abi::XEN_HVM_MEMMAP_TYPE_RAM { Kind::Ram } else { Kind::Other };
        map.add(Region { start: entry.start, end: entry.start.saturating_add(entry.size), kind });
    }
    Ok(())
}

/// An entry of the map in the layout of the BIOS call that it is named for.
#[repr(C, packed)]
#[derive(Clone, Copy, Default)]
struct E820 {
    start: u64,
    size: u64,
    kind: u32,
}

/// Notifies the other end of `port`.
pub(crate) fn send(port: Port) -> Result<(), HypercallError> {
    let mut request = abi::evtchn_send { port: port.0 };
    // SAFETY: an event has no effect on our memory.
    unsafe { operate("EVTCHNOP_send", abi::__HYPERVISOR_event_channel_op, abi::EVTCHNOP_send, &mut request) }.map(drop)
}

/// Ends the domain.
pub(crate) fn end(reason: ShutdownReason) {
    let reason = match reason {
        ShutdownReason::PowerOff => abi::SHUTDOWN_poweroff,
        ShutdownReason::Reboot => abi::SHUTDOWN_reboot,
        ShutdownReason::Crash => abi::SHUTDOWN_crash,
    };
    let _ = shut_down(reason);
}

/// Makes, feeds or (0 seconds) ends a watchdog of the domain; its number, which is 0 for one that is to be made.
pub(crate) fn watchdog(number: u32, seconds: u32) -> Result<u32, HypercallError> {
    let mut request = abi::sched_watchdog { id: number, timeout: seconds };
    // SAFETY: a watchdog has no effect on our memory.
    let made = unsafe { operate("SCHEDOP_watchdog", abi::__HYPERVISOR_sched_op, abi::SCHEDOP_watchdog, &mut request) }?;
    Ok(if number == 0 { made as u32 } else { number })
}

/// Stops the domain, for ever or until it is resumed.
fn shut_down(reason: u32) -> Result<u64, HypercallError> {
    let mut request = abi::sched_shutdown { reason };
    // SAFETY: the domain stops, or nothing happens.
    unsafe { operate("SCHEDOP_shutdown", abi::__HYPERVISOR_sched_op, abi::SCHEDOP_shutdown, &mut request) }
}

/// Nanoseconds in which the vCPU could have run and did not, since it was made. Asked for when somebody wants to know: an area that
/// Xen keeps up to date would cost at each switch, and would have to be registered again after a resume.
pub(crate) fn stolen_time() -> Result<u64, HypercallError> {
    let mut info = abi::vcpu_runstate_info { state: 0, state_entry_time: 0, time: [0; 4] };
    let arguments = [u64::from(abi::VCPUOP_get_runstate_info), 0, address_of(&mut info)];
    // SAFETY: Xen fills in the structure, which is the operation's, and does nothing else.
    hypercall::check("VCPUOP_get_runstate_info", unsafe { hypercall::call(abi::__HYPERVISOR_vcpu_op, arguments) })?;
    Ok(info.time[abi::RUNSTATE_runnable as usize] + info.time[abi::RUNSTATE_offline as usize])
}

/// Has the vCPU's timer send its event at the system time `deadline`, and not when it was to before.
pub(crate) fn set_timer(deadline: u64) -> Result<(), HypercallError> {
    let mut request = abi::vcpu_set_singleshot_timer { timeout_abs_ns: deadline, flags: 0 };
    let arguments = [u64::from(abi::VCPUOP_set_singleshot_timer), 0, address_of(&mut request)];
    // SAFETY: Xen reads the structure, which is the operation's; an event has no effect on our memory.
    let result = unsafe { hypercall::call(abi::__HYPERVISOR_vcpu_op, arguments) };
    hypercall::check("VCPUOP_set_singleshot_timer", result).map(drop)
}

/// Lets other domains run.
pub(crate) fn pause() {
    // SAFETY: yielding has no effect on our memory.
    let _ = unsafe { hypercall::call(abi::__HYPERVISOR_sched_op, [u64::from(abi::SCHEDOP_yield), 0, 0]) };
}

/// A view of the page at `address`.
///
/// # Safety
///
/// The page is mapped, aligned, and no reference to it exists or will.
pub(crate) unsafe fn view(address: u64) -> SharedBytes<'static> {
    let base = NonNull::new(pointer(address)).unwrap_or(NonNull::dangling());
    // SAFETY: promised by the caller.
    unsafe { SharedBytes::new(base, PAGE_SIZE) }
}

fn address_of<T>(value: &mut T) -> u64 {
    core::ptr::from_mut(value).expose_provenance() as u64
}

/// An operation on event channels.
fn event<T>(name: &'static str, operation: u32, request: &mut T) -> Result<(), HypercallError> {
    // SAFETY: the operations on event channels fill in the structure and touch no other memory; callers pair each with its own.
    unsafe { operate(name, abi::__HYPERVISOR_event_channel_op, operation, request) }.map(drop)
}

// SAFETY: memory is mapped at its physical address, so the frame behind an I/O page is its address over the page size. The
// frames in the window and the service rings are never unmapped nor used for anything else.
unsafe impl Hypervisor for Xen {
    fn attach(&self) -> Result<(), HypercallError> {
        // Xen lays the shared info out for the mode of whoever sets this parameter: 32 bits before, which the builder used.
        let mut request =
            abi::xen_hvm_param { domid: DOMAIN_SELF.0, pad: 0, index: abi::HVM_PARAM_CALLBACK_IRQ, value: UPCALL };
        // SAFETY: the vector has its handler, and interrupts are off but in a sleep.
        unsafe { operate("HVMOP_set_param", abi::__HYPERVISOR_hvm_op, abi::HVMOP_set_param, &mut request) }?;
        self.add_to_physmap(abi::XENMAPSPACE_shared_info, 0, self.window)?;
        let mask = self.words(offset_of!(abi::shared_info, evtchn_mask));
        for index in 0..(PORTS / WORD_BITS) as usize {
            // SAFETY: the words lie inside of the shared info page. Each event is to end a sleep.
            unsafe { mask.add(index).write_volatile(0) };
        }
        // SAFETY: the page was just mapped.
        unsafe { Upcall::at(self.window) }.quiet();
        sleep::forget_timer();
        Ok(())
    }

    fn event_alloc_unbound(&self, remote: DomainId) -> Result<Port, HypercallError> {
        let mut request = abi::evtchn_alloc_unbound { dom: DOMAIN_SELF.0, remote_dom: remote.0, port: 0 };
        event("EVTCHNOP_alloc_unbound", abi::EVTCHNOP_alloc_unbound, &mut request)?;
        Ok(Port(request.port))
    }

    fn event_bind_interdomain(&self, remote: DomainId, port: Port) -> Result<Port, HypercallError> {
        let mut request = abi::evtchn_bind_interdomain { remote_dom: remote.0, remote_port: port.0, local_port: 0 };
        event("EVTCHNOP_bind_interdomain", abi::EVTCHNOP_bind_interdomain, &mut request)?;
        Ok(Port(request.local_port))
    }

    fn event_bind_virq(&self, virq: u32) -> Result<Port, HypercallError> {
        let mut request = abi::evtchn_bind_virq { virq, vcpu: 0, port: 0 };
        event("EVTCHNOP_bind_virq", abi::EVTCHNOP_bind_virq, &mut request)?;
        Ok(Port(request.port))
    }

    fn event_close(&self, port: Port) -> Result<(), HypercallError> {
        let mut request = abi::evtchn_close { port: port.0 };
        event("EVTCHNOP_close", abi::EVTCHNOP_close, &mut request)?;
        self.event_take_pending(port);
        Ok(())
    }

    fn event_send(&self, port: Port) -> Result<(), HypercallError> {
        send(port)
    }

    #[inline(never)]
    fn event_take_pending(&self, port: Port) -> bool {
        let Some((word, bit)) = self.pending(port) else { return false };
        // The ordinary case, nothing pending, costs no locked instruction.
        word.load(Ordering::Relaxed) & bit != 0 && word.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }

    fn sleep(&self, ports: &[Port], deadline: Option<u64>) -> Result<(), HypercallError> {
        // SAFETY: whoever has a `Xen` has it from boot, which attaches it at once.
        let upcall = unsafe { Upcall::at(self.window) };
        sleep::sleep(self, upcall, ports, deadline)
    }

    fn grant_frames_limit(&self) -> u32 {
        self.grant_frames
    }

    fn grant_frame(&self, index: u32) -> Result<SharedBytes<'static>, HypercallError> {
        if index >= self.grant_frames {
            return Err(HypercallError::new("XENMEM_add_to_physmap", ENOSPC));
        }
        let address = self.window + (1 + u64::from(index)) * PAGE;
        self.add_to_physmap(abi::XENMAPSPACE_grant_table, index.into(), address)?;
        // SAFETY: just mapped, in the window, where nothing else is.
        Ok(unsafe { view(address) })
    }

    fn frame_of(&self, page: NonNull<u8>) -> Option<Frame> {
        let address = page.as_ptr().addr() as u64;
        (address.is_multiple_of(PAGE) && self.memory.is_io(address)).then_some(Frame(address / PAGE))
    }

    fn xenstore_ring(&self) -> Result<ServiceRing, HypercallError> {
        self.service(abi::HVM_PARAM_STORE_PFN, abi::HVM_PARAM_STORE_EVTCHN)
    }

    fn console_ring(&self) -> Result<ServiceRing, HypercallError> {
        self.service(abi::HVM_PARAM_CONSOLE_PFN, abi::HVM_PARAM_CONSOLE_EVTCHN)
    }

    fn system_time(&self) -> u64 {
        self.clock().system_time()
    }

    fn suspend(&self) -> Result<Resumed, HypercallError> {
        Ok(if shut_down(abi::SHUTDOWN_suspend)? == 0 { Resumed::New } else { Resumed::Same })
    }

    fn shutdown(&self, reason: ShutdownReason) {
        end(reason);
    }
}
