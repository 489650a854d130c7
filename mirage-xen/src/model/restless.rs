//! Memory that changes between two reads.
//!
//! The model's backends run between the guest's steps, never within one. To find what is read twice although it was checked
//! once, a page can be made restless: then a number changes right after the guest has read it, now and then.

extern crate std;

use core::cell::RefCell;

use crate::hypervisor::PAGE_SIZE;
use crate::shared::SharedBytes;

struct Restless {
    page: usize,
    one_in: u32,
    random: u64,
}

std::thread_local! {
    static RESTLESS: RefCell<Option<Restless>> = const { RefCell::new(None) };
}

/// Makes `page` restless for this thread: after one in `one_in` reads, what was read is replaced by something else.
pub fn stir(page: SharedBytes<'_>, seed: u64, one_in: u32) {
    let restless = Restless { page: page.address() as usize, one_in: one_in.max(1), random: seed | 1 };
    RESTLESS.with_borrow_mut(|current| *current = Some(restless));
}

/// No page is restless any more.
pub fn calm() {
    RESTLESS.with_borrow_mut(|current| *current = None);
}

/// What is to stand at `address`, of which `length` bytes were just read, from now on: a number, for the 32-bit word there.
pub(crate) fn after_read(address: usize, length: usize) -> Option<u32> {
    RESTLESS.with_borrow_mut(|current| {
        let Restless { page, one_in, random } = current.as_mut()?;
        if address < *page || address + length.max(4) > *page + PAGE_SIZE || !address.is_multiple_of(4) {
            return None;
        }
        // xorshift64
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        if !(*random as u32).is_multiple_of(*one_in) {
            return None;
        }
        let value = (*random >> 32) as u32;
        Some(if value & 1 == 0 { value >> 1 & 0xFFFF } else { value })
    })
}
