//! Network devices: frames in, frames out.

use core::fmt;
use core::task::{Context, Poll};

use crate::packet::PacketMut;

/// What a network device can do and who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkInfo {
    /// The device's own Ethernet address.
    pub mac: [u8; 6],
    /// The most bytes of an IP packet, Ethernet header not counted; 1500 on most links.
    pub mtu: u16,
    /// The device completes [`Checksum::Partial`](crate::packet::Checksum::Partial) of TCP and UDP over IPv4.
    pub checksum_ipv4: bool,
    /// The same over IPv6.
    pub checksum_ipv6: bool,
    /// The most bytes of a packet with [`Gso::Ipv4`](crate::packet::Gso::Ipv4); 0 when it can't cut segments.
    pub gso_ipv4: u32,
    /// The same for [`Gso::Ipv6`](crate::packet::Gso::Ipv6).
    pub gso_ipv6: u32,
}

impl NetworkInfo {
    /// A plain device: no offloads.
    pub fn new(mac: [u8; 6], mtu: u16) -> Self {
        NetworkInfo { mac, mtu, checksum_ipv4: false, checksum_ipv6: false, gso_ipv4: 0, gso_ipv6: 0 }
    }
}

/// A network device, driven by polling.
///
/// All methods return at once. One task drives a device: a poll that returns `Pending` keeps only the latest waker of its
/// kind (receive, ready).
pub trait NetworkDevice {
    /// Address, MTU and offloads. They may change when the device has been away (a new backend): look again after
    /// [`NetworkError::Disconnected`] has ended.
    fn info(&self) -> NetworkInfo;

    /// The next received frame, Ethernet header first. The waker is woken when one may be there.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Disconnected`] while the device is away (poll again: the waker is woken when it is back),
    /// [`NetworkError::Broken`] for good.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<PacketMut, NetworkError>>;

    /// How many packets, of any size the device takes, can be transmitted now: at least one when ready. The waker is
    /// woken when there is room again.
    ///
    /// # Errors
    ///
    /// As [`poll_receive`](NetworkDevice::poll_receive).
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, NetworkError>>;

    /// Queues a frame, Ethernet header first. It leaves with the next [`flush`](NetworkDevice::flush) at the latest.
    ///
    /// # Errors
    ///
    /// The packet comes back with the reason: no room ([`TransmitErrorKind::Full`]), a size or an offload that the device
    /// does not take, or the device is away. The network is allowed to lose packets: to drop it is right, to keep it for
    /// ever is not.
    fn transmit(&mut self, packet: PacketMut) -> Result<(), TransmitError>;

    /// Tells the other side of all packets queued since the last call: one notification for a burst.
    fn flush(&mut self);

    /// From now on frames for `group`, the Ethernet address of a group of stations, are to be received. A device that filters
    /// hands on none for groups that were not joined; one that does not filter, as by default, hands on all there are.
    /// A group that was joined already stays joined, and all stay when the device has been away.
    ///
    /// # Errors
    ///
    /// See [`GroupError`].
    fn join(&mut self, group: [u8; 6]) -> Result<(), GroupError> {
        if is_group(group) { Ok(()) } else { Err(GroupError::NotAGroup) }
    }

    /// Frames for `group` are not needed any more. Nothing happens when it was not joined.
    fn leave(&mut self, group: [u8; 6]) {
        let _ = group;
    }
}

/// Whether `mac` is the address of a group of stations, but not of all (IEEE 802, section 8.4: the lowest bit of the first
/// byte).
pub fn is_group(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 1 && mac != [0xff; 6]
}

/// A group was not joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupError {
    /// The address is that of one station, or of all.
    NotAGroup,
    /// The device can't keep more groups apart.
    TooMany,
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GroupError::NotAGroup => "this is not the Ethernet address of a group: its first byte must be odd",
            GroupError::TooMany => "the network device keeps no more groups apart: leave one first",
        })
    }
}

impl core::error::Error for GroupError {}

/// A network device does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkError {
    /// The backend went away; the device may come back.
    Disconnected,
    /// The device was given up for good; the log says why.
    Broken,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NetworkError::Disconnected => {
                "the network device's backend is away; it works again when the backend has come back"
            }
            NetworkError::Broken => {
                "the network device was given up after its backend broke the protocol; the log says how"
            }
        })
    }
}

impl core::error::Error for NetworkError {}

/// A frame was not queued.
#[derive(Debug)]
pub struct TransmitError {
    /// The frame.
    pub packet: PacketMut,
    /// Why.
    pub kind: TransmitErrorKind,
}

/// Why a frame was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransmitErrorKind {
    /// No room now: wait for [`NetworkDevice::poll_ready`].
    Full,
    /// Longer than the MTU (or the GSO limit) allows, or shorter than an Ethernet header.
    Size,
    /// It asks for an offload that [`NetworkInfo`] does not offer.
    Offload,
    /// Its pages are not the device's to lend, or no more can be lent now.
    Memory,
    /// The device is away or broken.
    Device(NetworkError),
}

impl fmt::Display for TransmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TransmitErrorKind::Full => f.write_str("no room to transmit now: wait until the device is ready"),
            TransmitErrorKind::Size => {
                write!(f, "a frame of {} bytes is outside of what the device takes: see its MTU", self.packet.len())
            }
            TransmitErrorKind::Memory => {
                f.write_str("the frame's pages can't be lent to the device: take them from its pool")
            }
            TransmitErrorKind::Offload => f.write_str("the frame asks for an offload that the device does not offer"),
            TransmitErrorKind::Device(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TransmitError {}
