//! Bytes that stand in several places.

use super::*;
use crate::net::WriteError;
use crate::time::{Duration, timeout};

fn parts_leave_in_one_segment() {
    testing::run(130, async {
        let (switch, client, server) = pair(130).await;
        let mut buffer = [0; 2000];
        for (head, body) in [(100, 200), (1, 1), (200, 1000)] {
            let before = switch.frames();
            let (head, body) = (pattern(1, head), pattern(2, body));
            let written = server.write_vectored(&[&head, &[], &body]).await;
            assert_eq!(written.ok(), Some(head.len() + body.len()));
            let length = client.read(&mut buffer).await.expect("it comes");
            assert!(buffer[..length] == [head, body].concat(), "{length} bytes at once");
            assert_eq!(switch.frames() - before, 1);
            // Its acknowledgement leaves with an answer.
            client.write_all(b"next").await.expect("it is open");
            assert_eq!(server.read(&mut buffer).await.ok(), Some(4));
        }
    });
}

fn parts_wait_for_room_and_stay_when_that_is_given_up() {
    testing::run(131, async {
        let (_switch, client, server) = pair(131).await;
        let sent = [pattern(3, 200), pattern(4, 400_000), pattern(5, 7), pattern(6, 50_000)];
        let mut parts: [&[u8]; 4] = [&sent[0], &sent[1], &sent[2], &sent[3]];
        let waited = timeout(Duration::from_secs(5), server.write_all_vectored(&mut parts)).await;
        assert!(waited.is_err(), "nobody reads");
        assert!(parts[0].is_empty() && parts[1].len() < 400_000, "{} are left", parts[1].len());
        // Nothing is taken over while there is no room.
        let full = timeout(Duration::from_secs(5), server.write_vectored(&parts)).await;
        assert!(full.is_err(), "nobody reads");
        let reading = spawn(async move { read_to_end(&client).await });
        server.write_all_vectored(&mut parts).await.expect("it is read");
        assert!(parts.iter().all(|part| part.is_empty()));
        server.shutdown().expect("it is open");
        assert!(reading.await.expect("the task ends") == sent.concat());
    });
}

fn nothing_is_written_without_bytes_or_to_what_is_closed() {
    testing::run(132, async {
        let (_switch, client, server) = pair(132).await;
        assert_eq!(client.write_vectored(&[]).await.ok(), Some(0));
        assert_eq!(client.write_vectored(&[b"", b""]).await.ok(), Some(0));
        client.write_all_vectored(&mut []).await.expect("there is nothing to do");
        client.shutdown().expect("it is open");
        let mut parts: [&[u8]; 2] = [b"a", b"b"];
        assert!(matches!(client.write_vectored(&parts).await, Err(WriteError::Closed)));
        assert!(matches!(client.write_all_vectored(&mut parts).await, Err(WriteError::Closed)));
        assert_eq!(parts.concat(), b"ab");
        assert!(read_to_end(&server).await.is_empty());
    });
}

worlds! {
    parts_leave_in_one_segment,
    parts_wait_for_room_and_stay_when_that_is_given_up,
    nothing_is_written_without_bytes_or_to_what_is_closed,
}
