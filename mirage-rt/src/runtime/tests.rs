extern crate std;

use super::*;
use crate::testing::{VirtualPlatform, run};
use crate::time::{Duration, sleep, timeout};
use alloc::vec::Vec;

#[test]
fn tasks_run_in_order_and_give_their_output() {
    let order = Rc::new(RefCell::new(Vec::new()));
    let sum = run(1, {
        let order = order.clone();
        async move {
            let handles: Vec<_> = (0..3)
                .map(|number| {
                    let order = order.clone();
                    spawn(async move {
                        order.borrow_mut().push(number);
                        yield_now().await;
                        order.borrow_mut().push(number + 10);
                        number
                    })
                })
                .collect();
            let mut sum = 0;
            for handle in handles {
                sum += handle.await.expect("nobody stops it");
            }
            sum
        }
    });
    assert_eq!(sum, 3);
    assert_eq!(*order.borrow(), [0, 1, 2, 10, 11, 12]);
}

#[test]
fn a_dropped_handle_lets_the_task_go_on_and_abort_stops_it() {
    let (dropped, aborted) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let (in_dropped, in_aborted) = (dropped.clone(), aborted.clone());
    run(1, async move {
        drop(spawn(async move {
            sleep(Duration::from_secs(1)).await;
            in_dropped.set(true);
        }));
        let handle = spawn(async move {
            sleep(Duration::from_secs(1)).await;
            in_aborted.set(true);
        });
        yield_now().await;
        handle.abort();
        sleep(Duration::from_secs(2)).await;
    });
    assert!(dropped.get() && !aborted.get());
    assert_eq!(Rc::strong_count(&aborted), 1, "the stopped future was dropped");
}

#[test]
fn timers_fire_in_the_order_of_their_deadlines() {
    let order = Rc::new(RefCell::new(Vec::new()));
    run(1, {
        let order = order.clone();
        async move {
            for milliseconds in [30, 10, 20] {
                let order = order.clone();
                spawn(async move {
                    sleep(Duration::from_millis(milliseconds)).await;
                    order.borrow_mut().push((milliseconds, now().as_nanos() / 1_000_000));
                });
            }
            sleep(Duration::from_millis(40)).await;
        }
    });
    assert_eq!(*order.borrow(), [(10, 10), (20, 20), (30, 30)]);
}

#[test]
fn the_recent_time_is_that_of_the_round() {
    run(1, async {
        for _ in 0..3 {
            assert_eq!(Runtime::current().recent(), now());
            sleep(Duration::from_secs(1)).await;
        }
    });
    let runtime = Runtime::new(VirtualPlatform::new(1));
    runtime.inner.recent.set(Some(Instant::from_nanos(7)));
    assert_eq!(runtime.recent(), Instant::from_nanos(7), "it is not read again");
    runtime.run(async { assert_eq!(Runtime::current().recent(), now(), "but in the next round") });
}

#[test]
fn a_timeout_drops_what_takes_too_long() {
    run(1, async {
        assert_eq!(timeout(Duration::from_secs(2), async { 7 }).await, Ok(7));
        assert!(timeout(Duration::from_secs(2), core::future::pending::<()>()).await.is_err());
        assert_eq!(now().as_nanos(), 2_000_000_000);
    });
}

#[test]
fn a_runtime_that_is_dropped_drops_its_tasks() {
    let alive = Rc::new(());
    let runtime = Runtime::new(VirtualPlatform::new(1));
    for _ in 0..3 {
        let alive = alive.clone();
        runtime.spawn(async move {
            sleep(Duration::from_secs(1)).await;
            drop(alive);
        });
    }
    runtime.run(yield_now());
    assert_eq!(Rc::strong_count(&alive), 4);
    drop(runtime);
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[test]
fn a_waker_of_another_thread_wakes_and_outlives_the_runtime() {
    let waker: Arc<spin::Mutex<Option<Waker>>> = Arc::default();
    let runtime = Runtime::new(VirtualPlatform::new(1));
    let woken = Rc::new(Cell::new(0));
    runtime.spawn({
        let (waker, woken) = (waker.clone(), woken.clone());
        core::future::poll_fn(move |context| {
            *waker.lock() = Some(context.waker().clone());
            woken.set(woken.get() + 1);
            Poll::<()>::Pending
        })
    });
    while runtime.turn().busy {}
    let shared = waker.clone();
    let wake = move || {
        let waker = shared.lock().take();
        waker.expect("the task was polled").wake();
    };
    std::thread::spawn(wake).join().expect("the thread ends");
    while runtime.turn().busy {}
    assert_eq!(woken.get(), 2);
    drop(runtime);
    let left = waker.lock().take();
    std::thread::spawn(move || drop(left)).join().expect("the thread ends");
}

#[test]
fn three_runtimes_take_turns_on_one_thread() {
    let runtimes: Vec<Runtime> = (0..3).map(|seed| Runtime::new(VirtualPlatform::new(seed))).collect();
    let done = Rc::new(Cell::new(0));
    for runtime in &runtimes {
        let done = done.clone();
        runtime.spawn(async move {
            for _ in 0..10 {
                yield_now().await;
            }
            assert!(Runtime::try_current().is_some());
            done.set(done.get() + 1);
        });
    }
    while runtimes.iter().map(|runtime| runtime.turn().busy).fold(false, |any, busy| any | busy) {}
    assert_eq!(done.get(), 3);
    assert!(Runtime::try_current().is_none());
}
