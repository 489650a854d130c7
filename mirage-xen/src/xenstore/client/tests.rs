use core::sync::atomic::Ordering;
use std::collections::BTreeMap;
use std::string::String;
use std::task::Waker;
use std::vec::Vec;

use proptest::prelude::*;

use super::transport::{ERROR, REQUEST_CONSUMER, RESPONSE_PRODUCER, RESPONSES};
use super::*;
use crate::hypervisor::Resumed;
use crate::model::{GUEST, GUEST_PATH, Machine};
use crate::xenstore::wire::{Access, Header};

/// Polls a future once and drops it.
fn poll_and_drop(future: impl core::future::Future) {
    let mut future = core::pin::pin!(future);
    let _ = future.as_mut().poll(&mut core::task::Context::from_waker(Waker::noop()));
}

#[test]
fn values_are_written_read_listed_and_removed() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        store.write("data/a/b", b"\0\xFFbytes").await.expect("ours");
        assert_eq!(store.read("data/a/b").await.expect("written"), b"\0\xFFbytes");
        assert_eq!(store.read(&format!("{GUEST_PATH}/data/a/b")).await.expect("the same"), b"\0\xFFbytes");
        store.mkdir("data/a/c").await.expect("ours");
        assert_eq!(store.directory("data/a").await.expect("there"), ["b", "c"]);
        assert!(store.directory("data/a/c").await.expect("there").is_empty());
        store.remove("data/a").await.expect("ours");
        assert!(store.read("data/a/b").await.expect_err("gone").is(Code::Enoent));
        assert_eq!(store.domain_path(GUEST).await.expect("an answer"), GUEST_PATH);
    });
}

#[test]
fn numbers_texts_and_flags_are_checked() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        store.write("data/n", b"42").await.expect("ours");
        store.write("data/one", b"1").await.expect("ours");
        store.write("data/bad", b"\xFF").await.expect("ours");
        assert_eq!(store.read_number("data/n").await, Ok(Some(42)));
        assert_eq!(store.read_number("data/none").await, Ok(None));
        assert!(matches!(store.read_number("data/bad").await, Err(XenstoreError::Value { .. })));
        let paths = ["n", "bad", "none", "one"].map(|node| format!("data/{node}"));
        let values = store.read_many(paths.to_vec()).await.expect("xenstore is honest");
        assert_eq!(values, [Some("42".to_string()), None, None, Some("1".to_string())]);
    });
}

#[test]
fn refusals_say_what_and_why() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        let error = store.write("/local/domain/0/backend/x", b"").await.expect_err("not ours");
        assert_eq!(
            error.to_string(),
            "xenstore: can't write /local/domain/0/backend/x: this domain may not do that (EACCES)"
        );
        for path in ["a b", "a\0b", ""] {
            assert!(matches!(store.read(path).await, Err(XenstoreError::Path(_))), "{path:?}");
            assert!(matches!(store.watch(path).await, Err(XenstoreError::Path(_))), "{path:?}");
        }
        assert!(matches!(store.write("data/x", &[0; 4096]).await, Err(XenstoreError::TooLong { .. })));
        let permission = Permission { domain: GUEST, access: Access::None };
        store.write("data/x", b"").await.expect("ours");
        store.set_permissions("data/x", &[permission]).await.expect("ours");
        assert_eq!(store.permissions("data/x").await, Ok(Vec::from([permission])));
    });
}

#[test]
fn directories_longer_than_a_message_come_whole() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    let names: Vec<String> = (0..700).map(|number| format!("a-rather-long-name-{number:04}")).collect();
    for name in &names {
        machine.store.write(&format!("{GUEST_PATH}/data/many/{name}"), "");
    }
    machine.run(async {
        assert_eq!(store.directory("data/many").await.expect("there"), names);
    });
}

