//! Connections that end and others that begin: nothing is lost, nothing is told twice.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use super::*;
use crate::hypervisor::Resumed;
use mirage_rt::time::{Duration, sleep};

/// Writes and reads in many tasks, with the device being taken apart and put together by `trouble` all the while. All that
/// was written is there.
async fn work_under(device: Blkfront, trouble: impl AsyncFnOnce(&Control)) -> usize {
    let control = device.control();
    let device = Rc::new(device);
    let stop = Rc::new(Cell::new(false));
    let tasks: Vec<_> = (0..40_usize)
        .map(|number| {
            let (device, stop) = (Rc::clone(&device), Rc::clone(&stop));
            spawn(async move {
                let mut round = 0;
                while !stop.get() {
                    let (sector, count) = (number as u64 * 48, 1 + number % 6);
                    let seed = number + round * 3;
                    assert_eq!(write(&device, sector, count, seed, round % 4 == 0).await, Ok(()));
                    let (result, pages) = read(&device, sector, count).await;
                    assert!(result.is_ok() && is_pattern(&pages, seed), "task {number}, round {round}");
                    round += 1;
                    sleep(Duration::from_micros(20)).await;
                }
                round
            })
        })
        .collect();
    sleep(Duration::from_millis(2)).await;
    trouble(&control).await;
    sleep(Duration::from_millis(2)).await;
    stop.set(true);
    let mut rounds = 0;
    for task in tasks {
        rounds += task.await.expect("not aborted");
    }
    let statistics = control.statistics();
    assert_eq!(statistics.requests, statistics.responses + statistics.replayed);
    rounds
}

#[test]
fn quiesce_and_connect_under_load() {
    for options in [Options::default(), Options { persistent: true, ring_order: 2, ..Options::default() }] {
        let (machine, blkback) = machine(DiskFeatures::default());
        let before = machine.pool().available();
        machine.run(async {
            blkback.slow(100_000);
            let device = connect(&machine, options).await;
            let rounds = work_under(device, async |control| {
                for _ in 0..5 {
                    control.quiesce().await;
                    assert!(!control.is_connected());
                    assert_nothing_left(&machine);
                    sleep(Duration::from_millis(1)).await;
                    control.connect(&machine.attachment).await.expect("the backend is there");
                    sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
            assert!(rounds > 100, "{rounds} rounds");
            assert_eq!(blkback.connections(), 6);
            settle(&machine).await;
            settle(&machine).await;
        });
        assert!(blkback.refused().is_empty(), "{:?}", blkback.refused());
        // The device was dropped: everything went back, but for the grant table's pages.
        assert_nothing_left(&machine);
        assert_eq!(machine.attachment.grants().quarantined(), 0);
        assert!(machine.pool().available() >= before - 8, "{} of {before}", machine.pool().available());
    }
}

#[test]
fn a_backend_that_goes_and_returns_is_followed_under_load() {
    let (machine, blkback) = machine(DiskFeatures::default());
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        blkback.slow(300_000);
        let rounds = work_under(device, async |control| {
            for round in 0..8 {
                // What it offers changes, too.
                let segments = [0, 20, 256][round % 3];
                blkback.offer(|features| (features.indirect, features.barrier) = (segments, round % 2 == 0));
                if round % 2 == 0 {
                    blkback.close();
                } else {
                    blkback.restart();
                }
                while blkback.connections() < round + 2 || !control.is_connected() {
                    sleep(Duration::from_micros(100)).await;
                }
                sleep(Duration::from_millis(1)).await;
            }
            assert!(control.statistics().replayed > 0, "some requests were lost with their backend");
        })
        .await;
        assert!(rounds > 100, "{rounds} rounds");
    });
    assert!(blkback.refused().is_empty(), "{:?}", blkback.refused());
    assert_eq!(machine.attachment.grants().quarantined(), 0);
}

#[test]
fn a_resume_gives_what_was_under_way_to_the_new_backend_in_order() {
    let (machine, blkback) = machine(DiskFeatures { bytes: 4 << 20, ..DiskFeatures::default() });
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        blkback.hold(true);
        // All write the same page: the last one must win, as the model's backend does them in order.
        let completions: Vec<_> = (0..100)
            .map(|number| device.submit(Request::write(0, filled(&device.pool(), 1 + number % 3 * 8, number), false)))
            .collect();
        settle(&machine).await;
        assert_eq!(blkback.most_under_way(), 32);
        // What a restore on another host leaves: no ports, no grants, a new backend.
        blkback.restart();
        machine.world.forget_guest();
        machine.attachment.reestablish().expect("the model refuses nothing");
        blkback.hold(false);
        device.control().connect(&machine.attachment).await.expect("the new backend is there");
        for completion in completions {
            assert_eq!(completion.await.0, Ok(()));
        }
        assert!(blkback.content()[..4096] == pattern(99, 0));
        let statistics = device.control().statistics();
        assert_eq!((statistics.replayed, statistics.responses, statistics.connections), (32, 100, 2));
        drop(device);
        settle(&machine).await;
        settle(&machine).await;
        assert_nothing_left(&machine);
    });
}

