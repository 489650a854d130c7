//! Backends that report errors, or do what they like.

use super::*;

#[test]
fn errors_of_a_backend_cost_only_the_packet() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        netback.provoke(Mischief::ReceiveError);
        netback.send(plain(bytes(61, 1)));
        assert_eq!(receive(&mut device).await.expect("connected").len(), 61);
        assert_eq!(device.control().statistics().received_errors, 1);
        // A packet that is never finished swallows the next one, and that is all.
        netback.provoke(Mischief::ReceiveHalf);
        netback.send(plain(bytes(62, 1)));
        netback.send(plain(bytes(63, 1)));
        assert_eq!(receive(&mut device).await.expect("connected").len(), 60 + 62);
        assert_eq!(receive(&mut device).await.expect("connected").len(), 63);
    });
}

#[test]
fn nonsense_breaks_the_device_and_nothing_else() {
    let receiving = [
        (Mischief::ReceiveProducer, "receive ring: the backend claims"),
        (Mischief::ReceiveId(17), "receive ring: answer to request 17"),
        (Mischief::ReceiveId(0xFFFF), "receive ring: answer to request 65535"),
        (Mischief::ReceiveBounds { offset: 4000, size: 97 }, "97 bytes at offset 4000"),
        (Mischief::ReceiveBounds { offset: 0xFFFF, size: 1 }, "1 bytes at offset 65535"),
        (Mischief::ReceiveBounds { offset: 0, size: 0x7FFF }, "32767 bytes at offset 0"),
        (Mischief::ReceiveBounds { offset: 4097, size: -1 }, "-1 bytes at offset 4097"),
        (Mischief::ReceiveInUse, "receive ring: a page is still used"),
        (Mischief::ReceiveExtra([0; 8]), "extra information of type 0"),
        (Mischief::ReceiveExtra([1, 0, 0, 0, 1, 0, 0, 0]), "extra information of type 1"),
        (Mischief::ReceiveExtra([2, 0, 1, 0, 0x5E, 0, 0, 1]), "extra information of type 2"),
        (Mischief::ReceiveExtra([3, 1, 1, 0, 0x5E, 0, 0, 1]), "extra information of type 3"),
        (Mischief::ReceiveExtra([6, 0, 0, 0, 0, 0, 0, 0]), "extra information of type 6"),
        (Mischief::ReceiveExtra([0xFF; 8]), "extra information of type 255"),
        (Mischief::ReceiveExtras, "extra information without end"),
    ];
    let transmitting = [
        (Mischief::TransmitProducer, "transmit ring: the backend claims"),
        (Mischief::TransmitId(200), "transmit ring: answer to request 200"),
        (Mischief::TransmitId(0xFFFF), "transmit ring: answer to request 65535"),
        (Mischief::TransmitNull, "an answer to extra information that was not sent"),
        (Mischief::TransmitInUse, "transmit ring: a page is still used"),
    ];
    for (mischief, expected) in receiving.into_iter().chain(transmitting) {
        let (machine, netback) = machine(Features::default());
        machine.run(async {
            let mut device = connect(&machine, Options { receive_gso: true, ..Options::default() }).await;
            let control = device.control();
            netback.provoke(mischief);
            if transmitting.iter().any(|(known, _)| *known == mischief) {
                send(&mut device, PacketMut::copy_of(&machine.pool(), &bytes(60, 1)).expect("pages")).await;
                settle(&machine).await;
                // Answers are looked at with whatever comes next.
                netback.send(plain(bytes(60, 1)));
            }
            let error = loop {
                if let Err(error) = receive(&mut device).await {
                    break error;
                }
            };
            assert_eq!(error, NetworkError::Broken, "{mischief:?}");
            assert_eq!(ready(&mut device).await.err(), Some(NetworkError::Broken), "{mischief:?}");
            assert!(control.is_broken());
            settle(&machine).await;
            let error = machine.store.read("/local/domain/1/error/device/vif/0/error").unwrap_or_default();
            assert!(error.contains(expected), "{mischief:?}: {error}");
            control.quiesce().await;
            assert!(control.is_broken(), "for good");
            assert_eq!(receive(&mut device).await.err(), Some(NetworkError::Broken));
            let lost = u32::from(matches!(mischief, Mischief::ReceiveInUse | Mischief::TransmitInUse));
            assert_eq!(machine.attachment.grants().quarantined(), lost, "{mischief:?}");
            assert_eq!(machine.attachment.events().bound(), 1);
        });
        assert_eq!(machine.attachment.grants().in_use(), 0, "{mischief:?}");
    }
}

/// Words of a ring's page that matter, and numbers that do.
fn scribble() -> impl Strategy<Value = Mischief> {
    let word = prop_oneof![0..4_u16, 16..40_u16, any::<u16>()];
    let value = prop_oneof![0..300_u32, any::<u32>(), (0..300_u32).prop_map(|small| 0_u32.wrapping_sub(small))];
    (any::<bool>(), word, value).prop_map(|(receive, word, value)| Mischief::Scribble { receive, word, value })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever a backend writes into the rings: no panic, and in the end every page and port is back or in quarantine.
    #[test]
    fn a_backend_may_write_anything_into_the_rings(mischiefs in prop::collection::vec(scribble(), 1..60)) {
        let (machine, netback) = machine(Features::default());
        machine.run(async {
            let mut device = connect(&machine, Options { receive_gso: true, receive_pages: 64, ..Options::default() }).await;
            let control = device.control();
            for mischief in mischiefs {
                netback.provoke(mischief);
                settle(&machine).await;
                poll_fn(|context| {
                    while let Poll::Ready(Ok(packet)) = device.poll_receive(context) {
                        assert!(packet.len() >= 14);
                    }
                    let _ = device.poll_ready(context);
                    Poll::Ready(())
                })
                .await;
                let _ = device.transmit(PacketMut::copy_of(&machine.pool(), &bytes(100, 1)).expect("pages"));
                device.flush();
            }
            control.quiesce().await;
        });
        prop_assert_eq!(machine.attachment.grants().in_use(), 0);
        prop_assert_eq!(machine.attachment.events().bound(), 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Packets both ways in bursts of any size, from indices that wrap around: all come, whole and in order.
    #[test]
    fn packets_come_in_order_across_the_end_of_the_indices(
        bursts in prop::collection::vec((1..20_usize, 60..9000_usize), 1..20),
        scatter_gather in any::<bool>(),
    ) {
        let (machine, netback) = machine(Features { scatter_gather, ..Features::default() });
        netback.echo(true);
        machine.run(async {
            let options = Options { first_index: 0xFFFF_FFF0, ..Options::default() };
            let mut device = connect(&machine, options).await;
            for (number, (count, length)) in bursts.into_iter().enumerate() {
                // A packet is at most what the link takes.
                let frames: Vec<_> = (0..count).map(|index| bytes(length.min(1514), number * 31 + index)).collect();
                for frame in &frames {
                    send(&mut device, PacketMut::copy_of(&machine.pool(), frame).expect("pages")).await;
                }
                for frame in &frames {
                    let packet = receive(&mut device).await.expect("the backend is honest");
                    prop_assert_eq!(&all_of(&packet), frame);
                }
            }
            prop_assert_eq!(netback.refused(), 0);
            Ok(())
        })?;
    }
}