#[test]
fn many_requests_are_under_way_at_once() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        let value = [b'x'; 2000];
        let mut tasks = Vec::new();
        for number in 0..50_u8 {
            let store = store.clone();
            tasks.push(mirage_rt::runtime::spawn(async move {
                let path = format!("data/{number}");
                store.write(&path, &[&value[..], &[number]].concat()).await.expect("ours");
                store.read(&path).await.expect("written")[2000]
            }));
        }
        for (number, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.map(usize::from), Ok(number));
        }
    });
}

#[test]
fn a_watch_tells_at_once_and_of_each_change_below() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        let mut watch = store.watch("device").await.expect("few watches");
        assert_eq!(watch.next().await.expect("at once").path, "device");
        machine.store.write(&format!("{GUEST_PATH}/device/vif/0/state"), "4");
        assert_eq!(watch.next().await.expect("a change").path, "device/vif/0/state");
        assert_eq!(machine.store.watches(), 1);
        drop(watch);
        store.read("data").await.expect("a round trip");
        assert_eq!(machine.store.watches(), 0);
    });
}

#[test]
fn too_many_changes_become_one_event() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        let mut watch = store.watch("data").await.expect("few watches");
        for number in 0..200 {
            machine.store.write(&format!("{GUEST_PATH}/data/{number}"), "x");
        }
        store.read("data").await.expect("a round trip");
        let mut paths = Vec::new();
        poll_fn_until_pending(&mut watch, &mut paths);
        assert!(paths.len() <= 16, "bounded: {}", paths.len());
        assert!(paths.iter().any(|path| path == "data"), "and says to look at everything");
    });
}

fn poll_fn_until_pending(watch: &mut Watch, paths: &mut Vec<String>) {
    let mut context = core::task::Context::from_waker(Waker::noop());
    while let core::task::Poll::Ready(event) = watch.poll_next(&mut context) {
        paths.push(event.expect("the connection holds").path);
    }
}

#[test]
fn a_transaction_is_seen_whole_or_not_at_all() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        let transaction = store.begin().await.expect("few");
        transaction.write("data/t", b"1").await.expect("ours");
        assert!(store.read("data/t").await.is_err());
        transaction.commit().await.expect("nobody interferes");
        assert_eq!(store.read("data/t").await.expect("committed"), b"1");
        let transaction = store.begin().await.expect("few");
        transaction.write("data/t", b"2").await.expect("ours");
        drop(transaction);
        assert_eq!(store.read("data/t").await.expect("unchanged"), b"1");
        assert_eq!(machine.store.transactions(), 0);
    });
}

#[test]
fn a_transaction_is_tried_again_until_nobody_interferes() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        machine.store.refuse_commits(3);
        let mut tries = 0;
        let result = store
            .transaction(async |transaction| {
                tries += 1;
                transaction.write("data/t", format!("{tries}").as_bytes()).await.map(drop)
            })
            .await;
        assert_eq!((result, tries), (Ok(()), 4));
        assert_eq!(store.read("data/t").await.expect("committed"), b"4");
        machine.store.refuse_commits(u32::MAX);
        assert_eq!(store.transaction(async |_| Ok(())).await, Err(XenstoreError::Contended));
        assert_eq!(machine.store.transactions(), 0);
    });
}

#[test]
fn dropped_futures_leave_nothing_behind() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        poll_and_drop(store.read("data"));
        poll_and_drop(store.watch("data"));
        poll_and_drop(store.begin());
        // Some answers arrive before the futures are dropped.
        let mut begin = Box::pin(store.begin());
        let _ = begin.as_mut().poll(&mut core::task::Context::from_waker(Waker::noop()));
        store.read("data").await.expect("a round trip");
        drop(begin);
        for _ in 0..4 {
            store.read("data").await.expect("a round trip");
        }
        assert_eq!((machine.store.watches(), machine.store.transactions()), (0, 0));
    });
}

