//! Several hosts: resolving each other, datagrams, devices that change.

use alloc::rc::Rc;
use core::cell::Cell;
use core::time::Duration;

use super::raw::{Raw, STACK, stack};
use super::*;
use crate::net::{BindError, ReceiveError, SendError};
use crate::runtime::now;
use crate::time::{sleep, timeout};

fn twenty_hosts_are_served_at_once() {
    testing::run(91, async {
        let switch = Switch::new(91, Impairments::NONE);
        let server = host(&switch, 1);
        let _echoing = echo_server(&server, 80).await;
        let start = now();
        let tasks: Vec<_> = (2..22)
            .map(|number| {
                let client = host(&switch, number);
                spawn(async move {
                    let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
                    exchange(stream, pattern(number.into(), 3000)).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("the task ends");
        }
        assert!(now() - start < Duration::from_millis(200), "nobody waits for another's address");
    });
}

fn the_server_asks_for_twenty_hosts_at_once() {
    testing::run(92, async {
        let switch = Switch::new(92, Impairments::NONE);
        let (_direct, server) = stack(&switch);
        let socket = server.udp().bind(9).await.expect("the port is free");
        let mut hosts: Vec<_> = (2..22).map(|number| Raw::new(&switch, number)).collect();
        for number in 2..22 {
            socket.send_to(b"hello", at(number, 7)).await.expect("there is room");
        }
        for host in &mut hosts {
            assert_eq!(host.packets().await.len(), 1);
        }
    });
}

fn datagrams_come_back_from_an_echo() {
    testing::run(94, async {
        let switch = Switch::new(94, Impairments::NONE);
        let (server, client) = (host(&switch, 1), host(&switch, 2));
        let echo = server.udp().bind(7).await.expect("the port is free");
        assert!(matches!(server.udp().bind(7).await, Err(BindError::InUse { port: 7 })));
        assert!(matches!(server.udp().bind(at(9, 7)).await, Err(BindError::NotOurs(_))));
        let _echoing = spawn(async move {
            let mut buffer = [0; 2000];
            while let Ok((length, peer)) = echo.receive_from(&mut buffer).await {
                echo.send_to(&buffer[..length], peer).await.expect("it came from there");
            }
        });
        let socket = client.udp().bind(0).await.expect("a port is free");
        assert!(socket.local_addr().port() >= 49152);
        let mut buffer = [0; 2000];
        for length in [0, 1, 100, most_datagram()] {
            let bytes = pattern(length, length);
            socket.send_to(&bytes, at(1, 7)).await.expect("there is room");
            let (received, peer) = socket.receive_from(&mut buffer).await.expect("an answer");
            assert_eq!((received, peer), (length, at(1, 7)));
            assert!(buffer[..length] == bytes);
        }
        // With this feature they leave in fragments.
        let longest = if cfg!(feature = "datagrams") { 65_507 } else { most_datagram() };
        let long = socket.send_to(&vec![0; longest + 1], at(1, 7)).await;
        assert!(matches!(long, Err(SendError::TooLong { most }) if most == longest), "{long:?}");
        // Of a datagram longer than the buffer the rest is lost.
        socket.send_to(&pattern(1, 100), at(1, 7)).await.expect("there is room");
        let (received, _) = socket.receive_from(&mut buffer[..10]).await.expect("an answer");
        assert_eq!(received, 100);
        assert!(buffer[..10] == pattern(1, 100)[..10]);
    });
}

fn a_queue_of_datagrams_is_bounded() {
    testing::run(95, async {
        let switch = Switch::new(95, Impairments::NONE);
        let (server, client) = (host(&switch, 1), host(&switch, 2));
        let receiver = server.udp().bind(7).await.expect("the port is free");
        let sender = client.udp().bind(0).await.expect("a port is free");
        for _ in 0..1000 {
            sender.send_to(&[0; 1000], at(1, 7)).await.expect("there is room in the end");
            crate::runtime::yield_now().await;
        }
        sleep(Duration::from_millis(10)).await;
        let mut received = 0;
        while let Ok(datagram) = timeout(Duration::from_millis(1), receiver.receive_from(&mut [0; 10])).await {
            datagram.expect("the device works");
            received += 1;
        }
        assert_eq!(received, 64 * 1024 / 1064);
    });
}

fn applications_see_the_link_and_connections_its_new_mtu() {
    testing::run(100, async {
        let switch = Switch::new(100, Impairments::NONE);
        let (server, client) = (host(&switch, 1), host(&switch, 2));
        let _echoing = echo_server(&server, 80).await;
        let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        let at_first = server.link();
        assert_eq!((at_first.up, at_first.mtu, at_first.changes), (true, Some(1500), 0));
        let nothing = timeout(Duration::from_secs(1), server.link_changed(at_first)).await;
        assert!(nothing.is_err(), "{nothing:?}");
        let watching = {
            let server = server.clone();
            spawn(async move { server.link_changed(at_first).await })
        };
        let longest = Rc::new(Cell::new(0));
        let seen = Rc::clone(&longest);
        switch.set_filter(Some(Rc::new(move |frame| {
            // Those from the server only.
            if frame[6..12] == STACK {
                seen.set(frame.len().max(seen.get()));
            }
            true
        })));
        switch.unplug(0);
        let down = watching.await.expect("not aborted");
        assert!(!down.up && !server.link().up && down.mtu == Some(1500), "{down:?}");
        switch.set_mtu(0, 1000);
        switch.plug(0);
        let up = server.link_changed(down).await;
        assert!(up.up && up.mtu == Some(1000), "{up:?}");
        exchange(stream, pattern(9, 50_000)).await;
        assert_eq!(longest.get(), 1014, "an open connection sends packets of the new size");
    });
}

fn a_socket_of_a_dead_device_says_so() {
    testing::run(98, async {
        let switch = Switch::new(98, Impairments::NONE);
        let (server, client) = (host(&switch, 1), host(&switch, 2));
        let socket = server.udp().bind(7).await.expect("the port is free");
        let mut listener = server.tcp().bind(80).await.expect("the port is free");
        let stream = client.tcp().connect(at(1, 80)).await.expect("it listens");
        let (accepted, _) = listener.accept().await.expect("a connection waits");
        switch.break_port(0);
        assert!(matches!(socket.receive_from(&mut [0; 8]).await, Err(ReceiveError::Down)));
        assert!(matches!(listener.accept().await, Err(crate::net::AcceptError::Down)));
        assert!(matches!(accepted.read(&mut [0; 8]).await, Err(crate::net::ReadError::Down)));
        assert!(matches!(server.tcp().connect(at(2, 80)).await, Err(crate::net::ConnectError::Down)));
        drop(stream);
    });
}

worlds! {
    twenty_hosts_are_served_at_once,
    the_server_asks_for_twenty_hosts_at_once,
    datagrams_come_back_from_an_echo,
    a_queue_of_datagrams_is_bounded,
    applications_see_the_link_and_connections_its_new_mtu,
    a_socket_of_a_dead_device_says_so,
}
