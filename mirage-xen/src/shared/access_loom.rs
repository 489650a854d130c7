//! Single accesses to shared memory as loom sees them: behind each address that is used stands one of its atomics.
//!
//! The memory itself is never touched, so that loom decides what a read finds. Volatile accesses are relaxed ones. A test
//! begins with [`begin`], and touches all addresses that its threads will use before it starts them.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use loom::sync::atomic::fence;
use loom::sync::atomic::{AtomicU8, AtomicU16, AtomicU32};

extern crate std;

#[derive(Default)]
struct Memory {
    bytes: BTreeMap<usize, Arc<AtomicU8>>,
    halves: BTreeMap<usize, Arc<AtomicU16>>,
    words: BTreeMap<usize, Arc<AtomicU32>>,
}

static MEMORY: Mutex<Memory> =
    Mutex::new(Memory { bytes: BTreeMap::new(), halves: BTreeMap::new(), words: BTreeMap::new() });

/// All memory is zero again, for another execution.
pub fn begin() {
    *MEMORY.lock().unwrap_or_else(PoisonError::into_inner) = Memory::default();
}

macro_rules! cell {
    ($kind:ident, $address:expr) => {{
        let mut memory = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(memory.$kind.entry($address.addr().get()).or_default())
    }};
}

pub(super) unsafe fn read_u8(address: NonNull<u8>) -> u8 {
    cell!(bytes, address).load(Ordering::Relaxed)
}

pub(super) unsafe fn write_u8(address: NonNull<u8>, value: u8) {
    cell!(bytes, address).store(value, Ordering::Relaxed);
}

pub(super) unsafe fn read_u32(address: NonNull<u32>) -> u32 {
    cell!(words, address).load(Ordering::Relaxed)
}

pub(super) unsafe fn write_u32(address: NonNull<u32>, value: u32) {
    cell!(words, address).store(value, Ordering::Relaxed);
}

pub(super) unsafe fn load_u16(address: NonNull<u16>, order: Ordering) -> u16 {
    cell!(halves, address).load(order)
}

pub(super) unsafe fn store_u16(address: NonNull<u16>, value: u16, order: Ordering) {
    cell!(halves, address).store(value, order);
}

pub(super) unsafe fn compare_exchange_u16(address: NonNull<u16>, current: u16, new: u16) -> Result<u16, u16> {
    cell!(halves, address).compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst)
}

pub(super) unsafe fn load_u32(address: NonNull<u32>, order: Ordering) -> u32 {
    cell!(words, address).load(order)
}

pub(super) unsafe fn store_u32(address: NonNull<u32>, value: u32, order: Ordering) {
    cell!(words, address).store(value, order);
}
