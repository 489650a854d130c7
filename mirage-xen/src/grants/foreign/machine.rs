//! Pages of other domains, by hypercalls.

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::ops::Range;

use super::{ForeignError, ForeignMemory, ForeignPage, GrantStatus, Mapped, Operation};
use crate::abi::{self, gnttab_copy, gnttab_copy_gnttab_copy_ptr, gnttab_copy_gnttab_copy_ptr__bindgen_ty_1};
use crate::hypercall;
use crate::hypervisor::{DOMAIN_SELF, HypercallError, PAGE_SIZE};
use crate::memory::machine::Memory;
use crate::xen::view;

const PAGE: u64 = PAGE_SIZE as u64;

/// Copies that are asked for with one hypercall: what fits the stack well.
const BATCH: usize = 32;

/// The machine's window for pages of other domains. There is one.
pub(super) struct Machine {
    memory: &'static Memory,
    window: Range<u64>,
    /// Addresses of the window that are free again, and the first that was never used.
    free: RefCell<Vec<u64>>,
    unused: Cell<u64>,
}

impl Machine {
    /// `None` on a host, and when somebody has the window already.
    pub(super) fn new() -> Option<Self> {
        let memory = Memory::machine()?;
        let window = memory.take_foreign_window()?;
        Some(Self { memory, free: RefCell::default(), unused: Cell::new(window.start), window })
    }

    /// An address without memory, mapped for what will be there.
    fn address(&self) -> Result<u64, ForeignError> {
        let mut free = self.free.borrow_mut();
        if let Some(address) = free.pop() {
            return Ok(address);
        }
        let address = self.unused.get();
        if address == self.window.end {
            return Err(ForeignError::TooManyMappings);
        }
        // So that giving an address back never allocates.
        let used = (address - self.window.start) / PAGE + 1;
        free.try_reserve(used as usize).map_err(|_| ForeignError::OutOfMemory)?;
        self.memory.map_special(address).map_err(|_| ForeignError::OutOfMemory)?;
        self.unused.set(address + PAGE);
        Ok(address)
    }
}

fn call<T>(name: &'static str, operation: u32, requests: &mut [T]) -> Result<(), HypercallError> {
    let address = requests.as_mut_ptr().expose_provenance() as u64;
    let arguments = [u64::from(operation), address, requests.len() as u64];
    // SAFETY: the requests live until the call returns; what they ask for, the callers answer for.
    hypercall::check(name, unsafe { hypercall::call(abi::__HYPERVISOR_grant_table_op, arguments) }).map(drop)
}

fn request(operation: &Operation) -> gnttab_copy {
    let Operation { foreign, foreign_offset, own, own_offset, length, inward, .. } = *operation;
    let there = gnttab_copy_gnttab_copy_ptr {
        u: gnttab_copy_gnttab_copy_ptr__bindgen_ty_1 { ref_: foreign.reference },
        domid: foreign.domain.0,
        offset: foreign_offset,
    };
    let here = gnttab_copy_gnttab_copy_ptr {
        u: gnttab_copy_gnttab_copy_ptr__bindgen_ty_1 { gmfn: own.0 },
        domid: DOMAIN_SELF.0,
        offset: own_offset,
    };
    let (source, dest, flags) =
        if inward { (there, here, abi::GNTCOPY_source_gref) } else { (here, there, abi::GNTCOPY_dest_gref) };
    gnttab_copy { source, dest, len: length, flags: flags as u16, status: 0 }
}

// SAFETY: an address is handed out once until it is given back. A copy's own page is an I/O page that a batch has borrowed, and
// which no reference points into; memory is mapped at its physical address.
unsafe impl ForeignMemory for Machine {
    fn copy(&self, operations: &mut [Operation]) -> Result<(), HypercallError> {
        for batch in operations.chunks_mut(BATCH) {
            let mut requests: [gnttab_copy; BATCH] = [request(&batch[0]); BATCH];
            for (place, operation) in requests.iter_mut().zip(&*batch) {
                *place = request(operation);
            }
            call("GNTTABOP_copy", abi::GNTTABOP_copy, &mut requests[..batch.len()])?;
            for (operation, request) in batch.iter_mut().zip(&requests) {
                operation.status = request.status;
            }
        }
        Ok(())
    }

    fn map(&self, page: ForeignPage, writable: bool) -> Result<Mapped, ForeignError> {
        let address = self.address()?;
        let mut request = abi::gnttab_map_grant_ref {
            host_addr: address,
            flags: abi::GNTMAP_host_map | if writable { 0 } else { abi::GNTMAP_readonly },
            ref_: page.reference,
            dom: page.domain.0,
            status: 0,
            handle: 0,
            dev_bus_addr: 0,
        };
        let result = call("GNTTABOP_map_grant_ref", abi::GNTTABOP_map_grant_ref, core::slice::from_mut(&mut request))
            .map_err(ForeignError::Hypercall)
            .and_then(|()| GrantStatus::check(request.status).map_err(ForeignError::Grant));
        if let Err(error) = result {
            self.free.borrow_mut().push(address);
            return Err(error);
        }
        // SAFETY: the page is mapped, in the window, where no reference points.
        Ok(Mapped { memory: unsafe { view(address) }, handle: request.handle })
    }

    fn unmap(&self, mapped: Mapped) -> Result<(), ForeignError> {
        let mut request = abi::gnttab_unmap_grant_ref {
            host_addr: mapped.memory.address(),
            dev_bus_addr: 0,
            handle: mapped.handle,
            status: 0,
        };
        call("GNTTABOP_unmap_grant_ref", abi::GNTTABOP_unmap_grant_ref, core::slice::from_mut(&mut request))
            .map_err(ForeignError::Hypercall)?;
        GrantStatus::check(request.status).map_err(ForeignError::Grant)?;
        self.forget(mapped);
        Ok(())
    }

    fn forget(&self, mapped: Mapped) {
        self.free.borrow_mut().push(mapped.memory.address());
    }
}
