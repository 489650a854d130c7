//! The global allocator: talc, on spans of frames that it claims when it needs them.

use core::alloc::{GlobalAlloc, Layout};
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use mirage_xen::memory::machine::{HEAP_IN_USE, Memory};
use talc::base::Talc;
use talc::base::binning::{Binning, DefaultBinning};
use talc::cell::{TalcCell, TalcSyncCell};
use talc::source::Source;

/// The first span, and the least that is claimed.
const SMALLEST_SPAN: usize = 64 * 1024;

/// The most that is claimed beyond what is asked for.
const LARGEST_SPAN: usize = 4 * 1024 * 1024;

/// What an allocation may need beside its own size: alignment is added separately.
const OVERHEAD: usize = 16 * 1024;

#[global_allocator]
// SAFETY: an image has one thread, and exceptions, which could interrupt an allocation, never return nor allocate.
static HEAP: Heap = Heap(unsafe { TalcSyncCell::new(TalcCell::new(Spans::new())) });

/// The allocator behind calls: inlined, it would be in every place that allocates.
struct Heap(TalcSyncCell<Spans, DefaultBinning>);

// SAFETY: all three functions are talc's.
unsafe impl GlobalAlloc for Heap {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: promised by the caller.
        let memory = unsafe { self.0.alloc(layout) };
        if !memory.is_null() {
            count(layout.size());
        }
        memory
    }

    #[inline(never)]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(layout.size().wrapping_neg());
        // SAFETY: promised by the caller.
        unsafe { self.0.dealloc(memory, layout) }
    }

    #[inline(never)]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: promised by the caller.
        let memory = unsafe { self.0.realloc(memory, layout, size) };
        if !memory.is_null() {
            count(size.wrapping_sub(layout.size()));
        }
        memory
    }
}

/// Adds to what is in use. With one thread, reading and writing need not be one step.
fn count(bytes: usize) {
    HEAP_IN_USE.store(HEAP_IN_USE.load(Ordering::Relaxed).wrapping_add(bytes), Ordering::Relaxed);
}

/// Claims frames. The heap never gives them back.
#[derive(Debug)]
struct Spans {
    end: Option<NonNull<u8>>,
    claimed: usize,
}

impl Spans {
    const fn new() -> Self {
        Self { end: None, claimed: 0 }
    }

    /// At least `least` bytes. Grows in proportion, so that a growing heap asks rarely and a small machine is not used up by
    /// the first span, and by powers of two, which leave no crumbs of frames behind.
    fn span(&self, memory: &Memory, least: usize) -> Option<Range<usize>> {
        let usual = (self.claimed / 2).clamp(SMALLEST_SPAN, LARGEST_SPAN);
        let mut size = least.max(usual).checked_next_power_of_two()?;
        while size >= least {
            if let Some(span) = memory.heap_span(size) {
                return Some(span);
            }
            size /= 2;
        }
        memory.heap_span(least)
    }
}

// SAFETY: frames come from the machine's frame allocator, which does not use the heap.
unsafe impl Source for Spans {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        let memory = Memory::machine().ok_or(())?;
        let least = layout.size().checked_add(layout.align()).and_then(|size| size.checked_add(OVERHEAD)).ok_or(())?;
        let span = talc.source.span(memory, least).ok_or(())?;
        talc.source.claimed += span.len();

        let base = core::ptr::with_exposed_provenance_mut::<u8>(span.start);
        let behind = talc.source.end.filter(|end| end.as_ptr().addr() == span.start);
        // SAFETY: the span is mapped RAM that nothing else has, for ever; it begins where the heap ends, in the first case.
        talc.source.end = unsafe {
            match behind {
                Some(end) => Some(talc.extend(end, base.wrapping_add(span.len()))),
                None => talc.claim(base, span.len()),
            }
        };
        talc.source.end.map(drop).ok_or(())
    }
}
