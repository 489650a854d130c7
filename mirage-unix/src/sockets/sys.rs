//! The socket calls that no crate has a safe form of. What they bring is bytes, which others read.

#![allow(unsafe_code)]

use std::ffi::c_int;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, ioctl};

// Linux include/uapi/linux/sockios.h.
const SIOCOUTQ: Opcode = libc::TIOCOUTQ as Opcode;

/// Bytes of `struct tcp_info` that are asked for: more than are known of any kernel.
pub(super) const MOST_INFO: usize = 512;

/// What the host knows of a TCP connection: the first bytes of a `struct tcp_info`, as many as this kernel has of it.
pub(super) fn tcp_info<'a>(socket: BorrowedFd<'_>, info: &'a mut [u8; MOST_INFO]) -> Result<&'a [u8], Errno> {
    let mut length = MOST_INFO as libc::socklen_t;
    // SAFETY: the option is written to the `length` bytes at `info`, which are borrowed for writing until the call is over, and
    // every byte is valid whatever the kernel writes; it does not need to be aligned, as the kernel copies it. `length` is a
    // socklen_t that is read and written.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    check(result)?;
    Ok(info.get(..length as usize).unwrap_or_default())
}

/// Bytes that were written to a TCP connection and not acknowledged; the end counts as one.
pub(super) fn unacknowledged(socket: impl AsFd) -> Result<usize, Errno> {
    // SAFETY: on a TCP socket SIOCOUTQ takes a pointer to an int, which it writes.
    let call = unsafe { Getter::<SIOCOUTQ, c_int>::new() };
    // SAFETY: as above; a kernel that has not written it has told an error.
    let count = unsafe { ioctl(socket, call)? };
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The error of a call that has given -1.
fn check(result: c_int) -> Result<(), Errno> {
    match result {
        0.. => Ok(()),
        _ => Err(Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))),
    }
}
