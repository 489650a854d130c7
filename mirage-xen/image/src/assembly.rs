//! The parts in assembly. Each file says what it does.

core::arch::global_asm!(
    include_str!("entry.s"),
    early_stack = const crate::entry::EARLY_STACK,
    trap_stack = const crate::entry::TRAP_STACK
);
core::arch::global_asm!(include_str!("traps.s"));
// A test assembles the same functions under other names.
core::arch::global_asm!(".macro FUNCTION name", ".global \\name", "\\name:", ".endm", include_str!("memory.s"));
