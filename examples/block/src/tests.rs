//! The store on a disk in memory whose power fails, and over the host's loopback interface.

use std::format;
use std::string::String;
use std::vec::Vec;

use mirage_rt::block::{BlockError, MemoryDisk};
use mirage_rt::net::TcpStream;
use mirage_rt::page::PAGE_SIZE;
use mirage_rt::testing::run;
use mirage_rt::{Duration, spawn, timeout};

use crate::command::Command;
use crate::connection;
use crate::log::{LONGEST, Log, LogError};
use crate::pattern::{Area, PatternError, Range};
use crate::store::{OpenError, Store};

/// Sectors of 8 MiB.
const SECTORS: u64 = 16384;

async fn texts(log: &Log) -> Vec<String> {
    let mut texts = Vec::new();
    for number in 0..log.count() {
        texts.push(log.read(number).await.expect("it is there"));
    }
    texts
}

/// A text of its own for each record, some of which fill their page.
fn text(number: u64) -> String {
    let length = if number.is_multiple_of(3) { LONGEST } else { 100 };
    format!("record {number} ").chars().cycle().take(length).collect()
}

#[test]
fn what_was_appended_survives_a_power_failure_at_any_moment() {
    run(1, async {
        let (mut extra, mut none) = (0, 0);
        for cut in 0..12 {
            for seed in 0..8 {
                let disk = MemoryDisk::new(SECTORS);
                let log = Log::open(disk.block(), 16).await.expect("it is new");
                // One to read what is there, then one for each append.
                disk.cut_power_after(cut);
                let mut answered = 0;
                while let Ok(number) = log.append(&text(answered)).await {
                    assert_eq!(number, answered);
                    answered += 1;
                }
                assert_eq!(answered, cut);
                let after = disk.power_failure(seed);
                let log = Log::open(after.block(), 16).await.expect("a log is always found");
                let expected: Vec<_> = (0..log.count()).map(text).collect();
                assert_eq!(texts(&log).await, expected, "cut {cut} seed {seed}");
                match log.count() - answered {
                    0 => none += 1,
                    1 => extra += 1,
                    more => panic!("{more} records were not appended"),
                }
                // It goes on from there.
                let number = log.append("after").await.expect("there is room");
                let again = Log::open(after.power_failure(seed).block(), 16).await.expect("it is a log");
                assert_eq!((again.count(), again.read(number).await.as_deref()), (number + 1, Ok("after")));
            }
        }
        assert!(none > 0 && extra > 0, "both must happen: {none} {extra}");
    });
}

#[test]
fn the_log_ends_at_its_last_page_and_its_limits_are_said() {
    run(2, async {
        let disk = MemoryDisk::new(SECTORS);
        let log = Log::open(disk.block(), 3).await.expect("it is new");
        assert_eq!(log.append(&"x".repeat(LONGEST + 1)).await, Err(LogError::Long));
        assert_eq!(log.append("").await, Ok(0));
        assert_eq!(log.append("ä").await, Ok(1));
        assert_eq!(log.append("c").await, Ok(2));
        assert_eq!(log.append("d").await, Err(LogError::Full));
        assert_eq!(log.read(3).await, Err(LogError::Missing));
        disk.block().write_bytes(8, &[7; PAGE_SIZE]).await.expect("it can be written");
        assert_eq!(log.read(1).await, Err(LogError::Damaged));
        let again = Log::open(disk.block(), 3).await.expect("the rest is there");
        assert_eq!(texts(&again).await, [""]);
    });
}

#[test]
fn an_append_that_failed_leaves_its_place_to_the_next() {
    run(3, async {
        let disk = MemoryDisk::new(SECTORS);
        let log = Log::open(disk.block(), 16).await.expect("it is new");
        disk.fail_next(1, BlockError::Io);
        assert_eq!(log.append("a").await, Err(LogError::Disk(BlockError::Io)));
        assert_eq!(log.append("b").await, Ok(0));
    });
}

#[test]
fn a_disk_with_something_else_on_it_is_left_alone() {
    run(4, async {
        let disk = MemoryDisk::new(SECTORS);
        disk.block().write_bytes(0, &[0xeb; PAGE_SIZE]).await.expect("it can be written");
        assert_eq!(Log::open(disk.block(), 16).await.err(), Some(LogError::Foreign));
        let small = Store::open(MemoryDisk::new(800).block()).await.err();
        assert_eq!(small, Some(OpenError::Small { pages: 100 }));
    });
}

#[test]
fn appends_of_many_tasks_take_turns() {
    run(5, async {
        let disk = MemoryDisk::new(SECTORS);
        disk.set_delay(Duration::from_millis(3));
        let store = Store::open(disk.block()).await.expect("it is new");
        let tasks: Vec<_> = (0..20)
            .map(|index| {
                let store = store.clone();
                spawn(async move { store.perform(Command::Append(&text(index))).await })
            })
            .collect();
        let mut numbers = Vec::new();
        for task in tasks {
            numbers.push(task.await.expect("it ends"));
        }
        numbers.sort_by_key(String::len);
        let expected: Vec<_> = (0..20).map(|number| format!("ok {number}")).collect();
        numbers[..10].sort();
        numbers[10..].sort();
        assert_eq!(numbers, expected);
        assert_eq!(store.perform(Command::Count).await, "ok 20");
    });
}

