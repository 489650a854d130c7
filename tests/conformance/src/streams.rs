//! Bytes on a connection.

use mirage_rt::{Duration, spawn, timeout, yield_now};

use super::*;

pub async fn bytes_come_back_as_they_were(pair: Pair) {
    let (server, client) = connected(&pair).await;
    let echo = spawn(echo(server));
    for length in [1, 2, 535, 536, 1447, 1448, 1449, 1460, 1461, 4095, 4097, 8191, 16_000] {
        let sent = pattern(length, length);
        client.write_all(&sent).await.expect("the server reads");
        assert!(read_exactly(&client, length).await == sent, "{length} bytes came back as others");
    }
    client.shutdown().expect("it is open");
    assert!(read_all(&client).await.expect("the server ends").is_empty());
    echo.await.expect("the server's task ran to its end");
}

pub async fn large_amounts_pass_both_ways_at_once(pair: Pair) {
    const LENGTH: usize = 1_500_000;
    let (server, client) = connected(&pair).await;
    let mut tasks = Vec::new();
    for (stream, seed) in [(server, 1), (client, 2)] {
        let writer = stream.clone();
        tasks.push(spawn(async move {
            writer.write_all(&pattern(seed, LENGTH)).await.expect("the other side reads");
            writer.shutdown().expect("it is open");
        }));
        tasks.push(spawn(async move {
            let received = read_all(&stream).await.expect("the other side writes");
            assert!(received == pattern(3 - seed, LENGTH), "{} bytes, not those that were sent", received.len());
        }));
    }
    for task in tasks {
        task.await.expect("the task ran to its end");
    }
}

pub async fn a_reader_that_waits_stops_the_writer(pair: Pair) {
    let (server, client) = connected(&pair).await;
    let block = pattern(5, 10_000);
    let mut sent = Vec::new();
    // Until nothing has gone on for a while: all buffers on the way are full.
    while let Ok(length) = timeout(Duration::from_millis(300), client.write(&block)).await {
        let length = length.expect("the connection is open");
        sent.extend_from_slice(&block[..length]);
        assert!(sent.len() < 64 << 20, "nobody reads and writing never waits");
    }
    let reader = spawn(async move { read_all(&server).await });
    client.write_all(&block).await.expect("there is room again");
    sent.extend_from_slice(&block);
    client.shutdown().expect("it is open");
    assert!(reader.await.expect("the task ran to its end").expect("all is there") == sent);
}

pub async fn peeked_bytes_stay_until_they_are_consumed(pair: Pair) {
    let (server, client) = connected(&pair).await;
    client.write_all(b"abc").await.expect("the connection is open");
    let look = |bytes: &[u8]| bytes.to_vec();
    let first = server.peek(look).await.expect("something comes");
    assert!(!first.is_empty() && b"abc".starts_with(&first));
    assert!(server.peek(look).await.expect("it stays").starts_with(&first));
    server.consume(1);
    assert_eq!(read_exactly(&server, 2).await, b"bc");
    client.shutdown().expect("it is open");
    assert!(server.peek(look).await.expect("the end is no error").is_empty());
    server.readable().await.expect("the end is there");
    server.consume(100);
    assert_eq!(server.read(&mut [0; 4]).await.ok(), Some(0));
}

pub async fn a_read_that_is_given_up_loses_nothing(pair: Pair) {
    let (server, client) = connected(&pair).await;
    let sent = pattern(8, 3000);
    let writer = spawn({
        let sent = sent.clone();
        async move {
            for piece in sent.chunks(100) {
                client.write_all(piece).await.expect("the other side reads");
                yield_now().await;
            }
            client.shutdown().expect("it is open");
        }
    });
    let (mut received, mut buffer) = (Vec::new(), [0; 64]);
    loop {
        match timeout(Duration::from_micros(50), server.read(&mut buffer)).await {
            Err(_) => {}
            Ok(length) => match length.expect("the other side writes") {
                0 => break,
                length => received.extend_from_slice(&buffer[..length]),
            },
        }
    }
    assert!(received == sent);
    writer.await.expect("the task ran to its end");
}

pub async fn small_pieces_keep_their_order(pair: Pair) {
    let (server, client) = connected(&pair).await;
    let sent = pattern(9, 2000);
    let reader = spawn(async move { read_all(&server).await });
    for byte in &sent {
        client.write_all(&[*byte]).await.expect("the other side reads");
    }
    drop(client);
    assert!(reader.await.expect("the task ran to its end").expect("all comes") == sent);
}

pub async fn parts_arrive_one_after_the_other(pair: Pair) {
    let (server, client) = connected(&pair).await;
    let mut buffer = [0; 100];
    // Together, so that one read has all of them.
    assert_eq!(server.write_vectored(&[b"head, ", b"", b"body"]).await.ok(), Some(10));
    assert_eq!(client.read(&mut buffer).await.ok(), Some(10));
    assert_eq!(&buffer[..10], b"head, body");
    // More parts than a host takes at a time, and more bytes than there is room for.
    let sent: Vec<_> = (0..50).map(|number| pattern(number, [0, 1, 20_000, 1460, 3][number % 5])).collect();
    let writer = spawn({
        let sent = sent.clone();
        async move {
            let mut parts: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
            server.write_all_vectored(&mut parts).await.expect("the other side reads");
            assert!(parts.iter().all(|part| part.is_empty()));
            server.shutdown().expect("it is open");
            assert!(server.write_vectored(&[b"more"]).await.is_err(), "this side is shut down");
        }
    });
    assert!(read_all(&client).await.expect("all comes") == sent.concat());
    writer.await.expect("the task ran to its end");
}
