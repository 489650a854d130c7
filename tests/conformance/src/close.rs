//! How connections end.

use mirage_rt::net::{ConnectError, WriteError};
use mirage_rt::{spawn, yield_now};

use super::*;

pub async fn each_side_ends_on_its_own(pair: Pair) {
    for turn in [0, 1] {
        let (server, client) = connected(&pair).await;
        let (first, second) = if turn == 0 { (&client, &server) } else { (&server, &client) };
        first.write_all(b"question").await.expect("it is open");
        first.shutdown().expect("it is open");
        first.shutdown().expect("a second time does nothing");
        assert!(matches!(first.write(b"x").await, Err(WriteError::Closed)));
        assert_eq!(read_all(second).await.expect("the end comes"), b"question");
        assert_eq!(second.read(&mut [0; 4]).await.ok(), Some(0), "the end stays");
        let answer = pattern(4, 100_000);
        let writer = spawn({
            let (second, answer) = (second.clone(), answer.clone());
            async move { second.write_all(&answer).await.and_then(|()| second.shutdown()) }
        });
        assert!(read_all(first).await.expect("an answer comes after the end") == answer);
        writer.await.expect("the task ran to its end").expect("this side is open");
    }
}

pub async fn what_was_written_arrives_although_the_writer_is_gone(pair: Pair) {
    let (server, client) = connected(&pair).await;
    let sent = pattern(6, 7000);
    client.write_all(&sent).await.expect("it is open");
    drop(client);
    assert!(read_all(&server).await.expect("it comes, and the end") == sent);
}

pub async fn unread_bytes_reset_the_peer(pair: Pair) {
    let (server, client) = connected(&pair).await;
    client.write_all(b"nobody reads this").await.expect("it is open");
    server.readable().await.expect("it comes");
    drop(server);
    assert!(matches!(read_all(&client).await, Err(ReadError::Reset)));
}

pub async fn an_abort_resets_the_peer(pair: Pair) {
    let (server, client) = connected(&pair).await;
    let waiting = spawn({
        let server = server.clone();
        async move { server.read(&mut [0; 8]).await }
    });
    yield_now().await;
    server.abort();
    assert!(matches!(waiting.await.expect("it was woken"), Err(ReadError::Aborted)));
    assert!(matches!(server.write(b"x").await, Err(WriteError::Closed)));
    assert!(matches!(client.read(&mut [0; 8]).await, Err(ReadError::Reset)));
}

pub async fn both_sides_end_at_once(pair: Pair) {
    for _ in 0..20 {
        let (server, client) = connected(&pair).await;
        server.write_all(b"from the server").await.expect("it is open");
        client.write_all(b"from the client").await.expect("it is open");
        server.shutdown().expect("it is open");
        client.shutdown().expect("it is open");
        assert_eq!(read_all(&client).await.expect("it comes, and the end"), b"from the server");
        assert_eq!(read_all(&server).await.expect("it comes, and the end"), b"from the client");
    }
}

pub async fn nothing_listens_there(pair: Pair) {
    let listener = pair.server.network.tcp().bind(0).await.expect("a port is free");
    let address = pair.server.at(listener.local_addr().port());
    drop(listener);
    let error = pair.client.network.tcp().connect(address).await.expect_err("nothing listens there");
    assert!(matches!(error, ConnectError::Refused(peer) if peer == address), "{error:?}");
}
