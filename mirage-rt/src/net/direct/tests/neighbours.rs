//! Neighbours that are not there: strangers who make them up are in nobody's way.

use alloc::rc::Rc;
use core::cell::Cell;
use core::time::Duration;

use super::raw::{Raw, STACK};
use super::*;
use crate::net::direct::tcp::segment::{Bare, Control, Seq};
use crate::runtime::now;
use crate::time::sleep;

/// An address on the link of [`wide`] that no host has.
fn made_up(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    match is_ipv6() {
        true => SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, number), 4000)),
        false => SocketAddr::from((Ipv4Addr::new(10, 0, 100 + high, low), 4000)),
    }
}

/// Host `number` in a network of many addresses.
fn wide(switch: &Switch, number: u8) -> Network {
    match is_ipv6() {
        true => host(switch, number),
        false => host_with(switch, Config { ipv4: Cidr::new(ip(number), 16).ok(), ..config(number) }),
    }
}

/// Has the stack answer `count` hosts that are not there.
async fn flood(raw: &mut Raw, count: u16) {
    for number in 1..=count {
        let syn = Bare { control: Control::Syn, seq: Seq(7), window: 1000, ..Bare::default() };
        raw.send_bare(made_up(number), at(1, 80), &syn);
        if number % 20 == 0 {
            raw.packets().await;
        }
    }
}

/// Counts the frames in which the stack asks for host `number`.
fn questions(switch: &Switch, number: u8) -> Rc<Cell<usize>> {
    let asked = Rc::new(Cell::new(0));
    let seen = Rc::clone(&asked);
    let (place, target) = match is_ipv6() {
        true => (62, ip6(number).octets().to_vec()),
        false => (38, ip(number).octets().to_vec()),
    };
    switch.set_filter(Some(Rc::new(move |frame| {
        let is_question = if is_ipv6() { frame.get(54) == Some(&135) } else { frame[12..14] == [8, 6] };
        if frame[6..12] == STACK && is_question && frame.get(place..place + target.len()) == Some(&target[..]) {
            seen.set(seen.get() + 1);
        }
        true
    })));
    asked
}

fn who_is_not_there_keeps_nobody_waiting() {
    testing::run(41, async {
        let switch = Switch::new(41, Impairments::NONE);
        let (server, client) = (wide(&switch, 1), wide(&switch, 2));
        let _echoing = echo_server(&server, 80).await;
        let open = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        let other = wide(&switch, 4);
        let _other_echoing = echo_server(&other, 7).await;
        flood(&mut Raw::new(&switch, 3), 200).await;
        let start = now();
        let made = server.tcp().connect(at(4, 7)).await.expect("it listens");
        assert!(now() - start < Duration::from_millis(50), "{:?}", now() - start);
        exchange(made, pattern(1, 5000)).await;
        exchange(open, pattern(2, 5000)).await;
        assert!(now() - start < Duration::from_secs(1), "{:?}", now() - start);
    });
}

fn who_cannot_be_asked_for_is_asked_for_again() {
    testing::run(42, async {
        let switch = Switch::new(42, Impairments::NONE);
        let (server, other) = (wide(&switch, 1), wide(&switch, 4));
        let _echoing = echo_server(&server, 80).await;
        let _other_echoing = echo_server(&other, 7).await;
        // The first question is lost, and then the table has no place for it any more.
        let lost = Rc::new(Cell::new(false));
        switch.set_filter(Some(Rc::new(move |frame| {
            let asks = frame.get(38..42) == Some(&ip(4).octets()) || frame.get(62..78) == Some(&ip6(4).octets());
            lost.get() || !(asks && frame[6..12] == STACK) || lost.replace(true)
        })));
        let mut raw = Raw::new(&switch, 3);
        flood(&mut raw, 200).await;
        let start = now();
        let connecting = spawn(async move { server.tcp().connect(at(4, 7)).await });
        sleep(Duration::from_micros(100)).await;
        flood(&mut raw, 3000).await;
        connecting.await.expect("not aborted").expect("it listens");
        assert!(now() - start < Duration::from_millis(2500), "{:?}", now() - start);
    });
}

fn who_is_not_there_pushes_out_nobody_who_is() {
    testing::run(43, async {
        let switch = Switch::new(43, Impairments::NONE);
        let (server, client) = (wide(&switch, 1), wide(&switch, 2));
        let _echoing = echo_server(&server, 80).await;
        let open = client.tcp().connect(at(1, 80)).await.expect("the server listens");
        let mut raw = Raw::new(&switch, 3);
        let asked = questions(&switch, 2);
        flood(&mut raw, 3000).await;
        // Those that were asked for in vain are no better.
        sleep(Duration::from_secs(10)).await;
        flood(&mut raw, 3000).await;
        exchange(open, pattern(2, 5000)).await;
        assert_eq!(asked.get(), 0);
    });
}

worlds! {
    who_is_not_there_keeps_nobody_waiting,
    who_cannot_be_asked_for_is_asked_for_again,
    who_is_not_there_pushes_out_nobody_who_is,
}
