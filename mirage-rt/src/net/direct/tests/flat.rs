//! The work for a segment does not grow with the number of connections.

use super::raw::stack;
use super::*;
use crate::runtime::{now, yield_now};
use crate::time::Duration;

/// Segments and runs of the server for 200 echoes on 10 connections, with `others` idle ones beside them.
fn work(others: usize) -> (u64, u64) {
    testing::run(21, async {
        let switch = Switch::new(21, Impairments::NONE);
        let direct = crate::net::direct::Direct::start(
            switch.port(),
            switch.pool(),
            &Config { connection_memory: 64 << 20, ..config(1) },
            cidr(1),
        )
        .expect("the configuration is good");
        let server = Network { stack: crate::net::Stack::Direct(direct.clone()) };
        let _echoing = echo_server(&server, 80).await;
        let client = host_with(&switch, Config { connection_memory: 64 << 20, ..config(2) });
        let mut streams = Vec::new();
        for _ in 0..10 + others {
            streams.push(client.tcp().connect(at(1, 80)).await.expect("the server listens"));
        }
        for _ in 0..100 {
            yield_now().await;
        }
        let before = direct.shared.stack.borrow().tcp.counters();
        for _ in 0..20 {
            for stream in &streams[..10] {
                stream.write_all(&[7; 64]).await.expect("there is room");
                let mut buffer = [0; 64];
                assert_eq!(stream.read(&mut buffer).await.expect("the server answers"), 64);
            }
        }
        let after = direct.shared.stack.borrow().tcp.counters();
        (after.segments - before.segments, after.runs - before.runs)
    })
}

fn a_thousand_idle_connections_cost_nothing() {
    let (few, many) = (work(0), work(1000));
    assert_eq!(few, many);
    assert!(few.1 <= 3 * few.0, "{} runs for {} segments", few.1, few.0);
}

fn a_connection_beyond_the_budget_is_refused_and_others_go_on() {
    testing::run(22, async {
        let switch = Switch::new(22, Impairments::NONE);
        let (_direct, server) = stack(&switch);
        let _echoing = echo_server(&server, 80).await;
        // Room for two connections. What counts with smoltcp's machine is their buffers of 8 KiB each way.
        let memory = if is_own() { 7000 } else { 2 * 17 * 1024 + 1000 };
        let client = host_with(&switch, Config { connection_memory: memory, ..config(2) });
        let first = client.tcp().connect(at(1, 80)).await.expect("there is memory");
        let second = client.tcp().connect(at(1, 80)).await.expect("there is memory");
        let third = client.tcp().connect(at(1, 80)).await;
        assert!(matches!(third, Err(crate::net::ConnectError::OutOfMemory)));
        exchange(first, pattern(1, 10_000)).await;
        drop(third);
        drop(second);
        crate::time::sleep(Duration::from_secs(1)).await;
        let third = client.tcp().connect(at(1, 80)).await.expect("memory is free again");
        exchange(third, pattern(3, 10_000)).await;
    });
}

/// Our own machine: a thousand connections fit the default budget, and one of them has its speed.
fn one_of_a_thousand_connections_gets_what_it_needs_and_gives_it_back() {
    if !is_own() {
        return;
    }
    testing::run(23, async {
        let delay = Impairments { delay: Duration::from_millis(10), ..Impairments::NONE };
        let switch = Switch::new(23, delay);
        let (direct, server) = stack(&switch);
        let mut listener = server.tcp().bind_with_backlog(80, 2000).await.expect("the port is free");
        let client = host_with(&switch, config(2));
        let mut streams = Vec::new();
        let mut accepted = Vec::new();
        for _ in 0..1001 {
            streams.push(client.tcp().connect(at(1, 80)).await.expect("the server listens"));
            accepted.push(listener.accept().await.expect("a connection").0);
        }
        crate::time::sleep(Duration::from_secs(2)).await;
        let before = direct.shared.stack.borrow().tcp.memory();
        let (one, other) = (streams.swap_remove(500), accepted.swap_remove(500));
        let started = now();
        let reading = spawn(async move {
            let bytes = read_to_end(&other).await;
            assert!(bytes == pattern(1, 4_000_000));
            other
        });
        one.write_all(&pattern(1, 4_000_000)).await.expect("the peer reads");
        one.shutdown().expect("it is open");
        let other = reading.await.expect("the task ends");
        // With 8 KiB for each round trip of 20 ms it would be ten seconds, with 32 KiB two and a half.
        assert!(now() - started < Duration::from_millis(1500), "{:?}", now() - started);
        crate::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(direct.shared.stack.borrow().tcp.memory(), before, "it has given it back");
        drop(other);
        // The others are none the worse for it.
        exchange_once(&streams[0], &accepted[0]).await;
    });
}

/// A request and its answer.
async fn exchange_once(client: &TcpStream, server: &TcpStream) {
    let mut buffer = [0; 100];
    client.write_all(&[7; 64]).await.expect("there is room");
    assert_eq!(server.read(&mut buffer).await.expect("it comes"), 64);
    server.write_all(&buffer[..64]).await.expect("there is room");
    assert_eq!(client.read(&mut buffer).await.expect("it comes"), 64);
}

worlds! {
    a_thousand_idle_connections_cost_nothing,
    a_connection_beyond_the_budget_is_refused_and_others_go_on,
    one_of_a_thousand_connections_gets_what_it_needs_and_gives_it_back,
}
