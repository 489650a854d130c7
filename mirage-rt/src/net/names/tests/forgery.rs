//! Answers of others than the server.

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::SocketAddr;

use super::server::{Asked, serve};
use super::*;
use crate::net::UdpSocket;

/// The right answer.
fn right(asked: &Asked) -> Vec<u8> {
    asked.answer().a(&asked.name, 60, [10, 0, 0, 80]).bytes()
}

/// What a forger wants to be believed.
fn wrong(asked: &Asked, change: impl FnOnce(&mut super::server::Answer)) -> Vec<u8> {
    let mut answer = asked.answer().a(&asked.name, 60, [6, 6, 6, 6]);
    change(&mut answer);
    answer.bytes()
}

#[test]
fn answers_to_something_else_are_passed_over() {
    let answers = |asked: &Asked| {
        let letter = |answer: &mut super::server::Answer| answer.question[1] = b'x';
        let kind = |answer: &mut super::server::Answer| {
            let at = answer.question.len() - 3;
            answer.question[at] = 28;
        };
        let mut cut = wrong(asked, |_| ());
        cut.truncate(11);
        vec![
            wrong(asked, |answer| answer.id ^= 1),
            wrong(asked, letter),
            wrong(asked, kind),
            wrong(asked, |answer| answer.flags &= 0x7FFF),
            wrong(asked, |answer| answer.flags |= 0x0800),
            cut,
            vec![0; 1400],
            Vec::new(),
            right(asked),
        ]
    };
    with_servers(vec![Rc::new(answers)], |resolver, logs| async move {
        assert_eq!(resolver.lookup("www.example").await.expect("it is there"), addresses(&[80]));
        assert_eq!(logs[0].borrow().len(), 1);
    });
}

#[test]
fn answers_from_elsewhere_are_passed_over() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let (server, other, client) = (host(&switch, 1), host(&switch, 2), host(&switch, 9));
        let sockets: Vec<UdpSocket> = vec![
            other.udp().bind(PORT).await.expect("the port is free"),
            server.udp().bind(5353).await.expect("the port is free"),
        ];
        let sent = Rc::new(RefCell::new(0));
        let count = Rc::clone(&sent);
        let _log = serve(&server, move |asked| {
            for socket in sockets.clone() {
                let (forged, to, count) = (wrong(asked, |_| ()), asked.from, Rc::clone(&count));
                drop(spawn(async move {
                    socket.send_to(&forged, to).await.expect("it is near");
                    *count.borrow_mut() += 1;
                }));
            }
            vec![right(asked)]
        })
        .await;
        let resolver = Resolver::new(&client, Options::new([ip(1)]));
        assert_eq!(resolver.lookup("www.example").await.expect("it is there"), addresses(&[80]));
        assert_eq!(*sent.borrow(), 2);
    });
}

#[test]
fn who_guesses_in_the_servers_name_ends_the_datagrams() {
    let answers = |asked: &Asked| {
        if asked.by_stream {
            return vec![right(asked)];
        }
        (1..=100).map(|guess| wrong(asked, |answer| answer.id = answer.id.wrapping_add(guess))).collect()
    };
    with_servers(vec![Rc::new(answers)], |resolver, logs| async move {
        assert_eq!(resolver.lookup("www.example").await.expect("it is there"), addresses(&[80]));
        assert_eq!(logs[0].borrow().iter().map(|asked| asked.by_stream).collect::<Vec<_>>(), [false, true]);
    });
}

#[test]
fn numbers_and_ports_are_at_random() {
    let answers = |asked: &Asked| vec![asked.answer().a(&asked.name, 0, [10, 0, 0, 80]).bytes()];
    with_servers(vec![Rc::new(answers)], |resolver, logs| async move {
        for _ in 0..200 {
            assert!(resolver.lookup("www.example").await.is_ok());
        }
        let log = logs[0].borrow();
        let sorted = |mut numbers: Vec<u16>| {
            numbers.sort_unstable();
            numbers.dedup();
            numbers
        };
        let ids = sorted(log.iter().map(|asked| asked.id).collect());
        let ports = sorted(log.iter().map(|asked| SocketAddr::port(&asked.from)).collect());
        // Of 200 numbers out of 65,536, or 32,768, one or two come twice at times.
        assert!(ids.len() > 195 && ports.len() > 195, "{} {}", ids.len(), ports.len());
        assert!(ports.iter().all(|port| *port >= 0x8000));
        // No eighth of the range is left out.
        assert_eq!(sorted(ids.iter().map(|id| id >> 13).collect()).len(), 8);
        assert_eq!(sorted(ports.iter().map(|port| port >> 12).collect()).len(), 8);
    });
}

#[test]
fn nonsense_makes_no_answer() {
    let garbled = |asked: &Asked| {
        let mut bytes = right(asked);
        // The address's length is wrong.
        let at = bytes.len() - 5;
        bytes[at] = 3;
        vec![bytes]
    };
    with_servers(vec![Rc::new(garbled), Rc::new(|asked: &Asked| vec![right(asked)])], |resolver, logs| async move {
        assert_eq!(resolver.lookup("www.example").await.expect("the second one helps"), addresses(&[80]));
        assert_eq!(logs[0].borrow().len(), 1);
    });
    let looping = |asked: &Asked| {
        vec![asked.answer().cname("a.example", 60, "b.example").cname("b.example", 60, "a.example").bytes()]
    };
    with_servers(vec![Rc::new(looping)], |resolver, _| async move {
        let error = resolver.lookup("a.example").await.expect_err("that leads nowhere");
        assert!(matches!(error, LookupError::Failed { code: 1, .. }), "{error}");
    });
    // A stream that ends too early, or goes on too long.
    let streams = |asked: &Asked| {
        if asked.by_stream { vec![vec![7; 9000]] } else { vec![asked.answer().truncated().bytes()] }
    };
    with_servers(vec![Rc::new(streams)], |resolver, _| async move {
        assert!(matches!(resolver.lookup("a.example").await, Err(LookupError::Failed { code: 1, .. })));
    });
}
