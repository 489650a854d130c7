//! What an honest backend is asked for.

use super::*;

#[test]
fn a_disk_is_what_its_backend_says() {
    let (machine, blkback) = machine(DiskFeatures::default());
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        let info = device.info();
        assert_eq!((info.sector_size, info.sectors, info.read_only), (512, 2048, false));
        assert_eq!(
            (info.physical_sector_size, info.cache, info.fua, info.erase),
            (4096, WriteCache::Flushed, false, true)
        );
        assert_eq!(info.discard, Some(Discard::new(8, 0)));
        assert_eq!(blkback.published("protocol").as_deref(), Some("x86_64-abi"));
        assert_eq!(blkback.published("feature-persistent").as_deref(), Some("1"));
        assert_eq!(blkback.published("state").as_deref(), Some("4"));
        assert!(blkback.published("ring-ref").is_some() && blkback.published("ring-page-order").is_none());
        assert_eq!(Blkfront::numbers(&machine.attachment).await, Ok(Vec::from([XVDA])));
    });
    let plain = DiskFeatures {
        sector_size: 4096,
        read_only: true,
        flush: false,
        barrier: false,
        discard: false,
        secure: false,
        persistent: false,
        indirect: 0,
        ring_order: 0,
        ..DiskFeatures::default()
    };
    let (machine, blkback) = self::machine(plain);
    machine.run(async {
        let device = connect(&machine, Options { ring_order: 4, ..Options::default() }).await;
        let info = device.info();
        assert_eq!((info.sector_size, info.sectors, info.read_only), (4096, 256, true));
        assert_eq!((info.cache, info.discard, info.erase), (WriteCache::None, None, false));
        assert!(blkback.published("ring-ref").is_some() && blkback.published("ring-page-order").is_none());
        // Requests that the device itself refuses, or has nothing to do for.
        assert_eq!(write(&device, 0, 1, 1, false).await, Err(BlockError::ReadOnly));
        assert_eq!(read(&device, 256, 1).await.0, Err(BlockError::OutOfRange));
        assert_eq!(read(&device, u64::MAX, 0).await.0, Ok(()));
        assert_eq!(device.submit(Request::flush()).await.0, Ok(()));
        assert_eq!(read(&device, 240, 16).await.0, Ok(()), "without indirect requests");
        assert_eq!(device.control().statistics().requests, 2, "of 11 and of 5 pages");
    });
    assert!(blkback.refused().is_empty(), "{:?}", blkback.refused());
}

#[test]
fn what_is_written_is_read_whatever_its_length() {
    for persistent in [false, true] {
        for (indirect, sector_size) in [(256, 512), (0, 512), (32, 4096), (5, 512)] {
            let features = DiskFeatures { bytes: 8 << 20, indirect, sector_size, ..DiskFeatures::default() };
            let (machine, blkback) = machine(features);
            machine.run(async {
                let device = connect(&machine, Options { persistent, ..Options::default() }).await;
                let per_page = device.info().sectors_per_page();
                for (seed, count) in [1, 2, 10, 11, 12, 32, 33, 255, 256, 257, 300].into_iter().enumerate() {
                    let sector = (seed as u64 * 3) * per_page + (per_page - 1);
                    assert_eq!(write(&device, sector, count, seed, false).await, Ok(()));
                    let at = (sector * u64::from(sector_size)) as usize;
                    let content = blkback.content();
                    for number in 0..count {
                        let page = &content[at + number * 4096..][..4096];
                        assert!(page == pattern(seed, number), "page {number} of {count}");
                    }
                    let (result, pages) = read(&device, sector, count).await;
                    assert!(result.is_ok() && is_pattern(&pages, seed), "{count} pages");
                }
                let statistics = device.control().statistics();
                assert_eq!(statistics.requests, statistics.responses);
                assert_eq!(statistics.read_bytes, statistics.written_bytes);
                device.control().quiesce().await;
                assert_nothing_left(&machine);
            });
            assert!(blkback.refused().is_empty(), "{:?}", blkback.refused());
        }
    }
}

#[test]
fn a_burst_is_one_notification_and_all_of_it_is_under_way() {
    for (ring_order, slots) in [(0, 32), (1, 64), (4, 256)] {
        let (machine, blkback) = machine(DiskFeatures { bytes: 4 << 20, ..DiskFeatures::default() });
        machine.run(async {
            let device = connect(&machine, Options { ring_order, ..Options::default() }).await;
            settle(&machine).await;
            blkback.hold(true);
            let before = device.control().statistics();
            let completions: Vec<_> = (0..256)
                .map(|number| {
                    device.submit(Request::write(number * 8, filled(&device.pool(), 1, number as usize), false))
                })
                .collect();
            let (full, pages) = device.submit(Request::read(0, empty(&device.pool(), 1))).await;
            assert_eq!((full, pages.len()), (Err(BlockError::Full), 1));
            assert!(poll_fn(|context| Poll::Ready(device.poll_ready(context).is_pending())).await);
            settle(&machine).await;
            assert_eq!(blkback.most_under_way(), slots);
            assert_eq!(device.control().statistics().notifications - before.notifications, 1);
            blkback.hold(false);
            machine.store.write("/local/domain/1/data/x", "");
            poll_fn(|context| device.poll_ready(context)).await;
            for completion in completions {
                assert_eq!(completion.await.0, Ok(()));
            }
            let content = blkback.content();
            for number in 0..256 {
                assert!(content[number * 4096..][..4096] == pattern(number, 0), "request {number}");
            }
        });
        assert!(blkback.refused().is_empty(), "{:?}", blkback.refused());
    }
}

