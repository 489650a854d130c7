//! What was written is read back by a reader that knows nothing of the writer.

mod live;

use alloc::vec;
use alloc::vec::Vec;
use core::future::poll_fn;

use super::*;
use crate::net::switch::{Direction, Impairments, Switch};
use crate::net::{Config, Network};
use crate::packet::{Checksum, Gso};
use crate::runtime::spawn;
use crate::testing;
use crate::time::{Duration, sleep};

/// A record of a capture file.
#[derive(Debug, PartialEq)]
struct Record {
    nanoseconds: u64,
    original: usize,
    bytes: Vec<u8>,
}

/// Reads a file of draft-ietf-opsawg-pcap in the byte order that its magic number says; its snapshot length and records.
fn read(file: &[u8]) -> (u32, Vec<Record>) {
    let little = match file[..4] {
        [0x4d, 0x3c, 0xb2, 0xa1] => true,
        [0xa1, 0xb2, 0x3c, 0x4d] => false,
        ref other => panic!("{other:x?} is not the magic number of a capture with nanoseconds"),
    };
    let long = |at: usize| {
        let bytes = file[at..at + 4].try_into().expect("four bytes");
        if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    };
    let short = |at: usize| {
        let bytes = file[at..at + 2].try_into().expect("two bytes");
        if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
    };
    assert_eq!((short(4), short(6)), (2, 4), "the version");
    assert_eq!((long(8), long(12)), (0, 0), "both are reserved");
    let (snap_length, link) = (long(16), long(20));
    assert_eq!(link, 1, "LINKTYPE_ETHERNET");
    let mut records = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let (seconds, nanoseconds) = (long(at), long(at + 4));
        assert!(nanoseconds < 1_000_000_000);
        let (kept, original) = (long(at + 8) as usize, long(at + 12) as usize);
        assert!(kept <= original && kept <= snap_length as usize);
        records.push(Record {
            nanoseconds: u64::from(seconds) * 1_000_000_000 + u64::from(nanoseconds),
            original,
            bytes: file[at + 16..at + 16 + kept].to_vec(),
        });
        at += 16 + kept;
    }
    assert_eq!(at, file.len(), "no record is cut");
    (snap_length, records)
}

/// A network on `device`.
fn network<D: NetworkDevice + 'static>(switch: &Switch, device: D, number: u8) -> Network {
    let address = alloc::format!("10.0.0.{number}/24").parse().expect("an address");
    Network::direct(device, switch.pool(), Config::from_keys(Some(address), None)).expect("a host's address")
}

/// Two stacks, the first with a capture; `bytes` go there and back.
async fn echo(switch: &Switch, trace: &Memory, bytes: usize) {
    let device = Capture::new(switch.port(), trace.clone()).expect("there is room");
    let (server, client) = (network(switch, device, 1), network(switch, switch.port(), 2));
    let mut listener = server.tcp().bind(7).await.expect("the port is free");
    let serving = spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client comes");
        let mut buffer = vec![0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            stream.write_all(&buffer[..length]).await.expect("the client reads");
        }
    });
    let stream = client.tcp().connect(([10, 0, 0, 1], 7)).await.expect("it listens");
    let sent = vec![7; bytes];
    let mut buffer = vec![0; bytes];
    stream.write_all(&sent).await.expect("the server reads");
    let mut received = 0;
    while received < bytes {
        received += stream.read(&mut buffer).await.expect("the server answers");
    }
    stream.shutdown().expect("it is open");
    serving.await.expect("it ends");
    sleep(Duration::from_secs(1)).await;
}

#[test]
fn every_frame_of_both_directions_is_written_as_it_was() {
    testing::run(1, async {
        let switch = Switch::new(
            1,
            Impairments::NONE.with_loss(0.02).with_delay(Duration::from_nanos(1_234_567), Duration::from_millis(1)),
        );
        let sent = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&sent);
        switch.set_filter(Some(Rc::new(move |frame| {
            if frame[6..12] == [2, 0, 0, 0, 0, 1] {
                seen.borrow_mut().push(frame.to_vec());
            }
            true
        })));
        let trace = Memory::new(1 << 20);
        echo(&switch, &trace, 50_000).await;
        let (snap_length, records) = read(&trace.take());
        assert_eq!(snap_length, MAX_SNAP_LENGTH);
        assert!(records.iter().all(|record| record.original == record.bytes.len()));
        assert!(records.is_sorted_by_key(|record| record.nanoseconds));
        // Virtual time starts in November 2023, at a full second.
        assert!(records[0].nanoseconds == 1_700_000_000_000_000_000);
        assert!(records.iter().any(|record| record.nanoseconds % 1000 != 0), "nanoseconds, not microseconds");
        let (ours, theirs): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| record.bytes[6..12] == [2, 0, 0, 0, 0, 1]);
        assert!(ours.into_iter().map(|record| record.bytes).eq(sent.take()), "what left is what the switch saw");
        let counted = switch.port_statistics(0, Direction::Receive);
        assert_eq!(theirs.len() as u64, counted.frames);
        assert_eq!(theirs.iter().map(|record| record.original as u64).sum::<u64>(), counted.bytes);
        assert_eq!((trace.missed(), trace.take()), (0, Vec::new()));
    });
}

