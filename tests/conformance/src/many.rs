//! Many connections.

use mirage_rt::{spawn, yield_now};

use super::*;

pub async fn connections_do_not_mix(pair: Pair) {
    const CONNECTIONS: usize = 200;
    let mut listener = pair.server.network.tcp().bind_with_backlog(0, CONNECTIONS).await.expect("a port is free");
    let address = pair.server.at(listener.local_addr().port());
    let server = spawn(async move {
        for _ in 0..CONNECTIONS {
            let (stream, _) = listener.accept().await.expect("the clients come");
            drop(spawn(echo(stream)));
        }
    });
    let mut clients = Vec::new();
    for number in 0..CONNECTIONS {
        let tcp = pair.client.network.tcp();
        clients.push(spawn(async move {
            let stream = tcp.connect(address).await.expect("the listener is there");
            for round in 0..10 {
                let sent = pattern(number * 10 + round, 300 + number);
                stream.write_all(&sent).await.expect("the server reads");
                assert!(read_exactly(&stream, sent.len()).await == sent, "connection {number}, round {round}");
                yield_now().await;
            }
        }));
    }
    for client in clients {
        client.await.expect("the task ran to its end");
    }
    server.await.expect("the task ran to its end");
}

pub async fn connections_come_and_go(pair: Pair) {
    come_and_go(&pair, 300).await;
}

/// So many short connections, one after the other; of two, one is ended by the client and one by the server.
pub async fn come_and_go(pair: &Pair, count: usize) {
    let mut listener = pair.server.network.tcp().bind(0).await.expect("a port is free");
    let address = pair.server.at(listener.local_addr().port());
    for number in 0..count {
        let client = pair.client.network.tcp().connect(address).await.expect("the listener is there");
        let (server, _) = listener.accept().await.expect("the client has come");
        let (first, second) = if number % 2 == 0 { (client, server) } else { (server, client) };
        first.write_all(&number.to_be_bytes()).await.expect("it is open");
        drop(first);
        assert_eq!(read_all(&second).await.expect("it comes, and the end"), number.to_be_bytes());
    }
}
