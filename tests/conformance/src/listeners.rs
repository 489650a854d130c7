//! Listeners.

use mirage_rt::Duration;
use mirage_rt::net::BindError;

use super::*;

pub async fn a_listener_knows_its_port_and_its_peers(pair: Pair) {
    let mut listener = pair.server.network.tcp().bind(pair.server.at(0)).await.expect("a port is free");
    let address = listener.local_addr();
    assert_eq!(address.ip(), pair.server.address);
    let client = pair.client.network.tcp().connect(address).await.expect("the listener is there");
    let (server, peer) = listener.accept().await.expect("the client has come");
    assert_eq!((client.peer_addr(), server.local_addr()), (address, address));
    assert_eq!((client.local_addr(), server.peer_addr()), (peer, peer));
    assert_eq!(peer.ip(), pair.client.address);
}

pub async fn a_port_has_one_listener(pair: Pair) {
    let tcp = pair.server.network.tcp();
    let listener = tcp.bind(0).await.expect("a port is free");
    let port = listener.local_addr().port();
    assert!(matches!(tcp.bind(port).await, Err(BindError::InUse { port: busy }) if busy == port));
    // Addresses for documentation are nobody's (RFC 5737, RFC 3849).
    let foreign = match pair.server.address {
        IpAddr::V4(_) => SocketAddr::from(([192, 0, 2, 77], 0)),
        IpAddr::V6(_) => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77], 0)),
    };
    let error = tcp.bind(foreign).await.expect_err("nobody has it");
    assert!(matches!(error, BindError::NotOurs(address) if address == foreign.ip()), "{error:?}");
}

pub async fn an_accept_that_is_given_up_loses_nothing(pair: Pair) {
    let mut listener = pair.server.network.tcp().bind(0).await.expect("a port is free");
    assert!(timeout(Duration::from_millis(20), listener.accept()).await.is_err());
    let address = pair.server.at(listener.local_addr().port());
    let client = pair.client.network.tcp().connect(address).await.expect("the listener is there");
    let (server, _) = listener.accept().await.expect("the client has come");
    server.write_all(b"here").await.expect("it is open");
    assert_eq!(read_exactly(&client, 4).await, b"here");
}

pub async fn a_listener_that_is_gone_resets_who_waits(pair: Pair) {
    let listener = pair.server.network.tcp().bind(0).await.expect("a port is free");
    let address = pair.server.at(listener.local_addr().port());
    let client = pair.client.network.tcp().connect(address).await.expect("the listener is there");
    drop(listener);
    assert!(matches!(client.read(&mut [0; 8]).await, Err(ReadError::Reset)));
}

pub async fn a_port_is_free_again(pair: Pair) {
    let tcp = pair.server.network.tcp();
    let mut listener = tcp.bind(0).await.expect("a port is free");
    let address = pair.server.at(listener.local_addr().port());
    for _ in 0..3 {
        let client = pair.client.network.tcp().connect(address).await.expect("the listener is there");
        let (server, _) = listener.accept().await.expect("the client has come");
        // The server ends first: its side of the connection is not forgotten for a while.
        server.shutdown().expect("it is open");
        assert!(read_all(&client).await.expect("the end comes").is_empty());
        drop((client, server));
        drop(listener);
        listener = tcp.bind(address.port()).await.expect("connections of before do not keep the port");
    }
}