#[test]
fn the_snapshot_length_cuts_and_is_bounded() {
    testing::run(2, async {
        let switch = Switch::new(2, Impairments::NONE);
        for (asked, given) in [(0, 1), (60, 60), (u32::MAX, MAX_SNAP_LENGTH)] {
            let trace = Memory::new(1 << 20);
            let mut device = Capture::with_snap_length(switch.port(), trace.clone(), asked).expect("there is room");
            let frame = vec![9; 1000];
            let packet = PacketMut::copy_of(&switch.pool(), &frame).expect("pages are left");
            device.transmit(packet).expect("the port takes it");
            let (snap_length, records) = read(&trace.take());
            assert_eq!(snap_length, given);
            let [record] = &records[..] else { panic!("one record, not {}", records.len()) };
            assert_eq!((record.original, &record.bytes[..]), (1000, &frame[..1000.min(given as usize)]));
        }
    });
}

#[test]
fn packets_of_several_pages_are_whole_or_cut_anywhere() {
    testing::run(3, async {
        let switch = Switch::new(3, Impairments::NONE);
        let bytes: Vec<u8> = (0..60_000u32).map(|at| (at * 7 / 3) as u8).collect();
        for snap_length in [MAX_SNAP_LENGTH, 50_000, 4032, 4033] {
            let port = switch.port().with_info(|info| {
                info.checksum_ipv4 = true;
                info.gso_ipv4 = 65_550;
            });
            let trace = Memory::new(1 << 20);
            let mut device = Capture::with_snap_length(port, trace.clone(), snap_length).expect("there is room");
            let mut packet = PacketMut::copy_of(&switch.pool(), &bytes).expect("pages are left");
            packet.set_gso(Gso::Ipv4 { mss: 1460 });
            packet.set_checksum(Checksum::Partial { start: 34, offset: 16 });
            // Not flushed: the switch would look what is in it.
            device.transmit(packet).expect("the port takes it");
            let (_, records) = read(&trace.take());
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].original, 60_000);
            assert!(records[0].bytes == bytes[..60_000.min(snap_length as usize)]);
        }
    });
}

#[test]
fn what_the_device_refuses_is_not_written() {
    testing::run(4, async {
        let switch = Switch::new(4, Impairments::NONE);
        let trace = Memory::new(1 << 20);
        let mut device = Capture::new(switch.port(), trace.clone()).expect("there is room");
        let long = PacketMut::copy_of(&switch.pool(), &[0; 2000]).expect("pages are left");
        assert!(device.transmit(long).is_err());
        assert_eq!(read(&trace.take()).1, []);
    });
}

#[test]
fn a_full_memory_leaves_out_frames_and_has_room_when_it_was_emptied() {
    testing::run(5, async {
        let switch = Switch::new(5, Impairments::NONE);
        let trace = Memory::new(24 + 2 * 116);
        let mut device = Capture::new(switch.port(), trace.clone()).expect("there is room");
        let mut send = |number: u8, length: usize| {
            let packet = PacketMut::copy_of(&switch.pool(), &vec![number; length]).expect("pages are left");
            device.transmit(packet).expect("the port takes it");
            device.flush();
        };
        for number in 0..4 {
            send(number, 100);
        }
        assert_eq!(trace.missed(), 2);
        let mut file = trace.take();
        send(4, 50);
        file.extend(trace.take());
        let numbers: Vec<u8> = read(&file).1.iter().map(|record| record.bytes[0]).collect();
        assert_eq!(numbers, [0, 1, 4]);
    });
}

/// Takes so many records, then fails.
struct Failing(usize);

impl Sink for Failing {
    fn write(&mut self, _: &[u8]) -> Result<(), SinkFailed> {
        self.0 = self.0.checked_sub(1).ok_or(SinkFailed)?;
        Ok(())
    }
}

#[test]
fn a_sink_that_fails_ends_the_capture_and_not_the_network() {
    testing::run(6, async {
        let switch = Switch::new(6, Impairments::NONE);
        assert_eq!(Capture::new(switch.port(), Failing(0)).err(), Some(SinkFailed));
        let mut device = Capture::new(switch.port(), Failing(3)).expect("it takes the header");
        let mut receiver = switch.port();
        let mut frame = vec![0; 60];
        frame[..6].copy_from_slice(&receiver.info().mac);
        for _ in 0..10 {
            let packet = PacketMut::copy_of(&switch.pool(), &frame).expect("pages are left");
            device.transmit(packet).expect("the port takes it");
            device.flush();
            let received = poll_fn(|context| receiver.poll_receive(context)).await.expect("the port works");
            assert_eq!(received.len(), 60);
        }
        assert!(device.sink.is_none());
    });
}
