//! Errors, which say the same on every network.

use mirage_rt::net::{ReceiveError, UdpSocket};

use super::*;

/// Sends to `to` until an error comes back: hosts answer only so many datagrams in a second, and switches on the way learn in their
/// own time.
async fn told(socket: &UdpSocket, to: SocketAddr) -> ReceiveError {
    loop {
        socket.send_to(b"anybody?", to).await.expect("there is a way");
        if let Ok(received) = timeout(Duration::from_millis(500), socket.receive_from(&mut [0; 100])).await {
            return received.expect_err("nobody is there to answer");
        }
    }
}

pub async fn a_socket_hears_of_ports_that_nobody_has(pair: Pair) {
    let there = pair.server.network.udp().bind(0).await.expect("a port is free");
    let gone = pair.server.network.udp().bind(0).await.expect("a port is free");
    let (there_at, gone_at) = (pair.server.at(there.local_addr().port()), pair.server.at(gone.local_addr().port()));
    drop(gone);
    let client = pair.client.network.udp().bind(0).await.expect("a port is free");
    client.tell_unreachable(true).expect("every network can");
    for _ in 0..2 {
        let error = told(&client, gone_at).await;
        assert!(matches!(error, ReceiveError::Refused(peer) if peer == gone_at), "{error:?}");
    }
    // It goes on, and errors are none of a send's.
    client.send_to(b"anybody?", gone_at).await.expect("there is a way");
    client.send_to(b"hello", there_at).await.expect("there is a way");
    client.tell_unreachable(false).expect("every network can");
    let mut buffer = [0; 100];
    let (length, from) = there.receive_from(&mut buffer).await.expect("it comes");
    assert_eq!((&buffer[..length], from), (&b"hello"[..], pair.client.at(client.local_addr().port())));
    client.send_to(b"anybody?", gone_at).await.expect("there is a way");
    client.send_to(b"hello", there_at).await.expect("there is a way");
    there.receive_from(&mut buffer).await.expect("it comes");
    there.send_to(b"answer", from).await.expect("there is a way");
    assert_eq!(client.receive_from(&mut buffer).await.map(|(length, _)| length).ok(), Some(6));
}
