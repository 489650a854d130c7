//! Bulk over bad links, in virtual time.

use super::*;
use crate::runtime::now;
use crate::time::Duration;

/// Both directions at once over a switch with these impairments; the virtual time that it took.
fn bulk(seed: u64, impairments: Impairments, length: usize) -> Duration {
    testing::run(seed, async {
        let switch = Switch::new(seed, impairments);
        let (server, client) = (host(&switch, 1), host(&switch, 2));
        let _echoing = echo_server(&server, 80).await;
        let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        let start = now();
        exchange(stream, pattern(seed as usize, length)).await;
        now() - start
    })
}

fn five_percent_loss() {
    let delay = Duration::from_millis(5);
    for seed in 50..53 {
        bulk(seed, Impairments::NONE.with_loss(0.05).with_delay(delay, Duration::ZERO), 300_000);
    }
}

fn duplicates_and_reordering() {
    let (delay, jitter) = (Duration::from_millis(2), Duration::from_millis(4));
    // With the last three, acknowledgements without news once stopped the timer that would have sent the end again.
    for seed in [60, 61, 62, 102, 112, 131] {
        let took = bulk(seed, Impairments::NONE.with_duplication(0.1).with_delay(delay, jitter), 100_000);
        // Nothing is lost: hardly ever must anything wait to be sent again.
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

fn a_clean_link_is_used() {
    // 32 KiB each 4 ms, once the window has grown: 1 MB takes at least 125 ms, and not much more.
    let took = bulk(70, Impairments::NONE.with_delay(Duration::from_millis(2), Duration::ZERO), 1_000_000);
    assert!(took < Duration::from_millis(250), "{took:?}");
}

fn many_connections_over_a_bad_link() {
    testing::run(80, async {
        let switch = Switch::new(80, Impairments::NONE.with_loss(0.02).with_duplication(0.02));
        let (server, client) = (host(&switch, 1), host(&switch, 2));
        let _echoing = echo_server(&server, 80).await;
        let tasks: Vec<_> = (0..30)
            .map(|number| {
                let client = client.clone();
                spawn(async move {
                    let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
                    exchange(stream, pattern(number, 10_000)).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("the task ends");
        }
    });
}

worlds! {
    five_percent_loss,
    duplicates_and_reordering,
    a_clean_link_is_used,
    many_connections_over_a_bad_link,
}
