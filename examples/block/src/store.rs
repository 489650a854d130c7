//! What is on the disk, and what is done with it.

use alloc::format;
use alloc::rc::Rc;
use alloc::string::{String, ToString};
use core::cell::Cell;
use core::fmt;

use mirage_rt::block::{Block, BlockInfo};
use mirage_rt::page::PAGE_SIZE;

use crate::command::Command;
use crate::log::{Log, LogError};
use crate::pattern::Area;

/// Pages of the log: 4 MiB.
pub const LOG_PAGES: u64 = 1024;

/// The disk. Cloning gives another handle.
#[derive(Clone)]
pub struct Store {
    inner: Rc<Inner>,
}

struct Inner {
    disk: Block,
    log: Log,
    area: Area,
    statistics: Statistics,
}

#[derive(Default)]
struct Statistics {
    appended: Cell<u64>,
    read: Cell<u64>,
    filled_pages: Cell<u64>,
    verified_pages: Cell<u64>,
    flushes: Cell<u64>,
    errors: Cell<u64>,
}

fn add(counter: &Cell<u64>, count: u64) {
    counter.set(counter.get().saturating_add(count));
}

/// The disk is not fit for this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It is smaller than the log.
    Small {
        /// Pages of 4096 bytes that it has.
        pages: u64,
    },
    /// Its log can't be read.
    Log(LogError),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Small { pages } => write!(
                f,
                "the disk has {pages} pages of 4 KiB, and the log alone needs {LOG_PAGES}: make it larger, to 8 MiB for example"
            ),
            OpenError::Log(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for OpenError {}

impl Store {
    /// Opens what is on `disk`.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(disk: Block) -> Result<Store, OpenError> {
        let info = disk.info();
        let pages = info.sectors / info.sectors_per_page();
        if pages < LOG_PAGES {
            return Err(OpenError::Small { pages });
        }
        let log = Log::open(disk.clone(), LOG_PAGES).await.map_err(OpenError::Log)?;
        let area = Area { disk: disk.clone(), start: LOG_PAGES * info.sectors_per_page() };
        Ok(Store { inner: Rc::new(Inner { disk, log, area, statistics: Statistics::default() }) })
    }

    /// One line about the disk and the log.
    pub fn describe(&self) -> String {
        let Inner { disk, log, area, .. } = &*self.inner;
        let BlockInfo { sectors, sector_size, read_only, cache, fua, discard, .. } = disk.info();
        let mode = if read_only { "read-only" } else { "read-write" };
        format!(
            "{sectors} sectors of {sector_size} bytes, {mode}, cache {cache:?}, fua {fua}, discard {}, {} records of {}, {} pattern \
             pages of {PAGE_SIZE} bytes",
            discard.is_some(),
            log.count(),
            log.capacity(),
            area.pages(),
        )
    }

    /// Does what a line says; the answer, without the end of the line.
    pub async fn perform(&self, command: Command<'_>) -> String {
        match self.result(command).await {
            Ok(text) if text.is_empty() => "ok".into(),
            Ok(text) => format!("ok {text}"),
            Err(error) => {
                add(&self.inner.statistics.errors, 1);
                format!("error {error}")
            }
        }
    }

    async fn result(&self, command: Command<'_>) -> mirage_rt::Result<String> {
        let Inner { disk, log, area, statistics } = &*self.inner;
        Ok(match command {
            Command::Append(text) => {
                let number = log.append(text).await?;
                add(&statistics.appended, 1);
                number.to_string()
            }
            Command::Read(number) => {
                let text = log.read(number).await?;
                add(&statistics.read, 1);
                text
            }
            Command::Count => log.count().to_string(),
            Command::Fill { seed, range } => {
                let sum = area.fill(seed, range).await?;
                add(&statistics.filled_pages, range.count);
                format!("{} pages, sum {sum:08x}", range.count)
            }
            Command::Verify { seed, range } => {
                let sum = area.verify(seed, range).await?;
                add(&statistics.verified_pages, range.count);
                format!("{} pages, sum {sum:08x}", range.count)
            }
            Command::Flush => {
                disk.flush().await?;
                add(&statistics.flushes, 1);
                String::new()
            }
            Command::Discard(range) => {
                let (sector, count) = area.sectors(range).ok_or(mirage_rt::block::BlockError::OutOfRange)?;
                disk.discard(sector, count).await?;
                String::new()
            }
            Command::Info => self.describe(),
            Command::Stats => format!(
                "appended {}, read {}, filled {} pages, verified {} pages, flushed {}, errors {}",
                statistics.appended.get(),
                statistics.read.get(),
                statistics.filled_pages.get(),
                statistics.verified_pages.get(),
                statistics.flushes.get(),
                statistics.errors.get(),
            ),
            Command::Quit => String::new(),
        })
    }
}
