//! Pages that are handed over instead of bytes.

use alloc::collections::VecDeque;
use alloc::rc::Rc;

use mirage_rt::packet::Fragment;
use mirage_rt::page::PAGE_SIZE;

use super::*;

pub async fn given_pages_arrive_among_written_bytes(pair: Pair) {
    let (server, client) = connected(&pair).await;
    let network = pair.client.network.clone();
    let sent = pattern(5, 400_000);
    let expected = sent.clone();
    let writer = mirage_rt::spawn(async move {
        let (mut left, mut turn) = (&sent[..], 0);
        while !left.is_empty() {
            // Short ones and whole ones, and now and then bytes, as when there is no page.
            let (bytes, rest) = left.split_at(left.len().min([10, PAGE_SIZE, 1500, 3000][turn % 4]));
            match network.page().filter(|_| turn % 7 > 0) {
                Some(mut page) => {
                    let start = (turn * 13) % (PAGE_SIZE + 1 - bytes.len());
                    let range = start..start + bytes.len();
                    page[range.clone()].copy_from_slice(bytes);
                    client.give(Fragment::new(page, range).expect("in the page")).await.expect("it is read");
                }
                None => client.write_all(bytes).await.expect("it is read"),
            }
            (left, turn) = (rest, turn + 1);
        }
        client.shutdown().expect("it is open");
    });
    assert!(read_all(&server).await.expect("all comes") == expected);
    writer.await.expect("the task ran to its end");
}

pub async fn a_shared_page_goes_to_many(pair: Pair) {
    let mut page = pair.server.network.page().expect("there are pages");
    page.copy_from_slice(&pattern(6, PAGE_SIZE));
    let page = Rc::new(page);
    for _ in 0..5 {
        let (server, client) = connected(&pair).await;
        for _ in 0..10 {
            let bytes = Fragment::shared(Rc::clone(&page), 96..PAGE_SIZE).expect("in the page");
            server.give(bytes).await.expect("it is read");
        }
        server.shutdown().expect("it is open");
        assert!(read_all(&client).await.expect("all comes") == pattern(6, PAGE_SIZE)[96..].repeat(10));
        let error = server.give(Fragment::shared(Rc::clone(&page), 0..1).expect("in the page")).await;
        assert!(error.is_err(), "this side is shut down");
    }
}

pub async fn taken_pages_have_what_was_written(pair: Pair) {
    let (server, client) = connected(&pair).await;
    let sent = pattern(7, 300_000);
    let expected = sent.clone();
    let writer = mirage_rt::spawn(async move {
        client.write_all(&sent).await.expect("it is read");
        client.shutdown().expect("it is open");
    });
    let (mut received, mut buffer) = (Vec::new(), [0; 100]);
    while let Some(page) = server.take().await.expect("all comes") {
        assert!(!page.is_empty());
        received.extend_from_slice(page.bytes());
        // Some are read into a buffer, and the others as they came.
        let length = server.read(&mut buffer).await.expect("all comes");
        received.extend_from_slice(&buffer[..length]);
    }
    assert!(received == expected);
    writer.await.expect("the task ran to its end");
}

pub async fn pages_are_sent_back(pair: Pair) {
    let (server, client) = connected(&pair).await;
    let sent = pattern(8, 300_000);
    let expected = sent.clone();
    let writer = client.clone();
    let writing = mirage_rt::spawn(async move {
        writer.write_all(&sent).await.expect("it is read");
        writer.shutdown().expect("it is open");
    });
    let sending_back = mirage_rt::spawn(async move {
        let mut pages = VecDeque::new();
        while server.take_all(&mut pages).await.expect("all comes") > 0 {
            server.give_all(&mut pages).await.expect("it is read");
        }
        server.shutdown().expect("it is open");
    });
    assert!(read_all(&client).await.expect("all comes back") == expected);
    writing.await.expect("the task ran to its end");
    sending_back.await.expect("the task ran to its end");
}
