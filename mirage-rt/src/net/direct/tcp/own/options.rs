//! The options of a segment's header, and the SACK blocks among those that are written.

use super::sequence::{Range, before};
use crate::net::direct::tcp::emit::Written;
use crate::net::direct::tcp::segment::Seq;
use crate::net::direct::tcp::timestamps::Timestamp;

/// SACK blocks that a header has room for.
const BLOCKS: usize = 4;

/// What a received header says besides its fixed part.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub timestamp: Option<Timestamp>,
    sacks: [Range; BLOCKS],
    count: usize,
}

impl Options {
    /// Reads the options of a header; what makes no sense ends them.
    pub fn parse(mut bytes: &[u8]) -> Options {
        let mut options = Options::default();
        // Nearly all segments have these and no others (RFC 7323, appendix A).
        if let [1, 1, 8, 10, v0, v1, v2, v3, e0, e1, e2, e3] = *bytes {
            let [value, echo] = [[v0, v1, v2, v3], [e0, e1, e2, e3]].map(u32::from_be_bytes);
            options.timestamp = Some(Timestamp { value, echo });
            return options;
        }
        while let Some((kind, rest)) = bytes.split_first() {
            match kind {
                0 => break,
                1 => bytes = rest,
                _ => {
                    let length = rest.first().map_or(0, |length| usize::from(*length));
                    let (Some(data), Some(behind)) = (bytes.get(2..length), bytes.get(length..)) else { break };
                    options.take(*kind, data);
                    bytes = behind;
                }
            }
        }
        options
    }

    fn take(&mut self, kind: u8, data: &[u8]) {
        let (words, rest) = data.as_chunks::<4>();
        let word = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes);
        match (kind, words, rest) {
            (5, _, []) => {
                for [start, end] in words.as_chunks::<2>().0 {
                    let block = Range { start: Seq(word(start)), end: Seq(word(end)) };
                    if let Some(place) = self.sacks.get_mut(self.count).filter(|_| before(block.start, block.end)) {
                        *place = block;
                        self.count += 1;
                    }
                }
            }
            (8, [value, echo], []) => {
                self.timestamp = Some(Timestamp { value: word(value), echo: word(echo) });
            }
            _ => {}
        }
    }

    /// The SACK blocks (RFC 2018), none of them empty; the first may be a duplicate (RFC 2883).
    pub fn sacks(&self) -> &[Range] {
        self.sacks.get(..self.count).unwrap_or_default()
    }
}

impl Written {
    /// How many SACK blocks there is still room for.
    pub fn blocks_left(&self) -> usize {
        self.room().saturating_sub(4) / 8
    }

    /// Adds SACK blocks, as many as fit.
    pub fn sacks(&mut self, blocks: impl Iterator<Item = Range>) {
        let (at, most) = (self.length(), self.blocks_left());
        if most == 0 {
            return;
        }
        self.push(&[1, 1, 5, 2]);
        let mut count = 0;
        for block in blocks.take(most) {
            self.push(&block.start.0.to_be_bytes());
            self.push(&block.end.0.to_be_bytes());
            count += 1;
        }
        match self.at_mut(at + 3) {
            Some(length) if count > 0 => *length = 2 + 8 * count,
            _ => self.cut(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::direct::tcp::segment::SynOptions;
    use proptest::prelude::*;

    #[test]
    fn options_are_read_as_written() {
        let blocks = [1u32, 2, 3, 4].map(|number| Range::new(Seq(number * 100), 50));
        let mut written = Written::none();
        written.timestamp(Timestamp { value: 7, echo: 9 });
        written.sacks(blocks.into_iter());
        assert_eq!(written.length(), 12 + 4 + 24);
        let read = Options::parse(written.bytes());
        assert_eq!(read.timestamp, Some(Timestamp { value: 7, echo: 9 }));
        assert_eq!(read.sacks(), &blocks[..3], "three fit beside a timestamp");
        let mut written = Written::none();
        written.sacks(blocks.into_iter());
        assert_eq!(Options::parse(written.bytes()).sacks(), blocks);
        let mut written = Written::none();
        written.sacks([].into_iter());
        assert_eq!(written.length(), 0);
        let all = SynOptions { mss: Some(1460), window_shift: Some(7), sack: true, ..SynOptions::default() };
        let mut written = Written::none();
        written.syn(&all);
        assert_eq!(written.bytes(), [2, 4, 5, 180, 1, 3, 3, 7, 1, 1, 4, 2]);
    }

    #[test]
    fn what_makes_no_sense_is_ignored() {
        for bytes in
            [&[8, 10, 0][..], &[8, 0, 0, 0], &[8, 1], &[5, 10, 0, 0, 0, 9, 0, 0, 0, 9], &[5, 3, 1], &[0, 8, 10]]
        {
            let read = Options::parse(bytes);
            assert!(read.timestamp.is_none() && read.sacks().is_empty(), "{bytes:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(Options::parse(&bytes).sacks().len() <= BLOCKS);
        }
    }
}
