//! The order in which a machine comes up.

use alloc::vec::Vec;
use core::fmt::Write;
use core::ops::Range;

use crate::abi;
use crate::boot::Image;
use crate::boot::start_info::{self, CommandLine, Physical};
use crate::cpu;
use crate::entropy;
use crate::hypercall;
use crate::hypervisor::{Hypervisor, PAGE_SIZE};
use crate::memory::machine::{FrameTables, Memory, Parts, pointer};
use crate::memory::tables::map_all;
use crate::memory::{Access, Frames, Kind, MemoryMap, PageTables, Ranges, Region};
use crate::platform;
use crate::power::refuse;
use crate::single::Single;
use crate::terminal::{self, Output};
use crate::traps;
use crate::xen::{self, Xen, free_window};

/// Bytes of the program's stack. The page below it is not mapped, so that an overflow is a fault and not a corruption.
pub const STACK_SIZE: usize = 256 * 1024;

/// What the entry code maps.
const EARLY_LIMIT: u64 = 1 << 32;

/// Memory that must be left for heap and devices when boot is done.
const SMALLEST_HEAP: u64 = 2 << 20;

const PAGE: u64 = PAGE_SIZE as u64;
const MIB: u64 = 1 << 20;

static COMMAND_LINE: Single<Vec<u8>> = Single::empty();
static XEN: Single<Xen> = Single::empty();
static ENTRY_TICKS: Single<u64> = Single::empty();
static EARLY: Single<Range<u64>> = Single::empty();

/// The words for the program, not yet split.
pub(crate) fn command_line() -> &'static [u8] {
    COMMAND_LINE.get().map_or(&[], Vec::as_slice)
}

/// Ticks of the time stamp counter since the entry point, without those that boot gave to others.
pub(crate) fn ticks_since_entry() -> u64 {
    cpu::time_stamp().wrapping_sub(ENTRY_TICKS.get().copied().unwrap_or(0))
}

/// Makes free what only boot has used.
///
/// # Safety
///
/// Called once, by code that runs on the program's stack.
pub(crate) unsafe fn forget_early_memory() {
    if let (Some(memory), Some(early)) = (Memory::machine(), EARLY.get()) {
        // SAFETY: the page tables are others since, and so is the stack.
        unsafe { memory.donate(early.clone()) };
    }
}

/// The hypervisor, once the machine is up.
pub(crate) fn xen() -> Option<&'static Xen> {
    XEN.get()
}

/// Brings the machine up and goes on with the image's main.
///
/// # Safety
///
/// The entry code calls it, once, as a PVH guest with one processor and interrupts off; `start_info` is what the domain's
/// builder passed. Memory below 4 GiB is mapped at its own address. `image` describes the running image truly.
pub unsafe fn start(image: &'static Image, start_info: u64) -> ! {
    // SAFETY: promised by the caller; page and stack are the handlers' alone.
    unsafe { traps::install(image) };
    if !hypercall::detect() {
        // SAFETY: ring 0.
        unsafe { cpu::serial_write(b"mirage: this image runs as a PVH domain of Xen, and here is no Xen\r\n") };
        traps::stop();
    }
    // SAFETY: promised by the caller.
    unsafe { terminal::open(EARLY_LIMIT) };
    let _ = writeln!(Output, "mirage: {}", image.name);
    // Where dom0 shares our processor, the line is read now and not only when the program first waits.
    let given_away = cpu::time_stamp();
    terminal::offer();
    let given_away = cpu::time_stamp().wrapping_sub(given_away);
    if !cpu::has_no_execute() {
        refuse(format_args!("this processor cannot forbid execution (NX): enable it in the host's firmware"));
    }
    // SAFETY: ring 0, and the processor has it.
    unsafe { cpu::enable_no_execute() };

    let mut line = CommandLine::new();
    let map = match start_info::read(&Early, start_info, &mut line) {
        Ok(map) => map,
        Err(error) => refuse(format_args!("{error}")),
    };
    let mut map = match map.map_or_else(xen::memory_map, Ok) {
        Ok(map) => map,
        Err(error) => refuse(format_args!("the domain has no memory map: {error}")),
    };
    // The rings of console and xenstore usually lie outside of RAM. Where they do not, they are still not ours to use.
    for ring in [abi::HVM_PARAM_CONSOLE_PFN, abi::HVM_PARAM_STORE_PFN] {
        if let Ok(frame) = xen::parameter(ring) {
            let start = frame.saturating_mul(PAGE);
            map.add(Region { start, end: start.saturating_add(PAGE), kind: Kind::Other });
        }
    }
    // SAFETY: promised by the caller.
    let memory = unsafe { take_memory(image, &map) };
    // The heap works from here on.
    // SAFETY: the caller promises one processor, and that this is the first and only call.
    unsafe {
        COMMAND_LINE.set(line.bytes().to_vec());
        ENTRY_TICKS.set(image.entry_ticks.wrapping_add(given_away));
        EARLY.set(image.early.clone());
        entropy::prepare();
        platform::prepare();
    }
    // SAFETY: Xen was found above.
    match unsafe { Xen::new(memory) }.and_then(|xen| xen.attach().map(|()| xen)) {
        Ok(xen) => {
            terminal::attach(xen);
            // SAFETY: as for the command line.
            unsafe { XEN.set(xen) };
        }
        Err(error) => refuse(format_args!("the domain cannot be attached to Xen: {error}")),
    }
    // SAFETY: the stack is mapped, aligned, and nothing uses it yet.
    unsafe { cpu::continue_on(memory.stack().end, image.main, 0) }
}

