//! Exceptions: the tables that name their handlers, and the report of one.
//!
//! Nothing here returns to what was interrupted, because no exception is expected; only the interrupt that ends a
//! sleep does, at once. Both run on stacks of their own (IST): the compiler keeps data below the stack pointer,
//! which a handler on the same stack would destroy.

use core::arch::asm;
use core::fmt::{self, Write};
use core::mem::offset_of;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::boot::Image;
use crate::cpu;
use crate::hypervisor::{PAGE_SIZE, ShutdownReason};
use crate::memory::machine::{Memory, pointer};
use crate::parts::part;
use crate::single::Single;
use crate::terminal::{self, Output};
use crate::xen;

/// Vectors of exceptions.
pub const VECTORS: usize = 32;

/// The vector behind them is that of the one interrupt that there is.
pub(crate) const WAKE: u8 = VECTORS as u8;

/// Bytes between two of the entry points that the image has, one for each vector.
pub const ENTRY_STRIDE: u64 = 8;

/// Bytes of stack that a report has.
const STACK_BYTES: u64 = 2048;

/// Selector of the code segment, and of the task state segment behind it; boot's assembly has the same.
const CODE: u64 = 0x08;
const DATA_DESCRIPTOR: u64 = 0x00CF_9300_0000_FFFF;
const CODE_DESCRIPTOR: u64 = 0x00AF_9B00_0000_FFFF;
const TASK: u16 = 0x18;

/// What the entry code leaves on the stack: registers, vector, and what the processor pushed.
#[repr(transparent)]
#[derive(Clone, Copy, Default)]
pub struct TrapFrame([u64; 22]);

/// The registers' places in a frame, in the order of the entries' pushes, the last one first.
const R15: usize = 0;
const R14: usize = 1;
const R13: usize = 2;
const R12: usize = 3;
const R11: usize = 4;
const R10: usize = 5;
const R9: usize = 6;
const R8: usize = 7;
const RBP: usize = 8;
const RDI: usize = 9;
const RSI: usize = 10;
const RDX: usize = 11;
const RCX: usize = 12;
const RBX: usize = 13;
const RAX: usize = 14;
const VECTOR: usize = 15;
const ERROR: usize = 16;
const RIP: usize = 17;
const CS: usize = 18;
const FLAGS: usize = 19;
const RSP: usize = 20;
const SS: usize = 21;

impl TrapFrame {
    /// The vector of a panic, of which only some registers are known.
    const PANIC: u64 = u64::MAX;

    fn vector(&self) -> u64 {
        self.0[VECTOR]
    }
}

impl fmt::Display for TrapFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const IN_A_ROW: usize = 4;
        // Four letters for each, in the order of `PLACES`. Those that are known of a panic come first.
        const NAMES: &[u8; 80] = b" rip rsp rbp rbx r12 r13 r14 r15 rax rcx rdx rsi rdi  r8  r9 r10 r11 flg  cs  ss";
        const PLACES: [u8; 20] = {
            let places =
                [RIP, RSP, RBP, RBX, R12, R13, R14, R15, RAX, RCX, RDX, RSI, RDI, R8, R9, R10, R11, FLAGS, CS, SS];
            let mut bytes = [0; 20];
            let mut index = 0;
            while index < bytes.len() {
                bytes[index] = places[index] as u8;
                index += 1;
            }
            bytes
        };
        let known = if self.vector() == Self::PANIC { 2 * IN_A_ROW } else { PLACES.len() };
        for (index, (name, place)) in NAMES.chunks_exact(4).zip(PLACES).take(known).enumerate() {
            f.write_str(if index % IN_A_ROW == 0 { "mirage:" } else { "" })?;
            name.iter().try_for_each(|letter| f.write_char(char::from(*letter)))?;
            let line_end = if index % IN_A_ROW == IN_A_ROW - 1 { "\n" } else { "" };
            write!(f, "={:016x}{line_end}", self.0[usize::from(place)])?;
        }
        Ok(())
    }
}

