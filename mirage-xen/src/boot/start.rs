//! The order in which a machine comes up.

use alloc::vec::Vec;
use core::fmt::Write;
use core::ops::Range;

use crate::abi;
use crate::boot::Image;
use crate::boot::plan::{EARLY_LIMIT, Plan, STACK_SIZE, WINDOW};
use crate::boot::start_info::{self, Modules, Physical, StartInfo};
use crate::cpu;
use crate::entropy;
use crate::hypercall;
use crate::hypervisor::{Hypervisor, PAGE_SIZE};
use crate::memory::machine::{FrameTables, Memory, Parts, pointer};
use crate::memory::tables::map_all;
use crate::memory::{Access, Frames, PageTables, Ranges};
use crate::platform;
use crate::power::refuse;
use crate::single::Single;
use crate::terminal::{self, Output};
use crate::traps;
use crate::xen::{self, Xen};

/// Memory that must be left for heap and devices when boot is done.
const SMALLEST_HEAP: u64 = 2 << 20;

const PAGE: u64 = PAGE_SIZE as u64;
const MIB: u64 = 1 << 20;

static COMMAND_LINE: Single<Vec<u8>> = Single::empty();
static MODULES: Single<Modules> = Single::empty();
static XEN: Single<Xen> = Single::empty();
static ENTRY_TICKS: Single<u64> = Single::empty();
static EARLY: Single<Range<u64>> = Single::empty();

/// The words for the program, not yet split.
pub(crate) fn command_line() -> &'static [u8] {
    COMMAND_LINE.get().map_or(&[], Vec::as_slice)
}

/// The files that the domain's builder has put into memory beside the image (with xl: the `ramdisk` of the configuration), in
/// its order. Nothing on a host.
pub fn modules() -> impl Iterator<Item = &'static [u8]> {
    MODULES.get().into_iter().flat_map(Modules::iter).map(|module| {
        let length = (module.end - module.start) as usize;
        // SAFETY: boot has found the range in RAM and outside of the image, and gives its frames to nobody. So it is mapped and
        // nothing writes it, for ever.
        unsafe { core::slice::from_raw_parts(pointer(module.start), length) }
    })
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
        refuse(format_args!("this processor has no NX: enable it in the host's firmware"));
    }
    // SAFETY: ring 0, and the processor has it; the entry code maps nothing for user programs, and neither does what follows.
    unsafe {
        cpu::enable_no_execute();
        cpu::enable_features();
    }

    let mut info = StartInfo::default();
    if let Err(error) = start_info::read(&Early, start_info, &mut info) {
        refuse(format_args!("{error}"));
    }
    if info.map.regions().is_empty()
        && let Err(error) = xen::memory_map(&mut info.map)
    {
        refuse(format_args!("the domain has no memory map: {error}"));
    }
    // The rings of console and xenstore usually lie outside of RAM. Where they do not, they are still not ours to use.
    for ring in [abi::HVM_PARAM_CONSOLE_PFN, abi::HVM_PARAM_STORE_PFN] {
        if let Ok(frame) = xen::parameter(ring) {
            let start = frame.saturating_mul(PAGE);
            info.map.withdraw(start..start.saturating_add(PAGE));
        }
    }
    // SAFETY: promised by the caller.
    let memory = unsafe { take_memory(image, &info) };
    // The heap works from here on.
    // SAFETY: the caller promises one processor, and that this is the first and only call.
    unsafe {
        COMMAND_LINE.set(info.line.bytes().to_vec());
        MODULES.set(info.modules);
        ENTRY_TICKS.set(image.entry_ticks.wrapping_add(given_away));
        EARLY.set(image.early.clone());
        entropy::prepare();
        platform::prepare();
    }
    // SAFETY: Xen was found above.
    match unsafe { Xen::new(memory) }.and_then(|xen| xen.attach().map(|()| xen)) {
        Ok(xen) => {
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
unsafe fn take_memory(image: &'static Image, info: &StartInfo) -> &'static Memory {
    let plan = match Plan::new(&info.map, image.layout.whole(), &info.modules) {
        Ok(Some(plan)) => plan,
        Ok(None) => too_small(image, &info.map.ram(EARLY_LIMIT)),
        Err(error) => refuse(format_args!("{error}")),
    };
    require(image, &plan.ram);
    // SAFETY: the plan's storage is RAM that nothing uses, mapped and aligned.
    let mut frames = unsafe { early_frames(&plan) };
    let guard = plan.stack.start..plan.stack.start + PAGE;
    let stack = guard.end..plan.stack.end;
    let Some(tables) = build_tables(image, &mut frames, &plan.ram, guard) else { too_small(image, &plan.ram) };
    // SAFETY: all RAM but the guard is mapped as it is used, and so are the image, the early stack within it, and the console.
    unsafe { cpu::set_page_tables(tables.root()) };
    for range in plan.free(false) {
        frames.put(numbers(range));
    }
    let window = plan.window..plan.window + WINDOW;
    let total = (plan.ram.total() / PAGE) as usize;
    // SAFETY: promised by the caller; the tables are those set above, and all free frames are unused RAM.
    unsafe { Memory::install(Parts { frames, tables, window, stack, total }) }
}

/// An allocator with all free frames below 4 GiB.
///
/// # Safety
///
/// The plan's storage is RAM that nothing uses, and mapped.
unsafe fn early_frames(plan: &Plan) -> Frames<'static> {
    let words = Frames::storage(plan.frames);
    // SAFETY: promised by the caller; a plan's storage has room for the words and starts at a page; any bytes are numbers.
    let storage = unsafe { core::slice::from_raw_parts_mut(pointer(plan.storage.start).cast(), words) };
    let mut frames = Frames::new(plan.frames, storage);
    for range in plan.free(true) {
        frames.put(numbers(range));
    }
    frames
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
    // The allocator's words: two bits for each frame, and a little more.
    let storage = ram.total() / PAGE / 3;
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
