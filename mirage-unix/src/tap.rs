//! A tap device: the host's end of it is an interface such as tap0, this end is an application's network device.
//!
//! Frames carry a `virtio_net_hdr` ([`header`]), so checksums are left to whoever needs them: what the host sends to us
//! without one counts as correct, what we send without one is completed by the host where it leaves it. So are segments: up to
//! 64 KiB of TCP pass as one frame each way.

mod error;
mod header;
mod pool;
mod sys;

use std::array;
use std::iter;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use mirage_rt::log::warn;
use mirage_rt::net::log_targets;
use mirage_rt::packet::{Fragment, Gso, HEADROOM, MAX_FRAGMENTS, MAX_HEAD, PacketMut};
use mirage_rt::page::{PAGE_SIZE, Page, PagePool};
use mirage_rt::types::network::{NetworkDevice, NetworkError, NetworkInfo, TransmitError, TransmitErrorKind};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::AsFd;
use rustix::io::{Errno, IoSlice, IoSliceMut, read, readv, retry_on_intr, write, writev};

pub use error::TapError;

use crate::UnixPlatform;
use crate::reactor::{Direction, Source};
use header::Header;
use pool::Pages;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// The largest MTU: a frame with a VLAN tag still fits the head of a packet.
const MAX_MTU: u16 = (MAX_HEAD - ETHERNET - 4) as u16;

/// The most bytes of a frame that is to be cut into segments, or was put together from some: its IP packet's length has 16 bits.
const MAX_FRAME: usize = 65535 + ETHERNET;

/// Pages besides the first that the largest frame takes.
const FURTHER_PAGES: usize = (MAX_FRAME - MAX_HEAD).div_ceil(PAGE_SIZE);

/// Pages for received frames: 1 MiB. When they are all in use, frames wait in the host's queue, which drops what it can't
/// hold.
const PAGES: usize = 256;

/// Frames that are taken in one go: the host takes each at once, so this only bounds a burst.
const BURST: usize = 64;

/// What a tap device does for the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloads {
    /// Checksums are left to it, and up to 64 KiB of TCP are one frame, both ways.
    All,
    /// Every frame is as it would be on a wire: for measurements.
    None,
}

/// A tap device.
pub struct Tap {
    source: Source,
    name: String,
    info: NetworkInfo,
    pages: Rc<Pages>,
    // Where what does not fit the first page of the next frame goes, and how many pages that takes.
    further: Vec<Page>,
    most_further: usize,
    // The same for small frames, of which there are more: the kernel looks at one long part sooner than at many pages.
    rest: Box<[u8]>,
    // The last frame did not fit one page.
    large: bool,
    // The host's queue was full at the last try.
    full: bool,
    broken: bool,
}

impl Tap {
    /// Opens the tap interface `name`, which must be there, and owned by this process's user unless that is root.
    ///
    /// # Errors
    ///
    /// [`TapError`], which says how to make the interface usable.
    pub fn open(platform: &UnixPlatform, name: &str) -> Result<Tap, TapError> {
        Tap::open_with(platform, name, Offloads::All)
    }

    /// As [`open`](Tap::open), with a choice of what the device does for the stack.
    ///
    /// # Errors
    ///
    /// As [`open`](Tap::open).
    pub fn open_with(platform: &UnixPlatform, name: &str, offloads: Offloads) -> Result<Tap, TapError> {
        let interface = sys::attach(name, offloads)?;
        if interface.mtu > MAX_MTU {
            return Err(TapError::Mtu { name: name.into(), mtu: interface.mtu, most: MAX_MTU });
        }
        if !interface.up {
            let remedy = format!("nothing arrives before `ip link set {name} up`");
            warn!(target: log_targets::DEVICE, "the interface {name} is down: {remedy}");
        }
        let mut info = NetworkInfo::new(mac(name), interface.mtu);
        if offloads == Offloads::All {
            info.checksum_ipv4 = true;
            info.checksum_ipv6 = true;
            info.gso_ipv4 = MAX_FRAME as u32;
            info.gso_ipv6 = MAX_FRAME as u32;
        }
        let most_further = if offloads == Offloads::All { FURTHER_PAGES } else { 0 };
        let source = Source::new(platform.reactor(), interface.descriptor)
            .map_err(|errno| TapError::host(name, "watching the device", errno))?;
        let pages = Pages::new(PAGES + FURTHER_PAGES);
        let rest = vec![0; most_further * PAGE_SIZE].into_boxed_slice();
        Ok(Tap {
            source,
            name: name.into(),
            info,
            pages,
            further: Vec::new(),
            most_further,
            rest,
            large: false,
            full: false,
            broken: false,
        })
    }

