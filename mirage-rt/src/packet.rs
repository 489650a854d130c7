//! The one packet type from driver to application.
//!
//! A packet is an Ethernet frame (or what a layer above made of it) in up to 19 pages: a *head*, a page with
//! [`HEADROOM`] free bytes in front of the data, and up to [`MAX_FRAGMENTS`] fragments that follow it. It carries what is
//! known of its checksum and whether it is to be cut into segments. [`PacketMut`] is owned and can be written;
//! [`Packet`] is its frozen form, cloned for the price of a counter. The pages go back to their pool on drop.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::page::{PAGE_SIZE, Page, PagePool};

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

/// A part of a page that belongs to a packet.
#[derive(Debug)]
pub struct Fragment {
    page: Page,
    start: u16,
    length: u16,
}

/// The range of a fragment does not lie within its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfPage;

impl fmt::Display for OutOfPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the range reaches beyond the {PAGE_SIZE} bytes of its page")
    }
}

impl core::error::Error for OutOfPage {}

impl Fragment {
    /// The bytes `range` of `page`.
    ///
    /// # Errors
    ///
    /// [`OutOfPage`] when `range` is not within the page or ends before it starts.
    pub fn new(page: Page, range: Range<usize>) -> Result<Fragment, OutOfPage> {
        if range.start > range.end || range.end > PAGE_SIZE {
            return Err(OutOfPage);
        }
        // Both fit: a page has 4096 bytes.
        Ok(Fragment { page, start: range.start as u16, length: (range.end - range.start) as u16 })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.page[self.range()]
    }

    /// The bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let range = self.range();
        &mut self.page[range]
    }

    /// Where the bytes stand in the page.
    pub fn range(&self) -> Range<usize> {
        usize::from(self.start)..usize::from(self.start) + usize::from(self.length)
    }

    /// The page they stand in.
    pub fn page(&self) -> &Page {
        &self.page
    }

    /// The page and the range of the bytes in it.
    pub fn into_parts(self) -> (Page, Range<usize>) {
        let range = self.range();
        (self.page, range)
    }
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
        Some(PacketMut::from_head(Fragment { page, start: HEADROOM as u16, length: 0 }))
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
            let at = usize::from(last.start) + usize::from(last.length);
            let length = bytes.len().min(PAGE_SIZE - at);
            if length == 0 {
                let page = Page::take(pool)?;
                self.push_fragment(Fragment { page, start: 0, length: 0 }).ok()?;
                continue;
            }
            let (part, rest) = bytes.split_at(length);
            last.page[at..at + length].copy_from_slice(part);
            last.length += length as u16;
            bytes = rest;
        }
        Some(())
    }

    /// A packet whose first bytes are `head`.
    pub fn from_head(head: Fragment) -> PacketMut {
        PacketMut { head, fragments: Vec::new(), checksum: Checksum::None, gso: Gso::None }
    }

    /// The contiguous bytes at the packet's start; all of it when there are no fragments.
    pub fn head(&self) -> &[u8] {
        self.head.bytes()
    }

    /// The head, to be written.
    pub fn head_mut(&mut self) -> &mut [u8] {
        self.head.bytes_mut()
    }

    /// Makes the head `length` bytes long, from its present start, and returns it. Bytes that come new have unspecified
    /// content. The head is never made longer than its page allows: check the length of what is returned.
    pub fn resize_head(&mut self, length: usize) -> &mut [u8] {
        let most = PAGE_SIZE - usize::from(self.head.start);
        self.head.length = length.min(most) as u16;
        self.head.bytes_mut()
    }

    /// Bytes free in front of the head.
    pub fn headroom(&self) -> usize {
        usize::from(self.head.start)
    }

    /// Puts `length` bytes of unspecified content in front of the head and returns the whole head; `None`, and no
    /// change, when the headroom is smaller.
    pub fn push_front(&mut self, length: usize) -> Option<&mut [u8]> {
        let start = usize::from(self.head.start).checked_sub(length)?;
        self.head.length += length as u16;
        self.head.start = start as u16;
        Some(self.head.bytes_mut())
    }

    /// Takes `length` bytes from the head's front; `false`, and no change, when the head is shorter.
    pub fn pull_front(&mut self, length: usize) -> bool {
        if length > usize::from(self.head.length) {
            return false;
        }
        self.head.start += length as u16;
        self.head.length -= length as u16;
        true
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

    /// The frozen packet.
    pub fn freeze(self) -> Packet {
        Packet(Rc::new(self))
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

/// A packet that is not changed any more. Clones share its pages.
#[derive(Clone, Debug)]
pub struct Packet(Rc<PacketMut>);

impl Packet {
    /// The packet for writing again, when this is its only handle; itself when it is not.
    ///
    /// # Errors
    ///
    /// The packet, unchanged, when there are other clones.
    pub fn try_into_mut(self) -> Result<PacketMut, Packet> {
        Rc::try_unwrap(self.0).map_err(Packet)
    }
}

impl core::ops::Deref for Packet {
    type Target = PacketMut;

    fn deref(&self) -> &PacketMut {
        &self.0
    }
}

impl From<PacketMut> for Packet {
    fn from(packet: PacketMut) -> Packet {
        packet.freeze()
    }
}

#[cfg(test)]
mod tests;
