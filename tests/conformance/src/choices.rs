//! What can be chosen for a connection.

use mirage_rt::Duration;
use mirage_rt::net::{KeepAlive, OptionError};

use super::*;

pub async fn a_linger_of_zero_resets(pair: Pair) {
    let (server, client) = connected(&pair).await;
    server.set_linger(Some(Duration::ZERO)).expect("every network can");
    drop(server);
    assert!(matches!(read_all(&client).await, Err(ReadError::Reset)));
}

pub async fn choices_are_taken_at_any_time(pair: Pair) {
    let (server, client) = connected(&pair).await;
    let second = Duration::from_secs(1);
    let keep = KeepAlive { idle: 10 * second, interval: second, probes: 3 };
    for stream in [&server, &client] {
        stream.set_nodelay(false).expect("every network can");
        stream.set_keep_alive(Some(keep)).expect("every network can");
        stream.set_user_timeout(Some(30 * second)).expect("every network can");
        let error = stream.set_user_timeout(Some(Duration::ZERO)).expect_err("nothing would ever be sent");
        assert!(matches!(error, OptionError::OutOfRange));
    }
    let sent = pattern(3, 50_000);
    let reader = mirage_rt::spawn(async move { read_all(&server).await });
    client.write_all(&sent).await.expect("the other side reads");
    client.set_nodelay(true).expect("every network can");
    client.set_keep_alive(None).expect("every network can");
    client.shutdown().expect("it is open");
    assert!(reader.await.expect("the task ran to its end").expect("all comes") == sent);
}
