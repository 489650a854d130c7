//! What ICMP says to applications: echo requests, and errors about datagrams.

use mirage_rt::net::{JoinError, PingError, ReceiveError};

use super::*;

/// Far longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn a_host_answers_echo_requests(pair: Pair) {
    let icmp = pair.client.network.icmp();
    if pair.client.lacks(Lack::EchoRequests) {
        let refused = icmp.ping(pair.server.address, b"x", PATIENCE).await.expect_err("it is not permitted");
        assert!(matches!(refused, PingError::NotPermitted), "{refused:?}");
        return;
    }
    for length in [0, 1, 56, 1400] {
        let answer = icmp.ping(pair.server.address, &pattern(length, length), PATIENCE).await;
        assert!(answer.is_ok(), "{length} bytes: {answer:?}");
    }
    // Many at a time: each gets its own answer.
    let asking: Vec<_> = (0..20)
        .map(|number| {
            let (icmp, to) = (icmp.clone(), pair.server.address);
            mirage_rt::spawn(async move { icmp.ping(to, &pattern(number, 100 + number), PATIENCE).await })
        })
        .collect();
    for asking in asking {
        asking.await.expect("the task ran to its end").expect("it answers");
    }
    let long =
        icmp.ping(pair.server.address, &alloc::vec![0; 70_000], PATIENCE).await.expect_err("no packet is so long");
    assert!(matches!(long, PingError::TooLong { most: 1452.. }), "{long:?}");
    icmp.ping(pair.server.address, b"again", PATIENCE).await.expect("it answers");
}

pub async fn who_asks_is_told_that_nobody_is_at_a_port(pair: Pair) {
    let socket = pair.client.network.udp().bind(0).await.expect("a port is free");
    if pair.client.lacks(Lack::DatagramErrors) {
        let refused = socket.tell_unreachable(true).expect_err("it can't");
        assert!(matches!(refused, JoinError::Unsupported), "{refused:?}");
        return;
    }
    let gone = pair.server.network.udp().bind(0).await.expect("a port is free");
    let address = pair.server.at(gone.local_addr().port());
    drop(gone);
    let mut buffer = [0; 8];
    // A socket that has not asked hears nothing of it.
    socket.send_to(b"anybody?", address).await.expect("it fits");
    assert!(timeout(Duration::from_millis(200), socket.receive_from(&mut buffer)).await.is_err());
    socket.tell_unreachable(true).expect("every stack can");
    socket.send_to(b"anybody?", address).await.expect("it fits");
    let error = timeout(PATIENCE, socket.receive_from(&mut buffer)).await.expect("it is told");
    assert!(matches!(error, Err(ReceiveError::Refused(peer)) if peer == address), "{error:?}");
    // And the socket goes on.
    let there = pair.server.network.udp().bind(0).await.expect("a port is free");
    socket.send_to(b"you!", pair.server.at(there.local_addr().port())).await.expect("it fits");
    let (length, from) = there.receive_from(&mut buffer).await.expect("it comes");
    assert_eq!((&buffer[..length], from), (&b"you!"[..], pair.client.at(socket.local_addr().port())));
}