#[test]
fn a_new_connection_interrupts_requests_and_keeps_watches() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        let mut watch = store.watch("data").await.expect("few watches");
        watch.next().await.expect("at once");
        let mut read = Box::pin(store.read("data"));
        let _ = read.as_mut().poll(&mut core::task::Context::from_waker(Waker::noop()));
        // Without a wait for the answer.
        machine.suspend_and_resume();
        assert_eq!(read.await, Err(XenstoreError::Interrupted));
        assert_eq!(watch.next().await.expect("set again").path, "data");
        assert_eq!(store.read("data").await, Ok(Vec::new()));
        assert_eq!(machine.store.watches(), 1);
    });
}

/// Runs `body` while the toolstack asks for a suspension, again `pause` turns after each; how often the guest was suspended.
fn under_suspensions(machine: &Machine, pause: u32, body: impl core::future::Future<Output = ()>) -> u32 {
    let store = machine.store.clone();
    let world = machine.world.clone();
    let toolstack = async move {
        loop {
            store.write_for_guest(&format!("{}/control/shutdown", store.guest_path()), "suspend");
            let before = world.suspensions();
            while world.suspensions() == before {
                mirage_rt::runtime::yield_now().await;
            }
            for _ in 0..pause {
                mirage_rt::runtime::yield_now().await;
            }
        }
    };
    let main = async {
        let toolstack = mirage_rt::runtime::spawn(toolstack);
        body.await;
        toolstack.abort();
    };
    machine.run_main(main).expect("nobody asks for the end");
    machine.world.suspensions()
}

#[test]
fn no_request_is_lost_or_done_twice_by_suspensions() {
    for resumed in [Resumed::New, Resumed::Same] {
        let machine = Machine::new(1);
        machine.world.plan(resumed, None);
        let store = machine.attachment.xenstore().clone();
        let mut done = 0;
        let suspensions = under_suspensions(&machine, 0, async {
            let mut tasks = Vec::new();
            for number in 0..20_u32 {
                let store = store.clone();
                tasks.push(mirage_rt::runtime::spawn(async move {
                    for round in 0..50_u32 {
                        // Longer than the ring, so that a suspension finds some of them half sent.
                        let value = vec![number as u8; 700 + round as usize];
                        store.write(&format!("data/{number}"), &value).await.expect("ours");
                        store.read("data").await.expect("it is there in each domain");
                    }
                }));
            }
            for task in tasks {
                task.await.expect("not aborted");
                done += 50;
            }
        });
        assert_eq!(done, 1000);
        assert_eq!(machine.store.writes_of_guest("data/"), 1000, "{resumed:?}: each was done once");
        assert!(suspensions > 20, "{suspensions}");
    }
}

#[test]
fn a_transaction_is_started_again_after_a_resume() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        let before = store.begin().await.expect("few");
        before.write("data/t", b"1").await.expect("ours");
        machine.suspend_and_resume();
        // The number that the first one had.
        let after = store.begin().await.expect("few");
        after.write("data/t", b"2").await.expect("ours");
        assert!(before.read("data/t").await.expect_err("unknown").is(Code::Eagain));
        assert!(before.commit().await.expect_err("unknown").is(Code::Eagain));
        assert_eq!(machine.store.transactions(), 1);
        after.commit().await.expect("undisturbed");
        assert_eq!(store.read("data/t").await.expect("committed"), b"2");
        let mut tries = 0;
        let result = store
            .transaction(async |transaction| {
                tries += 1;
                let value = transaction.read("data").await?;
                if tries < 4 {
                    machine.suspend_and_resume();
                }
                transaction.write("data/t", &value).await.map(drop)
            })
            .await;
        assert_eq!((result, tries), (Ok(()), 4));
        // Dropped after the resume: there is nothing to end.
        let dropped = store.begin().await.expect("few");
        machine.suspend_and_resume();
        let _other = store.begin().await.expect("few");
        drop(dropped);
        store.read("data").await.expect("a round trip");
        assert_eq!(machine.store.transactions(), 1);
    });
}

