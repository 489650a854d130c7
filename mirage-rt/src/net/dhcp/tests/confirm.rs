//! Leases that are confirmed because the link was down: the machine alone, and networks on the switch.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;

use super::super::client::{Client, Event, Loss, Output};
use super::machine::{HOUR, answer, at, bound, sent};
use super::server::{Answer, serve};
use super::*;
use crate::net::ReadError;
use crate::net::switch::{Impairments, Switch};
use crate::testing;
use crate::time::sleep;

/// The question for the address that we have is that of one who has just started, as section 4.3.2 tells them apart.
#[test]
fn a_lease_is_confirmed_by_any_server() {
    let mut client = bound();
    client.confirm(at(100));
    let (request, to) = sent(&mut client, at(100));
    assert_eq!((request.wants, to, request.client), (true, Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED));
    assert_eq!((request.requested, request.server), (Some(ip(9)), None));
    assert!(client.lease().is_some(), "it is used meanwhile");
    let other = Answer::new(Kind::Ack, request.id, MAC, ip(9), ip(2)).usual(HOUR);
    assert!(matches!(client.receive(at(101), &other.bytes()), Some(Event::Leased(lease)) if lease.server == ip(2)));
    assert_eq!((client.poll(at(101)), client.deadline()), (None, Some(at(100 + 1800))), "from then on");
}

#[test]
fn a_lease_that_nobody_confirms_is_kept_as_long_as_it_lasts() {
    // Long before it is to be renewed, and when that has begun.
    for (start, next) in [(100, at(1800)), (1790, at(1800)), (3000, at(3150)), (3590, at(3600))] {
        let mut client = bound();
        while client.poll(at(start)).is_some() {}
        client.confirm(at(start));
        let (mut now, mut asked) = (at(start), 0);
        while client.lease().is_some() && asked < 4 {
            if let Some(Output::Send { message, to }) = client.poll(now) {
                let request = server::Asked::read(&message).expect("a message of a client").request;
                assert_eq!((request.requested, to), (Some(ip(9)), Ipv4Addr::BROADCAST));
                asked += 1;
            }
            now = client.deadline().expect("it goes on");
        }
        assert!(client.lease().is_none() == (start == 3590) && now - at(start) < Duration::from_secs(64), "{now:?}");
        // Then as if nobody had asked.
        match (client.poll(now), start) {
            (None, 100) => assert_eq!(client.deadline(), Some(next)),
            (Some(Output::Send { message, to }), 1790 | 3000) => {
                let request = server::Asked::read(&message).expect("a message of a client").request;
                assert_eq!((request.client, request.requested, to), (ip(9), None, ip(1)));
            }
            (Some(Output::Send { .. }), 3590) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_address_that_is_not_right_here_is_given_up() {
    for (kind, address, loss) in [(Kind::Nak, ip(9), Loss::Refused), (Kind::Ack, ip(8), Loss::Moved)] {
        let mut client = bound();
        client.confirm(at(100));
        let (request, _) = sent(&mut client, at(100));
        let offer = answer(Kind::Offer, &request);
        assert_eq!(client.receive(at(100), &offer.bytes()), None, "it is not looked for");
        let reply = Answer::new(kind, request.id, MAC, address, ip(1)).usual(HOUR);
        assert_eq!(client.receive(at(100), &reply.bytes()), Some(Event::Lost(loss)));
        assert!(!sent(&mut client, at(100)).0.wants, "and begins anew");
    }
}

/// Who waits for the next attempt does not wait when there is a link again.
#[test]
fn without_a_lease_it_begins_anew() {
    let mut client = Client::new(MAC, 1, at(0));
    let (discover, _) = sent(&mut client, at(0));
    assert_eq!(client.poll(at(1)), None);
    client.confirm(at(1));
    let (again, _) = sent(&mut client, at(1));
    assert!(!again.wants && again.id != discover.id);
}

/// A machine that was moved to another host finds the same network there, then another one.
#[test]
fn a_link_that_is_back_may_be_another_networks() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let (moved, silent) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
        let (elsewhere, quiet) = (Rc::clone(&moved), Rc::clone(&silent));
        let log = serve(&switch, move |asked| {
            let yours = if elsewhere.get() { ip(19) } else { ip(9) };
            let kind = match (asked.wants, asked.requested.is_some_and(|requested| requested != yours)) {
                (false, _) => Kind::Offer,
                (true, false) => Kind::Ack,
                (true, true) => Kind::Nak,
            };
            // Its MTU is less than the link's.
            let answer = Answer::new(kind, asked.id, asked.mac, yours, ip(1)).usual(HOUR).option(26, &[4, 0]);
            (!quiet.get()).then_some(answer)
        });
        let config = Config { ipv4: crate::keys::Cidr::new(ip(2), 24).ok(), ..Config::new() };
        let peer = Network::direct(switch.port(), switch.pool(), config).expect("a good configuration");
        let mut listener = peer.tcp().bind(7).await.expect("the port is free");
        let port = switch.port();
        let index = port.index();
        let dhcp = Dhcp::connect(port, switch.pool(), Config::new()).await.expect("a server gives one");
        let network = dhcp.network();
        let stream = network.tcp().connect((ip(2), 7)).await.expect("it listens");
        let (accepted, _) = listener.accept().await.expect("a connection waits");
        let away = || async {
            log.borrow_mut().clear();
            switch.unplug(index);
            sleep(Duration::from_secs(5)).await;
            switch.plug(index);
            sleep(Duration::from_secs(1)).await;
            let asked: Vec<_> = log.borrow().iter().map(|(_, _, _, asked)| (asked.wants, asked.requested)).collect();
            asked
        };
        sleep(Duration::from_secs(100)).await;
        assert_eq!(log.borrow().len(), 2, "the lease's MTU is no news");
        let ends = dhcp.lease().ends.expect("it ends");
        assert_eq!(away().await, [(true, Some(ip(9)))]);
        assert!(dhcp.lease().ends.expect("it ends") >= ends + Duration::from_secs(100), "as if it were renewed");
        stream.write_all(b"still here").await.expect("the address is the same");
        assert_eq!(accepted.read(&mut [0; 64]).await.expect("it comes"), 10);
        // Nobody says anything: it is used on, and asked for four times.
        silent.set(true);
        assert_eq!(away().await, [(true, Some(ip(9)))]);
        sleep(Duration::from_secs(120)).await;
        assert_eq!(log.borrow().len(), 4);
        stream.write_all(b"still here").await.expect("the address is the same");
        assert!(!dhcp.is_lost());
        // Another network.
        silent.set(false);
        moved.set(true);
        assert_eq!(away().await, [(true, Some(ip(9))), (false, None), (true, Some(ip(19)))]);
        assert_eq!((network.addresses(), dhcp.is_lost()), (Vec::from([ip(19).into()]), false));
        assert!(matches!(stream.read(&mut [0; 8]).await, Err(ReadError::AddressGone)));
        // Two addresses, one of them confirmed once and refused in the end.
        let counted = network.snapshot().expect("a network of its own").interface.events;
        assert_eq!(counted[..5], [2, 1, 0, 1, 0]);
    });
}
