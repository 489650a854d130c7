//! The memory of the machine we run on: frames, the current page tables, and what was lent to whom.

use alloc::rc::Rc;
use core::cell::Cell;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use mirage_rt::cell::RefCell;
use mirage_rt::page::PagePool;

use crate::cpu;
use crate::hypervisor::PAGE_SIZE;
use crate::memory::pool::IoPool;
use crate::memory::{Access, Frames, MapError, PageTables, Ranges, TableMemory};
use crate::single::Single;

const PAGE: u64 = PAGE_SIZE as u64;

/// Bytes that programs have from the heap. The image's allocator counts them; it is the only one to write here.
pub static HEAP_IN_USE: AtomicUsize = AtomicUsize::new(0);

static MEMORY: Single<Memory> = Single::empty();

/// All memory of the domain.
pub struct Memory {
    frames: RefCell<Frames<'static>>,
    tables: RefCell<PageTables>,
    /// Addresses without RAM at which Xen's own frames are made visible.
    window: Range<u64>,
    stack: Range<u64>,
    total: usize,
    heap: Cell<usize>,
    io: RefCell<Ranges>,
    /// That of them which was asked for last: none goes away.
    io_last: Cell<(u64, u64)>,
    ballooned: Cell<usize>,
    foreign_taken: Cell<bool>,
}

/// What boot has prepared.
pub struct Parts {
    /// All free frames.
    pub frames: Frames<'static>,
    /// The tables in use.
    pub tables: PageTables,
    /// Free guest-physical addresses, see [`Memory::window`].
    pub window: Range<u64>,
    /// The stack of the program, without its guard page.
    pub stack: Range<u64>,
    /// Frames of RAM, used or not.
    pub total: usize,
}

/// Frames as a place for page tables.
pub struct FrameTables<'a, 'm>(pub &'a mut Frames<'m>);

impl TableMemory for FrameTables<'_, '_> {
    fn allocate(&mut self) -> Option<u64> {
        let address = self.0.take_block(0)? as u64 * PAGE;
        // SAFETY: the frame is ours alone, and free RAM is mapped at its own address.
        unsafe { pointer(address).write_bytes(0, PAGE_SIZE) };
        Some(address)
    }

    fn entry(&mut self, table: u64, index: usize) -> u64 {
        assert!(index < super::tables::ENTRIES);
        // SAFETY: `table` is a frame from `allocate`; the index was checked.
        unsafe { pointer(table).cast::<u64>().add(index).read() }
    }

    fn set_entry(&mut self, table: u64, index: usize, value: u64) {
        assert!(index < super::tables::ENTRIES);
        // SAFETY: as in `entry`. Volatile because the processor reads it.
        unsafe { pointer(table).cast::<u64>().add(index).write_volatile(value) };
    }
}

/// Memory is mapped at its physical address.
pub(crate) fn pointer(address: u64) -> *mut u8 {
    core::ptr::with_exposed_provenance_mut(address as usize)
}

