//! The site as a whole: over the host's loopback interface, and over the in-memory switch in virtual time. `tests` beside
//! `src` has it as a process.

use std::net::SocketAddr;
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use mirage_rt::net::{Network, TcpStream};
use mirage_rt::{Duration, now, spawn, timeout};

use super::*;

/// Far longer than any answer takes.
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
    spawn(connection::serve_all(listener, mirage_rt::kv::Embedded::new(FILES), MAX_CONNECTIONS));
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

async fn one_connection_serves_many_requests(site: Network, client: Network) {
    let stream = client.tcp().connect(start(&site).await).await.expect("the site listens");
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

async fn a_bad_request_is_answered_and_ends_the_connection(site: Network, client: Network) {
    let stream = client.tcp().connect(start(&site).await).await.expect("the site listens");
    // More than the site looks at: the answer must not be lost to a reset.
    let bytes = vec![b'x'; 20_000];
    stream.write_all(&bytes).await.expect("the site reads");
    let (head, _) = answer(&stream).await.expect("the answer arrives");
    assert!(head.starts_with("HTTP/1.1 414 "), "{head}");
    assert_eq!(stream.read(&mut [0; 8]).await.ok(), Some(0));
}

async fn connections_are_bounded(site: Network, client: Network) {
    let address = start(&site).await;
    let mut open = Vec::new();
    for _ in 0..256 {
        let stream = client.tcp().connect(address).await.expect("the site listens");
        let (head, _) = get(&stream, "/a.txt").await.expect("there is a place");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        open.push(stream);
    }
    let stream = client.tcp().connect(address).await.expect("the site listens");
    let (head, _) = answer(&stream).await.expect("it says why");
    assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("Connection: close"), "{head}");
    drop((open.pop(), stream));
    // The site sees the end of the connection at its next turn; until then there is no place.
    loop {
        let stream = client.tcp().connect(address).await.expect("the site listens");
        match get(&stream, "/a.txt").await {
            Some((head, _)) if head.starts_with("HTTP/1.1 200 ") => break,
            Some((head, _)) => assert!(head.starts_with("HTTP/1.1 503 "), "{head}"),
            None => {}
        }
    }
}

async fn dates_go_on_with_the_seconds(site: Network, client: Network) {
    let stream = client.tcp().connect(start(&site).await).await.expect("the site listens");
    let mut dates = Vec::new();
    for _ in 0..9 {
        let (head, _) = get(&stream, "/a.txt").await.expect("the site answers");
        let seconds = mirage_rt::Runtime::current().wall_clock().expect("a clock").as_secs();
        let date = http::date::imf_fixdate(seconds);
        assert!(head.contains(std::str::from_utf8(&date).expect("a line")), "{head}");
        dates.push(date);
        mirage_rt::sleep(Duration::from_millis(400)).await;
    }
    dates.dedup();
    assert_eq!(dates.len(), 4, "nine answers in 3.2 seconds");
}

/// Waits for the end of the connection; how long that took, in seconds.
async fn seconds_to_the_end(stream: &TcpStream) -> u64 {
    let start = now();
    let mut buffer = [0; 512];
    while let Ok(1..) = stream.read(&mut buffer).await {}
    now().saturating_duration_since(start).as_secs()
}

async fn silence_ends_a_connection(site: Network, client: Network) {
    let address = start(&site).await;
    let silent = client.tcp().connect(address).await.expect("the site listens");
    assert_eq!(seconds_to_the_end(&silent).await, 30);
    let stream = client.tcp().connect(address).await.expect("the site listens");
    get(&stream, "/a.txt").await.expect("the site answers");
    assert_eq!(seconds_to_the_end(&stream).await, 30);
}

async fn a_slow_request_is_refused(site: Network, client: Network) {
    let stream = client.tcp().connect(start(&site).await).await.expect("the site listens");
    get(&stream, "/a.txt").await.expect("the site answers");
    let start = now();
    // A byte every two seconds is never silent for long.
    for byte in b"GET /" {
        stream.write_all(&[*byte]).await.expect("the site reads");
        mirage_rt::sleep(Duration::from_secs(2)).await;
    }
    let (head, _) = answer(&stream).await.expect("it says why");
    assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
    assert_eq!(now().saturating_duration_since(start).as_secs(), 10);
}

async fn a_client_that_does_not_read_is_let_go(site: Network, client: Network) {
    let address = start(&site).await;
    let stuck = client.tcp().connect(address).await.expect("the site listens");
    stuck.write_all(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("the site reads");
    // The time for an answer, and for a megabyte at the least speed.
    mirage_rt::sleep(Duration::from_secs(30 + (1 << 20) / 4096 + 10)).await;
    let mut buffer = vec![0; 65536];
    let mut received = 0;
    let end = loop {
        match stuck.read(&mut buffer).await {
            Ok(0) => break Ok(()),
            Ok(length) => received += length,
            Err(error) => break Err(error),
        }
    };
    assert!(end.is_err() && received < 1 << 20, "a reset, not an end: {end:?} after {received} bytes");
}

mod on_loopback {
    use mirage_unix::testing::run;

    #[test]
    fn one_connection_serves_many_requests() {
        run(|network| super::one_connection_serves_many_requests(network.clone(), network));
    }

    #[test]
    fn a_bad_request_is_answered_and_ends_the_connection() {
        run(|network| super::a_bad_request_is_answered_and_ends_the_connection(network.clone(), network));
    }

    #[test]
    fn connections_are_bounded() {
        run(|network| super::connections_are_bounded(network.clone(), network));
    }
}

mod on_the_switch {
    use mirage_rt::net::switch::{Impairments, Switch};
    use mirage_rt::net::{Config, Network};
    use mirage_rt::testing;

    /// Runs `test` in virtual time, with the site and its client on a switch with these faults.
    fn run<F: Future<Output = ()>>(seed: u64, faults: Impairments, test: impl FnOnce(Network, Network) -> F) {
        testing::run(seed, async {
            let switch = Switch::new(seed, faults);
            let network = |address: &str| {
                let mut config = Config::from_keys(Some(address.parse().expect("it is an address")), None);
                // For as many connections as the site serves.
                config.connection_memory = 16 << 20;
                Network::direct(switch.port(), switch.pool(), config).expect("it is a host's address")
            };
            test(network("10.0.0.1/24"), network("10.0.0.2/24")).await;
        });
    }

    #[test]
    fn one_connection_serves_many_requests() {
        run(1, Impairments::NONE, super::one_connection_serves_many_requests);
    }

    #[test]
    fn one_connection_serves_many_requests_in_spite_of_losses() {
        run(2, Impairments::NONE.with_loss(0.02), super::one_connection_serves_many_requests);
    }

    #[test]
    fn a_bad_request_is_answered_and_ends_the_connection() {
        run(3, Impairments::NONE, super::a_bad_request_is_answered_and_ends_the_connection);
    }

    #[test]
    fn connections_are_bounded() {
        run(4, Impairments::NONE, super::connections_are_bounded);
    }

    #[test]
    fn dates_go_on_with_the_seconds() {
        run(8, Impairments::NONE, super::dates_go_on_with_the_seconds);
    }

    #[test]
    fn silence_ends_a_connection() {
        run(5, Impairments::NONE, super::silence_ends_a_connection);
    }

    #[test]
    fn a_slow_request_is_refused() {
        run(6, Impairments::NONE, super::a_slow_request_is_refused);
    }

    #[test]
    fn a_client_that_does_not_read_is_let_go() {
        run(7, Impairments::NONE, super::a_client_that_does_not_read_is_let_go);
    }
}
