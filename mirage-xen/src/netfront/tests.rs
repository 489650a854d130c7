use std::cell::Cell;
use std::future::poll_fn;
use std::string::ToString;
use std::sync::atomic::Ordering;
use std::vec::Vec;

use proptest::prelude::*;

use mirage_rt::packet::{Checksum, Fragment, Gso, PacketMut};
use mirage_rt::page::Page;
use mirage_rt::runtime::{spawn, yield_now};
use mirage_rt::time::sleep;

use super::*;
use crate::hypervisor::Resumed;
use crate::model::{Features, Frame, Machine, Mischief, Netback};

/// A frame of `length` bytes that is for one station.
fn bytes(length: usize, seed: usize) -> Vec<u8> {
    let byte = |index: usize| (index * 31 + seed * 7 + index / 251) as u8;
    (0..length).map(|index| if index == 0 { byte(index) & !1 } else { byte(index) }).collect()
}

/// An Ethernet frame of `length` bytes that says it is IPv4 and TCP.
fn tcp_frame(length: usize) -> Vec<u8> {
    let mut frame = bytes(length, 3);
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[20..22].copy_from_slice(&[0x40, 0]);
    frame[23] = 6;
    frame
}

fn plain(bytes: Vec<u8>) -> Frame {
    Frame { bytes, ..Frame::default() }
}

fn all_of(packet: &PacketMut) -> Vec<u8> {
    packet.parts().collect::<Vec<_>>().concat()
}

async fn connect(machine: &Machine, options: Options) -> Netfront {
    Netfront::connect(&machine.attachment, 0, machine.pool(), options).await.expect("the backend is honest")
}

async fn receive(device: &mut Netfront) -> Result<PacketMut, NetworkError> {
    poll_fn(|context| device.poll_receive(context)).await
}

async fn ready(device: &mut Netfront) -> Result<usize, NetworkError> {
    poll_fn(|context| device.poll_ready(context)).await
}

async fn ready_now(device: &mut Netfront) -> bool {
    poll_fn(|context| Poll::Ready(device.poll_ready(context).is_ready())).await
}

async fn send(device: &mut Netfront, packet: PacketMut) {
    ready(device).await.expect("connected");
    device.transmit(packet.freeze()).expect("there is room");
    device.flush();
}

/// A round trip through xenstore: both sides have done what they could.
async fn settle(machine: &Machine) {
    for _ in 0..4 {
        machine.attachment.xenstore().read("device").await.expect("xenstore is honest");
        yield_now().await;
    }
}

fn machine(features: Features) -> (Machine, Netback) {
    let machine = Machine::new(1);
    let netback = Netback::attach(&machine.world, &machine.store, 0, features);
    (machine, netback)
}

#[test]
fn a_device_says_what_its_backend_offers() {
    let (machine, netback) = machine(Features::default());
    machine.store.write_for_guest("/local/domain/1/device/vif/0/mtu", "9000");
    machine.run(async {
        let device = connect(&machine, Options { receive_gso: true, ..Options::default() }).await;
        let info = device.info();
        assert_eq!((info.mac, info.mtu), ([0, 0x16, 0x3E, 0, 0, 0], 9000));
        assert!(info.checksum_ipv4 && info.checksum_ipv6 && info.gso_ipv4 > 60_000 && info.gso_ipv6 > 60_000);
        for (name, value) in [("request-rx-copy", "1"), ("feature-rx-notify", "1"), ("feature-gso-tcpv6", "1")] {
            assert_eq!(netback.published(name).as_deref(), Some(value), "{name}");
        }
        assert!(netback.published("event-channel-rx").is_some() && netback.published("event-channel").is_none());
    });
    let plain = Features {
        scatter_gather: false,
        checksum_ipv4: false,
        checksum_ipv6: false,
        split_channels: false,
        ..Features::default()
    };
    let (machine, netback) = self::machine(plain);
    machine.run(async {
        let device =
            connect(&machine, Options { receive_partial_checksum: false, receive_gso: false, ..Options::default() })
                .await;
        let info = device.info();
        assert_eq!((info.mtu, info.checksum_ipv4, info.checksum_ipv6, info.gso_ipv4), (1500, false, false, 0));
        assert_eq!(netback.published("feature-gso-tcpv4").as_deref(), Some("0"));
        assert_eq!(netback.published("feature-no-csum-offload").as_deref(), Some("1"));
        assert!(netback.published("event-channel").is_some() && netback.published("event-channel-tx").is_none());
    });
}

