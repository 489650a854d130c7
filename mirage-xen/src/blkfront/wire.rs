//! Slots of the block ring (`xen/io/blkif.h`), in the layout of 64-bit guests (`x86_64-abi`).
//!
//! All sectors on the ring are of 512 bytes, whatever the disk's own sectors are: so do Linux, and the header since Xen 4.20
//! (before, it let a frontend ask for another unit, which hardly any backend knew).

use crate::ring::{Protocol, Slot};

/// The layout's name, for the frontend's node `protocol`.
pub const PROTOCOL: &str = "x86_64-abi";
/// Bytes of a sector on the ring.
pub const SECTOR: u32 = 512;
/// Segments that fit in a slot (`BLKIF_MAX_SEGMENTS_PER_REQUEST`).
pub const DIRECT_SEGMENTS: usize = 11;
/// Segments that an indirect page holds.
pub const INDIRECT_SEGMENTS: usize = crate::hypervisor::PAGE_SIZE / Segment::SIZE;
/// Pages of segments in an indirect request (`BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST`).
pub const INDIRECT_PAGES: usize = 8;

/// Flags of the backend's node `info`.
pub mod disk_flags {
    /// The device can't be written (`VDISK_READONLY`).
    pub const READ_ONLY: u32 = 4;
}

/// What a request asks for (`BLKIF_OP_*`).
pub mod operation {
    /// Read.
    pub const READ: u8 = 0;
    /// Write.
    pub const WRITE: u8 = 1;
    /// Write after all writes before, and before all after.
    pub const BARRIER: u8 = 2;
    /// Make what was written durable.
    pub const FLUSH: u8 = 3;
    /// Forget sectors.
    pub const DISCARD: u8 = 5;
    /// Read or write, with the segments in pages of their own.
    pub const INDIRECT: u8 = 6;
}

/// What became of a request (`BLKIF_RSP_*`).
pub mod status {
    /// It was done.
    pub const OKAY: i16 = 0;
    /// It failed.
    pub const ERROR: i16 = -1;
    /// The backend does not know the operation after all.
    pub const UNSUPPORTED: i16 = -2;
}

/// A part of a page, in sectors of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    /// The granted page.
    pub grant: u32,
    /// The first sector.
    pub first: u8,
    /// The last sector.
    pub last: u8,
}

impl Segment {
    /// Bytes of a segment.
    pub const SIZE: usize = 8;

    /// All of a page.
    pub const fn page(grant: u32) -> Self {
        Self { grant, first: 0, last: (crate::hypervisor::PAGE_SIZE / SECTOR as usize - 1) as u8 }
    }

    /// The segment's bytes.
    pub fn emit(self) -> [u8; Self::SIZE] {
        let [a, b, c, d] = self.grant.to_le_bytes();
        [a, b, c, d, self.first, self.last, 0, 0]
    }

    /// What the bytes say.
    pub fn parse(bytes: [u8; Self::SIZE]) -> Self {
        let [a, b, c, d, first, last, ..] = bytes;
        Self { grant: u32::from_le_bytes([a, b, c, d]), first, last }
    }
}

/// Bytes of a slot: the largest request.
const SLOT: usize = 112;
/// Requests are written in pieces of so many bytes.
const PIECE: usize = 16;
const HANDLE_INDIRECT: usize = 24;
const GRANTS_INDIRECT: usize = 28;
const SEGMENTS: usize = 24;

/// A request as it stands in a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    bytes: [u8; SLOT],
    used: usize,
}

impl Request {
    fn new(operation: u8, second: u8, third: u16, id: u64, sector: u64) -> Self {
        let mut bytes = [0; SLOT];
        bytes[0] = operation;
        bytes[1] = second;
        bytes[2..4].copy_from_slice(&third.to_le_bytes());
        bytes[8..16].copy_from_slice(&id.to_le_bytes());
        bytes[16..24].copy_from_slice(&sector.to_le_bytes());
        Self { bytes, used: SEGMENTS }
    }

    /// A read, write, flush or barrier without segments, to be added with [`push`](Self::push).
    pub fn direct(operation: u8, device: u16, id: u64, sector: u64) -> Self {
        Self::new(operation, 0, device, id, sector)
    }