#[test]
fn durable_means_flushed() {
    for (flush, barrier, unknown) in
        [(true, true, None), (true, false, None), (false, true, None), (true, true, Some(operation::FLUSH))]
    {
        let (machine, blkback) = machine(DiskFeatures { flush, barrier, ..DiskFeatures::default() });
        machine.run(async {
            let device = connect(&machine, Options::default()).await;
            assert_eq!(write(&device, 0, 1, 1, false).await, Ok(()));
            assert!(blkback.medium()[..4096] == [0; 4096], "in the cache only");
            blkback.forget(unknown);
            assert_eq!(device.submit(Request::flush()).await.0, Ok(()));
            assert!(blkback.medium()[..4096] == pattern(1, 0));
            assert_eq!(write(&device, 8, 20, 2, true).await, Ok(()));
            assert!((0..20).all(|number| blkback.medium()[4096 * (number + 1)..][..4096] == pattern(2, number)));
            assert_eq!(device.info().cache, WriteCache::Flushed);
            let (flushes, barriers) = (blkback.done(operation::FLUSH), blkback.done(operation::BARRIER));
            assert_eq!((flushes, barriers), if flush && unknown.is_none() { (2, 0) } else { (0, 2) });
        });
        assert!(blkback.refused().is_empty(), "{:?}", blkback.refused());
    }
}

#[test]
fn a_backend_without_a_cache_is_not_asked_to_flush() {
    let (machine, blkback) = machine(DiskFeatures { flush: false, barrier: false, ..DiskFeatures::default() });
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        assert_eq!(write(&device, 0, 1, 1, true).await, Ok(()));
        assert_eq!(device.submit(Request::flush()).await.0, Ok(()));
        assert!(blkback.medium()[..4096] == pattern(1, 0));
        assert_eq!(device.control().statistics().requests, 1);
    });
}

#[test]
fn what_a_backend_turns_out_not_to_know_is_not_asked_for_again() {
    let (machine, blkback) = machine(DiskFeatures { barrier: false, ..DiskFeatures::default() });
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        let mut seen = 0;
        poll_fn(|context| device.poll_changed(&mut seen, context)).await;
        blkback.forget(Some(operation::FLUSH));
        assert_eq!(write(&device, 0, 1, 1, true).await, Err(BlockError::Unsupported));
        poll_fn(|context| device.poll_changed(&mut seen, context)).await;
        assert_eq!(device.info().cache, WriteCache::Unflushed);
        let before = device.control().statistics().requests;
        assert_eq!(device.submit(Request::flush()).await.0, Err(BlockError::Unsupported));
        assert_eq!(write(&device, 0, 1, 1, true).await, Err(BlockError::Unsupported));
        assert_eq!(device.control().statistics().requests, before);
        assert_eq!(write(&device, 0, 1, 1, false).await, Ok(()));

        blkback.forget(Some(operation::DISCARD));
        assert_eq!(device.submit(Request::erase(0, 8)).await.0, Err(BlockError::Unsupported));
        assert!(!device.info().erase && device.info().discard.is_some());
        assert_eq!(device.submit(Request::discard(0, 8)).await.0, Err(BlockError::Unsupported));
        assert_eq!(device.info().discard, None);
        poll_fn(|context| device.poll_changed(&mut seen, context)).await;
    });
}

#[test]
fn sectors_are_discarded_and_erased() {
    let (machine, blkback) = machine(DiskFeatures { sector_size: 4096, ..DiskFeatures::default() });
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        assert_eq!(write(&device, 0, 4, 1, false).await, Ok(()));
        assert_eq!(device.submit(Request::discard(1, 1)).await.0, Ok(()));
        assert_eq!(device.submit(Request::erase(3, 1)).await.0, Ok(()));
        let content = blkback.content();
        assert!(content[..4096] == pattern(1, 0) && content[4096..8192] == [0; 4096]);
        assert!(content[8192..12288] == pattern(1, 2) && content[12288..16384] == [0; 4096]);
        assert_eq!(blkback.done(operation::DISCARD), 2);
        assert_eq!(device.submit(Request::discard(255, 2)).await.0, Err(BlockError::OutOfRange));
    });
    assert!(blkback.refused().is_empty(), "{:?}", blkback.refused());
}