/// A domain is moved while its backend works: what has come of that to the new host need not be whole.
#[test]
fn answers_without_their_data_that_an_old_backend_has_left_are_not_taken() {
    let (machine, blkback) = machine(DiskFeatures::default());
    machine.run(async {
        let options = Options { persistent: true, ..Options::default() };
        let device = connect(&machine, options).await;
        assert_eq!(write(&device, 0, 4, 7, false).await, Ok(()));
        let reading = device.submit(Request::read(0, empty(&device.pool(), 4)));
        settle(&machine).await;
        let read = |blkback: &Blkback| blkback.done(crate::blkfront::wire::operation::READ);
        blkback.hold(true);
        assert_eq!((reading.await.0, read(&blkback)), (Ok(()), 1));
        let reading = device.submit(Request::read(0, empty(&device.pool(), 4)));
        settle(&machine).await;
        // The answer comes, and nobody has looked when the domain is moved.
        blkback.hold(false);
        while machine.world.step() {}
        assert_eq!(read(&blkback), 2);
        let ring: u32 = blkback.published("ring-ref").expect("of one page").parse().expect("a number");
        for reference in (8..600).filter(|reference| *reference != ring) {
            if let Ok(page) = machine.world.map_grant(reference, true) {
                page.bytes().clear();
            }
        }
        blkback.restart();
        machine.world.forget_guest();
        machine.attachment.reestablish().expect("the model refuses nothing");
        // Whoever uses the disk does not wait until it is connected again.
        let next = device.submit(Request::read(0, empty(&device.pool(), 4)));
        settle(&machine).await;
        device.control().connect(&machine.attachment).await.expect("the new backend is there");
        for reading in [reading, next] {
            let (result, pages) = reading.await;
            assert!(result.is_ok() && is_pattern(&pages, 7), "{result:?}");
        }
        assert_eq!(device.control().statistics().replayed, 1);
    });
}

#[test]
fn a_resume_under_load() {
    let (machine, blkback) = machine(DiskFeatures::default());
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        blkback.slow(100_000);
        let rounds = work_under(device, async |control| {
            for _ in 0..3 {
                blkback.restart();
                machine.world.forget_guest();
                machine.attachment.reestablish().expect("the model refuses nothing");
                control.connect(&machine.attachment).await.expect("the new backend is there");
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert!(rounds > 100, "{rounds} rounds");
        assert_eq!(blkback.connections(), 4);
    });
}

#[test]
fn a_disk_follows_the_toolstack_by_itself() {
    for resumed in [Resumed::New, Resumed::Same] {
        let (machine, blkback) = machine(DiskFeatures::default());
        machine.world.plan(resumed, None);
        machine
            .run_main(async {
                let device = connect(&machine, Options::default()).await;
                blkback.slow(100_000);
                let rounds = work_under(device, async |control| {
                    for _ in 0..3 {
                        machine.ask("suspend");
                        sleep(Duration::from_millis(5)).await;
                        assert!(control.is_connected());
                    }
                })
                .await;
                assert!(rounds > 60, "{rounds} rounds");
            })
            .expect("nobody asks for the end");
        assert_eq!(machine.world.suspensions(), 3);
        assert_eq!(blkback.connections(), if resumed == Resumed::New { 4 } else { 1 });
        assert!(blkback.refused().is_empty(), "{:?}", blkback.refused());
        assert_eq!(machine.attachment.grants().quarantined(), 0);
    }
}

#[test]
fn a_suspension_at_any_turn_of_the_start_of_a_disk_is_survived() {
    for turns in 0..60 {
        let (machine, _blkback) = machine(DiskFeatures::default());
        machine
            .run_main(async {
                let store = machine.store.clone();
                let asked = spawn(async move {
                    // 64 of them are one look at the events.
                    for _ in 0..turns * 32 {
                        mirage_rt::runtime::yield_now().await;
                    }
                    store.write_for_guest(&format!("{}/control/shutdown", store.guest_path()), "suspend");
                });
                let device = connect(&machine, Options::default()).await;
                asked.await.expect("not aborted");
                assert_eq!(write(&device, 0, 1, turns, true).await, Ok(()));
                sleep(Duration::from_millis(20)).await;
                assert!(device.control().is_connected(), "after {turns} turns");
            })
            .expect("nobody asks for the end");
        assert_eq!(machine.world.suspensions(), 1, "after {turns} turns");
    }
}

#[test]
fn a_disk_that_is_detached_says_so_until_another_one_is_there() {
    let (machine, blkback) = machine(DiskFeatures::default());
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        let control = device.control();
        let mut seen = 0;
        poll_fn(|context| device.poll_changed(&mut seen, context)).await;
        assert_eq!(write(&device, 0, 1, 1, false).await, Ok(()));
        blkback.slow(1_000_000);
        // More than the ring holds: the backend does what it has, the rest fails.
        let completions: Vec<_> =
            (0..100).map(|number| device.submit(Request::write(0, filled(&device.pool(), 1, number), false))).collect();
        settle(&machine).await;
        blkback.detach();
        let mut results = Vec::new();
        for completion in completions {
            let (result, pages) = completion.await;
            assert_eq!(pages.len(), 1);
            results.push(result);
        }
        let done = results.iter().filter(|result| result.is_ok()).count();
        assert!(done >= 32 && results[99] == Err(BlockError::Detached), "{results:?}");
        poll_fn(|context| device.poll_changed(&mut seen, context)).await;
        assert!(control.is_detached() && !control.is_connected());
        assert_eq!(write(&device, 0, 1, 1, false).await, Err(BlockError::Detached));
        assert_eq!(read(&device, 0, 1).await.0, Err(BlockError::Detached));
        assert!(poll_fn(|context| Poll::Ready(device.poll_ready(context).is_ready())).await);
        settle(&machine).await;
        assert_nothing_left(&machine);
        assert_eq!(machine.store.read("/local/domain/0/backend/vbd/1/51712/state"), None, "the tools could remove it");

        blkback.resize(2 << 20);
        blkback.attach_again(&machine.world);
        while !control.is_connected() {
            poll_fn(|context| device.poll_changed(&mut seen, context)).await;
        }
        assert!(!control.is_detached());
        assert_eq!(device.info().sectors, 4096);
        assert_eq!(write(&device, 4088, 1, 7, false).await, Ok(()));
    });
}

