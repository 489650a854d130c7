//! The ends of connections: closing, resetting, vanishing, not being accepted.

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};

use super::raw::{Raw, stack};
use super::*;
use crate::net::direct::tcp::segment::{Bare, Control, Seq};
use crate::net::{ConnectError, ReadError, WriteError};
use crate::runtime::now;
use crate::time::{Duration, sleep, timeout};

/// A connection from host 2 to host 1: the client's end and the server's.
async fn pair(server: &Network, client: &Network) -> (TcpStream, TcpStream) {
    let mut listener = server.tcp().bind(80).await.expect("the port is free");
    let connecting = client.tcp().connect(at(1, 80)).await.expect("the server listens");
    let (accepted, peer) = listener.accept().await.expect("a connection waits");
    assert_eq!(peer, connecting.local_addr());
    assert_eq!(accepted.peer_addr(), peer);
    assert_eq!(connecting.peer_addr(), at(1, 80));
    (connecting, accepted)
}

fn two_hosts(seed: u64) -> (Switch, Network, Network) {
    let switch = Switch::new(seed, Impairments::NONE);
    let (server, client) = (host(&switch, 1), host(&switch, 2));
    (switch, server, client)
}

fn one_side_can_be_closed_while_the_other_goes_on() {
    testing::run(31, async {
        let (_switch, server, client) = two_hosts(31);
        let (client, server) = pair(&server, &client).await;
        client.write_all(b"that is all").await.expect("there is room");
        client.shutdown().expect("it is open");
        client.shutdown().expect("a second time does nothing");
        assert!(matches!(client.write(b"more").await, Err(WriteError::Closed)));
        assert_eq!(read_to_end(&server).await, b"that is all");
        // Long after the end of the one direction the other still works.
        sleep(Duration::from_secs(600)).await;
        let bytes = pattern(1, 50_000);
        let sent = bytes.clone();
        let writing = spawn(async move {
            server.write_all(&sent).await.expect("the client reads");
            server.shutdown().expect("it is open");
            server.acknowledged().await.expect("the client has it all");
        });
        assert!(read_to_end(&client).await == bytes);
        writing.await.expect("the server ends");
    });
}

fn an_abort_is_a_reset_for_the_peer() {
    testing::run(32, async {
        let (_switch, server, client) = two_hosts(32);
        let (client, server) = pair(&server, &client).await;
        client.abort();
        assert!(matches!(client.read(&mut [0; 8]).await, Err(ReadError::Aborted)));
        assert!(matches!(client.write(b"x").await, Err(WriteError::Closed)));
        assert!(matches!(server.read(&mut [0; 8]).await, Err(ReadError::Reset)));
        assert!(matches!(server.write(b"x").await, Err(WriteError::Reset)));
    });
}

fn a_stream_dropped_with_bytes_unread_is_reset_and_without_is_closed() {
    testing::run(33, async {
        let (_switch, server, client) = two_hosts(33);
        let (client_end, server_end) = pair(&server, &client).await;
        client_end.write_all(b"nobody reads this").await.expect("there is room");
        server_end.readable().await.expect("they come");
        drop(server_end);
        assert!(matches!(client_end.read(&mut [0; 8]).await, Err(ReadError::Reset)));

        let (client_end, server_end) = pair(&server, &client).await;
        server_end.write_all(b"bye").await.expect("there is room");
        drop(server_end);
        assert_eq!(read_to_end(&client_end).await, b"bye");
        // The server's side is nobody's now: what still comes is refused.
        client_end.write_all(b"hello?").await.expect("there is room");
        sleep(Duration::from_millis(50)).await;
        assert!(matches!(client_end.write(b"x").await, Err(WriteError::Reset)));
    });
}

fn what_came_before_a_reset_can_be_read() {
    testing::run(42, async {
        let (_switch, server, client) = two_hosts(42);
        let (client, server) = pair(&server, &client).await;
        server.write_all(b"the answer").await.expect("there is room");
        sleep(Duration::from_millis(1)).await;
        server.abort();
        sleep(Duration::from_millis(1)).await;
        assert!(matches!(client.write(b"x").await, Err(WriteError::Reset)));
        let mut buffer = [0; 20];
        assert_eq!(client.read(&mut buffer).await.expect("it came before"), 10);
        assert!(matches!(client.read(&mut buffer).await, Err(ReadError::Reset)));
    });
}

fn a_full_receiver_stops_the_sender_and_starts_it_again() {
    testing::run(34, async {
        let (_switch, server, client) = two_hosts(34);
        let (client, server) = pair(&server, &client).await;
        let bytes = pattern(4, 100_000);
        let sent = bytes.clone();
        let writing = spawn(async move {
            client.write_all(&sent).await.expect("the server reads in the end");
            client.shutdown().expect("it is open");
            client
        });
        // Ten minutes with a window of zero: the peer's probes keep the connection.
        sleep(Duration::from_secs(600)).await;
        assert!(read_to_end(&server).await == bytes);
        drop(writing.await.expect("the writer ends"));
    });
}

