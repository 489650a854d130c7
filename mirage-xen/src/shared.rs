//! Memory that another domain may read or write while we use it.
//!
//! The rules, which every function here keeps:
//!
//! 1. No `&`, `&mut` or slice ever points into memory that another domain can write; it is reached through a raw pointer.
//! 2. Every access is volatile or atomic, within bounds, and copies: what was read once is ours and cannot change.
//! 3. A page changes between private ([`Page`]) and shared ([`SharedPage`]) by value, so it is never both.
//!
//! Volatile and atomic accesses to memory that another domain writes at the same time do not race in the sense of the
//! language: the other side is not part of the program, as with a device's memory.

use alloc::rc::Rc;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use mirage_rt::page::{Page, PageBytes, PagePool};

use crate::hypervisor::PAGE_SIZE;

#[cfg(not(loom))]
mod access;
#[cfg(loom)]
#[path = "shared/access_loom.rs"]
pub mod access;

pub(crate) use access::fence;

/// A view of shared memory. Copying it copies the view.
///
/// # Panics
///
/// All accessors panic when an offset is out of bounds or not aligned to the size of what is accessed, as indexing does:
/// offsets are the driver's own and never come from outside unchecked.
#[derive(Clone, Copy)]
pub struct SharedBytes<'a> {
    base: NonNull<u8>,
    length: usize,
    memory: PhantomData<&'a ()>,
}

impl<'a> SharedBytes<'a> {
    /// A view of the `length` bytes at `base`.
    ///
    /// # Safety
    ///
    /// `base` is aligned to 4 bytes. For the life `'a`, the memory is mapped for reading and writing, and the program
    /// has no reference to it and gives it to nobody else.
    pub const unsafe fn new(base: NonNull<u8>, length: usize) -> Self {
        Self { base, length, memory: PhantomData }
    }

    /// Where the memory is.
    pub(crate) fn address(&self) -> u64 {
        self.base.as_ptr().addr() as u64
    }

    /// Number of bytes in the view.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether the view has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The view of `length` bytes from `offset` on, a multiple of 4.
    pub fn part(self, offset: usize, length: usize) -> Self {
        let base = self.at::<u32>(offset, length).cast();
        Self { base, length, memory: PhantomData }
    }

    /// The view of the `N` bytes from `offset` on, a multiple of 4.
    pub fn array<const N: usize>(self, offset: usize) -> SharedArray<'a, N> {
        SharedArray { base: self.part(offset, N).base, memory: PhantomData }
    }

    /// Reads a byte.
    pub fn read_u8(&self, offset: usize) -> u8 {
        let address = self.at::<u8>(offset, 1);
        // SAFETY: `at` checked the bounds; the view's constructor promised mapped memory.
        unsafe { access::read_u8(address) }
    }

    /// Writes a byte.
    pub fn write_u8(&self, offset: usize, value: u8) {
        let address = self.at::<u8>(offset, 1);
        // SAFETY: as in `read_u8`.
        unsafe { access::write_u8(address, value) }
    }

    /// Reads a 16-bit number in one access.
    pub fn load_u16(&self, offset: usize, order: Ordering) -> u16 {
        // SAFETY: `at` checked bounds and alignment.
        unsafe { access::load_u16(self.at(offset, 2), order) }
    }

    /// Writes a 16-bit number in one access.
    pub fn store_u16(&self, offset: usize, value: u16, order: Ordering) {
        // SAFETY: as in `load_u16`.
        unsafe { access::store_u16(self.at(offset, 2), value, order) }
    }

    /// Replaces the 16-bit number `current` by `new` in one step; the number found when it was another one.
    ///
    /// # Errors
    ///
    /// The value that was there instead of `current`; nothing is written then.
    pub fn compare_exchange_u16(&self, offset: usize, current: u16, new: u16) -> Result<u16, u16> {
        // SAFETY: as in `load_u16`.
        unsafe { access::compare_exchange_u16(self.at(offset, 2), current, new) }
    }

    /// Reads a 32-bit number in one access.
    pub fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        // SAFETY: `at` checked bounds and alignment.
        let value = unsafe { access::load_u32(self.at(offset, 4), order) };
        self.was_read(offset, 4);
        value
    }

    /// Writes a 32-bit number in one access.
    pub fn store_u32(&self, offset: usize, value: u32, order: Ordering) {
        // SAFETY: as in `load_u32`.
        unsafe { access::store_u32(self.at(offset, 4), value, order) }
    }

    /// Copies `N` bytes, a multiple of 4 at a multiple of 4, out of the memory; each byte is read exactly once.
    pub fn read_words<const N: usize>(&self, offset: usize) -> [u8; N] {
        const { assert!(N.is_multiple_of(4)) };
        let mut copy = [0; N];
        let address = self.at::<u32>(offset, N);
        for (index, word) in copy.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            // SAFETY: `at` checked the bounds and the alignment of all N bytes.
            let value = unsafe { access::read_u32(address.add(index)) };
            *word = value.to_ne_bytes();
            self.was_read(offset + 4 * index, 4);
        }
        copy
    }

    /// Copies `N` bytes, a multiple of 4 at a multiple of 4, into the memory.
    pub fn write_words<const N: usize>(&self, offset: usize, bytes: &[u8; N]) {
        const { assert!(N.is_multiple_of(4)) };
        let address = self.at::<u32>(offset, N);
        for (index, word) in bytes.as_chunks::<4>().0.iter().enumerate() {
            // SAFETY: as in `read_words`.
            unsafe { access::write_u32(address.add(index), u32::from_ne_bytes(*word)) };
        }
    }

    /// Copies bytes from `offset` on out of the memory, `buffer.len()` of them; each is read exactly once.
    pub fn copy_out(&self, offset: usize, buffer: &mut [u8]) {
        let address = self.at::<u8>(offset, buffer.len());
        for (index, byte) in buffer.iter_mut().enumerate() {
            // SAFETY: `at` checked the bounds of all bytes.
            *byte = unsafe { access::read_u8(address.add(index)) };
        }
    }

    /// Copies `bytes` into the memory from `offset` on.
    pub fn copy_in(&self, offset: usize, bytes: &[u8]) {
        let address = self.at::<u8>(offset, bytes.len());
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: `at` checked the bounds of all bytes.
            unsafe { access::write_u8(address.add(index), *byte) };
        }
    }

    /// Copies a whole page out of the memory; each byte is read exactly once.
    pub fn copy_page_out(&self, page: &mut [u8; PAGE_SIZE]) {
        let address = self.at::<u64>(0, PAGE_SIZE);
        for (index, word) in page.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            // SAFETY: `at` checked the bounds and the alignment of all bytes.
            *word = unsafe { address.add(index).read_volatile() }.to_ne_bytes();
        }
    }

    /// Copies a whole page into the memory.
    pub fn copy_page_in(&self, page: &[u8; PAGE_SIZE]) {
        let address = self.at::<u64>(0, PAGE_SIZE);
        for (index, word) in page.as_chunks::<8>().0.iter().enumerate() {
            // SAFETY: as in `copy_page_out`.
            unsafe { address.add(index).write_volatile(u64::from_ne_bytes(*word)) };
        }
    }

    /// Sets all bytes to zero.
    pub fn clear(&self) {
        // Under loom all memory is clear at the start, and thousands of atomics would be made here.
        if cfg!(loom) {
            return;
        }
        let words = self.length / 4;
        for word in 0..words {
            self.write_words(word * 4, &[0; 4]);
        }
        for offset in words * 4..self.length {
            self.write_u8(offset, 0);
        }
    }

    /// In the model, memory can change right after it was read.
    #[inline]
    fn was_read(&self, _offset: usize, _length: usize) {
        #[cfg(feature = "test-utils")]
        if let Some(value) = crate::model::restless::after_read(self.address() as usize + _offset, _length) {
            self.store_u32(_offset, value, Ordering::Relaxed);
        }
    }

    /// The address of `length` bytes at `offset`, aligned for `T`.
    #[inline]
    fn at<T>(&self, offset: usize, length: usize) -> NonNull<T> {
        let inside = offset <= self.length && length <= self.length - offset;
        if !(inside && offset.is_multiple_of(align_of::<T>())) {
            outside();
        }
        // SAFETY: the offset is at most the length of the memory behind `base`.
        unsafe { self.base.add(offset).cast() }
    }
}

