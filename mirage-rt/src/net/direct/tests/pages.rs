//! Pages that applications hand over.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::time::Duration;

use super::*;
use crate::packet::Fragment;
use crate::page::{HeapPool, PAGE_SIZE, Page, PagePool};
use crate::time::sleep;

/// Host `number` on a port that cuts packets, with pages of its own.
fn cutting(switch: &Switch, number: u8, pages: usize) -> (Network, Rc<dyn PagePool>) {
    let port = switch.port().with_info(|info| {
        (info.checksum_ipv4, info.gso_ipv4) = (true, 65_535);
        (info.checksum_ipv6, info.gso_ipv6) = (true, 65_535);
    });
    let pool = HeapPool::with_pages(pages);
    let network = Network::direct(port, Rc::clone(&pool), config(number)).expect("the configuration is good");
    (network, pool)
}

/// Gives `sent` in pages, and writes what is left over when there are none; how often that was.
async fn give_all(network: &Network, stream: &TcpStream, sent: &[u8]) -> usize {
    let mut written = 0;
    for bytes in sent.chunks(PAGE_SIZE) {
        match network.page() {
            Some(mut page) => {
                page[..bytes.len()].copy_from_slice(bytes);
                let bytes = Fragment::new(page, 0..bytes.len()).expect("in the page");
                stream.give(bytes).await.expect("the peer reads");
            }
            None => {
                written += 1;
                stream.write_all(bytes).await.expect("the peer reads");
            }
        }
    }
    written
}

fn what_is_given_arrives_and_the_pages_come_back() {
    for loss in [0.0, 0.02] {
        testing::run(120, async move {
            let impairments = Impairments::NONE.with_loss(loss).with_delay(Duration::from_millis(1), Duration::ZERO);
            let switch = Switch::new(120, impairments);
            let (server, pool) = cutting(&switch, 1, 600);
            let client = host(&switch, 2);
            let mut listener = server.tcp().bind(80).await.expect("the port is free");
            let sent = pattern(7, 1_000_000);
            let expected = sent.clone();
            let network = server.clone();
            let serving = spawn(async move {
                let (stream, _) = listener.accept().await.expect("a connection");
                give_all(&network, &stream, &sent).await;
                stream.shutdown().expect("the connection is open");
                stream.acknowledged().await.expect("the peer reads");
            });
            let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
            assert!(read_to_end(&stream).await == expected);
            serving.await.expect("the task ends");
            drop(stream);
            sleep(Duration::from_secs(1)).await;
            assert_eq!(pool.available(), 600);
        });
    }
}

fn slow_readers_leave_pages_for_the_device() {
    testing::run(121, async {
        let switch = Switch::new(121, Impairments::NONE);
        let (server, pool) = cutting(&switch, 1, 100);
        let client = host(&switch, 2);
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let mut streams = Vec::new();
        for number in 0..8 {
            streams.push(client.tcp().connect(at(1, 80)).await.expect("the server listens"));
            let (stream, _) = listener.accept().await.expect("a connection");
            let network = server.clone();
            drop(spawn(async move {
                give_all(&network, &stream, &pattern(number, 200_000)).await;
            }));
        }
        sleep(Duration::from_secs(5)).await;
        // Nobody has read anything, and all wait; somebody new is served.
        assert!(pool.available() >= 60, "{}", pool.available());
        // smoltcp's machine has copied all.
        assert_eq!(server.page().is_none(), is_own());
        let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        let (accepted, _) = listener.accept().await.expect("a connection");
        accepted.write_all(b"hello").await.expect("it is open");
        drop(accepted);
        assert_eq!(read_to_end(&stream).await, b"hello");
        for (number, stream) in streams.iter().enumerate() {
            assert!(read_to_end(stream).await == pattern(number, 200_000));
        }
    });
}

fn pages_are_handed_on_from_one_stream_to_another() {
    for loss in [0.0, 0.01] {
        testing::run(122, async move {
            let impairments = Impairments::NONE.with_loss(loss).with_delay(Duration::from_millis(1), Duration::ZERO);
            let switch = Switch::new(122, impairments);
            let (server, client) = (host(&switch, 1), host(&switch, 2));
            let (proxy, pool) = cutting(&switch, 3, 600);
            let _echoing = echo_server(&server, 80).await;
            let mut listener = proxy.tcp().bind(80).await.expect("the port is free");
            let serving = spawn(async move {
                let (near, _) = listener.accept().await.expect("a connection");
                let far = proxy.tcp().connect(at(1, 80)).await.expect("the server listens");
                let there = spawn(forward(near.clone(), far.clone()));
                forward_all(far, near).await;
                there.await.expect("the task ends");
            });
            let stream = client.tcp().connect(at(3, 80)).await.expect("the proxy listens");
            exchange(stream, pattern(9, 500_000)).await;
            serving.await.expect("the task ends");
            sleep(Duration::from_secs(300)).await;
            assert_eq!(pool.available(), 600);
        });
    }
}

