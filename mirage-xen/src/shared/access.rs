//! Single accesses to shared memory, by address. Under loom, a file beside this one has them.
//!
//! All functions have the same contract: `address` is aligned to what is accessed, and points to memory that is mapped for
//! reading and writing and that the program has no reference to.

use core::ptr::NonNull;
pub(crate) use core::sync::atomic::fence;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};

#[inline]
pub(super) unsafe fn read_u8(address: NonNull<u8>) -> u8 {
    // SAFETY: promised by the caller.
    unsafe { address.read_volatile() }
}

#[inline]
pub(super) unsafe fn write_u8(address: NonNull<u8>, value: u8) {
    // SAFETY: promised by the caller.
    unsafe { address.write_volatile(value) }
}

#[inline]
pub(super) unsafe fn read_u32(address: NonNull<u32>) -> u32 {
    // SAFETY: promised by the caller.
    unsafe { address.read_volatile() }
}

#[inline]
pub(super) unsafe fn write_u32(address: NonNull<u32>, value: u32) {
    // SAFETY: promised by the caller.
    unsafe { address.write_volatile(value) }
}

#[inline(always)]
pub(super) unsafe fn load_u16(address: NonNull<u16>, order: Ordering) -> u16 {
    // SAFETY: promised by the caller. A reference to an atomic may point to memory that changes.
    unsafe { AtomicU16::from_ptr(address.as_ptr()) }.load(order)
}

#[inline(always)]
pub(super) unsafe fn store_u16(address: NonNull<u16>, value: u16, order: Ordering) {
    // SAFETY: as in `load_u16`.
    unsafe { AtomicU16::from_ptr(address.as_ptr()) }.store(value, order);
}

#[inline]
pub(super) unsafe fn compare_exchange_u16(address: NonNull<u16>, current: u16, new: u16) -> Result<u16, u16> {
    // SAFETY: as in `load_u16`.
    unsafe { AtomicU16::from_ptr(address.as_ptr()) }.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst)
}

#[inline(always)]
pub(super) unsafe fn load_u32(address: NonNull<u32>, order: Ordering) -> u32 {
    // SAFETY: as in `load_u16`.
    unsafe { AtomicU32::from_ptr(address.as_ptr()) }.load(order)
}

#[inline(always)]
pub(super) unsafe fn store_u32(address: NonNull<u32>, value: u32, order: Ordering) {
    // SAFETY: as in `load_u16`.
    unsafe { AtomicU32::from_ptr(address.as_ptr()) }.store(value, order);
}
