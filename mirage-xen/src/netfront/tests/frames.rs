//! Frames, whole and in parts, with what is known of them, and for whom they are.

use super::*;

#[test]
fn frames_go_both_ways_whatever_their_length() {
    for split_channels in [true, false] {
        let (machine, netback) = machine(Features { split_channels, ..Features::default() });
        machine.store.write_for_guest("/local/domain/1/device/vif/0/mtu", "65000");
        machine.run(async {
            let mut device = connect(&machine, Options::default()).await;
            let pool = machine.pool();
            for length in [14, 60, 1514, 4032, 4033, 9014, 60_000] {
                send(&mut device, PacketMut::copy_of(&pool, &bytes(length, 1)).expect("pages")).await;
                settle(&machine).await;
                let frames = netback.received();
                assert_eq!(frames.len(), 1);
                assert!(frames[0].bytes == bytes(length, 1), "length {length}");
                netback.send(plain(bytes(length, 2)));
                let packet = receive(&mut device).await.expect("connected");
                assert!(all_of(&packet) == bytes(length, 2), "length {length}");
                assert_eq!(packet.checksum(), Checksum::None);
            }
            assert_eq!(netback.refused(), 0);
        });
    }
}

#[test]
fn checksums_and_segmentation_are_told_both_ways() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options { receive_gso: true, ..Options::default() }).await;
        let pool = machine.pool();
        let partial = Checksum::Partial { start: 34, offset: 16 };
        for gso in [Gso::None, Gso::Ipv4 { mss: 1448 }, Gso::Ipv6 { mss: 1428 }] {
            let length = if gso == Gso::None { 1000 } else { 30_000 };
            let mut packet = PacketMut::copy_of(&pool, &tcp_frame(length)).expect("pages");
            packet.set_checksum(partial);
            packet.set_gso(gso);
            send(&mut device, packet).await;
            settle(&machine).await;
            let frame = netback.received().pop().expect("sent");
            assert_eq!((frame.blank, frame.gso, frame.bytes == tcp_frame(length)), (true, gso, true));
            netback.send(frame);
            let packet = receive(&mut device).await.expect("connected");
            assert_eq!((packet.checksum(), packet.gso()), (partial, gso));
            assert!(all_of(&packet) == tcp_frame(length));
        }
        netback.send(Frame { validated: true, ..plain(tcp_frame(100)) });
        assert_eq!(receive(&mut device).await.expect("connected").checksum(), Checksum::Verified);
        // A blank checksum that can't be found is an error of the sender.
        netback.send(Frame { blank: true, ..plain(bytes(100, 1)) });
        netback.send(plain(bytes(99, 1)));
        assert_eq!(receive(&mut device).await.expect("connected").len(), 99);
        assert_eq!(device.control().statistics().received_errors, 1);
    });
}

#[test]
fn what_the_backend_does_not_take_comes_back() {
    let (machine, netback) = machine(Features { gso: false, checksum_ipv6: false, ..Features::default() });
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        let pool = machine.pool();
        let kind = |device: &mut Netfront, packet: PacketMut| device.transmit(packet).expect_err("not taken").kind;
        for length in [0, 13, 1519] {
            assert_eq!(
                kind(&mut device, PacketMut::copy_of(&pool, &bytes(length, 1)).expect("pages")),
                TransmitErrorKind::Size
            );
        }
        let mut packet = PacketMut::copy_of(&pool, &tcp_frame(5000)).expect("pages");
        packet.set_gso(Gso::Ipv4 { mss: 1448 });
        assert_eq!(kind(&mut device, packet), TransmitErrorKind::Offload);
        let mut packet = PacketMut::copy_of(&pool, &tcp_frame(500)).expect("pages");
        packet.head_mut()[12..14].copy_from_slice(&[0x86, 0xDD]);
        packet.set_checksum(Checksum::Partial { start: 54, offset: 16 });
        assert_eq!(kind(&mut device, packet), TransmitErrorKind::Offload);
        let heap = mirage_rt::page::HeapPool::with_pages(2);
        assert_eq!(
            kind(&mut device, PacketMut::copy_of(&heap, &bytes(60, 1)).expect("pages")),
            TransmitErrorKind::Memory
        );
        // A packet whose second part can't be granted comes back whole.
        let mut packet = PacketMut::copy_of(&pool, &bytes(60, 1)).expect("pages");
        let page = Page::take(&heap).expect("two pages");
        packet.push_fragment(Fragment::new(page, 0..60).expect("in the page")).expect("few fragments");
        let error = device.transmit(packet).expect_err("not taken");
        assert_eq!((error.kind, error.packet.len()), (TransmitErrorKind::Memory, 120));
        send(&mut device, PacketMut::copy_of(&pool, &bytes(70, 1)).expect("pages")).await;
        settle(&machine).await;
        assert_eq!(netback.received(), [Frame { slots: 1, ..plain(bytes(70, 1)) }]);
    });
}

