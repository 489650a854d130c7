//! The work for a segment does not grow with the number of connections.

use super::raw::stack;
use super::*;
use crate::runtime::yield_now;

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

#[test]
fn a_thousand_idle_connections_cost_nothing() {
    let (few, many) = (work(0), work(1000));
    assert_eq!(few, many);
    assert!(few.1 <= 3 * few.0, "{} runs for {} segments", few.1, few.0);
}

#[test]
fn a_connection_beyond_the_budget_is_refused_and_others_go_on() {
    testing::run(22, async {
        let switch = Switch::new(22, Impairments::NONE);
        let (_direct, server) = stack(&switch);
        let _echoing = echo_server(&server, 80).await;
        // Room for two connections of 8 KiB each way.
        let client = host_with(&switch, Config { connection_memory: 2 * 17 * 1024 + 1000, ..config(2) });
        let first = client.tcp().connect(at(1, 80)).await.expect("there is memory");
        let second = client.tcp().connect(at(1, 80)).await.expect("there is memory");
        let third = client.tcp().connect(at(1, 80)).await;
        assert!(matches!(third, Err(crate::net::ConnectError::OutOfMemory)));
        exchange(first, pattern(1, 10_000)).await;
        drop(third);
        drop(second);
        crate::time::sleep(crate::time::Duration::from_secs(1)).await;
        let third = client.tcp().connect(at(1, 80)).await.expect("memory is free again");
        exchange(third, pattern(3, 10_000)).await;
    });
}
