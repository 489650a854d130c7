//! The guest's I/O memory in the model: pages with frame numbers, which the model's backends reach by those numbers.

use alloc::alloc::{Layout, alloc_zeroed};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::ptr::NonNull;

use mirage_rt::page::{PAGE_SIZE, PageBytes, PagePool};

use crate::hypervisor::Frame;
use crate::shared::SharedBytes;

/// Pages of a guest: 8 MiB, of which the host gives only what is touched.
pub const GUEST_PAGES: usize = 2048;

/// Number of the first frame, so that an index taken for a frame number is noticed.
const FIRST_FRAME: u64 = 0x8000;

/// Memory of the model's guest. It lives as long as the process, as pages that are out may outlive the model.
pub(super) struct GuestMemory {
    base: NonNull<PageBytes>,
    free: RefCell<Vec<usize>>,
}

impl GuestMemory {
    pub(super) fn new() -> Self {
        // Aligned by hand: memory asked for with an alignment is cleared by writing, and this should cost the host only what
        // is touched.
        let layout = Layout::new::<[u8; (GUEST_PAGES + 1) * PAGE_SIZE]>();
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(memory) = NonNull::new(memory) else { alloc::alloc::handle_alloc_error(layout) };
        // SAFETY: at most a page further, and there is a page more than is used.
        let base = unsafe { memory.add(memory.align_offset(PAGE_SIZE)) };
        Self { base: base.cast(), free: RefCell::new((0..GUEST_PAGES).rev().collect()) }
    }

    pub(super) fn frame_of(&self, page: NonNull<u8>) -> Option<Frame> {
        let offset = (page.addr().get()).checked_sub(self.base.addr().get())?;
        let inside = offset.is_multiple_of(PAGE_SIZE) && offset / PAGE_SIZE < GUEST_PAGES;
        inside.then_some(Frame(FIRST_FRAME + (offset / PAGE_SIZE) as u64))
    }

    /// The memory of a frame as another domain sees it.
    pub(super) fn frame(&self, frame: Frame) -> Option<SharedBytes<'static>> {
        let index = usize::try_from(frame.0.checked_sub(FIRST_FRAME)?).ok().filter(|index| *index < GUEST_PAGES)?;
        // SAFETY: within the allocation, which is never given back. Only frames that the guest granted are asked for:
        // it has no reference to those, or only shared ones while nobody can write.
        Some(unsafe { SharedBytes::new(self.base.add(index).cast(), PAGE_SIZE) })
    }

    /// A page that is shared from the start, such as the xenstore ring's.
    pub(super) fn take_shared(&self) -> SharedBytes<'static> {
        let memory = match self.take() {
            // SAFETY: the page is never given back, so this view is the only way to reach it.
            Some(page) => unsafe { SharedBytes::new(NonNull::from(page).cast(), PAGE_SIZE) },
            None => unreachable!("the pages of the machine itself are taken first"),
        };
        // It may have been a packet's or a disk's before.
        memory.clear();
        memory
    }
}

impl PagePool for GuestMemory {
    fn take(&self) -> Option<&'static mut PageBytes> {
        let index = self.free.borrow_mut().pop()?;
        // SAFETY: within the allocation, which lives as long as the process; the page was on the list of those that
        // nobody has, and is not any more.
        Some(unsafe { self.base.add(index).as_mut() })
    }

    fn put(&self, memory: &'static mut PageBytes) {
        let offset = NonNull::from(memory).addr().get() - self.base.addr().get();
        self.free.borrow_mut().push(offset / PAGE_SIZE);
    }

    fn available(&self) -> usize {
        self.free.borrow().len()
    }
}
