//! The site as a whole: over the host's loopback interface and in a process of its own (see also `tests/process.rs`).

use std::net::SocketAddr;
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use mirage_rt::net::{Network, TcpStream};
use mirage_rt::{Duration, spawn, timeout};

use super::*;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

static FILES: &[mirage_rt::kv::File] = &[
    mirage_rt::kv::File { name: "a.txt", content: b"aaa", digest: "01" },
    mirage_rt::kv::File { name: "index.html", content: b"<h1>root</h1>", digest: "02" },
    mirage_rt::kv::File { name: "large.bin", content: &[b'L'; 1 << 20], digest: "03" },
];

/// Starts the site on any free port of `network`; its address.
async fn start(network: &Network) -> SocketAddr {
    let listener = network.tcp().bind(0).await.expect("a port is free");
    let address = listener.local_addr();
    spawn(connection::serve_all(listener, mirage_rt::kv::Embedded::new(FILES)));
    address
}

/// Reads one answer; its head and its content. `None` when the connection ends before it.
async fn answer(stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 65536]);
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.map_or(0, |length| length.parse().expect("a length is a number"));
            if bytes.len() >= head.len() + 4 + length {
                let head = String::from(head);
                assert_eq!(bytes.len(), head.len() + 4 + length, "nothing was sent behind the answer");
                return Some((head.clone(), bytes.split_off(head.len() + 4)));
            }
        }
        match timeout(LONG, stream.read(&mut buffer)).await.expect("the site answers") {
            Ok(0) | Err(_) => return None,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
        }
    }
}

/// Requests `path` on an open connection.
async fn get(stream: &TcpStream, path: &str) -> Option<(String, Vec<u8>)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the site reads");
    answer(stream).await
}

async fn one_connection_serves_many_requests(network: Network) {
    let stream = network.tcp().connect(start(&network).await).await.expect("the site listens");
    for _ in 0..3 {
        let (head, content) = get(&stream, "/").await.expect("the connection stays open");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nDate: "), "{head}");
        assert_eq!(content, b"<h1>root</h1>");
        let (_, content) = get(&stream, "/large.bin").await.expect("the connection stays open");
        assert!(content == [b'L'; 1 << 20]);
        let (head, _) = get(&stream, "/none").await.expect("the connection stays open");
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    }
}

async fn a_bad_request_is_answered_and_ends_the_connection(network: Network) {
    let stream = network.tcp().connect(start(&network).await).await.expect("the site listens");
    // More than the site looks at: the answer must not be lost to a reset.
    let bytes = vec![b'x'; 20_000];
    stream.write_all(&bytes).await.expect("the site reads");
    let (head, _) = answer(&stream).await.expect("the answer arrives");
    assert!(head.starts_with("HTTP/1.1 414 "), "{head}");
    assert_eq!(stream.read(&mut [0; 8]).await.ok(), Some(0));
}

async fn connections_are_bounded(network: Network) {
    let address = start(&network).await;
    let mut open = Vec::new();
    for _ in 0..256 {
        let stream = network.tcp().connect(address).await.expect("the site listens");
        let (head, _) = get(&stream, "/a.txt").await.expect("there is a place");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        open.push(stream);
    }
    let stream = network.tcp().connect(address).await.expect("the site listens");
    let (head, _) = answer(&stream).await.expect("it says why");
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Connection: close"), "{head}");
    drop((open.pop(), stream));
    // The site sees the end of the connection at its next turn; until then there is no place.
    loop {
        let stream = network.tcp().connect(address).await.expect("the site listens");
        match get(&stream, "/a.txt").await {
            Some((head, _)) if head.starts_with("HTTP/1.1 200 ") => break,
            Some((head, _)) => assert!(head.starts_with("HTTP/1.1 503 "), "{head}"),
            None => {}
        }
    }
}

mod on_loopback {
    use mirage_unix::testing::run;

    #[test]
    fn one_connection_serves_many_requests() {
        run(super::one_connection_serves_many_requests);
    }

    #[test]
    fn a_bad_request_is_answered_and_ends_the_connection() {
        run(super::a_bad_request_is_answered_and_ends_the_connection);
    }

    #[test]
    fn connections_are_bounded() {
        run(super::connections_are_bounded);
    }
}
