//! Programs that others wrote against the host's sockets and a stack of our own on a tap device: dig asks a name server of this
//! test by UDP and TCP (no example is one), and whoever connects reads a packet capture.

#![forbid(unsafe_code)]

mod namespace;

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use mirage_rt::net::capture::{Capture, Live};
use mirage_rt::net::{Config, Network, TcpStream as Stream};
use mirage_rt::page::HeapPool;
use mirage_rt::platform::Platform;
use mirage_rt::{Duration, Runtime, spawn, timeout};
use mirage_unix::{HostSockets, Tap, UnixPlatform};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

#[test]
fn on_sockets() {
    run(|platform| {
        let network = Network::host(Rc::new(HostSockets::new(platform, Ipv4Addr::LOCALHOST)));
        async move { dig_finds_names(&network, Ipv4Addr::LOCALHOST).await }
    });
}

#[test]
fn on_a_tap_device() {
    namespace::run(&["inner::names", "inner::capture"]);
}

/// Runs `test` on the host's platform.
fn run<F: Future<Output = ()>>(test: impl FnOnce(&Rc<UnixPlatform>) -> F) {
    let platform = UnixPlatform::new().expect("a test may open descriptors");
    let runtime = Runtime::new(Rc::clone(&platform) as Rc<dyn Platform>);
    runtime.run(async { timeout(LONG, test(&platform)).await }).expect("it takes no time");
}

/// Does something that waits, on a thread of its own.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let place: Arc<Mutex<(Option<T>, Option<Waker>)>> = Arc::new(Mutex::new((None, None)));
    let there = Arc::clone(&place);
    let thread = std::thread::spawn(move || {
        let result = work();
        let mut place = there.lock().expect("nobody panics with it");
        place.0 = Some(result);
        if let Some(waker) = place.1.take() {
            waker.wake();
        }
    });
    let result = std::future::poll_fn(|context| {
        if thread.is_finished() {
            let result = place.lock().expect("nobody panics with it").0.take();
            return Poll::Ready(result.expect("the thread has not panicked"));
        }
        let mut place = place.lock().expect("nobody panics with it");
        place.1 = Some(context.waker().clone());
        place.0.take().map_or(Poll::Pending, Poll::Ready)
    });
    result.await
}

/// A port that is free at both protocols, as far as it can be known.
const PORT: u16 = 53_053;

async fn dig_finds_names(network: &Network, address: Ipv4Addr) {
    let socket = network.udp().bind(PORT).await.expect("the port is free");
    let mut listener = network.tcp().bind(PORT).await.expect("the port is free");
    drop(spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.receive_from(&mut buffer).await {
            if let Some(answer) = answer(&buffer[..length], true) {
                socket.send_to(&answer, from).await.expect("the asker is near");
            }
        }
    }));
    drop(spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(spawn(answer_stream(stream)));
        }
    }));
    let found = aside(move || {
        let ask = |words: &[&str]| dig(address, words);
        // One that was cut is asked for again over TCP, by dig itself.
        [ask(&["www.example", "A"]), ask(&["www.example", "A", "+tcp"]), ask(&["long.example", "A"])]
    });
    let [by_datagram, by_stream, cut] = found.await;
    for found in [by_datagram, by_stream].into_iter().flatten() {
        assert_eq!(found, "192.0.2.80\n");
    }
    if let Some(found) = cut {
        assert_eq!(found.lines().count(), MANY, "{found}");
    }
}

/// What dig finds; `None` when it is not installed.
fn dig(server: Ipv4Addr, words: &[&str]) -> Option<String> {
    let fixed = [format!("@{server}"), "-p".into(), PORT.to_string(), "+short".into(), "+tries=2".into()];
    match Command::new("dig").args(fixed).args(words).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{words:?}: {text}");
            Some(text)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "dig is not installed");
            eprintln!("SKIPPED: no test with dig, which is not installed");
            None
        }
        Err(error) => panic!("dig: {error}"),
    }
}