    /// Adds a segment.
    ///
    /// # Panics
    ///
    /// When there are [`DIRECT_SEGMENTS`] already.
    pub fn push(&mut self, segment: Segment) {
        self.bytes[self.used..self.used + Segment::SIZE].copy_from_slice(&segment.emit());
        self.used += Segment::SIZE;
        self.bytes[1] += 1;
    }

    /// A read or write (`inner`) of `segments` segments, which stand in the page of `grant`.
    pub fn indirect(inner: u8, device: u16, id: u64, sector: u64, segments: u16, grant: u32) -> Self {
        let mut request = Self::new(operation::INDIRECT, inner, segments, id, sector);
        request.bytes[HANDLE_INDIRECT..HANDLE_INDIRECT + 2].copy_from_slice(&device.to_le_bytes());
        request.bytes[GRANTS_INDIRECT..GRANTS_INDIRECT + 4].copy_from_slice(&grant.to_le_bytes());
        request.used = GRANTS_INDIRECT + 4;
        request
    }

    /// A discard of `count` sectors.
    pub fn discard(secure: bool, device: u16, id: u64, sector: u64, count: u64) -> Self {
        let mut request = Self::new(operation::DISCARD, secure.into(), device, id, sector);
        request.bytes[24..32].copy_from_slice(&count.to_le_bytes());
        request.used = 32;
        request
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes([self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3]])
    }

    fn long(&self, at: usize) -> u64 {
        u64::from(self.word(at)) | u64::from(self.word(at + 4)) << 32
    }

    /// The operation's code.
    pub fn operation(&self) -> u8 {
        self.bytes[0]
    }

    /// The number to be repeated in the response.
    pub fn id(&self) -> u64 {
        self.long(8)
    }

    /// The first sector.
    pub fn sector(&self) -> u64 {
        self.long(16)
    }

    /// The number of segments, and of an indirect request the operation.
    pub fn segment_count(&self) -> (usize, u8) {
        match self.operation() {
            operation::INDIRECT => (u16::from_le_bytes([self.bytes[2], self.bytes[3]]).into(), self.bytes[1]),
            other => (self.bytes[1].into(), other),
        }
    }

    /// A segment of a direct request.
    pub fn segment(&self, number: usize) -> Option<Segment> {
        let at = SEGMENTS + number * Segment::SIZE;
        (number < DIRECT_SEGMENTS).then(|| Segment::parse(core::array::from_fn(|index| self.bytes[at + index])))
    }

    /// The grant of a page of segments of an indirect request.
    pub fn segment_page(&self, number: usize) -> Option<u32> {
        (number < INDIRECT_PAGES).then(|| self.word(GRANTS_INDIRECT + number * 4))
    }

    /// The number of sectors of a discard, and whether it is to be secure.
    pub fn discarded(&self) -> (u64, bool) {
        (self.long(24), self.bytes[1] & 1 != 0)
    }
}

/// A response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Response {
    /// The request's.
    pub id: u64,
    /// The request's; of an indirect one, either the code for that or the operation inside.
    pub operation: u8,
    /// See [`status`].
    pub status: i16,
}

/// The ring of a disk.
#[derive(Debug)]
pub enum Blkif {}

impl Protocol for Blkif {
    const SLOT: usize = SLOT;
    type Request = Request;
    type Response = Response;

    #[inline]
    fn write_request(slot: Slot<'_>, request: &Request) {
        let pieces = request.bytes.as_chunks::<PIECE>().0;
        for (number, piece) in pieces.iter().take(request.used.div_ceil(PIECE)).enumerate() {
            slot.write_words(number * PIECE, piece);
        }
    }

    #[inline]
    fn read_response(slot: Slot<'_>) -> Response {
        let [a, b, c, d, e, f, g, h, operation, _, low, high, ..] = slot.read_words::<PIECE>(0);
        Response {
            id: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            operation,
            status: i16::from_le_bytes([low, high]),
        }
    }

    fn read_request(slot: Slot<'_>) -> Request {
        let mut bytes = [0; SLOT];
        for (number, piece) in bytes.as_chunks_mut::<PIECE>().0.iter_mut().enumerate() {
            *piece = slot.read_words(number * PIECE);
        }
        Request { bytes, used: SLOT }
    }