#[test]
fn what_can_not_be_connected_says_why() {
    let machine = Machine::new(1);
    let error = machine.run(Netfront::connect(&machine.attachment, 0, machine.pool(), Options::default()));
    assert_eq!(
        error.expect_err("there is no vif").to_string(),
        "the domain has no vif 0: add a vif to its configuration, or attach one to it"
    );
    let cases: [(&str, &str, &str); 2] = [
        ("/local/domain/1/device/vif/0/mac", "nonsense", "is no Ethernet address"),
        (
            "/local/domain/1/device/vif/0/backend",
            "/local/domain/0/backend/vif/1/9",
            "did not offer itself within 20 s; its state was Unknown",
        ),
    ];
    for (path, value, expected) in cases {
        let (machine, _netback) = self::machine(Features::default());
        machine.store.write_for_guest(path, value);
        let error = machine.run(Netfront::connect(&machine.attachment, 0, machine.pool(), Options::default()));
        let message = error.expect_err("it can't be connected").to_string();
        assert!(message.contains(expected), "{message}");
    }
    let (machine, _netback) = self::machine(Features { receive_copy: false, ..Features::default() });
    let error = machine.run(Netfront::connect(&machine.attachment, 0, machine.pool(), Options::default()));
    assert_eq!(error.err(), Some(ConnectError::NoReceiveCopy));
}

#[test]
fn a_backend_that_never_connects_is_an_error_and_leaves_nothing() {
    let (machine, _netback) = machine(Features::default());
    machine.world.refuse_mappings(true);
    machine.run(async {
        let error = Netfront::connect(&machine.attachment, 0, machine.pool(), Options::default()).await;
        let message = error.expect_err("it can't map the rings").to_string();
        assert!(
            message.contains("vif 0: the backend (domain 0) did not connect within 20 s; its state was InitWait"),
            "{message}"
        );
    });
    assert_eq!(
        (machine.attachment.grants().in_use(), machine.world.granted(), machine.attachment.events().bound()),
        (0, 0, 1)
    );
}

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
        let kind =
            |device: &mut Netfront, packet: PacketMut| device.transmit(packet.freeze()).expect_err("not taken").kind;
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
        // A packet whose second part can't be granted is taken back whole.
        let mut packet = PacketMut::copy_of(&pool, &bytes(60, 1)).expect("pages");
        let page = Page::take(&heap).expect("two pages");
        packet.push_fragment(Fragment::new(page, 0..60).expect("in the page")).expect("few fragments");
        assert_eq!(kind(&mut device, packet), TransmitErrorKind::Memory);
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
        send(&mut device, packet).await;
        settle(&machine).await;
        let frames = netback.received();
        assert_eq!((frames[0].slots, frames[0].bytes.len(), netback.refused()), (2, 150, 0));
    });
}

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
                .transmit(PacketMut::copy_of(&machine.pool(), &bytes(100 + number, 1)).expect("pages").freeze())
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
        let packet = PacketMut::copy_of(&machine.pool(), &bytes(60, 1)).expect("pages").freeze();
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

#[test]
fn a_full_ring_is_not_ready_until_the_backend_answers() {
    let (machine, netback) = machine(Features::default());
    machine.run(async {
        let mut device = connect(&machine, Options::default()).await;
        netback.hold(true);
        let pool = machine.pool();
        let mut sent = 0;
        let full = loop {
            match device.transmit(PacketMut::copy_of(&pool, &bytes(100, sent)).expect("pages").freeze()) {
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
            device
                .transmit(PacketMut::copy_of(&machine.pool(), &bytes(100, 1)).expect("pages").freeze())
                .expect("room");
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
            device.transmit(PacketMut::copy_of(&pool, &bytes(1000, 1)).expect("pages").freeze()).expect("room");
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
            device.transmit(PacketMut::copy_of(&pool, &bytes(1000, 1)).expect("pages").freeze()).expect("room");
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

#[test]
fn a_pool_too_small_is_an_error() {
    let (machine, _netback) = machine(Features::default());
    machine.run(async {
        let pool = machine.pool();
        let mut hoard: Vec<_> = std::iter::from_fn(|| Page::take(&pool)).collect();
        // Two for rings, one for the grant table.
        hoard.truncate(hoard.len() - 5);
        let error =
            Netfront::connect(&machine.attachment, 0, pool, Options::default()).await.expect_err("too few pages");
        assert!(matches!(error, ConnectError::NoPages { needed: 20, .. }), "{error}");
    });
    assert_eq!((machine.attachment.grants().in_use(), machine.attachment.events().bound()), (0, 1));
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
                let _ = device.transmit(packet.freeze());
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
        let packet = PacketMut::copy_of(&machine.pool(), &bytes(60, 1)).expect("pages").freeze();
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
                let _ = device.transmit(PacketMut::copy_of(&machine.pool(), &bytes(100, 1)).expect("pages").freeze());
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
