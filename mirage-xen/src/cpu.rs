//! The processor: what it is and the few instructions that the language has no words for.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, CpuidResult};

const EFER: u32 = 0xC000_0080;
const EFER_NO_EXECUTE: u64 = 1 << 11;

/// One leaf of CPUID.
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    __cpuid_count(leaf, subleaf)
}

/// Whether the processor speaks `vmmcall`: AMD's and Hygon's do.
pub fn vendor_is_amd() -> bool {
    let leaf = cpuid(0, 0);
    [leaf.ebx, leaf.edx, leaf.ecx]
        .map(u32::to_le_bytes)
        .as_flattened()
        .try_into()
        .is_ok_and(|name: &[u8; 12]| matches!(name, b"AuthenticAMD" | b"HygonGenuine"))
}

fn extended(register: fn(CpuidResult) -> u32, bit: u32) -> bool {
    cpuid(0x8000_0000, 0).eax >= 0x8000_0001 && register(cpuid(0x8000_0001, 0)) & (1 << bit) != 0
}

/// Whether page tables can forbid execution.
pub fn has_no_execute() -> bool {
    extended(|leaf| leaf.edx, 20)
}

/// Whether page tables can map 1 GiB with one entry.
pub fn has_huge_pages() -> bool {
    extended(|leaf| leaf.edx, 26)
}

/// Whether there is RDRAND, and whether there is RDSEED.
pub fn has_random() -> (bool, bool) {
    let rdrand = cpuid(1, 0).ecx & (1 << 30) != 0;
    let rdseed = cpuid(0, 0).eax >= 7 && cpuid(7, 0).ebx & (1 << 18) != 0;
    (rdrand, rdseed)
}

/// The time stamp counter. Ordered after all earlier loads, so that a version read before it is older.
pub fn time_stamp() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: both instructions only read. Not RDTSCP: not every processor has it.
    unsafe { asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags)) };
    u64::from(high) << 32 | u64::from(low)
}

/// One number from RDSEED, `None` when it has none at this moment.
///
/// # Safety
///
/// The processor has RDSEED.
pub unsafe fn rdseed() -> Option<u64> {
    let (value, valid): (u64, u8);
    // SAFETY: the caller promises that the instruction exists.
    unsafe { asm!("rdseed {}", "setc {}", out(reg) value, out(reg_byte) valid, options(nomem, nostack)) };
    (valid != 0).then_some(value)
}

/// One number from RDRAND, `None` when it has none at this moment.
///
/// # Safety
///
/// The processor has RDRAND.
pub unsafe fn rdrand() -> Option<u64> {
    let (value, valid): (u64, u8);
    // SAFETY: as in `rdseed`.
    unsafe { asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) valid, options(nomem, nostack)) };
    (valid != 0).then_some(value)
}

/// The address whose access caused the last page fault.
///
/// # Safety
///
/// Ring 0.
pub unsafe fn fault_address() -> u64 {
    let value: u64;
    // SAFETY: reading CR2 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Lets page tables forbid execution.
///
/// # Safety
///
/// Ring 0 on a processor for which [`has_no_execute`] holds.
pub unsafe fn enable_no_execute() {
    // SAFETY: EFER exists in long mode; setting NXE changes only what bit 63 of entries means, which no entry has yet.
    unsafe {
        let (low, high): (u32, u32);
        asm!("rdmsr", in("ecx") EFER, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
        let value = u64::from(high) << 32 | u64::from(low) | EFER_NO_EXECUTE;
        asm!("wrmsr", in("ecx") EFER, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// Turns on what protects ring 0 from memory of user programs (SMEP, SMAP, UMIP), and the registers of AVX and AVX-512, as far as
/// the processor has them. An image has no user programs, so the first three can only stop what is wrong.
///
/// # Safety
///
/// Ring 0, in long mode, and no page is mapped for user programs.
pub unsafe fn enable_features() {
    const UMIP: u64 = 1 << 11;
    const OSXSAVE: u64 = 1 << 18;
    const SMEP: u64 = 1 << 20;
    const SMAP: u64 = 1 << 21;
    /// x87, SSE, AVX, and the three parts of AVX-512. Whoever has one of these has all that it needs.
    const VECTOR_STATE: u32 = 0xE7;
    let when = |register: u32, bit: u32, feature: u64| if register & 1 << bit != 0 { feature } else { 0 };
    let xsave = when(cpuid(1, 0).ecx, 26, OSXSAVE);
    let mut features = xsave;
    if cpuid(0, 0).eax >= 7 {
        let leaf = cpuid(7, 0);
        features |= when(leaf.ebx, 7, SMEP) | when(leaf.ebx, 20, SMAP) | when(leaf.ecx, 2, UMIP);
    }
    // SAFETY: promised by the caller; the processor has each feature that is turned on, and OSXSAVE makes XSETBV exist. XCR0
    // takes any complete set of parts that the processor names.
    unsafe {
        let before: u64;
        asm!("mov {}, cr4", out(reg) before, options(nomem, nostack, preserves_flags));
        asm!("mov cr4, {}", in(reg) before | features, options(nostack, preserves_flags));
        if xsave != 0 {
            let parts = cpuid(0xD, 0).eax & VECTOR_STATE;
            asm!("xsetbv", in("ecx") 0, in("eax") parts, in("edx") 0, options(nomem, nostack, preserves_flags));
        }
    }
}

/// Makes the page tables at `root` the current ones.
///
/// # Safety
///
/// Ring 0. All memory in use is mapped by them at the same addresses, with the access it is used for.
pub unsafe fn set_page_tables(root: u64) {
    // SAFETY: promised by the caller.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
}

/// Forgets what the processor remembers about the mapping of `address`.
///
/// # Safety
///
/// Ring 0.
pub unsafe fn flush_mapping(address: u64) {
    // SAFETY: promised by the caller.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// Continues with `function(argument)` on another stack.
///
/// # Safety
///
/// `top` is aligned to 16 and ends a region of writable memory that nothing else uses.
pub unsafe fn continue_on(top: u64, function: extern "C" fn(u64) -> !, argument: u64) -> ! {
    // SAFETY: promised by the caller. The function never returns, so nothing of the old stack is needed again.
    unsafe {
        asm!("mov rsp, {}", "xor ebp, ebp", "call {}", "ud2", in(reg) top, in(reg) function, in("rdi") argument,
            options(noreturn));
    }
}

/// Writes to the first serial port, without waiting: for the one message that has no console.
///
/// # Safety
///
/// Ring 0.
pub unsafe fn serial_write(bytes: &[u8]) {
    const COM1: u16 = 0x3F8;
    for &byte in bytes {
        // SAFETY: the port is a serial port's or nobody's.
        unsafe { asm!("out dx, al", in("dx") COM1, in("al") byte, options(nomem, nostack, preserves_flags)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stamps_do_not_go_back() {
        let before = time_stamp();
        assert!(time_stamp() >= before);
    }

    #[test]
    fn every_x86_64_can_forbid_execution() {
        assert!(has_no_execute());
    }
}
