//! Exceptions: the tables that name their handlers, and the report of one.
//!
//! Nothing here returns to what was interrupted, because no exception is expected. Each vector runs on a stack of its own
//! (IST): the compiler keeps data below the stack pointer, which a handler on the same stack would destroy.

use core::arch::asm;
use core::fmt::{self, Write};
use core::mem::offset_of;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::boot::Image;
use crate::cpu;
use crate::hypervisor::{PAGE_SIZE, ShutdownReason};
use crate::memory::machine::{Memory, pointer};
use crate::single::Single;
use crate::terminal::{self, Output};
use crate::xen;

/// Vectors of exceptions. Interrupts are never enabled.
pub const VECTORS: usize = 32;

/// Bytes between two of the entry points that the image has, one for each vector.
pub const ENTRY_STRIDE: u64 = 16;

/// Bytes of stack that a report has.
const STACK_BYTES: u64 = 2048;

/// Selector of the code segment, and of the task state segment behind it; boot's assembly has the same.
const CODE: u64 = 0x08;
const DATA_DESCRIPTOR: u64 = 0x00CF_9300_0000_FFFF;
const CODE_DESCRIPTOR: u64 = 0x00AF_9B00_0000_FFFF;
const TASK: u16 = 0x18;

/// What the entry code leaves on the stack: registers, vector, and what the processor pushed.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct TrapFrame {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rbp: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rbx: u64,
    rax: u64,
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

