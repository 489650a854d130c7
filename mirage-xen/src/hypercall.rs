//! Hypercalls of an HVM or PVH guest.
//!
//! There is no hypercall page: the instruction (`vmcall` on Intel, `vmmcall` on AMD and Hygon) is chosen by the vendor
//! that CPUID names, so nothing in memory is both writable and executable, not even for a moment.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::abi;
use crate::cpu;
use crate::hypervisor::HypercallError;

static AMD: AtomicBool = AtomicBool::new(false);

/// Looks for Xen by its CPUID leaves and learns how to call it. False when this is no guest of Xen.
pub fn detect() -> bool {
    AMD.store(cpu::vendor_is_amd(), Ordering::Relaxed);
    // Other interfaces may occupy the first places: Xen then moves up by 0x100 leaves.
    (abi::XEN_CPUID_FIRST_LEAF..abi::XEN_CPUID_FIRST_LEAF + 0x1_0000).step_by(0x100).any(|base| {
        let leaf = cpu::cpuid(base, 0);
        (leaf.ebx, leaf.ecx, leaf.edx)
            == (abi::XEN_CPUID_SIGNATURE_EBX, abi::XEN_CPUID_SIGNATURE_ECX, abi::XEN_CPUID_SIGNATURE_EDX)
    })
}

/// Calls Xen; the result is negative for an error.
///
/// # Safety
///
/// The program is a guest of Xen and [`detect`] has run. The arguments are what the hypercall asks for; memory they
/// point to may be read and written by Xen.
#[inline(never)]
pub unsafe fn call(number: u32, arguments: [u64; 3]) -> i64 {
    let [first, second, third] = arguments;
    let result: i64;
    if AMD.load(Ordering::Relaxed) {
        // SAFETY: promised by the caller. Xen may change the argument registers, memory, and nothing else.
        unsafe {
            asm!("vmmcall", inlateout("rax") u64::from(number) => result, inlateout("rdi") first => _,
                inlateout("rsi") second => _, inlateout("rdx") third => _, lateout("r10") _, lateout("r8") _,
                options(nostack));
        }
    } else {
        // SAFETY: as above.
        unsafe {
            asm!("vmcall", inlateout("rax") u64::from(number) => result, inlateout("rdi") first => _,
                inlateout("rsi") second => _, inlateout("rdx") third => _, lateout("r10") _, lateout("r8") _,
                options(nostack));
        }
    }
    result
}

/// A hypercall `name` with a sub-operation and a structure that Xen reads and may write.
///
/// # Safety
///
/// As for [`call`]; `structure` is the one that the operation is defined with.
pub unsafe fn operate<T>(
    name: &'static str,
    number: u32,
    operation: u32,
    structure: &mut T,
) -> Result<u64, HypercallError> {
    let address = core::ptr::from_mut(structure).expose_provenance() as u64;
    // SAFETY: promised by the caller; the structure is ours for the length of the call.
    unsafe { operate_at(name, number, operation, address) }
}

/// # Safety
///
/// As for [`operate`], with the address of the structure.
#[inline(never)]
unsafe fn operate_at(name: &'static str, number: u32, operation: u32, address: u64) -> Result<u64, HypercallError> {
    // SAFETY: promised by the caller.
    check(name, unsafe { call(number, [u64::from(operation), address, 0]) })
}

/// The result of a hypercall as Xen's convention has it.
pub fn check(name: &'static str, result: i64) -> Result<u64, HypercallError> {
    u64::try_from(result)
        .map_err(|_| HypercallError::new(name, u32::try_from(result.unsigned_abs()).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_results_are_errors() {
        assert_eq!(check("EVTCHNOP_send", 3), Ok(3));
        assert_eq!(check("EVTCHNOP_send", -22), Err(HypercallError::new("EVTCHNOP_send", 22)));
        assert_eq!(check("EVTCHNOP_send", i64::MIN), Err(HypercallError::new("EVTCHNOP_send", u32::MAX)));
    }
}