#[test]
fn errors_are_told_and_cost_only_their_request() {
    let (machine, blkback) = machine(DiskFeatures::default());
    machine.run(async {
        let device = connect(&machine, Options { segments: 11, ..lending() }).await;
        blkback.fail(1);
        let (result, pages) = read(&device, 0, 30).await;
        assert_eq!((result, pages.len()), (Err(BlockError::Io), 30), "one of three parts");
        blkback.fail(1);
        assert_eq!(write(&device, 0, 1, 1, true).await, Err(BlockError::Io));
        assert_eq!(blkback.done(operation::FLUSH), 0, "nothing to flush");
        assert_eq!(write(&device, 0, 1, 1, false).await, Ok(()));
        assert_eq!(device.control().statistics().errors, 2);
        // Pages that can't be lent.
        let heap = mirage_rt::page::HeapPool::with_pages(4);
        let (result, pages) = device.submit(Request::read(0, empty(&heap, 3))).await;
        assert_eq!((result, pages.len()), (Err(BlockError::Memory), 3));
        drop(pages);
        let mut mixed = filled(&device.pool(), 2, 5);
        mixed.push(Page::take(&heap).expect("it was given back"));
        let (result, pages) = device.submit(Request::write(0, mixed, false)).await;
        assert_eq!((result, pages.len()), (Err(BlockError::Memory), 3));
        assert!(is_pattern(&pages[..2], 5));
        drop(device);
        settle(&machine).await;
        settle(&machine).await;
        assert_nothing_left(&machine);
    });
}

#[test]
fn grants_that_run_out_are_waited_for() {
    let (machine, blkback) = machine(DiskFeatures { bytes: 4 << 20, ..DiskFeatures::default() });
    machine.world.limit_grant_frames(1);
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        let completions: Vec<_> = (0..5)
            .map(|number| {
                device.submit(Request::write(number * 1600, filled(&device.pool(), 200, number as usize), false))
            })
            .collect();
        for completion in completions {
            assert_eq!(completion.await.0, Ok(()));
        }
        for number in 0..5 {
            let (result, pages) = read(&device, number * 1600, 200).await;
            assert!(result.is_ok() && is_pattern(&pages, number as usize));
        }
    });
    assert!(blkback.refused().is_empty(), "{:?}", blkback.refused());
}

#[test]
fn a_dropped_completion_leaves_its_pages_until_the_answer() {
    let (machine, blkback) = machine(DiskFeatures::default());
    machine.run(async {
        let device = connect(&machine, lending()).await;
        let before = machine.pool().available();
        blkback.hold(true);
        drop(device.submit(Request::write(0, filled(&device.pool(), 3, 1), false)));
        settle(&machine).await;
        assert_eq!(machine.pool().available(), before - 3);
        blkback.hold(false);
        settle(&machine).await;
        assert_eq!(machine.pool().available(), before);
        assert!(blkback.content()[..4096] == pattern(1, 0));
    });
}

#[test]
fn a_slow_backend_answers_in_any_order() {
    let (machine, blkback) = machine(DiskFeatures::default());
    machine.run(async {
        let device = Rc::new(connect(&machine, Options::default()).await);
        blkback.slow(5_000_000);
        let tasks: Vec<_> = (0..40_usize)
            .map(|number| {
                let device = Rc::clone(&device);
                spawn(async move {
                    for round in 0..5 {
                        let sector = number as u64 * 16;
                        assert_eq!(write(&device, sector, 2, number + round, false).await, Ok(()));
                        let (result, pages) = read(&device, sector, 2).await;
                        assert!(result.is_ok() && is_pattern(&pages, number + round));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("not aborted");
        }
    });
}

#[test]
fn what_can_not_be_connected_says_why() {
    let machine = Machine::new(1);
    let connect = |machine: &Machine| {
        machine
            .run(Blkfront::connect(&machine.attachment, XVDA, machine.pool(), Options::default()))
            .expect_err("it can't be connected")
            .to_string()
    };
    assert!(connect(&machine).contains("the domain has no vbd 51712: add a vbd to its configuration"));
    let (machine, blkback) = self::machine(DiskFeatures { sector_size: 8192, ..DiskFeatures::default() });
    assert!(connect(&machine).contains("sector-size in xenstore is no size of sectors from 512 to 4096"));
    blkback.offer(|features| features.sector_size = 512);
    machine.world.refuse_mappings(true);
    assert!(connect(&machine).contains("vbd 51712: the backend (domain 0) did not connect within 20 s"));
    assert_nothing_left(&machine);
    let hoard: Vec<_> = std::iter::from_fn(|| Page::take(&machine.pool())).collect();
    assert!(connect(&machine).contains("1 pages are needed for the ring"));
    drop(hoard);
    machine.store.write("/local/domain/0/backend/vbd/1/51712/online", "0");
    assert!(connect(&machine).contains("the disk is being detached"));
    assert_nothing_left(&machine);
}
