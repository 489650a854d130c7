//! An append-only log of texts, one record in each page.
//!
//! ```text
//! magic: 8 bytes, number: u64, length: u32, CRC-32 of all that comes before and of the text: u32, the text, zeros
//! ```
//!
//! Numbers are little endian and count from 0. A record is written durably (FUA) and in one page, and the next one only after
//! it. So after a crash all records that were answered are there; the one under way is there whole, or its sum is wrong and
//! the next append takes its place.

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::poll_fn;
use core::task::{Poll, Waker};

use mirage_rt::block::{Block, BlockError};
use mirage_rt::page::PAGE_SIZE;

const MAGIC: [u8; 8] = *b"mir-log1";
const HEADER: usize = 24;

/// Bytes of the longest text.
pub const LONGEST: usize = PAGE_SIZE - HEADER;

/// Pages that are read in one go when the log is opened.
const READ_AHEAD: usize = 16;

/// A log on the first pages of a disk.
pub struct Log {
    disk: Block,
    pages: u64,
    count: Cell<u64>,
    turn: Turn,
}

/// The log was not read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogError {
    /// The disk holds something else.
    Foreign,
    /// All pages have a record.
    Full,
    /// The text is longer than a record.
    Long,
    /// There is no record of this number.
    Missing,
    /// A record that was there is damaged.
    Damaged,
    /// The disk failed.
    Disk(BlockError),
}

impl From<BlockError> for LogError {
    fn from(error: BlockError) -> LogError {
        LogError::Disk(error)
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Foreign => f.write_str(
                "the disk holds something that is not a log: take another disk, or clear this one with `dd if=/dev/zero \
                 bs=4096 count=1 conv=notrunc of=FILE`",
            ),
            LogError::Full => f.write_str("the log is full"),
            LogError::Long => write!(f, "a text has at most {LONGEST} bytes"),
            LogError::Missing => f.write_str("there is no record of this number"),
            LogError::Damaged => f.write_str("the record is damaged"),
            LogError::Disk(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for LogError {}

impl Log {
    /// Opens the log on the first `pages` pages of `disk`; a disk that starts with zeros has an empty one.
    ///
    /// # Errors
    ///
    /// [`LogError::Foreign`], and what the disk reports.
    pub async fn open(disk: Block, pages: u64) -> Result<Log, LogError> {
        let log = Log { disk, pages, count: Cell::new(0), turn: Turn::default() };
        let mut number = 0;
        while number < pages {
            let count = READ_AHEAD.min((pages - number) as usize);
            let buffers = log.disk.pages(count).ok_or(BlockError::Memory)?;
            let (result, buffers) = log.disk.read(log.sector(number), buffers).await;
            result?;
            for page in &buffers {
                if record(&page[..], number).is_none() {
                    if number == 0 && !is_new(&page[..]) {
                        return Err(LogError::Foreign);
                    }
                    return Ok(log);
                }
                number += 1;
                log.count.set(number);
            }
        }
        Ok(log)
    }

    /// How many records there are.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// How many records there can be.
    pub fn capacity(&self) -> u64 {
        self.pages
    }

    /// Appends `text`; its number. It is durable when this is ready.
    ///
    /// # Errors
    ///
    /// [`LogError::Full`], [`LogError::Long`]; and what the disk reports, then the record may be there after a crash, until
    /// another one takes its place.
    pub async fn append(&self, text: &str) -> Result<u64, LogError> {
        if text.len() > LONGEST {
            return Err(LogError::Long);
        }
        let _turn = self.turn.take().await;
        let number = self.count.get();
        if number == self.pages {
            return Err(LogError::Full);
        }
        let mut pages = self.disk.pages(1).ok_or(BlockError::Memory)?;
        for page in &mut pages {
            fill(&mut page[..], number, text);
        }
        self.disk.write_durable(self.sector(number), pages).await.0?;
        self.count.set(number + 1);
        Ok(number)
    }

    /// The text of record `number`.
    ///
    /// # Errors
    ///
    /// [`LogError::Missing`], [`LogError::Damaged`], and what the disk reports.
    pub async fn read(&self, number: u64) -> Result<String, LogError> {
        if number >= self.count.get() {
            return Err(LogError::Missing);
        }
        let pages = self.disk.pages(1).ok_or(BlockError::Memory)?;
        let (result, pages) = self.disk.read(self.sector(number), pages).await;
        result?;
        let text = pages.first().and_then(|page| record(&page[..], number));
        text.map(String::from).ok_or(LogError::Damaged)
    }

    fn sector(&self, number: u64) -> u64 {
        number * self.disk.info().sectors_per_page()
    }
}

/// Makes `page` the record of `text`.
fn fill(page: &mut [u8], number: u64, text: &str) {
    page.fill(0);
    let (header, rest) = page.split_at_mut(HEADER);
    let (text, length) = (text.as_bytes(), text.len() as u32);
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&number.to_le_bytes());
    header[16..20].copy_from_slice(&length.to_le_bytes());
    let sum = sum(&header[..20], text);
    header[20..].copy_from_slice(&sum.to_le_bytes());
    rest[..text.len()].copy_from_slice(text);
}

/// The text of the page, if it is whole and record `number`.
fn record(page: &[u8], number: u64) -> Option<&str> {
    let (header, rest) = page.split_at_checked(HEADER)?;
    let (counted, stored) = header.split_at_checked(20)?;
    let length = u32::from_le_bytes(counted.get(16..20)?.try_into().ok()?);
    let text = rest.get(..usize::try_from(length).ok()?)?;
    let fits = counted.starts_with(&MAGIC) && counted.get(8..16)? == number.to_le_bytes();
    (fits && sum(counted, text).to_le_bytes() == stored).then(|| core::str::from_utf8(text).ok())?
}

fn sum(header: &[u8], text: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(text);
    hasher.finalize()
}

/// Whether the page was never written, or only in part by a first append: its first sector is nothing or ours.
fn is_new(page: &[u8]) -> bool {
    page.starts_with(&MAGIC) || page.iter().take(512).all(|byte| *byte == 0)
}

/// Lets one task at a time go on.
#[derive(Default)]
struct Turn {
    taken: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// One task's turn, until this is dropped.
struct Taken<'a>(&'a Turn);

impl Turn {
    async fn take(&self) -> Taken<'_> {
        poll_fn(|context| {
            if !self.taken.replace(true) {
                return Poll::Ready(Taken(self));
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.taken.set(false);
        let waiting = self.0.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }
}
