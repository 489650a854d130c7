use alloc::vec;
use core::pin::pin;
use core::task::Poll;

use super::*;
use crate::testing::run;
use crate::{Duration, now, spawn, yield_now};

/// Content that tells its place and its round.
fn pattern(round: u8, pages: usize) -> Vec<u8> {
    (0..pages * PAGE_SIZE).map(|index| (index / 512) as u8 ^ (index as u8).wrapping_mul(31) ^ round).collect()
}

async fn content(block: &Block) -> Vec<u8> {
    let mut content = vec![0; block.info().bytes().expect("it is small") as usize];
    block.read_bytes(0, &mut content).await.expect("it can be read");
    content
}

#[test]
fn pages_come_back_with_what_was_written() {
    run(1, async {
        let block = MemoryDisk::new(24).block();
        let mut pages = block.pages(2).expect("the pool is large");
        pages[0].fill(1);
        pages[1].fill(2);
        let (result, pages) = block.write(3, pages).await;
        assert_eq!((result, pages.len(), pages[1][0]), (Ok(()), 2, 2));
        let (result, pages) = block.read(11, block.pages(1).expect("the pool is large")).await;
        assert_eq!((result, pages[0][..] == [2; PAGE_SIZE]), (Ok(()), true));
        let (result, pages) = block.read(17, pages).await;
        assert_eq!((result, pages.len()), (Err(BlockError::OutOfRange), 1));
        assert!(block.pages(1025).is_none());
        let whole = block.pool().available();
        drop(pages);
        assert_eq!(block.pool().available(), whole + 1, "a list that was not complete went back");
    });
}

#[test]
fn bytes_are_copied_in_parts() {
    run(2, async {
        let disk = MemoryDisk::new(1024);
        let block = disk.block();
        let bytes = pattern(0, 100);
        block.write_bytes(5, &bytes).await.expect("it fits");
        assert_eq!(disk.requests(), 4, "of 32, 32, 32 and 4 pages");
        let mut read = vec![0; bytes.len()];
        block.read_bytes(5, &mut read).await.expect("it is there");
        assert!(read == bytes);
        assert_eq!(block.read_bytes(0, &mut [0; 100]).await, Err(BlockError::Length));
        assert_eq!(block.write_bytes(225, &bytes).await, Err(BlockError::OutOfRange));
        assert_eq!(block.write_bytes(u64::MAX, &bytes).await, Err(BlockError::OutOfRange));
        assert_eq!(block.read_bytes(u64::MAX, &mut []).await, Ok(()));
        assert_eq!(disk.requests(), 8, "nothing was asked of the disk");
    });
}

#[test]
fn tasks_that_copy_take_turns_and_leave_pages_to_others() {
    run(3, async {
        let disk = MemoryDisk::new(4096);
        disk.set_delay(Duration::from_millis(1));
        let block = disk.block();
        let tasks: Vec<_> = (0..8_u8)
            .map(|round| {
                let block = block.clone();
                spawn(async move { block.write_bytes(u64::from(round) * 512, &pattern(round, 64)).await })
            })
            .collect();
        yield_now().await;
        assert_eq!(block.pool().available(), 1024 - 64);
        // One that gives up lets the others go on.
        {
            let mut buffer = vec![0; PAGE_SIZE];
            let mut read = pin!(block.read_bytes(0, &mut buffer));
            assert!(core::future::poll_fn(|context| Poll::Ready(read.as_mut().poll(context).is_pending())).await);
        }
        for task in tasks {
            assert_eq!(task.await, Ok(Ok(())));
        }
        assert_eq!(block.pool().available(), 1024);
        disk.set_delay(Duration::ZERO);
        let read = content(&block).await;
        assert!(read.chunks(64 * PAGE_SIZE).zip(0..).all(|(part, round)| part == pattern(round, 64)));
    });
}

#[test]
fn what_was_flushed_survives_and_the_rest_may_not() {
    run(4, async {
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for seed in 0..40 {
            let disk = MemoryDisk::new(24);
            let block = disk.block();
            block.write_bytes(0, &pattern(1, 2)).await.expect("it works");
            block.flush().await.expect("it works");
            let mut durable = block.pages(1).expect("the pool is large");
            durable[0].copy_from_slice(&pattern(2, 1));
            block.write_durable(0, durable).await.0.expect("it works");
            block.write_bytes(8, &pattern(3, 2)).await.expect("it works");
            let after = disk.power_failure(seed);
            assert_eq!(block.flush().await, Err(BlockError::Detached));
            let read = content(&after.block()).await;
            assert_eq!(read[..PAGE_SIZE], pattern(2, 1)[..], "seed {seed}");
            let (old, new) = (&pattern(1, 2)[PAGE_SIZE..], &pattern(3, 2)[..PAGE_SIZE]);
            for ((sector, old), new) in read[PAGE_SIZE..].chunks(512).zip(old.chunks(512)).zip(new.chunks(512)) {
                match sector {
                    sector if sector == old => lost += 1,
                    sector if sector == new => kept += 1,
                    other => panic!("seed {seed}: {other:?} was never written"),
                }
            }
            torn += usize::from(read[PAGE_SIZE..2 * PAGE_SIZE] != *old && read[PAGE_SIZE..2 * PAGE_SIZE] != *new);
        }
        assert!(lost > 100 && kept > 100 && torn > 30, "{lost} {kept} {torn}");
    });
}

