//! Much data, on devices that cut and put together packets.

use alloc::rc::Rc;
use core::cell::Cell;
use core::time::Duration;

use super::*;
use crate::runtime::now;

/// Host `number` on a port that cuts packets, and takes such as were not cut when `uncut`.
pub(super) fn cutting(switch: &Switch, number: u8, uncut: bool) -> Network {
    let port = switch.port().with_info(|info| {
        info.checksum_ipv4 = true;
        info.gso_ipv4 = 65_535;
        info.checksum_ipv6 = true;
        info.gso_ipv6 = 65_535;
    });
    let port = if uncut { port.with_long_packets() } else { port };
    let config = Config { connection_memory: 16 << 20, ..config(number) };
    Network::direct(port, switch.pool(), config).expect("the configuration is good")
}

/// Sends `length` bytes each way, one after the other; how many frames the switch saw that were longer than the link allows.
async fn transfer(switch: &Switch, hosts: [Network; 2], length: usize) -> usize {
    let long = Rc::new(Cell::new(0));
    let seen = Rc::clone(&long);
    switch.set_filter(Some(Rc::new(move |frame| {
        seen.set(seen.get() + usize::from(frame.len() > 1514));
        true
    })));
    let [server, client] = hosts;
    let mut listener = server.tcp().bind(80).await.expect("the port is free");
    let serving = spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let bytes = read_to_end(&stream).await;
        stream.write_all(&bytes).await.expect("the peer reads");
        stream.shutdown().expect("the connection is open");
        stream.acknowledged().await.expect("the peer reads");
    });
    let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
    let bytes = pattern(3, length);
    stream.write_all(&bytes).await.expect("the peer reads");
    stream.shutdown().expect("the connection is open");
    assert!(read_to_end(&stream).await == bytes);
    serving.await.expect("the task ends");
    long.get()
}

fn long_packets_are_cut_and_put_together() {
    // Whether the first and the second host take long packets.
    for uncut in [[false, false], [true, false], [true, true]] {
        testing::run(110, async move {
            let switch = Switch::new(110, Impairments::NONE);
            let hosts = [cutting(&switch, 1, uncut[0]), cutting(&switch, 2, uncut[1])];
            let frames = switch.frames();
            let long = transfer(&switch, hosts, 3_000_000).await;
            let frames = switch.frames() - frames;
            assert!(long > 80, "{long} long packets of {frames}");
            // One or two acknowledgements for each packet.
            if uncut == [true, true] {
                assert!(frames < 1000, "{frames} frames for 6 MB");
            }
        });
    }
}

fn a_plain_host_gets_what_a_cutting_one_sends() {
    testing::run(111, async {
        let switch = Switch::new(111, Impairments::NONE);
        let hosts = [cutting(&switch, 1, true), host(&switch, 2)];
        assert!(transfer(&switch, hosts, 500_000).await > 10);
    });
}

/// What the device has cut comes in trains, which our own machine knows; every byte of it.
fn bulk_data_comes_in_trains() {
    testing::run(112, async {
        let switch = Switch::new(112, Impairments::NONE);
        let [server, client] = [host(&switch, 1), cutting(&switch, 2, true)];
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        let bytes = pattern(4, 500_000);
        let sent = bytes.clone();
        let writing = spawn(async move { stream.write_all(&sent).await.map(|()| stream) });
        let (stream, _) = listener.accept().await.expect("a connection");
        let (mut received, mut buffer) = (Vec::new(), vec![0; 10_000]);
        while received.len() < bytes.len() {
            let length = stream.read(&mut buffer).await.expect("the connection lives");
            received.extend_from_slice(&buffer[..length]);
        }
        assert!(received == bytes);
        writing.await.expect("the task ends").expect("the peer reads");
        let counted = server.snapshot().expect("it has a stack of its own").tcp;
        let own = is_own();
        assert!((counted.followed * 2 > counted.segments) == own, "{counted:?}");
    });
}

fn what_is_lost_of_a_long_packet_is_sent_again() {
    for seed in 112..118 {
        testing::run(seed, async move {
            let impairments = Impairments::NONE.with_loss(0.01).with_delay(Duration::from_millis(2), Duration::ZERO);
            let switch = Switch::new(seed, impairments);
            let hosts = [cutting(&switch, 1, false), cutting(&switch, 2, true)];
            let start = now();
            transfer(&switch, hosts, 1_000_000).await;
            let took = now() - start;
            assert!(took < Duration::from_secs(120), "seed {seed}: {took:?}");
        });
    }
}

worlds! {
    long_packets_are_cut_and_put_together,
    a_plain_host_gets_what_a_cutting_one_sends,
    bulk_data_comes_in_trains,
    what_is_lost_of_a_long_packet_is_sent_again,
}