async fn answer_stream(stream: Stream) {
    let mut question = Vec::new();
    let mut buffer = [0; 600];
    loop {
        let length = stream.read(&mut buffer).await.expect("dig lives");
        question.extend_from_slice(&buffer[..length]);
        let whole =
            question.split_first_chunk::<2>().filter(|(size, rest)| u16::from_be_bytes(**size) as usize <= rest.len());
        if let Some(answer) = whole.and_then(|(_, message)| answer(message, false)) {
            let framed = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
            stream.write_all(&framed).await.expect("dig reads");
            question.clear();
        }
        if length == 0 {
            return;
        }
    }
}

/// Addresses of long.example: more than fit a datagram.
const MANY: usize = 200;

/// The answer to a question (RFC 1035): one address, many for names that begin with `long`, which are cut to none in a datagram.
fn answer(question: &[u8], datagram: bool) -> Option<Vec<u8>> {
    let name_length = question.get(12..)?.iter().position(|byte| *byte == 0)? + 1;
    let asked = question.get(12..12 + name_length + 4)?;
    let is_long = asked.starts_with(b"\x04long");
    let count = if is_long { MANY } else { 1 };
    let cut = is_long && datagram;
    let flags: u16 = if cut { 0x8380 } else { 0x8180 };
    let mut answer = question[..2].to_vec();
    for number in [flags, 1, if cut { 0 } else { count as u16 }, 0, 0] {
        answer.extend(number.to_be_bytes());
    }
    answer.extend(asked);
    for number in 0..if cut { 0 } else { count } {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80_u8.wrapping_add(number as u8)]);
    }
    Some(answer)
}

mod inner {
    use super::*;

    /// A tap device at whose other end the kernel is 10.77.0.1.
    fn tap(platform: &UnixPlatform) -> Tap {
        namespace::ip("tuntap add tap0 mode tap");
        namespace::ip("address add 10.77.0.1/24 dev tap0");
        namespace::ip("link set tap0 up");
        Tap::open(platform, "tap0").expect("the interface was made for this")
    }

    fn config() -> Config {
        Config::from_keys("10.77.0.2/24".parse().ok(), None)
    }

    #[test]
    #[ignore = "run by on_a_tap_device"]
    fn names() {
        run(|platform| {
            let network = Network::direct(tap(platform), HeapPool::with_pages(256), config()).expect("an address");
            async move { dig_finds_names(&network, Ipv4Addr::new(10, 77, 0, 2)).await }
        });
    }

    /// Reads as much as there is until `enough`.
    fn read_until(stream: &mut TcpStream, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let (mut file, mut buffer) = (Vec::new(), [0; 4096]);
        while !enough(&file) {
            let length = stream.read(&mut buffer).expect("the capture goes on");
            assert!(length > 0, "it has no end");
            file.extend_from_slice(&buffer[..length]);
        }
        file
    }

    /// On the stack that is looked at and on the host's sockets beside it, by readers who know nothing of us.
    #[test]
    #[ignore = "run by on_a_tap_device"]
    fn capture() {
        namespace::ip("link set lo up");
        run(|platform| {
            let live = Live::new(256 << 10);
            let device = Capture::new(tap(platform), live.clone()).expect("it takes the header");
            let network = Network::direct(device, HeapPool::with_pages(256), config()).expect("an address");
            let host = Network::host(Rc::new(HostSockets::new(platform, Ipv4Addr::LOCALHOST)));
            async move {
                for (serving, at) in [
                    (&network, SocketAddr::from(([10, 77, 0, 2], 5555))),
                    (&host, SocketAddr::from(([127, 0, 0, 1], 5555))),
                ] {
                    live.serve(serving, 5555).expect("the port is free");
                    let file = aside(move || {
                        let mut reader = TcpStream::connect(at).expect("it is served");
                        reader.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a time");
                        let mut file = read_until(&mut reader, |file| file.len() >= 24);
                        let socket = std::net::UdpSocket::bind("10.77.0.1:0").expect("the kernel has this address");
                        socket.send_to(b"captured", "10.77.0.2:9").expect("the route is there");
                        file.extend(read_until(&mut reader, |bytes| bytes.windows(8).any(|part| part == b"captured")));
                        file
                    });
                    let file = file.await;
                    assert_eq!(file[..4], [0x4d, 0x3c, 0xb2, 0xa1], "a capture with nanoseconds");
                    assert!(!file[24..].windows(8).any(|part| part == &file[..8]), "nothing of the reader's own");
                }
            }
        });
    }
}