/// The names of exceptions, in lines by their vectors.
const NAMES: &str = "\
division error
debug exception
non-maskable interrupt
breakpoint


invalid instruction
floating point unit not available
double fault



stack segment fault
general protection fault
page fault

floating point error
alignment check
machine check
SIMD floating point error";

/// The name of an exception.
fn name(vector: u64) -> &'static str {
    match part(NAMES, b'\n', vector as usize) {
        "" => "exception",
        name => name,
    }
}

/// What a report needs to know of the image.
struct Ground {
    build_id: &'static [u8],
    halt: extern "C" fn(),
}

static GROUND: Single<Ground> = Single::empty();
static REPORTING: AtomicBool = AtomicBool::new(false);

/// One frame with the descriptor tables.
#[repr(C, align(4096))]
struct Tables {
    interrupts: [[u64; 2]; VECTORS + 1],
    segments: [u64; 5],
    task: [u32; 26],
    /// The stack of the interrupt, which may end a sleep of the handlers of exceptions, too.
    wake_stack: [u128; 4],
}

/// A gate to a handler on the stack `stack` of the task state segment (IST).
const fn interrupt_gate(handler: u64, stack: u64) -> [u64; 2] {
    const PRESENT_GATE: u64 = 0x8E;
    let low = handler & 0xFFFF | CODE << 16 | stack << 32 | PRESENT_GATE << 40 | (handler >> 16 & 0xFFFF) << 48;
    [low, handler >> 32]
}

const fn task_descriptor(base: u64, limit: u64) -> [u64; 2] {
    const PRESENT_TASK: u64 = 0x89;
    let low = limit & 0xFFFF | (base & 0xFF_FFFF) << 16 | PRESENT_TASK << 40 | (base >> 24 & 0xFF) << 56;
    [low, base >> 32]
}

/// Installs a handler for every exception, and for the interrupt.
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
        *gate = interrupt_gate(image.trap_entries + vector as u64 * ENTRY_STRIDE, 1);
    }
    tables.interrupts[usize::from(WAKE)] = interrupt_gate(image.wake, 2);
    // IST 1 is at byte 36, and the second one behind it; there is no I/O bitmap.
    const IST_1: usize = 36 / 4;
    let wake_stack_end = frame + (offset_of!(Tables, wake_stack) + size_of::<[u128; 4]>()) as u64;
    // The image lies below 4 GiB: the upper halves stay zero.
    tables.task[IST_1] = image.trap_stack_end as u32;
    tables.task[IST_1 + 2] = wake_stack_end as u32;
    tables.task[25] = (size_of::<[u32; 26]>() as u32) << 16;

    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let segments = frame + offset_of!(Tables, segments) as u64;
    let segments = Pointer { limit: size_of::<[u64; 5]>() as u16 - 1, base: segments };
    let interrupts = Pointer { limit: size_of::<[[u64; 2]; VECTORS + 1]>() as u16 - 1, base: frame };
    // SAFETY: the segments are those in use, in the same places, and a task state segment
    // behind them, which is in the frame; the gates lead to the image's entry points.
    unsafe {
        asm!("lgdt [{}]", "lidt [{}]", "ltr {:x}", in(reg) &raw const segments, in(reg) &raw const interrupts,
            in(reg) TASK, options(nostack, preserves_flags));
        GROUND.set(Ground { build_id: image.build_id, halt: image.halt });
    }
}

/// Halts the processor until an event interrupts it. An interrupt that is due already comes behind the halt and ends it.
pub(crate) fn halt() {
    if let Some(ground) = GROUND.get() {
        (ground.halt)();
    }
}

