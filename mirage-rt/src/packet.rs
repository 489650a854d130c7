//! The one packet type from driver to application.
//!
//! A packet is an Ethernet frame (or what a layer above made of it) in up to 19 pages: a *head*, a page with
//! [`HEADROOM`] free bytes in front of the data, and up to [`MAX_FRAGMENTS`] fragments that follow it. It carries what is
//! known of its checksum and whether it is to be cut into segments. The pages go back to their pool on drop; those that others
//! may still need are [shared](Fragment::shared).

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;

use crate::page::{PAGE_SIZE, Page, PagePool};

mod fragment;

pub use fragment::{Fragment, OutOfPage};

/// Free bytes in front of the data of a new packet: room for headers and for a backend's own.
pub const HEADROOM: usize = 64;

/// The most bytes that the head of a new packet holds.
pub const MAX_HEAD: usize = PAGE_SIZE - HEADROOM;

/// The most fragments behind the head: what Linux's netback takes of one packet.
pub const MAX_FRAGMENTS: usize = 18;

/// What is known of a packet's transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Checksum {
    /// Received: not looked at. To be sent: complete, as it stands.
    #[default]
    None,
    /// The sum of the pseudo header stands in the field; the device is to complete it. A packet received so came from
    /// another domain of this host and was never on a wire: it counts as correct.
    Partial {
        /// Where summing starts: the transport header, in bytes from the packet's first.
        start: u16,
        /// The checksum field, in bytes behind `start`.
        offset: u16,
    },
    /// Received: the device found it right.
    Verified,
}

/// Whether a packet is longer than the link allows and must be cut into segments, or was put together from some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Gso {
    /// An ordinary packet.
    #[default]
    None,
    /// TCP over IPv4 in segments of at most `mss` bytes of payload.
    Ipv4 {
        /// Payload bytes of a segment, never 0.
        mss: u16,
    },
    /// TCP over IPv6 in segments of at most `mss` bytes of payload.
    Ipv6 {
        /// Payload bytes of a segment, never 0.
        mss: u16,
    },
}

/// A packet that can be written.
#[derive(Debug)]
pub struct PacketMut {
    head: Fragment,
    // Empty, and without memory of its own, for all packets that fit a page.
    fragments: Vec<Fragment>,
    checksum: Checksum,
    gso: Gso,
}

/// The packet has [`MAX_FRAGMENTS`] fragments, or there is no memory for the list of them. The fragment comes back.
#[derive(Debug)]
pub struct TooManyFragments(pub Fragment);

impl fmt::Display for TooManyFragments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a packet has at most {MAX_FRAGMENTS} fragments")
    }
}

impl core::error::Error for TooManyFragments {}

impl PacketMut {
    /// An empty packet with [`HEADROOM`] bytes of room in front, on a page of `pool`; `None` when the pool's budget is
    /// used up.
    pub fn new(pool: &Rc<dyn PagePool>) -> Option<PacketMut> {
        let page = Page::take(pool)?;
        Some(PacketMut::from_head(Fragment::empty(page, HEADROOM)))
    }

    /// A packet with a copy of `bytes`, in as many pages as it takes. `None` when the pool's budget is used up or
    /// `bytes` is longer than [`MAX_HEAD`] and [`MAX_FRAGMENTS`] pages.
    #[inline(never)]
    pub fn copy_of(pool: &Rc<dyn PagePool>, bytes: &[u8]) -> Option<PacketMut> {
        let mut packet = PacketMut::new(pool)?;
        packet.append(pool, bytes)?;
        Some(packet)
    }

    /// Adds a copy of `bytes` at the end: into the room of the last page, then into further ones. `None` when the pool's
    /// budget is used up or there would be more than [`MAX_FRAGMENTS`]; some of them may have been added then.
    #[inline(never)]
    pub fn append(&mut self, pool: &Rc<dyn PagePool>, mut bytes: &[u8]) -> Option<()> {
        while !bytes.is_empty() {
            let last = self.fragments.last_mut().unwrap_or(&mut self.head);
            let length = last.append(bytes);
            if length == 0 {
                let page = Page::take(pool)?;
                self.push_fragment(Fragment::empty(page, 0)).ok()?;
            }
            bytes = &bytes[length..];
        }
        Some(())
    }

    /// A packet whose first bytes are `head`. When others share its page, they can't be written, and nothing can be put in
    /// front of them.
    #[inline]
    pub fn from_head(head: Fragment) -> PacketMut {
        PacketMut { head, fragments: Vec::new(), checksum: Checksum::None, gso: Gso::None }
    }