fn a_closed_stream_whose_peer_never_reads_is_given_up() {
    testing::run(41, async {
        let switch = Switch::new(41, Impairments::NONE);
        let (direct, server) = stack(&switch);
        let client = host(&switch, 2);
        let (client_end, server_end) = pair(&server, &client).await;
        let writing = spawn(async move {
            // More than both sides take.
            let _ = timeout(Duration::from_secs(1), server_end.write_all(&[0; 20_000])).await;
        });
        writing.await.expect("the server has gone");
        assert!(direct.shared.stack.borrow().tcp.is_busy());
        // The client's stack answers every probe of its closed window; its application reads nothing.
        sleep(Duration::from_secs(200)).await;
        assert!(!direct.shared.stack.borrow().tcp.is_busy());
        assert!(matches!(client_end.write(b"x").await, Err(WriteError::Reset)));
    });
}

fn a_peer_that_vanishes_is_noticed() {
    testing::run(35, async {
        let (switch, server, client) = two_hosts(35);
        let (client, server) = pair(&server, &client).await;
        let start = now();
        switch.set_impairments(Impairments::NONE.with_loss(1.0));
        client.write_all(b"anybody there?").await.expect("there is room");
        assert!(matches!(client.read(&mut [0; 8]).await, Err(ReadError::TimedOut)));
        let waited = now() - start;
        assert!((Duration::from_secs(100)..Duration::from_secs(200)).contains(&waited), "{waited:?}");
        assert!(matches!(client.write(b"x").await, Err(WriteError::TimedOut)));
        // The server has nothing to say and waits as long as it likes.
        assert!(timeout(Duration::from_secs(3600), server.read(&mut [0; 8])).await.is_err());
    });
}

fn nobody_to_connect_to() {
    testing::run(36, async {
        let (switch, server, client) = two_hosts(36);
        let refused = client.tcp().connect(at(1, 81)).await;
        assert!(matches!(refused, Err(ConnectError::Refused(peer)) if peer == at(1, 81)), "{refused:?}");
        let far: SocketAddr =
            if is_ipv6() { "[2001:db8:1::1]:80" } else { "192.0.2.1:80" }.parse().expect("an address");
        assert!(matches!(client.tcp().connect(far).await, Err(ConnectError::Unreachable(_))));
        assert!(matches!(client.tcp().connect(nobody()).await, Err(ConnectError::Unreachable(_))));
        assert!(matches!(client.tcp().connect(at(2, 80)).await, Err(ConnectError::Unreachable(_))));
        let start = now();
        let silent = client.tcp().connect(at(77, 80)).await;
        assert!(matches!(silent, Err(ConnectError::TimedOut(_))), "{silent:?}");
        assert!(now() - start < Duration::from_secs(60));
        // The same when a known host becomes silent.
        let _listener = server.tcp().bind(80).await.expect("the port is free");
        switch.set_impairments(Impairments::NONE.with_loss(1.0));
        assert!(matches!(client.tcp().connect(at(1, 80)).await, Err(ConnectError::TimedOut(_))));
    });
}

fn a_full_backlog_makes_clients_wait_and_loses_none() {
    testing::run(37, async {
        let (_switch, server, client) = two_hosts(37);
        let mut listener = server.tcp().bind_with_backlog(80, 4).await.expect("the port is free");
        let tasks: Vec<_> = (0..12)
            .map(|number| {
                let client = client.clone();
                spawn(async move {
                    let stream = client.tcp().connect(at(1, 80)).await.expect("in the end");
                    exchange(stream, pattern(number, 3000)).await;
                })
            })
            .collect();
        sleep(Duration::from_millis(500)).await;
        for _ in 0..12 {
            let (stream, _) = listener.accept().await.expect("clients wait");
            drop(spawn(echo(stream)));
        }
        for task in tasks {
            task.await.expect("the client ends");
        }
    });
}

fn a_dropped_listener_resets_what_waits_and_frees_its_port() {
    testing::run(38, async {
        let (_switch, server, client) = two_hosts(38);
        let listener = server.tcp().bind(80).await.expect("the port is free");
        assert!(matches!(server.tcp().bind(80).await, Err(crate::net::BindError::InUse { port: 80 })));
        let stream = client.tcp().connect(at(1, 80)).await.expect("it listens");
        // The client's last word of the handshake must arrive.
        sleep(Duration::from_millis(1)).await;
        drop(listener);
        assert!(matches!(stream.read(&mut [0; 8]).await, Err(ReadError::Reset)));
        assert!(matches!(client.tcp().connect(at(1, 80)).await, Err(ConnectError::Refused(_))));
        server.tcp().bind(80).await.expect("the port is free again");
    });
}

