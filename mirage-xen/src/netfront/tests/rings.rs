//! Full rings, empty pools, notifications.

use super::*;

#[test]
fn a_burst_is_one_notification_each_way() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        settle(&machine).await;
        let before = (device.control().statistics().notifications, netback.notifications());
        for number in 0..10 {
            ready(&mut device).await.expect("connected");
            device
                .transmit(PacketMut::copy_of(&machine.pool(), &bytes(100 + number, 1)).expect("pages"))
                .expect("room");
        }
        device.flush();
        settle(&machine).await;
        assert_eq!(netback.received().len(), 10);
        for number in 0..10 {
            netback.send(plain(bytes(100 + number, 2)));
        }
        for number in 0..10 {
            assert_eq!(receive(&mut device).await.expect("connected").len(), 100 + number);
        }
        let after = (device.control().statistics().notifications, netback.notifications());
        assert_eq!(after.0 - before.0, 1, "one event for ten packets");
        assert!(after.1 - before.1 <= 2, "one for the answers, one for the packets");
    });
}

#[test]
fn a_full_ring_is_not_ready_until_the_backend_answers() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        netback.hold(true);
        let pool = machine.pool();
        let mut sent = 0;
        let full = loop {
            match device.transmit(PacketMut::copy_of(&pool, &bytes(100, sent)).expect("pages")) {
                Ok(()) => sent += 1,
                Err(error) => break error.kind,
            }
        };
        device.flush();
        assert_eq!((full, sent), (TransmitErrorKind::Full, 256));
        settle(&machine).await;
        let mut waiting = Box::pin(ready(&mut device));
        assert!(poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending())).await);
        netback.hold(false);
        machine.store.write("/local/domain/1/data/x", "");
        assert!(waiting.await.expect("connected") > 0);
        assert_eq!(netback.received().len(), 256);
    });
}

#[test]
fn a_full_ring_takes_packets_again_when_most_have_been_answered() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        netback.hold(true);
        while ready_now(&mut device).await {
            device.transmit(PacketMut::copy_of(&machine.pool(), &bytes(100, 1)).expect("pages")).expect("room");
        }
        device.flush();
        settle(&machine).await;
        let under_way = netback.received().len();
        assert!((200..=256).contains(&under_way), "{under_way}");
        netback.release(under_way - 65);
        settle(&machine).await;
        assert!(!ready_now(&mut device).await);
        netback.release(1);
        settle(&machine).await;
        assert_eq!(ready(&mut device).await.expect("connected"), 192 / 19);
    });
}

#[test]
fn the_pages_of_sent_packets_come_back_without_another_send() {
    let (machine, _netback) = machine(Features::default());
    machine.run(async {
        let pool = machine.pool();
        let mut device = connect(&machine, Options { receive_pages: 32, ..Options::default() }).await;
        let before = pool.available();
        for _ in 0..100 {
            device.transmit(PacketMut::copy_of(&pool, &bytes(1000, 1)).expect("pages")).expect("room");
        }
        device.flush();
        settle(&machine).await;
        let held = before - pool.available();
        assert!(held < 32, "a few may stay until the next event: {held}");
        // With few pages left, none stays.
        let hoard: Vec<_> =
            std::iter::from_fn(|| if pool.available() > 40 { Page::take(&pool) } else { None }).collect();
        let before = pool.available();
        for _ in 0..20 {
            device.transmit(PacketMut::copy_of(&pool, &bytes(1000, 1)).expect("pages")).expect("room");
        }
        device.flush();
        settle(&machine).await;
        assert!(pool.available() >= before, "{} of {before}", pool.available());
        drop(hoard);
    });
}

#[test]
fn a_question_and_its_answer_are_one_event_of_the_backend() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        let pool = machine.pool();
        let exchange = async |device: &mut Netfront| {
            netback.send(plain(bytes(98, 1)));
            assert_eq!(receive(device).await.expect("connected").len(), 98);
            send(device, PacketMut::copy_of(&pool, &bytes(98, 2)).expect("pages")).await;
            settle(&machine).await;
        };
        exchange(&mut device).await;
        let before = netback.notifications();
        for _ in 0..20 {
            exchange(&mut device).await;
        }
        assert_eq!(netback.notifications() - before, 20, "none for the answers' pages");
    });
}

#[test]
fn an_empty_pool_loses_packets_and_recovers() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let pool = machine.pool();
        let mut device = connect(&machine, Options { receive_pages: 32, ..Options::default() }).await;
        let hoard: Vec<_> = std::iter::from_fn(|| Page::take(&pool)).collect();
        let mut held = Vec::new();
        for number in 0..100 {
            netback.send(plain(bytes(60 + number, 1)));
        }
        for _ in 0..50 {
            settle(&machine).await;
            let _ = poll_fn(|context| {
                while let Poll::Ready(Ok(packet)) = device.poll_receive(context) {
                    held.push(packet);
                }
                Poll::Ready(())
            })
            .await;
        }
        assert_eq!(held.len(), 12, "all but the pages of one large packet, which stay posted");
        assert_eq!(device.control().statistics().received_no_memory, 88);
        drop((held, hoard));
        netback.send(plain(bytes(77, 1)));
        assert_eq!(receive(&mut device).await.expect("connected").len(), 77);
    });
}
