//! UDP.

use mirage_rt::net::{JoinError, SendError, UdpSocket};

use super::*;

/// A socket on each side, and the server's address.
async fn sockets(pair: &Pair) -> (UdpSocket, UdpSocket, SocketAddr) {
    let server = pair.server.network.udp().bind(0).await.expect("a port is free");
    let client = pair.client.network.udp().bind(0).await.expect("a port is free");
    let address = pair.server.at(server.local_addr().port());
    (server, client, address)
}

pub async fn datagrams_keep_their_bounds(pair: Pair) {
    let (server, client, address) = sockets(&pair).await;
    let mut buffer = alloc::vec![0; 2000];
    for length in [0, 1, 100, 1452, 0, 7] {
        let sent = pattern(length, length);
        client.send_to(&sent, address).await.expect("it fits");
        let (length, from) = server.receive_from(&mut buffer).await.expect("it comes");
        assert!(buffer[..length] == sent, "{length} bytes came of {}", sent.len());
        assert_eq!(from, pair.client.at(client.local_addr().port()));
        server.send_to(&buffer[..length], from).await.expect("it fits");
        let answer = client.receive_from(&mut buffer).await.expect("it comes");
        assert_eq!(answer, (sent.len(), address));
    }
}

pub async fn a_datagram_too_long_is_an_error(pair: Pair) {
    let (server, client, address) = sockets(&pair).await;
    let error = client.send_to(&alloc::vec![0; 70_000], address).await.expect_err("no datagram is so long");
    assert!(matches!(error, SendError::TooLong { most: 1452.. }), "{error:?}");
    client.send_to(b"short", address).await.expect("the socket goes on");
    assert_eq!(server.receive_from(&mut [0; 8]).await.map(|(length, _)| length).ok(), Some(5));
}

pub async fn a_short_buffer_is_told_the_length(pair: Pair) {
    let (server, client, address) = sockets(&pair).await;
    client.send_to(b"0123456789", address).await.expect("it fits");
    let mut buffer = [0; 4];
    server.readable().await;
    let (length, _) = server.receive_from(&mut buffer).await.expect("it comes");
    assert_eq!((length, &buffer), (10, b"0123"));
    client.send_to(b"next", address).await.expect("it fits");
    let (length, _) = server.receive_from(&mut buffer).await.expect("it comes");
    assert_eq!((length, &buffer), (4, b"next"));
}

/// A group of the pair's family that these cases are alone in, within a site (RFC 2365; RFC 4291, 2.7).
fn group(pair: &Pair) -> IpAddr {
    match pair.server.address {
        IpAddr::V4(_) => [239, 255, 77, 1].into(),
        IpAddr::V6(_) => [0xff15, 0, 0, 0, 0, 0, 0x4d, 1].into(),
    }
}

/// Sends `text` until it is heard, as switches on the way learn of a group in their own time; from whom it came.
async fn heard(sender: &UdpSocket, to: SocketAddr, text: &[u8], receiver: &UdpSocket) -> SocketAddr {
    let mut buffer = [0; 100];
    loop {
        sender.send_to(text, to).await.expect("there is a way");
        while let Ok(received) = timeout(Duration::from_millis(250), receiver.receive_from(&mut buffer)).await {
            let (length, from) = received.expect("it comes");
            // What was sent before may come twice.
            if &buffer[..length] == text {
                return from;
            }
        }
    }
}

pub async fn a_group_hears_what_is_sent_to_it(pair: Pair) {
    let (server, client, _) = sockets(&pair).await;
    let address = group(&pair);
    let group = SocketAddr::new(address, server.local_addr().port());
    assert!(matches!(server.leave(address), Err(JoinError::NotJoined(_))));
    assert!(matches!(server.join(pair.server.address), Err(JoinError::NotAGroup(_))));
    if pair.lacks(Lack::Groups) {
        return;
    }
    server.join(address).expect("it is a group");
    server.join(address).expect("it is in it already");
    for text in [&b"one"[..], b"two"] {
        let from = heard(&client, group, text, &server).await;
        assert_eq!(from, pair.client.at(client.local_addr().port()));
    }
    server.leave(address).expect("it is in it");
}

pub async fn what_is_sent_to_a_group_comes_back_if_it_may(pair: Pair) {
    let (server, client, _) = sockets(&pair).await;
    // Each hears its own port only.
    let own = SocketAddr::new(group(&pair), client.local_addr().port());
    if pair.lacks(Lack::Groups) {
        return client.set_multicast_loop(false).expect("it can");
    }
    client.join(own.ip()).expect("it is a group");
    client.send_to(b"mine", own).await.expect("there is a way");
    let mut buffer = [0; 100];
    let (length, from) = client.receive_from(&mut buffer).await.expect("it comes");
    assert_eq!((&buffer[..length], from), (&b"mine"[..], pair.client.at(own.port())));
    client.set_multicast_loop(false).expect("it can");
    // A host's loopback interface brings back whatever it is given.
    if pair.client.address.is_loopback() {
        return;
    }
    client.send_to(b"lost", own).await.expect("there is a way");
    server.send_to(b"theirs", pair.client.at(own.port())).await.expect("there is a way");
    let (length, _) = client.receive_from(&mut buffer).await.expect("it comes");
    assert_eq!(&buffer[..length], b"theirs");
}
