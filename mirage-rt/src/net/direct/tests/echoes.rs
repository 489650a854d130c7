//! What comes back of datagrams and echo requests: answers, errors, and what strangers make up.

use super::raw::{Raw, icmp_packet, too_big};
use super::*;
use crate::net::direct::header;
use crate::net::{PingError, ReceiveError};
use crate::time::{Duration, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

fn hosts_answer_pings() {
    testing::run(120, async {
        let switch = Switch::new(120, Impairments::NONE.with_delay(Duration::from_millis(5), Duration::ZERO));
        let (one, _other) = (host(&switch, 1), host(&switch, 2));
        sleep(SECOND).await;
        for length in [0, 1, 56, most_datagram()] {
            let time = one.icmp().ping(at(2, 0).ip(), &pattern(7, length), SECOND).await.expect("it answers");
            assert!(time >= Duration::from_millis(10) && time < Duration::from_millis(40), "{time:?}");
        }
        let icmp = one.icmp();
        let long = icmp.ping(at(2, 0).ip(), &pattern(7, most_datagram() + 1), SECOND).await;
        assert!(matches!(long, Err(PingError::TooLong { most }) if most == most_datagram()), "{long:?}");
        let nobody_there = icmp.ping(at(9, 0).ip(), b"x", SECOND).await;
        assert!(matches!(nobody_there, Err(PingError::TimedOut(_))), "{nobody_there:?}");
        let elsewhere = icmp.ping(Ipv4Addr::new(192, 0, 2, 1), b"x", SECOND).await;
        assert!(matches!(elsewhere, Err(PingError::Unreachable(_))), "{elsewhere:?}");
        // Many at once, and too many.
        let asking: Vec<_> = (0..70)
            .map(|number| {
                let icmp = one.icmp();
                spawn(async move { icmp.ping(at(2, 0).ip(), &pattern(number, 20), SECOND).await })
            })
            .collect();
        let mut answered = 0;
        for asking in asking {
            match asking.await.expect("the task ends") {
                Ok(_) => answered += 1,
                Err(error) => assert!(matches!(error, PingError::Busy), "{error}"),
            }
        }
        assert_eq!(answered, 64);
        icmp.ping(at(2, 0).ip(), b"x", SECOND).await.expect("they are forgotten");
    });
}

/// The packet that the stack has sent.
async fn sent(peer: &mut Raw) -> Vec<u8> {
    let packets = peer.packets().await;
    let [packet] = packets.as_slice() else { panic!("one packet, not {packets:?}") };
    packet.clone()
}

/// An IP packet from host `number` to the stack with a message of ICMP, whose checksum is filled in.
fn icmp(number: u8, message: &[u8]) -> Vec<u8> {
    icmp_packet([number, 1], message)
}

/// An error about `packet`.
fn error(kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
    let mut message = Vec::from([kind[0], kind[1], 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(packet);
    message
}

/// The types and codes for a port where nobody is, and a host that is not reached.
fn no_port() -> [u8; 2] {
    if is_ipv6() { [1, 4] } else { [3, 3] }
}

fn no_host() -> [u8; 2] {
    if is_ipv6() { [1, 3] } else { [3, 1] }
}

fn only_the_answer_that_was_asked_for_counts() {
    testing::run(121, async {
        let switch = Switch::new(121, Impairments::NONE);
        let network = host(&switch, 1);
        let mut peer = Raw::new(&switch, 2);
        sleep(SECOND).await;
        let pinging = |network: &Network| {
            let icmp = network.icmp();
            spawn(async move { icmp.ping(at(2, 0).ip(), b"payload", Duration::from_secs(20)).await })
        };
        let first = pinging(&network);
        let packet = sent(&mut peer).await;
        let mut reply = header::payload(&packet).to_vec();
        assert_eq!((reply[0], &reply[8..]), (if is_ipv6() { 128 } else { 8 }, &b"payload"[..]));
        reply[0] = if is_ipv6() { 129 } else { 0 };
        // Changed in each place, cut, longer, from somebody else, with a wrong checksum.
        for at in (0..reply.len()).filter(|at| !(2..4).contains(at)) {
            let mut wrong = reply.clone();
            wrong[at] ^= 0x40;
            peer.send_ip(&icmp(2, &wrong));
            peer.send_ip(&icmp(2, &reply[..at.max(4)]));
        }
        peer.send_ip(&icmp(3, &reply));
        peer.send_ip(&icmp(2, &[&reply[..], b"x"].concat()));
        let mut broken = icmp(2, &reply);
        let last = broken.len() - 1;
        broken[last - 8] ^= 1;
        peer.send_ip(&broken);
        // Errors about other requests.
        for at in 4..8 {
            let mut other = packet.clone();
            let place = other.len() - b"payload".len() - 8 + at;
            other[place] ^= 1;
            peer.send_ip(&icmp(2, &error(no_host(), &other)));
        }
        sleep(SECOND).await;
        assert!(!first.is_finished());
        peer.send_ip(&icmp(2, &reply));
        assert!(first.await.expect("the task ends").is_ok());
        // An error about it ends it.
        let second = pinging(&network);
        let packet = sent(&mut peer).await;
        peer.send_ip(&icmp(2, &error(no_host(), &packet)));
        let outcome = second.await.expect("the task ends");
        assert!(matches!(outcome, Err(PingError::Unreachable(_))), "{outcome:?}");
    });
}

fn pings_learn_what_a_router_says_of_their_way() {
    // Over IPv4 routers cut them.
    if !is_ipv6() {
        return;
    }
    testing::run(123, async {
        let switch = Switch::new(123, Impairments::NONE);
        let network = host(&switch, 1);
        let mut peer = Raw::new(&switch, 2);
        sleep(SECOND).await;
        let pinging = |length: usize| {
            let icmp = network.icmp();
            spawn(async move { icmp.ping(at(2, 0).ip(), &pattern(7, length), SECOND).await })
        };
        let headers = header::length(at(2, 0).ip()) + 8;
        let first = pinging(1400);
        let packet = sent(&mut peer).await;
        // Of a request that is nobody's.
        let mut other = packet.clone();
        other[headers - 1] ^= 1;
        peer.send_ip(&too_big(9, 1300, &other));
        let outcome = first.await.expect("the task ends");
        assert!(matches!(outcome, Err(PingError::TimedOut(_))), "{outcome:?}");
        // And one that is not under way any more.
        peer.send_ip(&too_big(9, 1300, &packet));
        let second = pinging(1400);
        let packet = sent(&mut peer).await;
        peer.send_ip(&too_big(9, 1300, &packet));
        let outcome = second.await.expect("the task ends");
        assert!(matches!(outcome, Err(PingError::TooLong { most }) if most == 1300 - headers), "{outcome:?}");
        // Those that follow are not sent in vain.
        let third = pinging(1301 - headers).await.expect("the task ends");
        assert!(matches!(third, Err(PingError::TooLong { most }) if most == 1300 - headers), "{third:?}");
        let fitting = pinging(1300 - headers);
        assert_eq!(sent(&mut peer).await.len(), 1300);
        drop(fitting);
    });
}

fn sockets_that_want_to_know_are_told_what_was_not_delivered() {
    testing::run(122, async {
        let switch = Switch::new(122, Impairments::NONE);
        let (one, other) = (host(&switch, 1), host(&switch, 2));
        sleep(SECOND).await;
        let there = other.udp().bind(7).await.expect("the port is free");
        let socket = one.udp().bind(0).await.expect("a port is free");
        let mut buffer = [0; 10];
        socket.send_to(b"x", at(2, 9)).await.expect("there is a way");
        assert!(timeout(SECOND, socket.receive_from(&mut buffer)).await.is_err(), "it did not want to know");
        socket.tell_unreachable(true).expect("it can");
        socket.send_to(b"x", at(2, 9)).await.expect("there is a way");
        socket.readable().await;
        let told = socket.receive_from(&mut buffer).await;
        assert!(matches!(told, Err(ReceiveError::Refused(peer)) if peer == at(2, 9)), "{told:?}");
        // It goes on.
        socket.send_to(b"hello", at(2, 7)).await.expect("there is a way");
        let (_, from) = there.receive_from(&mut buffer).await.expect("it comes");
        there.send_to(b"answer", from).await.expect("there is a way");
        assert_eq!(socket.receive_from(&mut buffer).await.ok(), Some((6, at(2, 7))));
        socket.tell_unreachable(false).expect("it can");
        socket.send_to(b"x", at(2, 9)).await.expect("there is a way");
        assert!(timeout(SECOND, socket.receive_from(&mut buffer)).await.is_err());
    });
}

fn errors_that_somebody_makes_up_reach_no_socket() {
    testing::run(123, async {
        let switch = Switch::new(123, Impairments::NONE);
        let network = host(&switch, 1);
        let mut peer = Raw::new(&switch, 2);
        sleep(SECOND).await;
        let socket = network.udp().bind(1000).await.expect("the port is free");
        socket.tell_unreachable(true).expect("it can");
        socket.send_to(b"datagram", at(2, 9)).await.expect("there is a way");
        let packet = sent(&mut peer).await;
        let ip = header::length(at(1, 0).ip());
        // Ports and addresses that are not its; another protocol.
        let protocol = if is_ipv6() { 6 } else { 9 };
        for (place, value) in [(ip, 9), (ip + 1, 9), (ip + 2, 9), (ip + 3, 8), (ip - 1, 9), (protocol, 6), (0, 0)] {
            let mut wrong = packet.clone();
            wrong[place] = value;
            peer.send_ip(&icmp(2, &error(no_port(), &wrong)));
        }
        // From another address of ours, with another code, and cut.
        let own = if is_ipv6() { 23 } else { 15 };
        let mut wrong = packet.clone();
        wrong[own] = 77;
        peer.send_ip(&icmp(2, &error(no_port(), &wrong)));
        peer.send_ip(&icmp(2, &error(if is_ipv6() { [2, 0] } else { [11, 0] }, &packet)));
        for length in 0..ip + 4 {
            peer.send_ip(&icmp(2, &error(no_port(), &packet)[..8 + length]));
        }
        let mut buffer = [0; 10];
        assert!(timeout(SECOND, socket.receive_from(&mut buffer)).await.is_err());
        // A router far away may tell.
        peer.send_ip(&icmp(5, &error(no_host(), &packet)));
        let told = socket.receive_from(&mut buffer).await;
        assert!(matches!(told, Err(ReceiveError::Unreachable(peer)) if peer == at(2, 9)), "{told:?}");
        // A flood leaves one error.
        for _ in 0..1000 {
            peer.send_ip(&icmp(5, &error(no_host(), &packet)));
            peer.send_ip(&icmp(5, &error(no_port(), &packet)));
            if switch.frames().is_multiple_of(100) {
                sleep(Duration::from_millis(1)).await;
            }
        }
        sleep(SECOND).await;
        assert!(socket.receive_from(&mut buffer).await.is_err());
        assert!(timeout(SECOND, socket.receive_from(&mut buffer)).await.is_err());
    });
}

worlds! {
    hosts_answer_pings,
    only_the_answer_that_was_asked_for_counts,
    pings_learn_what_a_router_says_of_their_way,
    sockets_that_want_to_know_are_told_what_was_not_delivered,
    errors_that_somebody_makes_up_reach_no_socket,
}