#[test]
fn a_disk_grows_while_it_is_used() {
    let (machine, blkback) = machine(DiskFeatures { sector_size: 4096, ..DiskFeatures::default() });
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        let mut seen = 0;
        poll_fn(|context| device.poll_changed(&mut seen, context)).await;
        assert_eq!(write(&device, 256, 1, 1, false).await, Err(BlockError::OutOfRange));
        blkback.resize(2 << 20);
        poll_fn(|context| device.poll_changed(&mut seen, context)).await;
        assert_eq!(device.info().sectors, 512);
        assert_eq!(write(&device, 511, 1, 1, false).await, Ok(()));
        assert_eq!(device.control().statistics().connections, 1);
        assert!(poll_fn(|context| Poll::Ready(device.poll_changed(&mut seen, context).is_pending())).await);
    });
}

#[test]
fn requests_wait_while_the_device_is_quiet() {
    let (machine, blkback) = machine(DiskFeatures::default());
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        let control = device.control();
        control.quiesce().await;
        let waiting = device.submit(Request::write(0, filled(&device.pool(), 1, 1), true));
        settle(&machine).await;
        assert_eq!(blkback.done(operation::WRITE), 0);
        control.connect(&machine.attachment).await.expect("the backend is there");
        assert_eq!(waiting.await.0, Ok(()));
        assert!(blkback.medium()[..4096] == pattern(1, 0));
    });
}

#[test]
fn a_backend_that_never_answers_delays_quiesce_but_not_for_ever() {
    let (machine, blkback) = machine(DiskFeatures::default());
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        blkback.hold(true);
        let waiting = device.submit(Request::write(0, filled(&device.pool(), 1, 1), false));
        settle(&machine).await;
        device.control().quiesce().await;
        // The model's backend unmaps when it closes.
        assert_nothing_left(&machine);
        blkback.hold(false);
        device.control().connect(&machine.attachment).await.expect("the backend is there");
        assert_eq!(waiting.await.0, Ok(()));
        assert_eq!(device.control().statistics().replayed, 1);
    });
}

#[test]
fn a_lost_xenstore_leaves_a_disk_connected_and_idle() {
    let (machine, _blkback) = machine(DiskFeatures::default());
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        let control = device.control();
        let (page, end) = machine.world.xenstore_end();
        page.store_u32(crate::xenstore::client::transport::ERROR, 1, Ordering::Relaxed);
        machine.world.notify(end);
        // Time goes on only when all tasks wait.
        sleep(Duration::from_secs(1)).await;
        assert!(machine.attachment.xenstore().broken().is_some());
        assert_eq!(write(&device, 0, 1, 1, true).await, Ok(()));
        control.quiesce().await;
        assert!(control.connect(&machine.attachment).await.is_err());
        sleep(Duration::from_secs(1)).await;
    });
}