#[test]
fn patterns_are_verified_byte_by_byte() {
    run(6, async {
        let disk = MemoryDisk::new(SECTORS);
        disk.set_delay(Duration::from_micros(100));
        let area = Area { disk: disk.block(), start: 64 };
        assert_eq!(area.pages(), 2040);
        let range = Range { first: 3, count: 700 };
        let sum = area.fill(1, range).await.expect("it fits");
        assert_eq!(area.verify(1, range).await, Ok(sum));
        assert_eq!(area.verify(2, range).await, Err(PatternError::Differs { page: 3, byte: 0 }));
        let beside = Range { first: 4, count: 10 };
        assert_ne!(area.verify(1, beside).await, Ok(sum));
        let mut page = [0; PAGE_SIZE];
        let sector = 64 + 400 * 8;
        disk.block().read_bytes(sector, &mut page).await.expect("it is there");
        page[1234] ^= 1;
        disk.block().write_bytes(sector, &page).await.expect("it can be written");
        assert_eq!(area.verify(1, range).await, Err(PatternError::Differs { page: 400, byte: 1234 }));
        let beyond = Range { first: 2000, count: 41 };
        assert_eq!(area.fill(1, beyond).await, Err(PatternError::Disk { page: 2000, error: BlockError::OutOfRange }));
        let empty = Range { first: 2040, count: 0 };
        assert_eq!(area.fill(1, empty).await, Ok(0));
        assert_eq!(disk.block().pool().available(), 1024);
    });
}

#[test]
fn the_sum_is_that_of_all_bytes() {
    run(7, async {
        let disk = MemoryDisk::new(SECTORS);
        let area = Area { disk: disk.block(), start: 0 };
        let sum = area.fill(9, Range { first: 0, count: 100 }).await.expect("it fits");
        let mut bytes = std::vec![0; 100 * PAGE_SIZE];
        disk.block().read_bytes(0, &mut bytes).await.expect("it is there");
        assert_eq!(crc32fast::hash(&bytes), sum);
    });
}

#[test]
fn patterns_that_were_flushed_survive_a_power_failure() {
    run(8, async {
        let mut lost = 0;
        for seed in 0..10 {
            let disk = MemoryDisk::new(SECTORS);
            let area = Area { disk: disk.block(), start: 0 };
            let (flushed, not) = (Range { first: 0, count: 40 }, Range { first: 40, count: 40 });
            area.fill(1, flushed).await.expect("it fits");
            disk.block().flush().await.expect("it works");
            area.fill(1, not).await.expect("it fits");
            let after = Area { disk: disk.power_failure(seed).block(), start: 0 };
            assert!(after.verify(1, flushed).await.is_ok());
            lost += usize::from(after.verify(1, not).await.is_err());
        }
        assert_eq!(lost, 10, "that 320 sectors survive by chance is as good as impossible");
    });
}

/// Sends a line and reads its answer.
async fn say(stream: &TcpStream, line: &str) -> String {
    stream.write_all(format!("{line}\n").as_bytes()).await.expect("the server reads");
    let mut answer = Vec::new();
    loop {
        let mut byte = [0; 4096];
        let read = timeout(Duration::from_secs(30), stream.read(&mut byte)).await.expect("the server answers");
        match read.expect("the connection is open") {
            0 => panic!("the connection ended after {answer:?}"),
            length => answer.extend_from_slice(&byte[..length]),
        }
        if answer.ends_with(b"\n") {
            answer.pop();
            return String::from_utf8(answer).expect("answers are text");
        }
    }
}

#[test]
fn a_conversation() {
    mirage_unix::testing::run(async |network| {
        let disk = MemoryDisk::new(SECTORS);
        let store = Store::open(disk.block()).await.expect("it is new");
        let listener = network.tcp().bind(0).await.expect("a port is free");
        let address = listener.local_addr();
        drop(spawn(connection::serve_all(listener, store)));
        let stream = network.tcp().connect(address).await.expect("the server listens");
        assert_eq!(say(&stream, "append Moin, Welt").await, "ok 0");
        assert_eq!(say(&stream, "read 0\r").await, "ok Moin, Welt");
        assert_eq!(say(&stream, "read 1").await, "error there is no record of this number");
        assert_eq!(say(&stream, "count").await, "ok 1");
        let filled = say(&stream, "fill 7 100 50").await;
        assert!(filled.starts_with("ok 50 pages, sum "), "{filled}");
        assert_eq!(say(&stream, "flush").await, "ok");
        assert_eq!(say(&stream, "verify 7 100 50").await, filled);
        assert_eq!(say(&stream, "discard 120 1").await, "ok");
        assert_eq!(say(&stream, "verify 7 100 50").await, "error page 120 differs from byte 0 on");
        assert_eq!(
            say(&stream, "fill 7 1000 50").await,
            "error page 1000: the range reaches beyond the end of the disk"
        );
        let info = say(&stream, "info").await;
        assert!(info.starts_with("ok 16384 sectors of 512 bytes, read-write, "), "{info}");
        assert!(info.ends_with("1 records of 1024, 1024 pattern pages of 4096 bytes"), "{info}");
        let stats = say(&stream, "stats").await;
        assert_eq!(stats, "ok appended 1, read 1, filled 50 pages, verified 50 pages, flushed 1, errors 3");
        assert_eq!(say(&stream, "fill").await, "error write fill SEED FIRST COUNT");
        let longest = "x".repeat(LONGEST);
        assert_eq!(say(&stream, &format!("append {longest}")).await, "ok 1");
        assert_eq!(say(&stream, "read 1").await, format!("ok {longest}"));
        assert_eq!(say(&stream, "quit").await, "ok");
        assert_eq!(stream.read(&mut [0]).await.ok(), Some(0));
        let other = network.tcp().connect(address).await.expect("the server listens");
        assert_eq!(say(&other, &"x".repeat(5000)).await, "error the line is too long");
        assert_eq!(Store::open(disk.block()).await.expect("it is a log").perform(Command::Count).await, "ok 2");
    });
}
