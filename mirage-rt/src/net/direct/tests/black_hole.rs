//! A router on the way that takes less than the link and says nothing: what is too long gets lost, and who sends it must find out by
//! that alone (RFC 4821, 7.7; RFC 8985 beside it, whose probes are as long as what they probe for).

use super::bulk::cutting;
use super::*;
use crate::runtime::now;
use crate::time::{Duration, sleep};

const SECOND: Duration = Duration::from_secs(1);
const DELAY: Duration = Duration::from_millis(5);

/// A link of 5 ms each way, and one behind which somebody takes less.
fn link(longest: Option<u16>) -> Impairments {
    let link = Impairments::NONE.with_delay(DELAY, Duration::ZERO);
    longest.map_or(link, |longest| link.with_longest(longest))
}

/// Two hosts of which the client's device cuts packets, or does not; the switch's cables take what the middle does not.
fn two_hosts(switch: &Switch, cuts: bool) -> [Network; 2] {
    let client = if cuts { cutting(switch, 2, true) } else { host(switch, 2) };
    [host(switch, 1), client]
}

/// Bytes of the longest IP packet that is sent now.
fn packet_length(stream: &TcpStream) -> usize {
    let headers = if is_ipv6() { 40 + 20 } else { 20 + 20 };
    let info = stream.info().expect("it has a stack of its own");
    info.segment_size.expect("our own machine knows") + headers + 12
}

/// Sends bytes to be echoed, and leaves the connection open; how long that takes.
async fn round(stream: &TcpStream, bytes: Vec<u8>) -> Duration {
    let start = now();
    let (writer, sent) = (stream.clone(), bytes.clone());
    let writing = spawn(async move { writer.write_all(&sent).await.expect("the peer reads") });
    let mut received = vec![0; bytes.len()];
    let mut at = 0;
    while at < received.len() {
        at += stream.read(&mut received[at..]).await.expect("the connection lives");
    }
    assert!(received == bytes);
    writing.await.expect("the writer ends");
    now() - start
}

/// Runs a test with our own machine, which alone looks for the MTU of paths, on devices that cut and such that do not.
fn each(seed: u64, test: impl AsyncFn(Switch, bool)) {
    for cuts in [false, true] {
        if is_own() {
            testing::run(seed, async { test(Switch::new(seed, link(None)), cuts).await });
        }
    }
}

/// Both ways at once through a black hole that was there from the start.
fn long_packets_never_arrive() {
    // Two timeouts for each step down, each twice as long as the last; first of the client, then of the server, whose timeouts
    // are longer when acknowledgements for it were in the client's long packets.
    for (longest, within) in [(1400, 2 * SECOND), (1280, 8 * SECOND), (600, 60 * SECOND)] {
        each(140, async |switch, cuts| {
            switch.set_impairments(link(Some(longest)));
            let [server, client] = two_hosts(&switch, cuts);
            let _echoing = echo_server(&server, 80).await;
            let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
            assert_eq!(packet_length(&stream), 1500);
            let took = round(&stream, pattern(longest.into(), 30_000)).await;
            assert!(took < within, "{took:?} for packets of {longest} bytes");
            // After so long, who has no more to say may be about to try longer ones again.
            let tries = took > 10 * SECOND;
            assert!(tries || packet_length(&stream) <= longest.into(), "{:?}", stream.info());
            assert!(switch.statistics().too_long > 0);
            exchange(stream, pattern(3, 1000)).await;
        });
    }
}

/// The way gets shorter while much is under way, and the transfer goes on; after some time longer packets are tried again, which
/// costs less as it is known what gets through; and used, when the way has become longer again.
fn the_way_changes_while_data_flows() {
    each(141, async |switch, cuts| {
        let [server, client] = two_hosts(&switch, cuts);
        let _echoing = echo_server(&server, 80).await;
        let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        let short = switch.clone();
        let changing = spawn(async move {
            while short.statistics().bytes < 500_000 {
                sleep(Duration::from_millis(1)).await;
            }
            short.set_impairments(link(Some(1300)));
        });
        let took = round(&stream, pattern(9, 1_500_000)).await;
        assert!(took < 10 * SECOND, "{took:?}");
        changing.await.expect("it was so much");
        assert!(packet_length(&stream) <= 1300, "{:?}", stream.info());
        assert!(switch.statistics().too_long > 0);

        let before = switch.statistics().too_long;
        for number in 0..10 {
            sleep(10 * SECOND).await;
            let took = round(&stream, pattern(number, 20_000)).await;
            assert!(took < 2 * SECOND && (number < 1 || took < SECOND), "{took:?}, the {number}th time");
        }
        // The doubt of each side has cost a flight, sent a few times.
        assert!(switch.statistics().too_long - before < 150, "{}", switch.statistics().too_long - before);

        switch.set_impairments(link(None));
        sleep(600 * SECOND).await;
        round(&stream, pattern(1, 20_000)).await;
        assert_eq!(packet_length(&stream), 1500);
    });
}

/// Small packets pass and are acknowledged, so the connection looks alive: only what is long is missing.
fn what_is_short_gets_through_and_hides_nothing() {
    each(142, async |switch, cuts| {
        switch.set_impairments(link(Some(1300)));
        let [server, client] = two_hosts(&switch, cuts);
        let _echoing = echo_server(&server, 80).await;
        let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        stream.set_nodelay(true).expect("both machines can");
        for number in 0..20 {
            stream.write_all(&[number; 10]).await.expect("there is room");
            let mut answer = [0; 10];
            assert_eq!(stream.read(&mut answer).await.expect("it is echoed"), 10);
            assert_eq!(answer, [number; 10]);
        }
        let start = now();
        let writer = stream.clone();
        let writing = spawn(async move {
            writer.write_all(&pattern(5, 20_000)).await.expect("there is room");
            for at in 20_000..20_200 {
                sleep(Duration::from_millis(20)).await;
                writer.write_all(&pattern(5, at + 1)[at..]).await.expect("there is room");
            }
        });
        let mut received = vec![0; 20_200];
        let mut at = 0;
        while at < received.len() {
            at += stream.read(&mut received[at..]).await.expect("the connection lives");
        }
        assert!(received == pattern(5, 20_200));
        writing.await.expect("the writer ends");
        let took = now() - start;
        assert!(took < 8 * SECOND, "{took:?}");
        assert!(packet_length(&stream) <= 1300, "{:?}", stream.info());
    });
}

worlds! {
    long_packets_never_arrive,
    the_way_changes_while_data_flows,
    what_is_short_gets_through_and_hides_nothing,
}
