//! The rows of records that inputs are.

use mirage_rt::Duration;

/// Checksums are filled in, and the length of a packet that something was appended to.
pub const SUMS: u8 = 1;
/// Positions of a segment count from where its connection begins, see [`Stranger`](super::stranger::Stranger).
pub const RELATIVE: u8 = 2;
/// A second passes behind the frame.
pub const SECOND: u8 = 4;
/// The device has found the checksum right.
pub const VERIFIED: u8 = 8;
/// The frame comes in several pages.
pub const PIECES: u8 = 16;
/// Forty seconds pass behind the frame.
pub const LONG: u8 = 32;
/// The last byte is another one than that of which the checksums are.
pub const SPOILED: u8 = 64;
/// No time passes behind the frame: it is of one burst with the next one.
pub const BURST: u8 = 128;

/// What the stack has sent is appended to a frame: nothing, the last segment, datagram, or echo request, or of the last echo request
/// what comes behind its type and checksum; and what it has sent over IPv6.
pub const NOTHING: u8 = 0;
pub const A_SEGMENT: u8 = 1;
pub const A_DATAGRAM: u8 = 2;
pub const AN_ECHO: u8 = 3;
pub const ECHOED: u8 = 4;
pub const A_DATAGRAM6: u8 = 5;
pub const AN_ECHO6: u8 = 6;
pub const ECHOED6: u8 = 7;

/// A frame, and what is to be done with it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Of the constants above.
    pub flags: u8,
    /// What is appended.
    pub append: u8,
    /// The frame's bytes.
    pub frame: &'a [u8],
}

impl Record<'_> {
    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// How long nothing happens behind the frame.
    pub fn pause(&self) -> Duration {
        match self.flags & (SECOND | LONG) {
            0 => Duration::from_micros(10),
            SECOND => Duration::from_secs(1),
            _ => Duration::from_secs(40),
        }
    }

    /// The record as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let [high, low] = (self.frame.len() as u16).to_be_bytes();
        [&[self.flags, self.append, high, low], self.frame].concat()
    }
}

/// The records of an input; the last one may be cut off.
pub fn read(mut input: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let ([flags, append, high, low], rest) = input.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (frame, rest) = rest.split_at(length);
        input = rest;
        Some(Record { flags: *flags, append: *append, frame })
    })
}