    /// The contiguous bytes at the packet's start; all of it when there are no fragments.
    #[inline]
    pub fn head(&self) -> &[u8] {
        self.head.bytes()
    }

    /// The head, to be written; no bytes when others share its page, as they never do of one made by [`new`](PacketMut::new).
    pub fn head_mut(&mut self) -> &mut [u8] {
        self.head.bytes_mut().unwrap_or_default()
    }

    /// Makes the head `length` bytes long, from its present start, and returns it. Bytes that come new have unspecified
    /// content. The head is never made longer than its page allows: check the length of what is returned.
    pub fn resize_head(&mut self, length: usize) -> &mut [u8] {
        let most = PAGE_SIZE - usize::from(self.head.start);
        self.head.length = length.min(most) as u16;
        self.head.bytes_mut().unwrap_or_default()
    }

    /// Bytes free in front of the head.
    pub fn headroom(&self) -> usize {
        usize::from(self.head.start)
    }

    /// Puts `length` bytes of unspecified content in front of the head and returns the whole head; `None`, and no
    /// change, when the headroom is smaller.
    pub fn push_front(&mut self, length: usize) -> Option<&mut [u8]> {
        let start = usize::from(self.head.start).checked_sub(length)?;
        if self.head.is_shared() {
            return None;
        }
        self.head.length += length as u16;
        self.head.start = start as u16;
        self.head.bytes_mut()
    }

    /// Takes `length` bytes from the head's front; `false`, and no change, when the head is shorter.
    pub fn pull_front(&mut self, length: usize) -> bool {
        self.head.pull_front(length)
    }

    /// Cuts the packet to at most `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        let mut left = length.saturating_sub(usize::from(self.head.length));
        self.head.length = usize::from(self.head.length).min(length) as u16;
        let mut keep = 0;
        for fragment in &mut self.fragments {
            if left == 0 {
                break;
            }
            fragment.length = usize::from(fragment.length).min(left) as u16;
            left -= usize::from(fragment.length);
            keep += 1;
        }
        self.fragments.truncate(keep);
    }

    /// Makes room for so many fragments in the list of them, so that it does not grow by and by. Without memory it grows, or
    /// does not, as they come.
    pub fn reserve_fragments(&mut self, count: usize) {
        let _ = self.fragments.try_reserve_exact(count.min(MAX_FRAGMENTS));
    }

    /// Adds a fragment at the end.
    ///
    /// # Errors
    ///
    /// [`TooManyFragments`], with the fragment, when the packet is full.
    pub fn push_fragment(&mut self, fragment: Fragment) -> Result<(), TooManyFragments> {
        if self.fragments.len() == MAX_FRAGMENTS || self.fragments.try_reserve(1).is_err() {
            return Err(TooManyFragments(fragment));
        }
        self.fragments.push(fragment);
        Ok(())
    }

    /// Gives the packet up: its head and its fragments.
    pub fn into_parts(self) -> (Fragment, Vec<Fragment>) {
        (self.head, self.fragments)
    }

    /// Sets what is known of the checksum.
    pub fn set_checksum(&mut self, checksum: Checksum) {
        self.checksum = checksum;
    }

    /// Sets how the packet is to be cut into segments.
    pub fn set_gso(&mut self, gso: Gso) {
        self.gso = gso;
    }

    /// The head as a fragment, with its page.
    pub fn head_fragment(&self) -> &Fragment {
        &self.head
    }

    /// The fragments behind the head.
    pub fn fragments(&self) -> &[Fragment] {
        &self.fragments
    }

    /// Bytes in head and fragments.
    pub fn len(&self) -> usize {
        self.fragments.iter().map(|fragment| usize::from(fragment.length)).sum::<usize>()
            + usize::from(self.head.length)
    }

    /// Whether the packet has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is known of the checksum.
    pub fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// How the packet is to be cut into segments.
    pub fn gso(&self) -> Gso {
        self.gso
    }

    /// The bytes, part by part: head first.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        core::iter::once(self.head()).chain(self.fragments.iter().map(Fragment::bytes))
    }

    /// Copies the packet's first bytes into `buffer`; how many there were room for.
    pub fn copy_to(&self, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        for part in self.parts() {
            let length = part.len().min(buffer.len() - done);
            buffer[done..done + length].copy_from_slice(&part[..length]);
            done += length;
        }
        done
    }
}

#[cfg(test)]
mod tests;