    fn write_response(slot: Slot<'_>, response: &Response) {
        let mut bytes = [0; PIECE];
        bytes[..8].copy_from_slice(&response.id.to_le_bytes());
        bytes[8] = response.operation;
        bytes[10..12].copy_from_slice(&response.status.to_le_bytes());
        slot.write_words(0, &bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::model::{BackRing, World};
    use crate::ring::{FrontRing, RingMemory, slots_in};
    use crate::shared::SharedBytes;

    /// A page that both halves of a ring see.
    #[derive(Clone, Copy)]
    struct Same(SharedBytes<'static>);

    impl RingMemory for Same {
        fn bytes(&self) -> SharedBytes<'_> {
            self.0
        }
    }

    #[test]
    fn slots_may_lie_in_two_pages() {
        // Pages that are no neighbours, and not in order.
        let pages: Vec<_> = (0..4).map(|_| Same(World::new().xenstore_end().0)).rev().collect();
        let mut front = FrontRing::<Blkif, _>::starting_at(pages.clone(), 0xFFFF_FFF0);
        let mut back = BackRing::<Blkif, _>::new(pages);
        let request = |number: u64| {
            let mut request = Request::direct(operation::READ, 1, number, !number);
            (0..DIRECT_SEGMENTS as u32).for_each(|segment| request.push(Segment::page(number as u32 * 16 + segment)));
            request
        };
        for round in 0..3 {
            for number in 0..128 {
                assert!(front.push(&request(round * 128 + number)));
            }
            assert!(!front.push(&request(0)));
            let _ = front.publish();
            for number in 0..128 {
                let (_, taken) = back.take().expect("it was published");
                let expected = request(round * 128 + number);
                assert_eq!(taken.bytes, expected.bytes);
                back.push(&Response { id: !taken.id(), operation: 9, status: -2 });
            }
            back.publish();
            for number in 0..128 {
                assert!(front.available().expect("honest") > 0);
                let response = front.take().expect("it was published").for_any_value();
                assert_eq!(response, Response { id: !(round * 128 + number), operation: 9, status: -2 });
            }
        }
    }

    #[test]
    fn rings_have_as_many_slots_as_linux_says() {
        assert_eq!([1, 2, 4, 8, 16].map(slots_in::<Blkif>), [32, 64, 128, 256, 512]);
    }

    #[test]
    fn a_direct_request_is_as_the_header_file_draws_it() {
        let mut request = Request::direct(operation::WRITE, 0x0302, 0x0F0E_0D0C_0B0A_0908, 0x1716_1514_1312_1110);
        request.push(Segment { grant: 0x1B1A_1918, first: 0x1C, last: 0x1D });
        request.push(Segment::page(7));
        let expected = [1, 2, 2, 3, 0, 0, 0, 0, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25];
        assert_eq!(request.bytes[..26], expected);
        assert_eq!(request.bytes[26..40], [26, 27, 28, 29, 0, 0, 7, 0, 0, 0, 0, 7, 0, 0]);
        assert_eq!((request.used, request.segment_count()), (40, (2, operation::WRITE)));
        assert_eq!(request.segment(1), Some(Segment { grant: 7, first: 0, last: 7 }));
        assert_eq!(request.segment(11), None);
    }

    #[test]
    fn an_indirect_request_is_as_the_header_file_draws_it() {
        let request = Request::indirect(operation::READ, 0x1918, 5, 9, 0x0302, 0x1F1E_1D1C);
        assert_eq!(request.bytes[..8], [6, 0, 2, 3, 0, 0, 0, 0]);
        assert_eq!(request.bytes[24..32], [0x18, 0x19, 0, 0, 0x1C, 0x1D, 0x1E, 0x1F]);
        assert_eq!((request.id(), request.sector()), (5, 9));
        assert_eq!((request.segment_count(), request.segment_page(0)), ((0x0302, 0), Some(0x1F1E_1D1C)));
        assert_eq!((request.segment_page(1), request.segment_page(8)), (Some(0), None));
    }

    #[test]
    fn a_discard_is_as_the_header_file_draws_it() {
        let request = Request::discard(true, 3, 4, 5, 0x0102_0304_0506_0708);
        assert_eq!(request.bytes[..4], [5, 1, 3, 0]);
        assert_eq!(request.bytes[24..32], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(request.discarded(), (0x0102_0304_0506_0708, true));
    }
}
