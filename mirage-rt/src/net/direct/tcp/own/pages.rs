//! Pages among the bytes of one direction: those that an application has given to be sent, or that the device has filled and
//! an application will take. The other bytes stand in the [ring](super::ring); what comes first is known by positions.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::num::NonZeroU16;
use core::ops::Range;

use super::emit::Header;
use super::ring::Ring;
use crate::net::direct::header;
use crate::net::direct::ip::{IpOut, Route, TxMeta};
use crate::net::direct::tcp::emit::HEADER;
use crate::net::direct::tcp::machine::OutOfMemory;
use crate::net::direct::tcp::segment::FourTuple;
use crate::packet::{Fragment, MAX_FRAGMENTS, MAX_HEAD};
use crate::page::PAGE_SIZE;

/// Fewer bytes are copied instead: a page of them would hold back four times as much memory, or more.
pub const LEAST: usize = PAGE_SIZE / 4;
/// Pages behind the head of a packet: Linux's netback takes 18 parts, the head among them.
const PARTS: usize = MAX_FRAGMENTS - 1;

/// The pages of a direction. A trait, of which only [giving](super::give) and [taking](super::take) make a value, so that the
/// image of an application that does neither has nothing of it.
pub trait Pages {
    /// Bytes in pages, and how many pages there are.
    fn size(&self) -> (usize, usize);

    /// Makes sure of memory for so many more in the list of them, if there is any; for how many there is.
    fn make_places(&mut self, count: usize) -> usize;

    /// Puts a page behind all that is there. There must be a place for it.
    fn push(&mut self, ring: &mut Ring, fragment: Fragment);

    /// Takes the first bytes away, as far as there are so many.
    fn consume(&mut self, ring: &mut Ring, length: usize);

    /// Takes the page that comes first; `None` when other bytes do.
    fn pop(&mut self, ring: &mut Ring) -> Option<Fragment>;

    /// The first bytes, as far as they stand side by side.
    fn first<'a>(&'a self, ring: &'a Ring) -> &'a [u8];

    /// Copies the first bytes into `buffer` and takes them away; how many.
    fn read(&mut self, ring: &mut Ring, buffer: &mut [u8]) -> usize;

    /// How many of `most` bytes from the `offset`th fit one packet.
    fn fit(&self, ring: &Ring, offset: usize, most: usize) -> usize;

    /// Sends `length` bytes from the `offset`th, which the device is to cut into parts of `size` if they are more.
    fn send(&self, ring: &Ring, leaving: &Leaving<'_>, route: &Route, out: &mut dyn IpOut) -> Result<(), OutOfMemory>;
}

/// Pages that were handed over, and what is often asked of them. Their bytes count in the length of the ring.
pub struct Handed {
    pages: Box<dyn Pages>,
    /// Bytes in pages.
    pub length: usize,
    /// How many pages there are.
    pub count: usize,
    /// For how many more there is memory.
    places: usize,
}

impl Handed {
    /// None yet.
    #[inline]
    pub fn new() -> Handed {
        Handed { pages: Box::new(Queue::default()), length: 0, count: 0, places: 0 }
    }

    pub fn pages(&self) -> &dyn Pages {
        &*self.pages
    }

    /// Makes sure of memory for so many more in the list of them; whether there is any.
    pub fn make_place(&mut self, count: usize) -> bool {
        if self.places < count {
            self.places = self.pages.make_places(count);
        }
        self.places >= count
    }

    /// Puts a page behind all that is there. There must be a place for it.
    pub fn push(&mut self, ring: &mut Ring, fragment: Fragment) {
        self.length += fragment.len();
        self.count += 1;
        self.places = self.places.saturating_sub(1);
        self.pages.push(ring, fragment);
    }

    /// Takes the page that comes first; `None` when other bytes do.
    pub fn pop(&mut self, ring: &mut Ring) -> Option<Fragment> {
        let fragment = self.pages.pop(ring)?;
        self.length -= fragment.len();
        self.count -= 1;
        self.places += 1;
        Some(fragment)
    }

    /// Takes the first bytes away, as far as there are so many.
    #[inline(never)]
    pub fn consume(&mut self, ring: &mut Ring, length: usize) {
        self.pages.consume(ring, length);
        (self.length, self.count) = self.pages.size();
    }

