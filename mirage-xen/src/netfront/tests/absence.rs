//! Devices that are away for a while: quiesced, resumed, or left by their backends.

use super::*;

#[test]
fn a_backend_without_a_link_is_as_one_that_is_away() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        let control = device.control();
        assert!(control.has_link());
        netback.set_carrier(false);
        let error = poll_fn(|context| device.poll_receive(context)).await.expect_err("no link");
        assert_eq!(error, NetworkError::Disconnected);
        assert!(control.is_connected() && !control.has_link());
        assert_eq!(ready(&mut device).await.err(), Some(NetworkError::Disconnected));
        let packet = PacketMut::copy_of(&machine.pool(), &bytes(60, 1)).expect("pages");
        let error = device.transmit(packet).expect_err("no link");
        assert_eq!(error.kind, TransmitErrorKind::Device(NetworkError::Disconnected));
        netback.set_carrier(true);
        assert!(ready(&mut device).await.expect("the link is back") > 0);
        netback.send(plain(bytes(61, 1)));
        assert_eq!(receive(&mut device).await.expect("the link is back").len(), 61);
        assert_eq!(netback.connections(), 1);
    });
}

#[test]
fn who_did_not_look_learns_of_an_absence_too() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        let control = device.control();
        control.quiesce().await;
        machine.store.write_for_guest("/local/domain/1/device/vif/0/mtu", "1400");
        control.connect(&machine.attachment).await.expect("the backend is there");
        netback.send(plain(bytes(61, 1)));
        settle(&machine).await;
        assert_eq!(receive(&mut device).await.err(), Some(NetworkError::Disconnected));
        assert_eq!(device.info().mtu, 1400);
        assert_eq!(receive(&mut device).await.expect("connected").len(), 61);
        assert_eq!(ready(&mut device).await.err(), Some(NetworkError::Disconnected));
        assert!(ready(&mut device).await.expect("connected") > 0);
    });
}

/// Echoes through the backend, with the device being taken apart and put together by `trouble` all the while. Every frame
/// that arrives is one that was sent.
async fn echo_under(
    machine: &Machine,
    netback: &Netback,
    mut device: Netfront,
    trouble: impl AsyncFnOnce(&Control),
) -> usize {
    netback.echo(true);
    let pool = machine.pool();
    let control = device.control();
    let stop = Rc::new(Cell::new(false));
    let stopped = stop.clone();
    let traffic = spawn(async move {
        let mut arrived = 0;
        let mut number = 0_usize;
        while !stopped.get() {
            number += 1;
            let length = 60 + number * 37 % 1400;
            if let Some(packet) = PacketMut::copy_of(&pool, &bytes(length, length)) {
                // Refused while the device is away: lost, as networks lose packets.
                let _ = device.transmit(packet);
                device.flush();
            }
            poll_fn(|context| {
                while let Poll::Ready(Ok(packet)) = device.poll_receive(context) {
                    assert!(all_of(&packet) == bytes(packet.len(), packet.len()), "a frame arrives as it was sent");
                    arrived += 1;
                }
                Poll::Ready(())
            })
            .await;
            mirage_rt::time::sleep(Duration::from_micros(50)).await;
        }
        arrived
    });
    mirage_rt::time::sleep(Duration::from_millis(5)).await;
    trouble(&control).await;
    mirage_rt::time::sleep(Duration::from_millis(5)).await;
    stop.set(true);
    traffic.await.expect("not aborted")
}