/// Hands on what comes, then closes.
async fn forward(from: TcpStream, to: TcpStream) {
    while let Some(bytes) = from.take().await.expect("the peer writes") {
        to.give(bytes).await.expect("the peer reads");
    }
    to.shutdown().expect("the connection is open");
}

/// The same, all that has come at once.
async fn forward_all(from: TcpStream, to: TcpStream) {
    let mut pages = VecDeque::new();
    while from.take_all(&mut pages).await.expect("the peer writes") > 0 {
        to.give_all(&mut pages).await.expect("the peer reads");
        assert!(pages.is_empty());
    }
    to.shutdown().expect("the connection is open");
}

fn taken_bytes_are_all_there_in_whatever_way_they_are_read() {
    testing::run(123, async {
        let switch = Switch::new(123, Impairments::NONE);
        let (server, client) = (host(&switch, 1), host(&switch, 2));
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        let (accepted, _) = listener.accept().await.expect("a connection");
        let sent = pattern(11, 300_000);
        let expected = sent.clone();
        drop(spawn(async move {
            stream.write_all(&sent).await.expect("the peer reads");
            stream.shutdown().expect("the connection is open");
        }));
        let (mut received, mut turn) = (Vec::new(), 0);
        loop {
            turn += 1;
            let before = received.len();
            match turn % 3 {
                0 => {
                    let mut buffer = vec![0; 700];
                    let length = accepted.read(&mut buffer).await.expect("the peer writes");
                    received.extend_from_slice(&buffer[..length]);
                }
                1 => {
                    let length = accepted.peek(|bytes| {
                        let length = bytes.len().min(1100);
                        received.extend_from_slice(&bytes[..length]);
                        length
                    });
                    accepted.consume(length.await.expect("the peer writes"));
                }
                _ => {
                    if let Some(bytes) = accepted.take().await.expect("the peer writes") {
                        received.extend_from_slice(bytes.bytes());
                    }
                }
            }
            if received.len() == before {
                break;
            }
        }
        assert!(received == expected);
    });
}

fn packets_of_many_segments_are_taken_in_their_pages() {
    testing::run(124, async {
        let switch = Switch::new(124, Impairments::NONE);
        let (server, _) = cutting(&switch, 1, 600);
        let info = |info: &mut crate::types::network::NetworkInfo| {
            (info.checksum_ipv4, info.gso_ipv4) = (true, 65_535);
            (info.checksum_ipv6, info.gso_ipv6) = (true, 65_535);
        };
        let port = switch.port().with_info(info).with_long_packets();
        let client = Network::direct(port, switch.pool(), config(2)).expect("the configuration is good");
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let sent = pattern(13, 2_000_000);
        let expected = sent.clone();
        let network = server.clone();
        drop(spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            give_all(&network, &stream, &sent).await;
            stream.shutdown().expect("the connection is open");
            stream.acknowledged().await.expect("the peer reads");
        }));
        let before = switch.pool().available();
        let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        let (mut received, mut pages, mut most) = (Vec::new(), VecDeque::new(), 0);
        while stream.take_all(&mut pages).await.expect("the peer writes") > 0 {
            most = most.max(before - switch.pool().available());
            pages.drain(..).for_each(|page| received.extend_from_slice(page.bytes()));
        }
        assert!(received == expected);
        // smoltcp's machine copies, one page at a time.
        assert_eq!(most > 10, is_own(), "{most} pages at once");
    });
}

fn those_who_take_leave_pages_for_the_device() {
    if !is_own() || is_ipv6() {
        // Once is enough: the others would only hold as much memory at the same time.
        return;
    }
    testing::run(125, async {
        let switch = Switch::new(125, Impairments::NONE);
        let (server, client) = (host(&switch, 1), host(&switch, 2));
        let pool = switch.pool();
        let others: Vec<_> = core::iter::from_fn(|| Page::take(&pool).filter(|page| page.left() >= 150)).collect();
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        let (accepted, _) = listener.accept().await.expect("a connection");
        drop(spawn(async move {
            stream.write_all(&pattern(1, 400_000)).await.expect("the peer reads");
            stream.shutdown().expect("the connection is open");
        }));
        // Who takes pages and keeps them gets none any more before the device has too few.
        let mut taken = Vec::new();
        let error = loop {
            match accepted.take().await {
                Ok(page) => taken.push(page.expect("there is more")),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, crate::net::ReadError::NoPage), "{error}");
        assert!(taken.len() >= 70 && pool.available() >= 60, "{} of {}", taken.len(), pool.available());
        // Nothing is lost, and bytes can be read.
        let mut received: Vec<u8> = taken.drain(..).flat_map(|page| page.bytes().to_vec()).collect();
        received.extend(read_to_end(&accepted).await);
        assert!(received == pattern(1, 400_000));
        drop(others);
    });
}

machines! {
    what_is_given_arrives_and_the_pages_come_back,
    slow_readers_leave_pages_for_the_device,
    pages_are_handed_on_from_one_stream_to_another,
    taken_bytes_are_all_there_in_whatever_way_they_are_read,
    packets_of_many_segments_are_taken_in_their_pages,
    those_who_take_leave_pages_for_the_device,
}