impl TrapFrame {
    /// The frame of a panic, in which only some registers are known.
    const PANIC: u64 = u64::MAX;
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            [("rip", self.rip), ("rsp", self.rsp), ("rbp", self.rbp), ("rbx", self.rbx)],
            [("r12", self.r12), ("r13", self.r13), ("r14", self.r14), ("r15", self.r15)],
            [("rax", self.rax), ("rcx", self.rcx), ("rdx", self.rdx), ("rsi", self.rsi)],
            [("rdi", self.rdi), (" r8", self.r8), (" r9", self.r9), ("r10", self.r10)],
            [("r11", self.r11), ("flg", self.rflags), (" cs", self.cs), (" ss", self.ss)],
        ];
        let known = if self.vector == Self::PANIC { 2 } else { rows.len() };
        for row in &rows[..known] {
            f.write_str("mirage:")?;
            for (name, value) in row {
                write!(f, " {name}={value:016x}")?;
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

/// The name of an exception.
fn name(vector: u64) -> &'static str {
    match vector {
        0 => "division error",
        1 => "debug exception",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        6 => "invalid instruction",
        7 => "floating point unit not available",
        8 => "double fault",
        12 => "stack segment fault",
        13 => "general protection fault",
        14 => "page fault",
        16 => "floating point error",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating point error",
        _ => "exception",
    }
}

/// What a report needs to know of the image.
struct Ground {
    build_id: &'static [u8],
}

static GROUND: Single<Ground> = Single::empty();
static REPORTING: AtomicBool = AtomicBool::new(false);

/// One frame with the descriptor tables.
#[repr(C, align(4096))]
struct Tables {
    interrupts: [[u64; 2]; VECTORS],
    segments: [u64; 5],
    task: [u32; 26],
}

const fn interrupt_gate(handler: u64) -> [u64; 2] {
    const PRESENT_GATE: u64 = 0x8E;
    const IST: u64 = 1;
    let low = handler & 0xFFFF | CODE << 16 | IST << 32 | PRESENT_GATE << 40 | (handler >> 16 & 0xFFFF) << 48;
    [low, handler >> 32]
}

const fn task_descriptor(base: u64, limit: u64) -> [u64; 2] {
    const PRESENT_TASK: u64 = 0x89;
    let low = limit & 0xFFFF | (base & 0xFF_FFFF) << 16 | PRESENT_TASK << 40 | (base >> 24 & 0xFF) << 56;
    [low, base >> 32]
}

/// Installs a handler for every exception.
///
/// # Safety
///
/// Boot calls it, once, on a machine with one processor. `image` describes the running image: its page for descriptors and its
/// stack for the handlers are mapped and used by nothing else.
pub(crate) unsafe fn install(image: &'static Image) {
    let frame = image.descriptors;
    let task = frame + offset_of!(Tables, task) as u64;
    let [task_low, task_high] = task_descriptor(task, size_of::<[u32; 26]>() as u64 - 1);
    let tables = pointer(frame).cast::<Tables>();
    // SAFETY: the page is ours, and was cleared by the loader: all zero is valid.
    let tables = unsafe { &mut *tables };
    tables.segments = [0, CODE_DESCRIPTOR, DATA_DESCRIPTOR, task_low, task_high];
    for (vector, gate) in tables.interrupts.iter_mut().enumerate() {
        *gate = interrupt_gate(image.trap_entries + vector as u64 * ENTRY_STRIDE);
    }
    // IST 1 is at byte 36; there is no I/O bitmap.
    const IST_1: usize = 36 / 4;
    tables.task[IST_1] = image.trap_stack_end as u32;
    tables.task[IST_1 + 1] = (image.trap_stack_end >> 32) as u32;
    tables.task[25] = (size_of::<[u32; 26]>() as u32) << 16;

    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let segments = frame + offset_of!(Tables, segments) as u64;
    let segments = Pointer { limit: size_of::<[u64; 5]>() as u16 - 1, base: segments };
    let interrupts = Pointer { limit: size_of::<[[u64; 2]; VECTORS]>() as u16 - 1, base: frame };
    // SAFETY: the segments are those in use, in the same places, and a task state segment
    // behind them, which is in the frame; the gates lead to the image's entry points.
    unsafe {
        asm!("lgdt [{}]", "lidt [{}]", "ltr {:x}", in(reg) &raw const segments, in(reg) &raw const interrupts,
            in(reg) TASK, options(nostack, preserves_flags));
        GROUND.set(Ground { build_id: image.build_id });
    }
}

/// Reports an exception and ends the domain as crashed.
pub fn fault(frame: &TrapFrame) -> ! {
    begin();
    // SAFETY: exceptions happen in ring 0 only.
    let address = unsafe { cpu::fault_address() };
    let mut out = Output;
    let _ = write!(out, "\nmirage: fault: {} (vector {}, error {:#x})", name(frame.vector), frame.vector, frame.error);
    if frame.vector == 14 {
        let _ = write!(out, " at the address {address:#x}");
    }
    let _ = out.write_str("\n");
    if let Some(memory) = Memory::machine() {
        let stack = memory.stack();
        if (stack.start - PAGE_SIZE as u64..stack.start).contains(&address) && matches!(frame.vector, 8 | 14) {
            let kib = (stack.end - stack.start) / 1024;
            let _ = writeln!(out, "mirage: the stack of {kib} KiB is too small: move large values to the heap");
        }
    }
    finish(frame)
}

/// Reports a panic and ends the domain as crashed. `message` says where and why.
pub fn panic(message: &dyn fmt::Display) -> ! {
    let mut frame = TrapFrame { vector: TrapFrame::PANIC, ..TrapFrame::default() };
    // SAFETY: the instructions read registers and write them to the frame, which is ours.
    unsafe {
        asm!("lea rcx, [rip]", "mov [rax + {rip}], rcx", "mov [rax + {rsp}], rsp", "mov [rax + {rbp}], rbp",
            "mov [rax + {rbx}], rbx", "mov [rax + {r12}], r12", "mov [rax + {r13}], r13", "mov [rax + {r14}], r14",
            "mov [rax + {r15}], r15", in("rax") &raw mut frame, out("rcx") _,
            rip = const offset_of!(TrapFrame, rip), rsp = const offset_of!(TrapFrame, rsp),
            rbp = const offset_of!(TrapFrame, rbp), rbx = const offset_of!(TrapFrame, rbx),
            r12 = const offset_of!(TrapFrame, r12), r13 = const offset_of!(TrapFrame, r13),
            r14 = const offset_of!(TrapFrame, r14), r15 = const offset_of!(TrapFrame, r15),
            options(nostack, preserves_flags));
    }
    begin();
    let _ = writeln!(Output, "\nmirage: {message}");
    finish(&frame)
}

/// A report within a report says nothing more.
fn begin() {
    if REPORTING.swap(true, Ordering::Relaxed) {
        crash();
    }
    terminal::end();
}

fn finish(frame: &TrapFrame) -> ! {
    let mut out = Output;
    let _ = out.write_str("mirage: build id ");
    for byte in GROUND.get().map_or(&[][..], |ground| ground.build_id) {
        let _ = write!(out, "{byte:02x}");
    }
    let _ = write!(out, "\n{frame}");
    if let Some(memory) = Memory::machine() {
        print_stack(memory.stack(), frame.rsp);
    }
    let _ = out.write_str("mirage: crash\n");
    terminal::flush();
    crash()
}

fn print_stack(stack: Range<u64>, pointer_value: u64) {
    let mut address = pointer_value.max(stack.start).next_multiple_of(8);
    let end = stack.end.min(address.saturating_add(STACK_BYTES));
    let mut out = Output;
    while address < end {
        let _ = write!(out, "mirage: stack {address:016x}:");
        for _ in 0..4 {
            if address < end {
                // SAFETY: the address is in the stack, which is mapped, and aligned; any bytes make a number.
                let word = unsafe { pointer(address).cast::<u64>().read_volatile() };
                let _ = write!(out, " {word:016x}");
                address += 8;
            }
        }
        let _ = out.write_str("\n");
    }
}

/// Ends the domain as crashed, without a word.
pub(crate) fn crash() -> ! {
    xen::end(ShutdownReason::Crash);
    stop()
}

/// What follows when Xen does not end the domain: nothing.
pub(crate) fn stop() -> ! {
    loop {
        // SAFETY: interrupts are off, so this is the end.
        unsafe { asm!("hlt", options(nomem, nostack)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_have_the_processor_s_layout() {
        let [low, high] = interrupt_gate(0x1234_5678_9ABC_DEF0);
        assert_eq!(low, 0x9ABC_8E01_0008_DEF0);
        assert_eq!(high, 0x1234_5678);
    }

    #[test]
    fn task_descriptors_have_the_processor_s_layout() {
        let [low, high] = task_descriptor(0x0000_0001_2345_6780, 0x67);
        assert_eq!(low, 0x2300_8945_6780_0067);
        assert_eq!(high, 1);
    }

    #[test]
    fn tables_fit_a_frame() {
        assert_eq!(size_of::<Tables>(), PAGE_SIZE);
    }

    #[test]
    fn frames_print_every_register() {
        let text = TrapFrame { rip: 0x10_1234, r15: 15, ..TrapFrame::default() }.to_string();
        assert!(text.starts_with("mirage: rip=0000000000101234 rsp="), "{text}");
        assert!(text.contains("r15=000000000000000f"), "{text}");
        assert_eq!(text.lines().count(), 5);
        let panic = TrapFrame { vector: TrapFrame::PANIC, r15: 15, ..TrapFrame::default() }.to_string();
        assert!(panic.contains("r15=000000000000000f") && !panic.contains("rax"), "{panic}");
    }
}