/// Memory as the entry code has mapped it.
struct Early;

impl Physical for Early {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let inside = address.checked_add(buffer.len() as u64).is_some_and(|end| address > 0 && end <= EARLY_LIMIT);
        if inside {
            // SAFETY: the range is mapped, and nothing writes there. Where no memory is, Xen lets reads return ones.
            unsafe { pointer(address).copy_to_nonoverlapping(buffer.as_mut_ptr(), buffer.len()) };
        }
        inside
    }
}

/// Takes over all memory: frames, page tables, stack.
///
/// # Safety
///
/// As for [`start`].
unsafe fn take_memory(image: &'static Image, map: &MemoryMap) -> &'static Memory {
    let all = map.ram(u64::MAX);
    require(image, &all);
    // SAFETY: promised by the caller.
    let Some(mut frames) = (unsafe { early_frames(image, map) }) else { too_small(image, &all) };
    // A frame more than the stack: the guard.
    let Some(stack) = frames.take(1 + STACK_SIZE / PAGE_SIZE) else { too_small(image, &all) };
    let guard = stack.start as u64 * PAGE..(stack.start as u64 + 1) * PAGE;
    let stack = guard.end..stack.end as u64 * PAGE;
    let Some(tables) = build_tables(image, &mut frames, &all, guard) else { too_small(image, &all) };
    // SAFETY: all RAM but the guard is mapped as it is used, and so are the image, the early stack within it, and the console.
    unsafe { cpu::set_page_tables(tables.root()) };
    for range in all.iter().filter(|range| range.end > EARLY_LIMIT) {
        frames.put(numbers(range.start.max(EARLY_LIMIT)..range.end));
    }
    let total = (all.total() / PAGE) as usize;
    let window = free_window(map.end());
    // SAFETY: promised by the caller; the tables are those set above, and all free frames are unused RAM.
    unsafe { Memory::install(Parts { frames, tables, window, stack, total }) }
}

/// An allocator with all free frames below 4 GiB, whose storage lies in the first of them.
///
/// # Safety
///
/// As for [`start`].
unsafe fn early_frames(image: &'static Image, map: &MemoryMap) -> Option<Frames<'static>> {
    let mut free = map.ram(EARLY_LIMIT);
    free.remove(0..PAGE);
    free.remove(image.layout.whole());
    let count = numbers(0..map.ram(u64::MAX).iter().last()?.end).end;
    let words = Frames::storage(count);
    let bytes = (words as u64 * 8).next_multiple_of(PAGE);
    let place = free.iter().find(|range| range.end - range.start >= bytes)?.start;
    free.remove(place..place + bytes);
    // SAFETY: the range is RAM that nothing uses, taken out of what is free, mapped and aligned; any bytes are numbers.
    let storage = unsafe { core::slice::from_raw_parts_mut(pointer(place).cast(), words) };
    let mut frames = Frames::new(count, storage);
    for range in free.iter() {
        frames.put(numbers(range));
    }
    Some(frames)
}

fn build_tables(image: &Image, frames: &mut Frames<'static>, ram: &Ranges, guard: Range<u64>) -> Option<PageTables> {
    let mut memory = FrameTables(frames);
    let mut tables = PageTables::new(&mut memory, cpu::has_huge_pages()).ok()?;
    map_all(&mut tables, &mut memory, ram, &image.layout, guard).ok()?;
    if let Some(console) = terminal::address() {
        tables.map(&mut memory, console..console + PAGE, Access::ReadWrite).ok()?;
    }
    Some(tables)
}

/// Refuses to boot where a program could not even start.
fn require(image: &Image, ram: &Ranges) {
    if ram.total() < needed(image, ram) {
        too_small(image, ram);
    }
}

/// Bytes of RAM that the image needs to start.
fn needed(image: &Image, ram: &Ranges) -> u64 {
    const TABLES: u64 = 32 * PAGE;
    let whole = image.layout.whole();
    let storage = Frames::storage((ram.total() / PAGE) as usize) as u64 * 8;
    whole.end - whole.start + STACK_SIZE as u64 + TABLES + storage + SMALLEST_HEAP
}

fn too_small(image: &Image, ram: &Ranges) -> ! {
    let (has, needs) = (ram.total() / MIB, needed(image, ram).div_ceil(MIB));
    refuse(format_args!(
        "memory={has} MiB is too small: {} needs at least {needs} to start: set `memory` in the domain's configuration",
        image.name
    ));
}

/// The numbers of the frames in a range of addresses.
fn numbers(range: Range<u64>) -> Range<usize> {
    (range.start / PAGE) as usize..(range.end / PAGE) as usize
}