#[test]
fn transactions_and_watches_under_suspensions() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    let suspensions = under_suspensions(&machine, 1000, async {
        let mut watch = store.watch("data").await.expect("few watches");
        for round in 0..300_u32 {
            let result = store
                .transaction(async |transaction| {
                    transaction.read("data").await?;
                    transaction.write("data/round", &round.to_le_bytes()).await.map(drop)
                })
                .await;
            assert_eq!(result, Ok(()), "{round}");
            watch.next().await.expect("of the change or of the resume");
        }
    });
    assert!(suspensions > 20, "{suspensions}");
    assert_eq!(machine.store.transactions(), 0);
}

#[test]
fn a_bound_handle_is_for_one_connection() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().bound();
    machine.run(async {
        let mut watch = store.watch("data").await.expect("few watches");
        watch.next().await.expect("at once");
        let late = store.write("data/x", b"");
        machine.suspend_and_resume();
        assert_eq!(late.await, Err(XenstoreError::Interrupted));
        assert_eq!(watch.next().await.expect("a watch is set again").path, "data");
        assert!(!store.is_current() && store.bound().is_current());
        assert_eq!(store.bound().read("data").await, Ok(Vec::new()));
    });
}

/// What no honest xenstored does, one thing after the other.
fn nonsense(machine: &Machine, kind: u32) {
    let (page, _) = machine.world.xenstore_end();
    let start = page.load_u32(RESPONSE_PRODUCER, Ordering::Relaxed);
    match kind {
        0 => page.store_u32(RESPONSE_PRODUCER, start.wrapping_add(5000), Ordering::Relaxed),
        1 => page.store_u32(REQUEST_CONSUMER, start.wrapping_sub(5000), Ordering::Relaxed),
        2 => page.store_u32(ERROR, 3, Ordering::Relaxed),
        _ => {
            let header = Header { operation: 2, request: 1, transaction: 0, length: 5000 };
            for (offset, byte) in header.emit().into_iter().enumerate() {
                page.write_u8(RESPONSES + (start as usize + offset) % 1024, byte);
            }
            page.store_u32(RESPONSE_PRODUCER, start.wrapping_add(16), Ordering::Relaxed);
        }
    }
}

#[test]
fn nonsense_from_xenstored_ends_the_connection() {
    for kind in 0..4 {
        let machine = Machine::new(1);
        let store = machine.attachment.xenstore().clone();
        machine.run(async {
            let mut watch = store.watch("data").await.expect("few watches");
            watch.next().await.expect("at once");
            nonsense(&machine, kind);
            assert_eq!(store.read("data").await, Err(XenstoreError::Lost));
            assert_eq!(store.read("data").await, Err(XenstoreError::Lost), "for good");
            assert_eq!(watch.next().await, Err(XenstoreError::Lost));
        });
    }
}

#[test]
fn a_connection_that_has_become_useless_is_made_anew() {
    let machine = Machine::new(1);
    machine.store.offer_reconnection();
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        let bound = store.bound();
        let mut watch = store.watch("data").await.expect("few watches");
        watch.next().await.expect("at once");
        for kind in 0..4 {
            let transaction = store.begin().await.expect("few");
            nonsense(&machine, kind);
            assert_eq!(store.read("data").await, Err(XenstoreError::Interrupted), "{kind}");
            assert_eq!(store.read("data").await, Ok(Vec::new()));
            assert_eq!(watch.next().await.expect("set again").path, "data");
            assert!(transaction.read("data").await.expect_err("unknown").is(Code::Eagain));
            // It is the same domain still.
            assert_eq!(bound.read("data").await, Ok(Vec::new()));
        }
        assert_eq!((machine.store.watches(), machine.store.transactions()), (1, 0));
        // Again and again is too often.
        for _ in 0..5 {
            nonsense(&machine, 0);
            let (_, _) = (store.read("data").await, store.read("data").await);
        }
        assert_eq!(store.read("data").await, Err(XenstoreError::Lost));
    });
}

