//! The system calls for tap interfaces that no crate has a safe form of. With those for sockets (`sockets/sys`), the only unsafe
//! code of this crate but for the exported `main`.

#![allow(unsafe_code)]

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Opcode, Updater, ioctl, opcode};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::Offloads;
use super::error::TapError;

// Linux include/uapi/linux/if_tun.h and include/uapi/linux/sockios.h.
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
const TUNSETOFFLOAD: Opcode = opcode::write::<u32>(b'T', 208);
const SIOCGIFFLAGS: Opcode = 0x8913;
const SIOCGIFMTU: Opcode = 0x8921;

const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const TUN_F_CSUM: usize = 0x01;
const TUN_F_TSO4: usize = 0x02;
const TUN_F_TSO6: usize = 0x04;

// Linux include/uapi/linux/if.h.
const IFF_UP: u16 = 0x0001;
const NAME_LENGTH: usize = 16;

/// `struct ifreq`: a name and a union of 24 bytes, whose first member here is the flags or the MTU.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct InterfaceRequest {
    name: [u8; NAME_LENGTH],
    value: [u8; 24],
}

const _: () = assert!(size_of::<InterfaceRequest>() == 40);

/// A tap interface, attached to this process.
pub(super) struct Interface {
    pub(super) descriptor: OwnedFd,
    pub(super) mtu: u16,
    pub(super) up: bool,
}

/// Attaches to the tap interface `name`, in non-blocking mode, with `virtio_net_hdr` and these offloads.
pub(super) fn attach(name: &str, offloads: Offloads) -> Result<Interface, TapError> {
    let request = request(name).ok_or_else(|| TapError::Name(name.into()))?;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| TapError::host(name, "opening a socket", errno))?;
    // Attaching would make an interface that is missing, and nobody would give it an address.
    name_to_index(&socket, name).map_err(|errno| match errno {
        Errno::NODEV => TapError::Missing(name.into()),
        errno => TapError::host(name, "looking for the interface", errno),
    })?;
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let descriptor = open("/dev/net/tun", flags, Mode::empty())
        .map_err(|errno| TapError::NoDevice(crate::platform::host_error(errno)))?;
    set_interface(&descriptor, request).map_err(|errno| match errno {
        Errno::PERM => TapError::NotOurs(name.into()),
        Errno::BUSY => TapError::Busy(name.into()),
        Errno::INVAL => TapError::NotTap(name.into()),
        errno => TapError::host(name, "attaching to the interface", errno),
    })?;
    let flags = match offloads {
        Offloads::All => TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
        Offloads::None => 0,
    };
    set_offload(&descriptor, flags).map_err(|errno| TapError::host(name, "setting offloads", errno))?;
    let mtu = get::<SIOCGIFMTU>(&socket, request).map_err(|errno| TapError::host(name, "reading the MTU", errno))?;
    let flags = get::<SIOCGIFFLAGS>(&socket, request).map_err(|errno| TapError::host(name, "reading flags", errno))?;
    // An MTU is an int and at most 65535; the flags are a short, its bytes are the first two.
    Ok(Interface { descriptor, mtu: u16::try_from(mtu).unwrap_or(u16::MAX), up: flags as u16 & IFF_UP != 0 })
}

/// A request about the interface `name`; `None` when no interface can have this name.
fn request(name: &str) -> Option<InterfaceRequest> {
    if name.is_empty() || name.len() >= NAME_LENGTH || name.bytes().any(|byte| byte <= b' ' || byte == b'/') {
        return None;
    }
    let mut request = InterfaceRequest { name: [0; NAME_LENGTH], value: [0; 24] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    Some(request)
}

fn set_interface(tun: impl AsFd, mut request: InterfaceRequest) -> Result<(), Errno> {
    let flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    request.value[..2].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: TUNSETIFF takes a pointer to a `struct ifreq`, of which it reads name and flags and writes the name back. The
    // request has that struct's size and layout and lives, borrowed for writing, until the call is over.
    let call = unsafe { Updater::<'_, TUNSETIFF, InterfaceRequest>::new(&mut request) };
    // SAFETY: as above; every byte of a request is valid whatever the kernel writes.
    unsafe { ioctl(tun, call) }
}

fn set_offload(tun: impl AsFd, flags: usize) -> Result<(), Errno> {
    // SAFETY: TUNSETOFFLOAD takes an integer; of bits that it does not know it says that it does not.
    let call = unsafe { IntegerSetter::<TUNSETOFFLOAD>::new_usize(flags) };
    // SAFETY: as above; no memory is read or written.
    unsafe { ioctl(tun, call) }
}

/// The first int of what `CODE`, one of the SIOCGIF calls, tells about an interface.
fn get<const CODE: Opcode>(socket: impl AsFd, mut request: InterfaceRequest) -> Result<i32, Errno> {
    const { assert!(CODE == SIOCGIFMTU || CODE == SIOCGIFFLAGS) };
    // SAFETY: both calls take a pointer to a `struct ifreq`, of which they read the name and write the union. The request
    // has that struct's size and layout and lives, borrowed for writing, until the call is over.
    let call = unsafe { Updater::<'_, CODE, InterfaceRequest>::new(&mut request) };
    // SAFETY: as above; every byte of a request is valid whatever the kernel writes.
    unsafe { ioctl(socket, call)? };
    let [a, b, c, d, ..] = request.value;
    Ok(i32::from_ne_bytes([a, b, c, d]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_have_the_numbers_of_the_headers() {
        assert_eq!((TUNSETIFF, TUNSETOFFLOAD), (0x4004_54ca, 0x4004_54d0));
    }

    #[test]
    fn names_are_checked_before_they_reach_the_kernel() {
        for bad in ["", "sixteen-letters-", "a/b", "a b", "a\n"] {
            assert!(request(bad).is_none(), "{bad:?}");
        }
        assert!(request("tap0").is_some_and(|request| request.name.starts_with(b"tap0\0")));
    }
}
