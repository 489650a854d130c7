//! Captures that are read over TCP while they are made.

use super::*;
use crate::net::TcpStream;
use crate::time::timeout;

/// A host at 10.0.0.1 with a capture that is served at port 5555, `most` bytes waiting at most.
fn captured(switch: &Switch, most: usize) -> (Network, Live) {
    let live = Live::new(most);
    let device = Capture::new(switch.port(), live.clone()).expect("it takes the header");
    let network = network(switch, device, 1);
    let at = live.serve(&network, 5555).expect("the port is free");
    assert_eq!(at.port(), 5555);
    (network, live)
}

/// Connects to the capture from `network`, and has the file's header.
async fn reader(network: &Network) -> (TcpStream, Vec<u8>) {
    let stream = network.tcp().connect(([10, 0, 0, 1], 5555)).await.expect("it listens");
    let mut file = Vec::new();
    while file.len() < 24 {
        read_some(&stream, &mut file).await;
    }
    (stream, file)
}

/// Adds what is there to `file`; whether there was anything within a second.
async fn read_some(stream: &TcpStream, file: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 2000];
    match timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
        Ok(length) => {
            let length = length.expect("the capture goes on");
            file.extend_from_slice(&buffer[..length]);
            length > 0
        }
        Err(_) => false,
    }
}

/// Sends so many datagrams of 100 bytes of payload to port 9 of the captured host, where `socket` receives them.
async fn datagrams(from: &Network, to: &crate::net::UdpSocket, count: u8) {
    let socket = from.udp().bind(0).await.expect("a port is free");
    let mut buffer = [0; 200];
    for number in 0..count {
        socket.send_to(&[number; 100], ([10, 0, 0, 1], 9)).await.expect("it is near");
        to.receive_from(&mut buffer).await.expect("it comes");
    }
}

/// The first byte of each datagram to port 9 in a file.
fn marks(file: &[u8]) -> Vec<u8> {
    let (_, records) = read(file);
    let is_one = |record: &&Record| record.bytes[12..14] == [8, 0] && record.bytes[23] == 17;
    records.iter().filter(is_one).map(|record| record.bytes[42]).collect()
}

#[test]
fn a_reader_gets_the_header_and_what_follows_but_not_itself() {
    testing::run(11, async {
        let switch = Switch::new(11, Impairments::NONE);
        let (host, live) = captured(&switch, 1 << 20);
        let (peer, other) = (network(&switch, switch.port(), 2), network(&switch, switch.port(), 3));
        let socket = host.udp().bind(9).await.expect("the port is free");
        datagrams(&peer, &socket, 3).await;
        assert_eq!(live.readers(), 0);
        let (stream, mut file) = reader(&other).await;
        assert_eq!((live.readers(), file.len()), (1, 24), "nothing from before");
        datagrams(&peer, &socket, 5).await;
        while read_some(&stream, &mut file).await {}
        assert_eq!(marks(&file), [0, 1, 2, 3, 4]);
        // Its own segments would never end.
        let own = |record: &Record| record.bytes[12..14] == [8, 0] && record.bytes[23] == 6;
        assert!(!read(&file).1.iter().any(own));
        let frames = switch.frames();
        sleep(Duration::from_secs(30)).await;
        assert!(switch.frames() <= frames + 4, "the network is silent");

        // A second one gets the header again, and the first one sees its handshake at most.
        let (second, mut another) = reader(&other).await;
        datagrams(&peer, &socket, 2).await;
        while read_some(&second, &mut another).await {}
        while read_some(&stream, &mut file).await {}
        assert_eq!((marks(&another), marks(&file)), (vec![0, 1], vec![0, 1, 2, 3, 4, 0, 1]));
        assert!(read(&file).1.iter().filter(|record| own(record)).count() <= 4);
        // Who only shuts its side down still reads.
        stream.shutdown().expect("it is open");
        datagrams(&peer, &socket, 1).await;
        while read_some(&stream, &mut file).await {}
        assert_eq!(marks(&file).len(), 8);
        stream.abort();
        drop(second);
        datagrams(&peer, &socket, 1).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!((live.readers(), live.missed()), (0, 0));
    });
}

#[test]
fn a_slow_reader_misses_frames_and_nobody_waits_for_it() {
    testing::run(12, async {
        let switch = Switch::new(12, Impairments::NONE);
        let (host, live) = captured(&switch, 4096);
        let (peer, other) = (network(&switch, switch.port(), 2), network(&switch, switch.port(), 3));
        let socket = host.udp().bind(9).await.expect("the port is free");
        let (stream, mut file) = reader(&other).await;
        let before = crate::now();
        for _ in 0..10 {
            datagrams(&peer, &socket, 200).await;
        }
        assert!(crate::now() - before < Duration::from_secs(1), "datagrams wait for no reader");
        assert!(live.missed() > 0);
        while read_some(&stream, &mut file).await {}
        let seen = marks(&file).len();
        assert!(seen > 4096 / 158 && (seen as u64) < 2000, "{seen} were kept");
        // Whole records only: `read` has looked; and there is room again.
        datagrams(&peer, &socket, 3).await;
        while read_some(&stream, &mut file).await {}
        assert_eq!(marks(&file)[seen..], [0, 1, 2]);
    });
}

#[test]
fn readers_that_stay_silent_or_too_many_are_turned_away() {
    testing::run(13, async {
        let switch = Switch::new(13, Impairments::NONE);
        let (host, live) = captured(&switch, 1 << 20);
        let other = network(&switch, switch.port(), 3);
        let socket = host.udp().bind(9).await.expect("the port is free");
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push(reader(&other).await);
        }
        let fifth = other.tcp().connect(([10, 0, 0, 1], 5555)).await.expect("it listens");
        assert_eq!(fifth.read(&mut [0; 24]).await.expect("it is closed"), 0);
        // None of the four reads any more; what is written for them fills their windows.
        let peer = network(&switch, switch.port(), 2);
        for _ in 0..40 {
            datagrams(&peer, &socket, 200).await;
        }
        sleep(Duration::from_secs(200)).await;
        assert_eq!(live.readers(), 0);
        assert!(reader(&other).await.1.len() == 24);
    });
}

#[test]
fn it_is_served_on_another_network_too() {
    testing::run(14, async {
        let (switch, elsewhere) = (Switch::new(14, Impairments::NONE), Switch::new(15, Impairments::NONE));
        let live = Live::new(1 << 20);
        // So short that no port is seen: what is between the same two hosts may be the reader's.
        let device = Capture::with_snap_length(switch.port(), live.clone(), 34).expect("it takes the header");
        let host = network(&switch, device, 1);
        let serving = network(&elsewhere, elsewhere.port(), 1);
        live.serve(&serving, 5555).expect("the port is free");
        live.serve(&host, 5555).expect("the port is free");
        let peer = network(&switch, switch.port(), 2);
        let (stream, mut file) = reader(&network(&elsewhere, elsewhere.port(), 2)).await;
        let (own_stream, _) = reader(&peer).await;
        let socket = host.udp().bind(9).await.expect("the port is free");
        datagrams(&peer, &socket, 3).await;
        while read_some(&stream, &mut file).await {}
        let datagrams = |record: &&Record| record.bytes[12..14] == [8, 0] && record.bytes[23] == 17;
        assert_eq!(read(&file).1.iter().filter(datagrams).count(), 3);
        assert!(read(&file).1.iter().filter(|record| record.bytes[23] == 6).count() <= 4, "a handshake at most");
        drop(own_stream);
    });
}