// One place for all, so that their text costs an image nothing.
#[cold]
#[inline(never)]
fn outside() -> ! {
    panic!("offset outside of shared memory")
}

/// A view of `N` bytes of shared memory, as large as a pointer. Copying it copies the view.
#[derive(Clone, Copy)]
pub struct SharedArray<'a, const N: usize> {
    base: NonNull<u8>,
    memory: PhantomData<&'a ()>,
}

impl<'a, const N: usize> SharedArray<'a, N> {
    /// The same bytes.
    #[inline(always)]
    pub fn bytes(self) -> SharedBytes<'a> {
        SharedBytes { base: self.base, length: N, memory: PhantomData }
    }
}

impl<const N: usize> fmt::Debug for SharedArray<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}

impl fmt::Debug for SharedBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shared bytes", self.length)
    }
}

/// A page of ours that is, was or will be lent to another domain.
///
/// By value it is private: only [`crate::grants`] lends a page, it takes the page by value to do so, and gives it back
/// only when the other domain's access has ended for certain. Dropping it gives the page back to its pool.
pub struct SharedPage {
    memory: NonNull<PageBytes>,
    pool: ManuallyDrop<Rc<dyn PagePool>>,
}

impl SharedPage {
    /// The page's memory, to be read and written while another domain may do the same.
    pub fn bytes(&self) -> SharedBytes<'_> {
        // SAFETY: the page's memory is mapped, 4096 bytes, aligned to a page; `from` took the only way to reach it, and
        // the view does not outlive the borrow of this page.
        unsafe { SharedBytes::new(self.memory.cast(), PAGE_SIZE) }
    }

    /// The page's address, for [`frame_of`](crate::hypervisor::Hypervisor::frame_of).
    pub fn address(&self) -> NonNull<u8> {
        self.memory.cast()
    }

    /// Gives the page up for ever: another domain may go on writing it. Its memory is never used again.
    pub fn quarantine(self) {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not dropped, so the pool is dropped only here.
        unsafe { ManuallyDrop::drop(&mut this.pool) };
    }

    fn take(&mut self) -> Page {
        // SAFETY: called once, by `into_page` or `drop`, after which `self` is gone. The memory came out of a `Page`
        // as `&'static mut`, no other domain has access to a `SharedPage` held by value, and views of it have ended
        // with their borrows. So this is again the only reference.
        let (memory, pool) = unsafe { (self.memory.as_mut(), ManuallyDrop::take(&mut self.pool)) };
        Page::from_parts(memory, pool)
    }

    /// The page as private memory again.
    pub fn into_page(self) -> Page {
        ManuallyDrop::new(self).take()
    }
}

impl From<Page> for SharedPage {
    fn from(page: Page) -> Self {
        let (memory, pool) = page.into_parts();
        Self { memory: NonNull::from(memory), pool: ManuallyDrop::new(pool) }
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl fmt::Debug for SharedPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shared page at {:p}", self.memory)
    }
}

#[cfg(test)]
mod tests;