#[test]
fn quiesce_and_connect_under_load() {
    let (machine, netback) = machine(Features::default());
    let before = machine.pool().available();
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        let arrived = echo_under(&machine, &netback, device, async |control| {
            for _ in 0..5 {
                control.quiesce().await;
                assert!(!control.is_connected());
                assert_eq!((machine.world.granted(), machine.world.mapped()), (0, 0));
                assert_eq!(machine.attachment.events().bound(), 1, "xenstore's only");
                mirage_rt::time::sleep(Duration::from_millis(1)).await;
                control.connect(&machine.attachment).await.expect("the backend is there");
                mirage_rt::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert!(arrived > 100, "{arrived} frames arrived");
        assert_eq!(netback.connections(), 6);
        settle(&machine).await;
    });
    // The device was dropped: everything went back, but for the grant table's page.
    machine.run(async { settle(&machine).await });
    assert_eq!((machine.attachment.grants().in_use(), machine.attachment.grants().quarantined()), (0, 0));
    assert!(machine.pool().available() >= before - 2, "{} of {before}", machine.pool().available());
}

#[test]
fn a_backend_that_goes_and_returns_is_followed_under_load() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        let arrived = echo_under(&machine, &netback, device, async |control| {
            for round in 0..6 {
                if round % 2 == 0 {
                    netback.close()
                } else {
                    netback.restart()
                }
                let wanted = round + 2;
                while netback.connections() < wanted || !control.is_connected() {
                    mirage_rt::time::sleep(Duration::from_micros(100)).await;
                }
                mirage_rt::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        assert!(arrived > 100, "{arrived} frames arrived");
    });
    assert_eq!(machine.attachment.grants().quarantined(), 0);
}

#[test]
fn a_slow_backend_is_followed_too() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        // Each change of its state comes long after the frontend has begun to wait for it, and is the last thing to happen.
        netback.delay(3_000_000);
        let device = connect(&machine, Options::default()).await;
        let control = device.control();
        for round in 2..5 {
            netback.close();
            mirage_rt::time::sleep(Duration::from_millis(50)).await;
            assert!(control.is_connected() && netback.connections() == round, "round {round}: {control:?}");
        }
    });
}

#[test]
fn a_resume_is_a_second_connection() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        let arrived = echo_under(&machine, &netback, device, async |control| {
            for round in 2..8 {
                // On hosts that booted earlier and later.
                machine.world.plan(Resumed::New, Some(1_000_000_000_000 / round));
                machine.suspend_and_resume();
                control.connect(&machine.attachment).await.expect("the new backend is there");
                mirage_rt::time::sleep(Duration::from_millis(2)).await;
                assert_eq!(netback.connections() as u64, round);
            }
        })
        .await;
        assert!(arrived > 50, "{arrived} frames arrived");
    });
    assert_eq!(machine.attachment.grants().quarantined(), 0);
}

/// A domain is moved while its backend works: what has come of that to the new host need not be whole.
#[test]
fn packets_that_an_old_backend_has_left_are_not_taken() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        let control = device.control();
        let mut poll = async || poll_fn(|context| Poll::Ready(device.poll_receive(context))).await;
        assert!(poll().await.is_pending());
        netback.send(plain(bytes(60, 1)));
        while machine.world.step() {}
        netback.restart();
        machine.world.forget_guest();
        machine.attachment.reestablish().expect("the model refuses nothing");
        assert!(poll().await.is_pending(), "nothing is there");
        control.connect(&machine.attachment).await.expect("the new backend is there");
        assert!(matches!(poll().await, Poll::Ready(Err(NetworkError::Disconnected))), "it was away");
        assert!(poll().await.is_pending());
        assert_eq!(control.statistics().received_packets, 0);
    });
}

#[test]
fn a_cancelled_suspension_is_not_noticed() {
    let (machine, netback) = machine(Features::default());
    machine.world.plan(Resumed::Same, None);
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        let arrived = echo_under(&machine, &netback, device, async |control| {
            for _ in 0..5 {
                machine.suspend_and_resume();
                mirage_rt::time::sleep(Duration::from_millis(2)).await;
                assert!(control.is_connected());
            }
        })
        .await;
        assert!(arrived > 100, "{arrived} frames arrived");
    });
    assert_eq!((netback.connections(), machine.world.suspensions()), (1, 5));
}

#[test]
fn a_device_follows_the_toolstack_by_itself() {
    let (machine, netback) = machine(Features::default());
    machine
        .run_main(async {
            let device = connect(&machine, Options::default()).await;
            let arrived = echo_under(&machine, &netback, device, async |control| {
                for _ in 0..5 {
                    machine.ask("suspend");
                    mirage_rt::time::sleep(Duration::from_millis(5)).await;
                    assert!(control.is_connected());
                }
            })
            .await;
            assert!(arrived > 50, "{arrived} frames arrived");
        })
        .expect("nobody asks for the end");
    assert_eq!((netback.connections(), machine.world.suspensions()), (6, 5));
}

