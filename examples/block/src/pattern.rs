//! Seeded patterns: pages whose content follows from a seed and their number, so that anyone can tell what they should hold.

use alloc::collections::VecDeque;
use core::fmt;

use mirage_rt::block::{Block, BlockError};
use mirage_rt::page::{PAGE_SIZE, Page};
use mirage_rt::{JoinHandle, spawn};

/// Pages of one request.
const REQUEST: u64 = 32;
/// Requests under way at a time.
const DEPTH: usize = 8;

/// Pages of a disk that patterns are written to.
#[derive(Clone)]
pub struct Area {
    pub disk: Block,
    /// The area's first sector.
    pub start: u64,
}

/// A range of an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: u64,
    pub count: u64,
}

/// Patterns were not written, or are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// The page holds something else, from this byte on.
    Differs { page: u64, byte: usize },
    /// The disk failed at a request that began with this page.
    Disk { page: u64, error: BlockError },
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::Differs { page, byte } => write!(f, "page {page} differs from byte {byte} on"),
            PatternError::Disk { page, error } => write!(f, "page {page}: {error}"),
        }
    }
}

impl core::error::Error for PatternError {}

/// What is done with each request's pages.
#[derive(Clone, Copy)]
enum Action {
    Fill,
    Verify,
}

impl Area {
    /// Pages that the area has, now: a disk may grow.
    pub fn pages(&self) -> u64 {
        let info = self.disk.info();
        info.sectors.saturating_sub(self.start) / info.sectors_per_page()
    }

    /// Writes the pattern of `seed`; the CRC-32 of all of it. Durable after a flush.
    ///
    /// # Errors
    ///
    /// The first that the disk reports.
    pub async fn fill(&self, seed: u64, range: Range) -> Result<u32, PatternError> {
        self.run(Action::Fill, seed, range).await
    }

    /// Reads the pattern of `seed` and compares all of it; the CRC-32 of what was read.
    ///
    /// # Errors
    ///
    /// The first difference, or the first that the disk reports.
    pub async fn verify(&self, seed: u64, range: Range) -> Result<u32, PatternError> {
        self.run(Action::Verify, seed, range).await
    }

    /// The sectors of a range; `None` when it is not all in the area.
    pub fn sectors(&self, range: Range) -> Option<(u64, u64)> {
        let end = range.first.checked_add(range.count)?;
        let per_page = self.disk.info().sectors_per_page();
        (end <= self.pages()).then(|| (self.start + range.first * per_page, range.count * per_page))
    }

    async fn run(&self, action: Action, seed: u64, range: Range) -> Result<u32, PatternError> {
        let outside = PatternError::Disk { page: range.first, error: BlockError::OutOfRange };
        self.sectors(range).ok_or(outside)?;
        let end = range.first + range.count;
        let mut under_way: VecDeque<JoinHandle<Part>> = VecDeque::new();
        let mut result = Ok(crc32fast::Hasher::new());
        let mut first = range.first;
        loop {
            if first < end && result.is_ok() && under_way.len() < DEPTH {
                let count = REQUEST.min(end - first);
                if let Some(pages) = self.disk.pages(count as usize) {
                    under_way.push_back(spawn(part(self.clone(), action, seed, first, pages)));
                    first += count;
                    continue;
                }
                if under_way.is_empty() {
                    result = Err(PatternError::Disk { page: first, error: BlockError::Memory });
                }
            }
            // In order, because the sum is one of all pages. After an error nothing is left under way, either.
            let Some(oldest) = under_way.pop_front() else { break };
            let Ok(part) = oldest.await else { continue };
            match (&mut result, part) {
                (Ok(sum), Ok(part)) => sum.combine(&part),
                (Ok(_), Err(error)) => result = Err(error),
                (Err(_), _) => {}
            }
        }
        result.map(crc32fast::Hasher::finalize)
    }
}

/// How one request ended: the sum of its pages.
type Part = Result<crc32fast::Hasher, PatternError>;

async fn part(area: Area, action: Action, seed: u64, first: u64, pages: alloc::vec::Vec<Page>) -> Part {
    let sector = area.start + first * area.disk.info().sectors_per_page();
    let mut hasher = crc32fast::Hasher::new();
    let mut pages = pages;
    let (result, pages) = match action {
        Action::Fill => {
            for (page, number) in pages.iter_mut().zip(first..) {
                fill(&mut page[..], seed, number);
                hasher.update(&page[..]);
            }
            area.disk.write(sector, pages).await
        }
        Action::Verify => area.disk.read(sector, pages).await,
    };
    result.map_err(|error| PatternError::Disk { page: first, error })?;
    if let Action::Verify = action {
        for (page, number) in pages.iter().zip(first..) {
            if let Some(byte) = difference(&page[..], seed, number) {
                return Err(PatternError::Differs { page: number, byte });
            }
            hasher.update(&page[..]);
        }
    }
    Ok(hasher)
}

/// The words of page `number` (SplitMix64): each page has others, whatever the seeds and numbers.
fn words(seed: u64, number: u64) -> impl Iterator<Item = [u8; 8]> {
    let start = mix(seed).wrapping_add(mix(number ^ 0x6d69_7261_6765));
    (0..PAGE_SIZE as u64 / 8)
        .map(move |index| mix(start.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_le_bytes())
}

fn mix(word: u64) -> u64 {
    let mixed = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn fill(page: &mut [u8], seed: u64, number: u64) {
    for (part, word) in page.chunks_exact_mut(8).zip(words(seed, number)) {
        part.copy_from_slice(&word);
    }
}

/// The first byte of `page` that is not as it should be.
fn difference(page: &[u8], seed: u64, number: u64) -> Option<usize> {
    let wrong = page.chunks_exact(8).zip(words(seed, number)).position(|(part, word)| part != word)?;
    let (part, word) = (page.chunks_exact(8).nth(wrong)?, words(seed, number).nth(wrong)?);
    part.iter().zip(word).position(|(found, wanted)| *found != wanted).map(|byte| wrong * 8 + byte)
}
