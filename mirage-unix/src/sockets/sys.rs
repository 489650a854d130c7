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

/// The level and the name of the option, by IPv4 and by IPv6, with which a datagram socket is told of errors; messages that bring them
/// have the same.
pub(super) const RECEIVES_ERRORS: [(c_int, c_int); 2] =
    [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)];

/// Chooses whether errors of ICMP wait at a datagram socket until they are [taken](take_notice). One of IPv6 may be told of both
/// kinds, as it sends to addresses of both.
pub(super) fn receive_errors(socket: BorrowedFd<'_>, is_ipv6: bool, receive: bool) -> Result<(), Errno> {
    let options = if is_ipv6 { &RECEIVES_ERRORS[..] } else { &RECEIVES_ERRORS[..1] };
    let value = c_int::from(receive);
    options.iter().try_for_each(|&(level, name)| {
        // SAFETY: both options are read from an int, which is borrowed until the call is over.
        let result = unsafe {
            let length = size_of::<c_int>() as libc::socklen_t;
            libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length)
        };
        check(result)
    })
}

/// An error that has waited at a socket.
pub(super) struct Notice {
    name: [u8; size_of::<libc::sockaddr_in6>()],
    name_length: usize,
    control: [u8; CONTROL],
    control_length: usize,
}

/// Room for control messages: an error has 16 bytes, and the address of whoever has told it 28.
const CONTROL: usize = 128;

impl Notice {
    /// Where the datagram was going, as a `struct sockaddr`.
    pub(super) fn name(&self) -> &[u8] {
        self.name.get(..self.name_length).unwrap_or_default()
    }

    /// The control messages.
    pub(super) fn control(&self) -> &[u8] {
        self.control.get(..self.control_length).unwrap_or_default()
    }
}

/// Takes the first error that waits at a datagram socket.
pub(super) fn take_notice(socket: BorrowedFd<'_>) -> Result<Option<Notice>, Errno> {
    let mut notice = Notice { name: [0; _], name_length: 0, control: [0; CONTROL], control_length: 0 };
    // SAFETY: a msghdr is integers and pointers, of which all may be zero: no name, no bytes, no control messages.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = notice.name.as_mut_ptr().cast();
    message.msg_namelen = notice.name.len() as _;
    message.msg_control = notice.control.as_mut_ptr().cast();
    message.msg_controllen = notice.control.len() as _;
    // SAFETY: name and control messages are written to arrays that live until the call is over and are as long as is said; every
    // byte is valid whatever the kernel writes, and it copies, so that they need not be aligned. There is no room for the datagram.
    let result =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    match check(if result < 0 { -1 } else { 0 }) {
        Ok(()) => {}
        Err(Errno::AGAIN) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    (notice.name_length, notice.control_length) = (message.msg_namelen as usize, message.msg_controllen as usize);
    Ok(Some(notice))
}

/// The error of a call that has given -1.
fn check(result: c_int) -> Result<(), Errno> {
    match result {
        0.. => Ok(()),
        _ => Err(Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))),
    }
}