#[test]
fn empty_parts_take_no_slot() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        let mut packet = PacketMut::copy_of(&machine.pool(), &bytes(100, 1)).expect("pages");
        for range in [5..5, 10..60, 7..7] {
            let page = Page::take(&machine.pool()).expect("pages");
            packet.push_fragment(Fragment::new(page, range).expect("in the page")).expect("few fragments");
        }
        // Nor need they be on pages that can be granted.
        let page = Page::take(&mirage_rt::page::HeapPool::with_pages(1)).expect("a page");
        packet.push_fragment(Fragment::new(page, 0..0).expect("in the page")).expect("few fragments");
        send(&mut device, packet).await;
        settle(&machine).await;
        let frames = netback.received();
        assert_eq!((frames[0].slots, frames[0].bytes.len(), netback.refused()), (2, 150, 0));
    });
}

#[test]
fn only_joined_groups_arrive_also_from_the_next_backend() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        let group = |number: u8| [0x33, 0x33, 0, 0, 0, number];
        let to = |destination: [u8; 6]| plain([&destination[..], &bytes(60, usize::from(destination[5]))].concat());
        let all = [0xff; 6];
        let one = [2, 0, 0, 0, 0, 9];
        let arriving = async |device: &mut Netfront| {
            for destination in [group(1), group(2), group(3), all, one] {
                netback.send(to(destination));
            }
            settle(&machine).await;
            let mut numbers = Vec::new();
            while let Poll::Ready(Ok(packet)) = poll_fn(|context| Poll::Ready(device.poll_receive(context))).await {
                numbers.push(packet.head()[5]);
            }
            numbers
        };
        assert_eq!(arriving(&mut device).await, [0xff, 9]);
        assert_eq!(device.join(one), Err(GroupError::NotAGroup));
        assert_eq!(device.join(all), Err(GroupError::NotAGroup));
        assert_eq!((device.join(group(1)), device.join(group(1)), device.join(group(2))), (Ok(()), Ok(()), Ok(())));
        settle(&machine).await;
        assert_eq!(arriving(&mut device).await, [1, 2, 0xff, 9]);
        device.leave(group(1));
        device.leave(group(3));
        settle(&machine).await;
        assert_eq!(arriving(&mut device).await, [2, 0xff, 9]);
        assert_eq!(netback.received(), [], "what tells of groups is no packet");
        let control = device.control();
        control.quiesce().await;
        assert_eq!(device.join(group(3)), Ok(()));
        control.connect(&machine.attachment).await.expect("the backend is there");
        settle(&machine).await;
        assert_eq!(receive(&mut device).await.err(), Some(NetworkError::Disconnected));
        assert_eq!(arriving(&mut device).await, [2, 3, 0xff, 9]);
        // As many as there are: the changes wait until the backend answers, and the device goes on.
        netback.hold(true);
        for number in 4..66 {
            assert_eq!(device.join(group(number)), Ok(()), "{number}");
        }
        assert_eq!(device.join(group(66)), Err(GroupError::TooMany));
        settle(&machine).await;
        netback.hold(false);
        machine.store.write("/local/domain/1/data/x", "");
        settle(&machine).await;
        assert_eq!(netback.groups().map(|groups| groups.len()), Some(64));
        assert_eq!(ready(&mut device).await.err(), Some(NetworkError::Disconnected), "before that");
        send(&mut device, PacketMut::copy_of(&machine.pool(), &bytes(60, 1)).expect("pages")).await;
    });
    let (machine, netback) = self::machine(Features { groups: false, ..Features::default() });
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        netback.send(plain([&[0x33; 6][..], &bytes(60, 1)].concat()));
        assert_eq!(receive(&mut device).await.expect("connected").len(), 66, "a backend that can't filter");
    });
}