#[test]
fn rare_requests() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        assert_eq!(store.is_introduced(GUEST).await, Ok(true));
        assert_eq!(store.is_introduced(DomainId(77)).await, Ok(false));
        let mut watch = store.watch("data").await.expect("few watches");
        watch.next().await.expect("at once");
        store.reset_watches().await.expect("this xenstored can do it");
        assert_eq!(watch.next().await.expect("set again").path, "data");
        for operation in
            [Operation::Control, Operation::Introduce, Operation::Release, Operation::Resume, Operation::SetTarget]
        {
            let refused = store.raw(operation, "77", b"1\0").await.expect_err("not for guests");
            assert!(refused.is(Code::Eacces), "{refused}");
        }
    });
}

#[test]
fn answers_to_nothing_are_ignored() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        let (page, _) = machine.world.xenstore_end();
        let start = page.load_u32(RESPONSE_PRODUCER, Ordering::Relaxed);
        let header = Header { operation: 2, request: 4711, transaction: 0, length: 0 };
        for (offset, byte) in header.emit().into_iter().enumerate() {
            page.write_u8(RESPONSES + (start as usize + offset) % 1024, byte);
        }
        page.store_u32(RESPONSE_PRODUCER, start.wrapping_add(16), Ordering::Relaxed);
        assert_eq!(store.read("data").await, Ok(Vec::new()));
    });
}

#[test]
fn what_is_asked_together_is_one_notification() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        store.read("data").await.expect("a round trip");
        let before = machine.world.notifications();
        let requests = (0..20).map(|number| store.write(&format!("data/{number}"), b"x")).collect();
        assert!(store.all(requests).await.iter().all(Result::is_ok));
        // One to ask, and one that room was made for answers.
        assert!(machine.world.notifications() - before <= 3, "{}", machine.world.notifications() - before);
        assert_eq!(store.directory("data").await.expect("there").len(), 20);
    });
}

/// What is done to a tree of a few nodes.
#[derive(Clone, Debug)]
enum Step {
    Write(u8, usize),
    Read(u8),
    Remove(u8),
    List,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..8_u8, 0..2500_usize).prop_map(|(node, length)| Step::Write(node, length)),
        (0..8_u8).prop_map(Step::Read),
        (0..8_u8).prop_map(Step::Remove),
        Just(Step::List),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// From indices that wrap around, with messages longer than the rings: the store is a map.
    #[test]
    fn the_store_is_a_map(steps in prop::collection::vec(step(), 1..60)) {
        let machine = Machine::new(1);
        let (page, _) = machine.world.xenstore_end();
        for index in (REQUEST_CONSUMER..=RESPONSE_PRODUCER).step_by(4) {
            page.store_u32(index, 0xFFFF_FFF0, Ordering::SeqCst);
        }
        let store = machine.attachment.xenstore().clone();
        machine.run(async {
            store.mkdir("data/map").await.unwrap();
            let mut map = BTreeMap::new();
            for (number, step) in steps.into_iter().enumerate() {
                let path = |node: u8| format!("data/map/{node}");
                match step {
                    Step::Write(node, length) => {
                        let value = vec![number as u8; length];
                        store.write(&path(node), &value).await.unwrap();
                        map.insert(node.to_string(), value);
                    }
                    Step::Read(node) => {
                        let value = store.read(&path(node)).await.ok();
                        prop_assert_eq!(value.as_ref(), map.get(&node.to_string()));
                    }
                    Step::Remove(node) => {
                        let removed = store.remove(&path(node)).await.is_ok();
                        prop_assert_eq!(removed, map.remove(&node.to_string()).is_some());
                    }
                    Step::List => {
                        let names = store.directory("data/map").await.unwrap();
                        prop_assert!(names.iter().eq(map.keys()), "{:?}", names);
                    }
                }
            }
            Ok(())
        })?;
    }
}