#[test]
fn a_suspension_at_any_moment_of_the_start_is_survived() {
    // Each step of a backend takes 3 ms.
    for start in (0..15_000).step_by(250) {
        for resumed in [Resumed::New, Resumed::Same] {
            let (machine, netback) = machine(Features::default());
            netback.delay(3_000_000);
            machine.world.plan(resumed, None);
            machine
                .run_main(async {
                    let store = machine.store.clone();
                    let asked = spawn(async move {
                        mirage_rt::time::sleep(Duration::from_micros(start)).await;
                        store.write_for_guest(&format!("{}/control/shutdown", store.guest_path()), "suspend");
                    });
                    let device = connect(&machine, Options::default()).await;
                    let control = device.control();
                    asked.await.expect("not aborted");
                    mirage_rt::time::sleep(Duration::from_millis(50)).await;
                    assert!(control.is_connected(), "after {start} us, {resumed:?}");
                })
                .expect("nobody asks for the end");
            assert_eq!(machine.world.suspensions(), 1);
        }
    }
}

#[test]
fn a_device_without_a_backend_after_a_resume_waits_for_one() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let device = connect(&machine, Options { limit: Duration::from_millis(10), ..Options::default() }).await;
        let control = device.control();
        netback.delay(30_000_000);
        machine.suspend_and_resume();
        assert!(matches!(control.connect(&machine.attachment).await, Err(ConnectError::Xenbus(_))));
        netback.delay(0);
        mirage_rt::time::sleep(Duration::from_millis(50)).await;
        assert!(control.is_connected());
    });
}

#[test]
fn a_device_that_is_away_says_so_once() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        let control = device.control();
        control.quiesce().await;
        assert_eq!(receive(&mut device).await.err(), Some(NetworkError::Disconnected));
        assert_eq!(ready(&mut device).await.err(), Some(NetworkError::Disconnected));
        let packet = PacketMut::copy_of(&machine.pool(), &bytes(60, 1)).expect("pages");
        let error = device.transmit(packet).expect_err("away");
        assert_eq!(error.kind, TransmitErrorKind::Device(NetworkError::Disconnected));
        let waiting = spawn(async move {
            let packet = receive(&mut device).await;
            (packet.map(|packet| packet.len()), device)
        });
        yield_now().await;
        control.connect(&machine.attachment).await.expect("the backend is there");
        netback.send(plain(bytes(88, 1)));
        assert_eq!(waiting.await.expect("not aborted").0, Ok(88));
    });
}

#[test]
fn quiet_is_quiet_at_any_turn_of_a_connection() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let device = connect(&machine, Options::default()).await;
        let control = device.control();
        for turns in 0..400 {
            control.quiesce().await;
            let (connecting, attachment) = (control.clone(), machine.attachment.clone());
            let connecting = spawn(async move { connecting.connect(&attachment).await });
            for _ in 0..turns {
                yield_now().await;
            }
            control.quiesce().await;
            let left = (machine.attachment.grants().in_use(), machine.attachment.events().bound());
            assert_eq!(left, (0, 1), "after {turns} turns");
            connecting.abort();
        }
        assert!(netback.connections() > 20, "{} of 400 were connected before", netback.connections());
        control.connect(&machine.attachment).await.expect("the backend is there");
    });
}

#[test]
fn a_lost_xenstore_leaves_a_device_connected_and_idle() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        let control = device.control();
        let (page, end) = machine.world.xenstore_end();
        page.store_u32(crate::xenstore::client::transport::ERROR, 1, Ordering::Relaxed);
        machine.world.notify(end);
        // Time goes on only when all tasks wait.
        sleep(Duration::from_secs(1)).await;
        assert!(machine.attachment.xenstore().broken().is_some());
        netback.send(plain(bytes(61, 1)));
        assert_eq!(receive(&mut device).await.expect("still connected").len(), 61);
        control.quiesce().await;
        assert!(control.connect(&machine.attachment).await.is_err());
        sleep(Duration::from_secs(1)).await;
    });
}