    /// Copies the first bytes into `buffer` and takes them away; how many.
    pub fn read(&mut self, ring: &mut Ring, buffer: &mut [u8]) -> usize {
        let length = self.pages.read(ring, buffer);
        (self.length, self.count) = self.pages.size();
        length
    }
}

/// A segment that is to leave.
pub struct Leaving<'a> {
    pub header: &'a Header,
    pub tuple: &'a FourTuple,
    /// Its bytes.
    pub offset: usize,
    pub length: usize,
    /// Bytes of the parts into which the device cuts it.
    pub size: usize,
}

/// A page among the bytes.
struct Piece {
    /// The position of its first byte.
    at: u32,
    /// Bytes of the ring in front of it, since there are pages.
    ring: u32,
    fragment: Fragment,
}

impl Piece {
    fn end(&self) -> u32 {
        self.at.wrapping_add(self.fragment.len() as u32)
    }
}

/// Pages and their places among the bytes. Positions count from any, and wrap around.
#[derive(Default)]
pub struct Queue {
    pieces: VecDeque<Piece>,
    /// Bytes in pages.
    length: usize,
    /// The position of the first byte, and how many bytes of the ring stood in front of it.
    start: u32,
    ring: u32,
}

/// Some of the bytes that stand side by side.
enum Run<'a> {
    Ring([&'a [u8]; 2]),
    /// These of a page.
    Page(&'a Fragment, Range<usize>),
}

impl Queue {
    /// The bytes, run by run: `length` from the `offset`th, as far as there are so many.
    fn runs<'a>(&'a self, ring: &'a Ring, offset: usize, length: usize) -> impl Iterator<Item = Run<'a>> {
        let mut left = length.min(ring.length().saturating_sub(offset));
        let mut at = self.start.wrapping_add(offset as u32);
        let mut number = self.pieces.partition_point(|piece| !is_before(at, piece.end()));
        // Where the next bytes of the ring stand in it.
        let mut in_ring = match self.pieces.get(number) {
            Some(piece) => (piece.ring.wrapping_sub(self.ring) as usize).saturating_sub(ahead(at, piece)),
            None => offset.saturating_sub(self.length),
        };
        core::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let next = self.pieces.get(number);
            let (run, length) = match next.filter(|piece| ahead(at, piece) == 0) {
                Some(piece) => {
                    let skip = at.wrapping_sub(piece.at) as usize;
                    let length = (piece.fragment.len() - skip).min(left);
                    number += 1;
                    (Run::Page(&piece.fragment, skip..skip + length), length)
                }
                None => {
                    let length = next.map_or(left, |piece| ahead(at, piece).min(left));
                    let run = ring.get(in_ring, length);
                    in_ring += length;
                    (Run::Ring(run), length)
                }
            };
            left -= length;
            at = at.wrapping_add(length as u32);
            Some(run)
        })
    }
}

impl Pages for Queue {
    fn size(&self) -> (usize, usize) {
        (self.length, self.pieces.len())
    }

    fn make_places(&mut self, count: usize) -> usize {
        // Without memory there are as many places as before.
        let _ = self.pieces.try_reserve(count);
        self.pieces.capacity() - self.pieces.len()
    }

    fn push(&mut self, ring: &mut Ring, fragment: Fragment) {
        let in_ring = (ring.length() - self.length) as u32;
        let at = self.start.wrapping_add(ring.length() as u32);
        self.length += fragment.len();
        ring.advance_outside(fragment.len());
        self.pieces.push_back(Piece { at, ring: self.ring.wrapping_add(in_ring), fragment });
    }

    fn consume(&mut self, ring: &mut Ring, length: usize) {
        let mut left = length.min(ring.length());
        while left > 0 {
            let next = self.pieces.front_mut();
            let length = match next {
                Some(piece) if ahead(self.start, piece) == 0 => {
                    let length = piece.fragment.len().min(left);
                    ring.consume_outside(length);
                    piece.fragment.pull_front(length);
                    piece.at = piece.at.wrapping_add(length as u32);
                    self.length -= length;
                    if piece.fragment.is_empty() {
                        self.pieces.pop_front();
                    }
                    length
                }
                next => {
                    let length = next.map_or(left, |piece| ahead(self.start, piece).min(left));
                    ring.consume(length);
                    self.ring = self.ring.wrapping_add(length as u32);
                    length
                }
            };
            self.start = self.start.wrapping_add(length as u32);
            left -= length;
        }
    }