    /// The pool of the pages that received frames stand in.
    pub fn pool(&self) -> Rc<dyn PagePool> {
        self.pages.clone()
    }

    /// Gives the device up; the error for whoever asked.
    fn fail(&mut self, errno: Errno) -> NetworkError {
        if !self.broken {
            self.broken = true;
            let error = crate::platform::host_error(errno);
            warn!(target: log_targets::DEVICE, "the tap device {} is given up: {error}", self.name);
        }
        NetworkError::Broken
    }

    /// The next frame, whatever its content.
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<PacketMut>, Errno>> {
        let Some(mut page) = self.take_pages() else {
            self.pages.wait(context.waker());
            return Poll::Pending;
        };
        // The header stands right in front of the frame, which starts where a packet's head does.
        let start = HEADROOM - header::LENGTH;
        let further = &mut self.further;
        let (rest, large) = (&mut self.rest, self.large);
        let length = ready!(self.source.poll_message(context, |tap| {
            if !large && rest.is_empty() {
                return read(tap, &mut page[start..]);
            }
            if !large {
                return readv(tap, &mut [IoSliceMut::new(&mut page[start..]), IoSliceMut::new(rest)]);
            }
            let count = 1 + further.len();
            let mut parts = iter::once(&mut page[start..]).chain(further.iter_mut().map(|page| &mut page[..]));
            let mut parts: [_; 1 + FURTHER_PAGES] =
                array::from_fn(|_| IoSliceMut::new(parts.next().unwrap_or_default()));
            readv(tap, &mut parts[..count])
        }))?;
        let header = page.get(start..HEADROOM).and_then(Header::read);
        let length = length.saturating_sub(header::LENGTH);
        self.large = length > MAX_HEAD;
        if self.large && !large {
            let pages = self.further.iter_mut().zip(self.rest.chunks_exact(PAGE_SIZE));
            let needed = (length - MAX_HEAD).div_ceil(PAGE_SIZE);
            pages.take(needed).for_each(|(page, bytes)| page.copy_from_slice(bytes));
        }
        let Some(header) = header.filter(|_| length >= ETHERNET) else { return Poll::Ready(Ok(None)) };
        let Some((checksum, gso)) = header.of_received(length) else { return Poll::Ready(Ok(None)) };
        Poll::Ready(Ok(self.packet(page, length).map(|mut packet| {
            packet.set_checksum(checksum);
            packet.set_gso(gso);
            packet
        })))
    }

    /// A page for the next frame's start, when there are enough for the rest, too. A read of less than a frame would lose its end.
    fn take_pages(&mut self) -> Option<Page> {
        let pool: Rc<dyn PagePool> = self.pages.clone();
        while self.further.len() < self.most_further {
            self.further.push(Page::take(&pool)?);
        }
        Page::take(&pool)
    }

    /// The frame of `length` bytes that was read into `page` and as many of the further pages as it needed.
    fn packet(&mut self, page: Page, length: usize) -> Option<PacketMut> {
        let mut packet = PacketMut::from_head(Fragment::new(page, HEADROOM..HEADROOM + length.min(MAX_HEAD)).ok()?);
        let mut left = length.saturating_sub(MAX_HEAD);
        let pages = left.div_ceil(PAGE_SIZE).min(self.further.len());
        for page in self.further.drain(..pages) {
            packet.push_fragment(Fragment::new(page, 0..left.min(PAGE_SIZE)).ok()?).ok()?;
            left = left.saturating_sub(PAGE_SIZE);
        }
        Some(packet)
    }

