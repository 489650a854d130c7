//! Another guest of the model, which grants pages to ours.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::sync::atomic::Ordering;

use super::World;
use crate::abi;
use crate::grants::foreign::{ForeignError, ForeignMemory, ForeignPage, GrantStatus, Mapped, Operation};
use crate::hypervisor::{DomainId, HypercallError, PAGE_SIZE};
use crate::shared::SharedBytes;

/// The neighbour's number.
pub const NEIGHBOUR: DomainId = DomainId(2);

/// The neighbour, and Xen's checks of its grants. It is the way to its pages, too: give it to
/// [`Foreign::new`](crate::grants::foreign::Foreign::new).
pub struct Neighbour {
    world: Rc<World>,
    pages: RefCell<Vec<Granted>>,
    mapped: RefCell<Vec<(u32, u32)>>,
    next_handle: Cell<u32>,
    refuse: Cell<bool>,
}

struct Granted {
    memory: SharedBytes<'static>,
    writable: bool,
    ended: bool,
}

impl Neighbour {
    /// A neighbour that has granted nothing yet.
    pub fn new(world: &Rc<World>) -> Rc<Self> {
        Rc::new(Self {
            world: Rc::clone(world),
            pages: RefCell::default(),
            mapped: RefCell::default(),
            next_handle: Cell::new(0),
            refuse: Cell::new(false),
        })
    }

    /// A page that it grants from now on, and its memory.
    pub fn grant(&self, writable: bool) -> (ForeignPage, SharedBytes<'static>) {
        let memory = self.world.take_shared();
        let mut pages = self.pages.borrow_mut();
        pages.push(Granted { memory, writable, ended: false });
        (ForeignPage { domain: NEIGHBOUR, reference: pages.len() as u32 - 1 }, memory)
    }

    /// Ends a grant.
    pub fn end(&self, page: ForeignPage) {
        self.pages.borrow_mut()[page.reference as usize].ended = true;
    }

    /// Makes Xen refuse every call, or no more.
    pub fn refuse_calls(&self, refuse: bool) {
        self.refuse.set(refuse);
    }

    /// How many mappings our guest has.
    pub fn mappings(&self) -> usize {
        self.mapped.borrow().len()
    }

    fn page(&self, page: ForeignPage, write: bool) -> Result<SharedBytes<'static>, i32> {
        let pages = self.pages.borrow();
        let found = pages.get(page.reference as usize).filter(|granted| !granted.ended);
        match found {
            _ if page.domain != NEIGHBOUR => Err(abi::GNTST_bad_domain),
            None => Err(abi::GNTST_bad_gntref),
            Some(granted) if write && !granted.writable => Err(abi::GNTST_permission_denied),
            Some(granted) => Ok(granted.memory),
        }
    }

    fn carry_out(&self, operation: &Operation) -> Result<(), i32> {
        let (there, here) = (operation.foreign_range(), operation.own_range());
        if there.end > PAGE_SIZE || here.end > PAGE_SIZE {
            return Err(abi::GNTST_bad_copy_arg);
        }
        let foreign = self.page(operation.foreign(), !operation.is_inward())?;
        let own = self.world.frame(operation.own()).ok_or(abi::GNTST_bad_page)?;
        let mut bytes = alloc::vec![0; there.len()];
        if operation.is_inward() {
            foreign.copy_out(there.start, &mut bytes);
            own.copy_in(here.start, &bytes);
        } else {
            own.copy_out(here.start, &mut bytes);
            foreign.copy_in(there.start, &bytes);
        }
        Ok(())
    }
}

impl fmt::Debug for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "neighbour with {} mappings", self.mappings())
    }
}

// SAFETY: pages of the model are never freed; own pages are named by frames that a batch has borrowed.
#[allow(unsafe_code)]
unsafe impl ForeignMemory for Neighbour {
    fn copy(&self, operations: &mut [Operation]) -> Result<(), HypercallError> {
        if self.refuse.get() {
            return Err(HypercallError::new("GNTTABOP_copy", 14));
        }
        for operation in operations {
            let status = self.carry_out(operation).err().unwrap_or(0);
            operation.set_status(status as i16);
        }
        core::sync::atomic::fence(Ordering::SeqCst);
        Ok(())
    }

    fn map(&self, page: ForeignPage, writable: bool) -> Result<Mapped, ForeignError> {
        let memory = self.page(page, writable).map_err(|status| {
            let status = GrantStatus::check(status as i16);
            ForeignError::Grant(status.err().unwrap_or(GrantStatus::Other(0)))
        })?;
        let handle = self.next_handle.get();
        self.next_handle.set(handle + 1);
        self.mapped.borrow_mut().push((handle, page.reference));
        Ok(Mapped::new(memory, handle))
    }

    fn unmap(&self, mapped: Mapped) -> Result<(), ForeignError> {
        let mut all = self.mapped.borrow_mut();
        match all.iter().position(|(handle, _)| *handle == mapped.handle()) {
            Some(index) => {
                all.swap_remove(index);
                Ok(())
            }
            None => Err(ForeignError::Grant(GrantStatus::Other(abi::GNTST_bad_handle as i16))),
        }
    }

    fn forget(&self, mapped: Mapped) {
        let _ = self.unmap(mapped);
    }
}