    fn pop(&mut self, ring: &mut Ring) -> Option<Fragment> {
        let piece = self.pieces.pop_front_if(|piece| piece.at == self.start)?;
        self.length -= piece.fragment.len();
        ring.consume_outside(piece.fragment.len());
        self.start = piece.end();
        Some(piece.fragment)
    }

    fn first<'a>(&'a self, ring: &'a Ring) -> &'a [u8] {
        match self.pieces.front() {
            Some(piece) if ahead(self.start, piece) == 0 => piece.fragment.bytes(),
            Some(piece) => ring.get(0, ahead(self.start, piece))[0],
            None => ring.get(0, ring.length() - self.length)[0],
        }
    }

    fn read(&mut self, ring: &mut Ring, buffer: &mut [u8]) -> usize {
        let mut length = 0;
        while let Some(place @ [_, ..]) = buffer.get_mut(length..)
            && let first @ [_, ..] = self.first(ring)
        {
            let part = first.len().min(place.len());
            place[..part].copy_from_slice(&first[..part]);
            self.consume(ring, part);
            length += part;
        }
        length
    }

    fn fit(&self, ring: &Ring, offset: usize, most: usize) -> usize {
        let end_of = |offset: usize| {
            let at = self.start.wrapping_add(offset as u32);
            self.pieces.partition_point(|piece| !is_before(at, piece.end()))
        };
        if ring.length() == self.length && end_of(offset + most) - end_of(offset) < PARTS {
            // Only few pages.
            return most;
        }
        let (mut fit, mut parts) = (0, 0);
        for run in self.runs(ring, offset, most) {
            let (needed, length) = match run {
                // In one page, if they fit, or one more than they fill.
                Run::Ring([first, second]) => {
                    let length = first.len() + second.len();
                    (length.div_ceil(PAGE_SIZE), length)
                }
                Run::Page(_, range) => (1, range.len()),
            };
            parts += needed;
            if parts > PARTS {
                break;
            }
            fit += length;
        }
        fit
    }

    fn send(&self, ring: &Ring, leaving: &Leaving<'_>, route: &Route, out: &mut dyn IpOut) -> Result<(), OutOfMemory> {
        let Leaving { header, tuple, offset, length, size } = *leaving;
        let mut packet = out.alloc().ok_or(OutOfMemory)?;
        let headers = header::length(tuple.remote().ip()) + HEADER + header.options.length();
        header.write(tuple, packet.resize_head(headers), length).ok_or(OutOfMemory)?;
        // What fits the head is copied: one grant costs more, and the stack may have to sum it up.
        let is_copied = headers + length <= MAX_HEAD;
        if !is_copied {
            packet.reserve_fragments(PARTS);
        }
        for run in self.runs(ring, offset, length) {
            match run {
                Run::Page(fragment, range) if !is_copied => {
                    let part = fragment.part(range).ok_or(OutOfMemory)?;
                    packet.push_fragment(part).map_err(|_| OutOfMemory)?;
                }
                Run::Page(fragment, range) => out.append(&mut packet, &fragment.bytes()[range]).ok_or(OutOfMemory)?,
                Run::Ring(parts) => {
                    for part in parts {
                        out.append(&mut packet, part).ok_or(OutOfMemory)?;
                    }
                }
            }
        }
        let segment = u16::try_from(size).ok().and_then(NonZeroU16::new).filter(|_| length > size);
        out.send(route, packet, TxMeta { fill_checksum: true, segment });
        Ok(())
    }
}

/// How many bytes of the ring stand between the position `at` and a page that does not end in front of it.
fn ahead(at: u32, piece: &Piece) -> usize {
    if is_before(at, piece.at) { piece.at.wrapping_sub(at) as usize } else { 0 }
}

/// Whether a position comes before another.
fn is_before(this: u32, other: u32) -> bool {
    (this.wrapping_sub(other) as i32) < 0
}
