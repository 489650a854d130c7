//! Echo requests and their answers.

use mirage_rt::net::PingError;

use super::*;

/// Far longer than an answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn a_host_answers_echo_requests(pair: Pair) {
    let icmp = pair.client.network.icmp();
    if pair.client.lacks(Lack::EchoRequests) {
        let refused = icmp.ping(pair.server.address, b"x", PATIENCE).await.expect_err("it is not permitted");
        assert!(matches!(refused, PingError::NotPermitted), "{refused:?}");
        return;
    }
    for length in [0, 1, 56, 1400] {
        let answer = icmp.ping(pair.server.address, &pattern(length, length), PATIENCE).await;
        assert!(answer.is_ok(), "{length} bytes: {answer:?}");
    }
    // Many at a time: each gets its own answer.
    let asking: Vec<_> = (0..20)
        .map(|number| {
            let (icmp, to) = (icmp.clone(), pair.server.address);
            mirage_rt::spawn(async move { icmp.ping(to, &pattern(number, 100 + number), PATIENCE).await })
        })
        .collect();
    for asking in asking {
        asking.await.expect("the task ran to its end").expect("it answers");
    }
    let long =
        icmp.ping(pair.server.address, &alloc::vec![0; 70_000], PATIENCE).await.expect_err("no packet is so long");
    assert!(matches!(long, PingError::TooLong { most: 1452.. }), "{long:?}");
    icmp.ping(pair.server.address, b"again", PATIENCE).await.expect("it answers");
}