/// Reports an exception and ends the domain as crashed.
pub fn fault(frame: &TrapFrame) -> ! {
    begin();
    // SAFETY: exceptions happen in ring 0 only.
    let address = unsafe { cpu::fault_address() };
    let mut out = Output;
    let _ = write!(
        out,
        "\nmirage: fault: {} (vector {}, error {:#x})",
        name(frame.vector()),
        frame.vector(),
        frame.0[ERROR]
    );
    if frame.vector() == 14 {
        let _ = write!(out, " at the address {address:#x}");
    }
    let _ = out.write_str("\n");
    if let Some(memory) = Memory::machine() {
        let stack = memory.stack();
        if (stack.start - PAGE_SIZE as u64..stack.start).contains(&address) && matches!(frame.vector(), 8 | 14) {
            let kib = (stack.end - stack.start) / 1024;
            let _ = writeln!(out, "mirage: the stack of {kib} KiB is too small: move large values to the heap");
        }
    }
    finish(frame)
}

/// Reports a panic and ends the domain as crashed. `message` says where and why.
pub fn panic(message: &dyn fmt::Display) -> ! {
    let mut frame = TrapFrame::default();
    frame.0[VECTOR] = TrapFrame::PANIC;
    // SAFETY: the instructions read registers and write them to the frame, which is ours.
    unsafe {
        asm!("lea rcx, [rip]", "mov [rax + {rip}], rcx", "mov [rax + {rsp}], rsp", "mov [rax + {rbp}], rbp",
            "mov [rax + {rbx}], rbx", "mov [rax + {r12}], r12", "mov [rax + {r13}], r13", "mov [rax + {r14}], r14",
            "mov [rax + {r15}], r15", in("rax") &raw mut frame, out("rcx") _,
            rip = const 8 * RIP, rsp = const 8 * RSP,
            rbp = const 8 * RBP, rbx = const 8 * RBX,
            r12 = const 8 * R12, r13 = const 8 * R13,
            r14 = const 8 * R14, r15 = const 8 * R15,
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
        let _ = write!(out, "{:02x}", u64::from(*byte));
    }
    let _ = write!(out, "\n{frame}");
    if let Some(memory) = Memory::machine() {
        print_stack(memory.stack(), frame.0[RSP]);
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
        let [low, high] = interrupt_gate(0x1234_5678_9ABC_DEF0, 2);
        assert_eq!(low, 0x9ABC_8E02_0008_DEF0);
        assert_eq!(high, 0x1234_5678);
    }

    #[test]
    fn task_descriptors_have_the_processor_s_layout() {
        let [low, high] = task_descriptor(0x0000_0001_2345_6780, 0x67);
        assert_eq!(low, 0x2300_8945_6780_0067);
        assert_eq!(high, 1);
    }

    #[test]
    fn exceptions_have_their_names() {
        let names =
            [(0, "division error"), (6, "invalid instruction"), (14, "page fault"), (19, "SIMD floating point error")];
        assert_eq!(names.map(|(vector, _)| name(vector)), names.map(|(_, name)| name));
        assert_eq!([4, 15, 20, u64::MAX].map(name), ["exception"; 4]);
    }

    #[test]
    fn tables_fit_a_frame() {
        assert_eq!(size_of::<Tables>(), PAGE_SIZE);
    }

    #[test]
    fn frames_print_every_register() {
        let mut frame = TrapFrame::default();
        (frame.0[RIP], frame.0[R15], frame.0[SS]) = (0x10_1234, 15, 3);
        let text = frame.to_string();
        assert!(text.starts_with("mirage: rip=0000000000101234 rsp="), "{text}");
        assert!(text.contains("r15=000000000000000f"), "{text}");
        assert_eq!(text.lines().count(), 5);
        assert!(text.contains(" r8=0000000000000000  r9=") && text.ends_with("  ss=0000000000000003\n"), "{text}");
        frame.0[VECTOR] = TrapFrame::PANIC;
        let panic = frame.to_string();
        assert!(panic.contains("r15=000000000000000f") && !panic.contains("rax"), "{panic}");
    }
}
