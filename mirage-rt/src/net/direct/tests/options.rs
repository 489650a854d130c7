//! What the user of a connection chooses.

use super::*;
use crate::net::{KeepAlive, OptionError, ReadError, WriteError};
use crate::runtime::now;
use crate::time::{Duration, sleep};

const SECOND: Duration = Duration::from_secs(1);

fn a_linger_time_of_zero_is_a_hard_close() {
    testing::run(61, async {
        let (_switch, client, server) = pair(61).await;
        client.set_linger(Some(Duration::ZERO)).expect("both machines can");
        drop(client);
        assert!(matches!(server.read(&mut [0; 8]).await, Err(ReadError::Reset)));
        server.abort();
        assert!(matches!(server.set_nodelay(true), Err(OptionError::Closed)));
    });
}

fn what_lingers_has_the_time_it_was_given() {
    testing::run(62, async {
        for (linger, arrives) in [(10 * SECOND, true), (SECOND / 10, false)] {
            let (switch, client, server) = pair(62).await;
            client.set_linger(Some(linger)).expect("both machines can");
            switch.set_impairments(Impairments::NONE.with_loss(1.0));
            client.write_all(b"late").await.expect("there is room");
            drop(client);
            sleep(SECOND / 2).await;
            switch.set_impairments(Impairments::NONE);
            server.set_user_timeout(Some(SECOND)).expect("both machines can");
            let read = async {
                let mut buffer = [0; 8];
                let length = server.read(&mut buffer).await.unwrap_or(0);
                buffer[..length] == *b"late"
            };
            assert_eq!(crate::time::timeout(20 * SECOND, read).await == Ok(true), arrives, "{linger:?}");
        }
    });
}

fn the_user_says_how_long_an_acknowledgement_may_take() {
    testing::run(63, async {
        let (switch, client, _server) = pair(63).await;
        client.set_user_timeout(Some(5 * SECOND)).expect("both machines can");
        switch.set_impairments(Impairments::NONE.with_loss(1.0));
        let begin = now();
        client.write_all(b"is anybody there?").await.expect("there is room");
        assert!(matches!(client.read(&mut [0; 8]).await, Err(ReadError::TimedOut)));
        let took = now() - begin;
        assert!((5 * SECOND..8 * SECOND).contains(&took), "{took:?}");
        assert!(matches!(client.write(b"x").await, Err(WriteError::TimedOut)));
    });
}

fn a_silent_peer_is_asked_and_given_up() {
    testing::run(64, async {
        let (switch, client, _server) = pair(64).await;
        let keep = KeepAlive { idle: 60 * SECOND, interval: 10 * SECOND, probes: 3 };
        match client.set_keep_alive(Some(keep)) {
            Ok(()) => assert!(is_own()),
            Err(error) => {
                assert!(matches!(error, OptionError::Unsupported) && !is_own());
                return;
            }
        }
        // As long as the peer answers, for ever.
        sleep(3600 * SECOND).await;
        client.write_all(b"still there").await.expect("it was not given up");
        let begin = now();
        switch.set_impairments(Impairments::NONE.with_loss(1.0));
        assert!(matches!(client.read(&mut [0; 8]).await, Err(ReadError::TimedOut)));
        let took = now() - begin;
        assert!(took > 85 * SECOND && took < 125 * SECOND, "{took:?}");
    });
}

machines! {
    a_linger_time_of_zero_is_a_hard_close,
    what_lingers_has_the_time_it_was_given,
    the_user_says_how_long_an_acknowledgement_may_take,
    a_silent_peer_is_asked_and_given_up,
}