impl Memory {
    /// Makes `parts` the machine's memory.
    ///
    /// # Safety
    ///
    /// Boot calls it, once; the machine has one processor. The tables are the current ones, and every free frame is
    /// unused RAM that they map for reading and writing.
    pub(crate) unsafe fn install(parts: Parts) -> &'static Memory {
        let Parts { frames, tables, window, stack, total } = parts;
        let memory = Memory {
            frames: RefCell::new(frames),
            tables: RefCell::new(tables),
            window,
            stack,
            total,
            heap: Cell::new(0),
            io: RefCell::default(),
            io_last: Cell::default(),
            ballooned: Cell::new(0),
            foreign_taken: Cell::new(false),
        };
        // SAFETY: promised by the caller.
        unsafe { MEMORY.set(memory) }
    }

    /// The machine's memory, `None` before boot has prepared it and on a host.
    pub fn machine() -> Option<&'static Memory> {
        MEMORY.get()
    }

    /// Addresses at which no RAM is, 2 MiB of them, for frames of Xen's.
    pub fn window(&self) -> Range<u64> {
        self.window.start..self.window_half()
    }

    /// As many addresses, for pages of other domains: to the first who asks, for ever.
    pub(crate) fn take_foreign_window(&self) -> Option<Range<u64>> {
        (!self.foreign_taken.replace(true)).then(|| self.window_half()..self.window.end)
    }

    fn window_half(&self) -> u64 {
        self.window.start + (self.window.end - self.window.start) / 2
    }

    /// The stack of the program; the page below it is not mapped.
    pub fn stack(&self) -> Range<u64> {
        self.stack.clone()
    }

    /// Maps one page that is no RAM of ours for reading and writing.
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn map_special(&self, address: u64) -> Result<(), MapError> {
        let mut frames = self.frames.borrow_mut();
        let mut tables = self.tables.borrow_mut();
        tables.map(&mut FrameTables(&mut frames), address..address + PAGE, Access::ReadWrite)?;
        // SAFETY: we run in ring 0.
        unsafe { cpu::flush_mapping(address) };
        Ok(())
    }

    /// Takes memory for the heap, for ever: at least `bytes`, rounded up to whole frames.
    pub fn heap_span(&self, bytes: usize) -> Option<Range<usize>> {
        let count = bytes.div_ceil(PAGE_SIZE);
        let frames = self.frames.borrow_mut().take(count)?;
        self.heap.set(self.heap.get() + count);
        Some(frames.start * PAGE_SIZE..frames.end * PAGE_SIZE)
    }

    /// Makes memory free that was in use during boot.
    ///
    /// # Safety
    ///
    /// The range is whole frames of mapped RAM that nothing uses any more and that were never free.
    pub(crate) unsafe fn donate(&self, range: Range<u64>) {
        self.frames.borrow_mut().put((range.start / PAGE) as usize..(range.end / PAGE) as usize);
    }

    /// Frames that nobody has.
    pub fn free_frames(&self) -> usize {
        self.frames.borrow().free_frames()
    }

    /// Frames of RAM in all.
    pub fn total_frames(&self) -> usize {
        self.total
    }

    /// Bytes that can still be had: free frames, and what is free in the heap.
    pub fn available(&self) -> usize {
        let heap = (self.heap.get() * PAGE_SIZE).saturating_sub(HEAP_IN_USE.load(Ordering::Relaxed));
        self.free_frames() * PAGE_SIZE + heap
    }

    /// Takes a free block of 2^`order` frames, for ever, and unmaps it. `None` when there is none, or no memory for a page table.
    pub fn take_unmapped(&self, order: usize) -> Option<usize> {
        let mut frames = self.frames.borrow_mut();
        let frame = frames.take_block(order)?;
        let block = frame..frame + (1 << order);
        let addresses = addresses(&block);
        let mut tables = self.tables.borrow_mut();
        if tables.unmap(&mut FrameTables(&mut frames), addresses.clone()).is_err() {
            // Its first page may need to be divided; none was then.
            frames.put(block);
            return None;
        }
        for address in addresses.step_by(PAGE_SIZE) {
            // SAFETY: we run in ring 0.
            unsafe { cpu::flush_mapping(address) };
        }
        Some(frame)
    }

    /// Maps a block and makes it free.
    ///
    /// # Safety
    ///
    /// The block came from [`take_unmapped`](Self::take_unmapped), nobody else has it, and there is memory behind its frames.
    pub unsafe fn put_mapped(&self, frame: usize, order: usize) {
        let block = frame..frame + (1 << order);
        let mut frames = self.frames.borrow_mut();
        let mapped =
            self.tables.borrow_mut().map_again(&mut FrameTables(&mut frames), addresses(&block), Access::ReadWrite);
        // The tables were there when it was mapped before. Should it fail all the same, the block is lost, and nothing else.
        if mapped.is_ok() {
            frames.put(block);
        }
    }

    /// Notes how many frames were given back to Xen.
    pub fn set_ballooned(&self, frames: usize) {
        self.ballooned.set(frames);
    }

    /// Whether the page at `address` is an I/O page, which may be granted to a backend.
    pub fn is_io(&self, address: u64) -> bool {
        let (start, end) = self.io_last.get();
        start <= address && address < end || self.find_io(address)
    }

    #[inline(never)]
    fn find_io(&self, address: u64) -> bool {
        let found = self.io.borrow().around(address);
        self.io_last.set(found.as_ref().map_or((0, 0), |range| (range.start, range.end)));
        found.is_some()
    }

    /// A new block of at most 2^`order` I/O pages; a smaller one when memory is short.
    fn io_block(&self, order: usize) -> Option<Range<u64>> {
        let mut frames = self.frames.borrow_mut();
        let (order, frame) = (0..=order).rev().find_map(|order| Some((order, frames.take_block(order)?)))?;
        let block = frame as u64 * PAGE..(frame + (1 << order)) as u64 * PAGE;
        let mut io = self.io.borrow_mut();
        io.insert(block.clone());
        if io.covers(&block) {
            return Some(block);
        }
        // The set is full and has left the block out.
        frames.put(frame..frame + (1 << order));
        None
    }

    /// A pool of at most `budget` I/O pages.
    pub fn io_pool(&'static self, budget: usize) -> Rc<dyn PagePool> {
        // SAFETY: the blocks are mapped frames that nothing else has from now on, and memory is mapped at its own address.
        Rc::new(unsafe { IoPool::new(move |order| self.io_block(order), budget) })
    }
}

/// The addresses of frames.
fn addresses(frames: &Range<usize>) -> Range<u64> {
    frames.start as u64 * PAGE..frames.end as u64 * PAGE
}

impl fmt::Display for Memory {
    /// The budget table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KIB: usize = PAGE_SIZE / 1024;
        let (Ok(frames), Ok(io)) = (self.frames.try_borrow(), self.io.try_borrow()) else {
            return f.write_str("memory: in the middle of an allocation\n");
        };
        let (all, free, heap) = (self.total * KIB, frames.free_frames() * KIB, self.heap.get() * KIB);
        let (devices, given) = (io.total() as usize / 1024, self.ballooned.get() * KIB);
        let rest = all.saturating_sub(free + devices + heap + given);
        let lines = [
            (all, "in all"),
            (heap, "heap"),
            (HEAP_IN_USE.load(Ordering::Relaxed) / 1024, "of the heap in use"),
            (devices, "pages for devices"),
            (given, "given back to Xen"),
            (rest, "image, stack and page tables"),
            (free, "free"),
        ];
        lines.iter().try_for_each(|(kib, what)| writeln!(f, "memory: {kib:>8} KiB {what}"))
    }
}
