//! The functions of a C library that the crates getrandom and ring name on Linux.
//!
//! The compiler thinks that an image is a program for Linux, so these crates call the C library for random numbers. They get
//! them here; everything else fails as it would on a machine without files and threads. Whatever else a crate wants from a C
//! library stays undefined, so that the build fails.

use core::ffi::{c_char, c_int, c_long, c_void};
use core::sync::atomic::{AtomicI32, Ordering};

/// `SYS_getrandom` on x86-64.
const GETRANDOM: c_long = 318;

const EIO: c_int = 5;
const ENOSYS: c_int = 38;

static ERRNO: AtomicI32 = AtomicI32::new(0);

fn fail(error: c_int) -> c_int {
    ERRNO.store(error, Ordering::Relaxed);
    -1
}

// SAFETY: this and the following are the only definitions of these names in an image, and have C's types.
#[unsafe(no_mangle)]
extern "C" fn __errno_location() -> *mut c_int {
    ERRNO.as_ptr()
}

// SAFETY: in C the parameters after the first are variable, which are passed in the same registers.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(number: c_long, buffer: *mut u8, length: usize) -> c_long {
    if number != GETRANDOM {
        return c_long::from(fail(ENOSYS));
    }
    if length == 0 {
        return 0;
    }
    // SAFETY: a caller of getrandom owns `length` bytes at `buffer`; they are written before they are read.
    let buffer = unsafe {
        buffer.write_bytes(0, length);
        core::slice::from_raw_parts_mut(buffer, length)
    };
    match mirage_xen::entropy::fill(buffer) {
        Ok(()) => length as c_long,
        Err(_) => c_long::from(fail(EIO)),
    }
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn open(_: *const c_char, _: c_int) -> c_int {
    fail(ENOSYS)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn read(_: c_int, _: *mut c_void, _: usize) -> isize {
    fail(ENOSYS) as isize
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn poll(_: *mut c_void, _: u64, _: c_int) -> c_int {
    fail(ENOSYS)
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn close(_: c_int) -> c_int {
    fail(ENOSYS)
}

// SAFETY: as above. There is one thread, so every mutex is free.
#[unsafe(no_mangle)]
extern "C" fn pthread_mutex_lock(_: *mut c_void) -> c_int {
    0
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn pthread_mutex_unlock(_: *mut c_void) -> c_int {
    0
}