    /// Writes a frame with its header. It is the same afterwards.
    fn write(&self, header: &[u8; header::LENGTH], packet: &mut PacketMut) -> Result<usize, Errno> {
        if packet.fragments().is_empty()
            && let Some(front) = packet.push_front(header::LENGTH)
        {
            // In one piece: the kernel looks at one part sooner than at two.
            front[..header::LENGTH].copy_from_slice(header);
            let sent = retry_on_intr(|| write(self.source.as_fd(), packet.head()));
            packet.pull_front(header::LENGTH);
            return sent;
        }
        let count = 2 + packet.fragments().len();
        let mut parts = iter::once(&header[..]).chain(packet.parts());
        let parts: [_; 2 + MAX_FRAGMENTS] = array::from_fn(|_| IoSlice::new(parts.next().unwrap_or_default()));
        retry_on_intr(|| writev(self.source.as_fd(), &parts[..count.min(parts.len())]))
    }

    /// Why `packet` can't be taken, if it can't.
    fn refusal(&self, packet: &PacketMut) -> Option<TransmitErrorKind> {
        let length = packet.len();
        let most = match packet.gso() {
            Gso::None => usize::from(self.info.mtu) + ETHERNET + 4,
            Gso::Ipv4 { .. } | Gso::Ipv6 { .. } => MAX_FRAME,
        };
        if self.broken {
            Some(TransmitErrorKind::Device(NetworkError::Broken))
        } else if self.full {
            Some(TransmitErrorKind::Full)
        } else if length < ETHERNET || length > most {
            Some(TransmitErrorKind::Size)
        } else {
            None
        }
    }
}

impl NetworkDevice for Tap {
    fn info(&self) -> NetworkInfo {
        self.info
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<PacketMut, NetworkError>> {
        if self.broken {
            return Poll::Ready(Err(NetworkError::Broken));
        }
        loop {
            match ready!(self.poll_frame(context)) {
                Ok(Some(packet)) => return Poll::Ready(Ok(packet)),
                // Nonsense from the host's side is no frame.
                Ok(None) => {}
                Err(errno) => return Poll::Ready(Err(self.fail(errno))),
            }
        }
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
        if self.broken {
            return Poll::Ready(Err(NetworkError::Broken));
        }
        if self.full {
            let writable = ready!(self.source.poll_io(Direction::Write, context, |tap| {
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                match poll(&mut [PollFd::new(&tap, PollFlags::OUT)], Some(&now))? {
                    0 => Err(Errno::AGAIN),
                    _ => Ok(()),
                }
            }));
            match writable {
                Ok(()) => self.full = false,
                Err(errno) => return Poll::Ready(Err(self.fail(errno))),
            }
        }
        Poll::Ready(Ok(BURST))
    }

    /// Writes the frame at once. One that the host can't take now because the interface is down is lost.
    fn transmit(&mut self, mut packet: PacketMut) -> Result<(), TransmitError> {
        if let Some(kind) = self.refusal(&packet) {
            return Err(TransmitError { packet, kind });
        }
        let Some(header) = Header::of(&packet) else {
            return Err(TransmitError { packet, kind: TransmitErrorKind::Offload });
        };
        let sent = self.write(&header.bytes(), &mut packet);
        match sent {
            // EIO: the interface is down. EINVAL: the host does not like this frame. Networks lose frames.
            Ok(_) | Err(Errno::IO | Errno::INVAL | Errno::NOBUFS | Errno::NOMEM) => Ok(()),
            Err(Errno::AGAIN) => {
                self.full = true;
                Err(TransmitError { packet, kind: TransmitErrorKind::Full })
            }
            Err(errno) => {
                let error = self.fail(errno);
                Err(TransmitError { packet, kind: TransmitErrorKind::Device(error) })
            }
        }
    }

    /// Nothing is left to do: each frame was given to the host when it was transmitted.
    fn flush(&mut self) {}
}

/// Our Ethernet address on the interface `name`: locally administered, and the same at the next start, so that what the
/// host's neighbours remember stays right.
fn mac(name: &str) -> [u8; 6] {
    // FNV-1a, 64 bits.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let [a, b, c, d, e, ..] = hash.to_be_bytes();
    [0x02, a, b, c, d, e]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_local_and_stay() {
        assert_eq!(mac("tap0"), mac("tap0"));
        assert_ne!(mac("tap0"), mac("tap1"));
        // Locally administered, and not a group's (IEEE 802, section 8.4).
        assert!((0..99).all(|number| mac(&format!("tap{number}"))[0] & 3 == 2));
    }
}