fn a_port_in_time_wait_can_be_used_again_by_its_peer() {
    testing::run(39, async {
        let switch = Switch::new(39, Impairments::NONE);
        let (_direct, server) = stack(&switch);
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let mut raw = Raw::new(&switch, 3);
        let (from, to) = (at(3, 4000), at(1, 80));
        let (ours, theirs) = raw.handshake(from, to).await;
        drop(listener.accept().await.expect("a connection waits"));
        let closing = raw.segments().await;
        assert!(closing.iter().any(|segment| segment.fin && segment.seq == theirs), "{closing:?}");
        let acknowledge = Bare { seq: ours, ack: Some(theirs.add(1)), window: 1000, ..Bare::default() };
        raw.send_bare(from, to, &acknowledge);
        raw.send_fin(from, to, &acknowledge);
        let last = raw.segments().await;
        assert!(matches!(last.as_slice(), [last] if last.ack == Some(ours.add(1))), "{last:?}");
        // The peer did not hear that and repeats itself.
        raw.send_fin(from, to, &acknowledge);
        let again = raw.segments().await;
        assert!(matches!(again.as_slice(), [again] if again.ack == Some(ours.add(1)) && !again.rst), "{again:?}");
        // A reset does not end TIME_WAIT, an old SYN does not open anything, a new one does.
        raw.send_bare(from, to, &Bare { control: Control::Rst, seq: ours.add(1), ..Bare::default() });
        let syn = |seq: Seq| Bare { control: Control::Syn, seq, window: 1000, ..Bare::default() };
        raw.send_bare(from, to, &syn(Seq(ours.0.wrapping_sub(100))));
        let answers = raw.segments().await;
        assert!(answers.iter().all(|answer| !answer.syn && !answer.rst), "{answers:?}");
        raw.send_bare(from, to, &syn(ours.add(50_000)));
        let answers = raw.segments().await;
        let [answer] = answers.as_slice() else { panic!("one answer, not {answers:?}") };
        assert!(answer.syn && answer.ack == Some(ours.add(50_001)));
        assert!(answer.seq.since(theirs) > 0, "the new connection's positions are behind the old one's");
    });
}

fn both_sides_close_at_once() {
    testing::run(43, async {
        let switch = Switch::new(43, Impairments::NONE);
        let (direct, server) = stack(&switch);
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let mut raw = Raw::new(&switch, 3);
        let (from, to) = (at(3, 4000), at(1, 80));
        let (ours, theirs) = raw.handshake(from, to).await;
        drop(listener.accept().await.expect("a connection waits"));
        assert!(matches!(raw.segments().await.as_slice(), [fin] if fin.fin));
        // Our end crosses the server's; then we have it, and say so with our end once more.
        raw.send_fin(from, to, &Bare { seq: ours, ack: Some(theirs), window: 1000, ..Bare::default() });
        assert!(matches!(raw.segments().await.as_slice(), [ack] if ack.ack == Some(ours.add(1))));
        raw.send_fin(from, to, &Bare { seq: ours, ack: Some(theirs.add(1)), window: 1000, ..Bare::default() });
        let answers = raw.segments().await;
        assert!(answers.iter().all(|answer| answer.ack == Some(ours.add(1)) && !answer.fin), "{answers:?}");
        assert!(!direct.shared.stack.borrow().tcp.is_busy());
        sleep(Duration::from_secs(5)).await;
        assert!(raw.segments().await.is_empty(), "nothing is left to be said");
    });
}

/// Polls once with a waker that does nothing.
fn poll_once<F: Future>(future: core::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn dropped_futures_lose_nothing() {
    testing::run(40, async {
        let (_switch, server, network) = two_hosts(40);
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        {
            let accepting = pin!(listener.accept());
            assert!(poll_once(accepting).is_pending());
        }
        let tcp = network.tcp();
        let client = tcp.connect(at(1, 80)).await.expect("it listens");
        let (server, _) = listener.accept().await.expect("it was kept");
        let mut buffer = [0; 100];
        {
            let reading = pin!(server.read(&mut buffer));
            assert!(poll_once(reading).is_pending());
        }
        client.write_all(b"kept").await.expect("there is room");
        sleep(Duration::from_millis(1)).await;
        assert_eq!(server.peek(<[u8]>::to_vec).await.expect("it is there"), b"kept");
        server.consume(1);
        assert_eq!(server.read(&mut buffer).await.expect("it is there"), 3);
        assert_eq!(&buffer[..3], b"ept");
        // A connection that is given up while it is made leaves nothing behind.
        {
            let connecting = pin!(tcp.connect(at(77, 9)));
            assert!(poll_once(connecting).is_pending());
        }
    });
}

worlds! {
    one_side_can_be_closed_while_the_other_goes_on,
    an_abort_is_a_reset_for_the_peer,
    a_stream_dropped_with_bytes_unread_is_reset_and_without_is_closed,
    what_came_before_a_reset_can_be_read,
    a_full_receiver_stops_the_sender_and_starts_it_again,
    a_closed_stream_whose_peer_never_reads_is_given_up,
    a_peer_that_vanishes_is_noticed,
    nobody_to_connect_to,
    a_full_backlog_makes_clients_wait_and_loses_none,
    a_dropped_listener_resets_what_waits_and_frees_its_port,
    a_port_in_time_wait_can_be_used_again_by_its_peer,
    both_sides_close_at_once,
    dropped_futures_lose_nothing,
}