#[test]
fn a_flush_does_not_wait_for_what_is_under_way() {
    run(5, async {
        let mut lost = 0;
        for seed in 0..20 {
            let disk = MemoryDisk::new(8);
            disk.set_delay(Duration::from_millis(1));
            let block = disk.block();
            let start = now();
            let (bytes, other) = (pattern(1, 1), block.clone());
            let write = spawn(async move { other.write_bytes(0, &bytes).await });
            yield_now().await;
            block.flush().await.expect("it works");
            assert_eq!(write.await, Ok(Ok(())));
            assert_eq!(now() - start, Duration::from_millis(1));
            let after = disk.power_failure(seed);
            lost += usize::from(content(&after.block()).await != pattern(1, 1));
        }
        assert!(lost > 10, "{lost}");
    });
}

#[test]
fn faults_come_when_they_are_asked_for() {
    run(6, async {
        let disk = MemoryDisk::new(16);
        let block = disk.block();
        disk.fail_next(2, BlockError::Io);
        assert_eq!(block.flush().await, Err(BlockError::Io));
        assert_eq!(block.write_bytes(0, &pattern(1, 1)).await, Err(BlockError::Io));
        assert_eq!(content(&block).await, vec![0; 2 * PAGE_SIZE]);
        disk.cut_power_after(1);
        assert_eq!(block.write_bytes(0, &pattern(1, 1)).await, Ok(()));
        assert_eq!(block.write_bytes(8, &pattern(1, 1)).await, Err(BlockError::Detached));
        assert_eq!(block.flush().await, Err(BlockError::Detached));
        let outcomes: Vec<_> = (0..20).map(|seed| disk.power_failure(seed)).collect();
        let mut under_way = 0;
        for after in outcomes {
            under_way += usize::from(content(&after.block()).await[PAGE_SIZE..] != [0; PAGE_SIZE]);
        }
        assert!(under_way > 0, "what was under way may have happened");
    });
}

#[test]
fn changes_are_told_once() {
    run(7, async {
        let disk = MemoryDisk::new(16);
        let block = disk.block();
        let mut changes = block.changes();
        let watcher = spawn(async move { (changes.next().await.sectors, changes) });
        yield_now().await;
        disk.resize(32);
        let (sectors, mut changes) = watcher.await.expect("it ends");
        assert_eq!((sectors, block.info().sectors), (32, 32));
        let mut next = pin!(changes.next());
        assert!(core::future::poll_fn(|context| Poll::Ready(next.as_mut().poll(context).is_pending())).await);
        disk.set_attached(false);
        next.await;
        assert_eq!(block.flush().await, Err(BlockError::Detached));
        disk.set_attached(true);
        assert_eq!(block.flush().await, Ok(()));
    });
}

#[test]
fn optional_operations() {
    run(8, async {
        let block = MemoryDisk::new(16).block();
        block.write_bytes(0, &pattern(1, 2)).await.expect("it works");
        block.discard(0, 8).await.expect("it knows it");
        assert_eq!(content(&block).await[..PAGE_SIZE], [0; PAGE_SIZE]);
        assert_eq!(block.erase(0, 8).await, Err(BlockError::Unsupported));
        assert_eq!(alloc::format!("{block:?}"), "disk of 16 sectors of 512 bytes");
        let plain = MemoryDisk::with_info(BlockInfo::new(4096, 2, false));
        plain.block().write_bytes(1, &pattern(1, 1)).await.expect("it works");
        let after = plain.power_failure(1);
        assert_eq!(content(&after.block()).await[PAGE_SIZE..], pattern(1, 1)[..], "it has no cache");
        let fixed = MemoryDisk::with_info(BlockInfo::new(512, 8, true)).block();
        assert_eq!(fixed.write_bytes(0, &pattern(1, 1)).await, Err(BlockError::ReadOnly));
    });
}
