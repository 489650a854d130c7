//! The client's machine, told the time.

use alloc::string::ToString;
use alloc::vec;

use super::super::client::{Client, Event, Loss, Output};
use super::server::{Answer, Asked};
use super::*;
use crate::time::{Duration, Instant};

pub(super) const HOUR: u32 = 3600;

pub(super) fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

/// What is sent now, which must be something, and where to.
pub(super) fn sent(client: &mut Client, now: Instant) -> (Request, Ipv4Addr) {
    match client.poll(now) {
        Some(Output::Send { message, to }) => (Asked::read(&message).expect("a message of a client").request, to),
        other => panic!("{other:?}"),
    }
}

pub(super) fn answer(kind: Kind, request: &Request) -> Answer {
    Answer::new(kind, request.id, MAC, ip(9), ip(1)).usual(HOUR)
}

/// A client that has got 10.0.0.9 for an hour at the time 0.
pub(super) fn bound() -> Client {
    let mut client = Client::new(MAC, 1, at(0));
    let (discover, to) = sent(&mut client, at(0));
    assert!(!discover.wants && to == Ipv4Addr::BROADCAST && discover.client.is_unspecified());
    assert_eq!(client.receive(at(0), &answer(Kind::Offer, &discover).bytes()), None);
    let (request, to) = sent(&mut client, at(0));
    assert!(request.wants && to == Ipv4Addr::BROADCAST && request.client.is_unspecified());
    assert_eq!((request.id, request.requested, request.server), (discover.id, Some(ip(9)), Some(ip(1))));
    let event = client.receive(at(1), &answer(Kind::Ack, &request).bytes());
    let Some(Event::Leased(lease)) = event else { panic!("{event:?}") };
    assert_eq!((lease.address.to_string(), lease.gateway), ("10.0.0.9/24".into(), Some(ip(1))));
    assert_eq!(lease.ends, Some(at(3600)), "from the request on");
    assert_eq!((client.poll(at(1)), client.deadline()), (None, Some(at(1800))));
    client
}

#[test]
fn offers_are_looked_for_with_growing_patience() {
    let mut client = Client::new(MAC, 1, at(0));
    let (mut now, mut before) = (at(0), None);
    for expected in [4, 8, 16, 32, 64, 64] {
        let (discover, _) = sent(&mut client, now);
        assert!(before.is_none_or(|id| id == discover.id) && client.poll(now).is_none());
        before = Some(discover.id);
        let next = client.deadline().expect("it goes on");
        let wait = next - now;
        let (least, most) = (Duration::from_secs(expected - 1), Duration::from_secs(expected + 1));
        assert!((least..=most).contains(&wait), "{wait:?} is not about {expected} s");
        now = next;
    }
}

#[test]
fn an_offer_whose_server_falls_silent_is_given_up() {
    let mut client = Client::new(MAC, 1, at(0));
    let (discover, _) = sent(&mut client, at(0));
    client.receive(at(0), &answer(Kind::Offer, &discover).bytes());
    let mut now = at(0);
    for _ in 0..4 {
        assert!(sent(&mut client, now).0.wants);
        now = client.deadline().expect("it goes on");
    }
    let (again, _) = sent(&mut client, now);
    assert!(!again.wants && again.id != discover.id);
}

#[test]
fn a_lease_is_renewed_by_its_server() {
    let mut client = bound();
    let (request, to) = sent(&mut client, at(1800));
    assert_eq!((request.wants, request.client, to), (true, ip(9), ip(1)));
    assert_eq!((request.requested, request.server), (None, None), "section 4.3.6");
    // Half of the time up to rebinding, which is at seven eighths.
    assert_eq!(client.deadline(), Some(at(1800 + 675)));
    assert_eq!(sent(&mut client, at(2475)), (Request { seconds: 675, ..request }, to));
    let event = client.receive(at(2480), &answer(Kind::Ack, &request).bytes());
    assert!(matches!(event, Some(Event::Leased(lease)) if lease.ends == Some(at(2475 + 3600))));
    assert_eq!(client.deadline(), Some(at(2475 + 1800)));
}

#[test]
fn any_server_is_asked_when_its_own_is_silent_and_the_end_is_the_end() {
    let mut client = bound();
    sent(&mut client, at(1800));
    let (request, to) = sent(&mut client, at(3150));
    assert_eq!((request.wants, request.client, to), (true, ip(9), Ipv4Addr::BROADCAST));
    let ack = Answer::new(Kind::Ack, request.id, MAC, ip(9), ip(2)).usual(HOUR).bytes();
    let mut again = bound();
    sent(&mut again, at(1800));
    sent(&mut again, at(3150));
    assert!(matches!(again.receive(at(3151), &ack), Some(Event::Leased(lease)) if lease.server == ip(2)));
    let (lost, now) = loop {
        let now = client.deadline().expect("it ends");
        if let Some(Output::Lost(loss)) = client.poll(now) {
            break (loss, now);
        }
    };
    assert_eq!((lost, now), (Loss::Expired, at(3600)));
    assert_eq!(client.lease(), None);
    assert!(!sent(&mut client, now).0.wants, "and begins anew");
}

#[test]
fn a_lease_is_lost_when_a_server_says_so() {
    for (kind, address, loss) in [(Kind::Nak, ip(9), Loss::Refused), (Kind::Ack, ip(8), Loss::Moved)] {
        let mut client = bound();
        let (request, _) = sent(&mut client, at(1800));
        let reply = Answer::new(kind, request.id, MAC, address, ip(1)).usual(HOUR);
        assert_eq!(client.receive(at(1800), &reply.bytes()), Some(Event::Lost(loss)));
    }
}

#[test]
fn what_is_for_others_or_makes_no_sense_changes_nothing() {
    let mut client = Client::new(MAC, 1, at(0));
    let early = Answer::new(Kind::Offer, 0, MAC, ip(9), ip(1)).usual(HOUR);
    assert_eq!(client.receive(at(0), &early.bytes()), None);
    let (discover, _) = sent(&mut client, at(0));
    let next = client.deadline();
    let offer = |id, mac, yours: Ipv4Addr| Answer::new(Kind::Offer, id, mac, yours, ip(1));
    for wrong in [
        offer(discover.id ^ 1, MAC, ip(9)).usual(HOUR),
        offer(discover.id, [2, 0, 0, 0, 0, 8], ip(9)).usual(HOUR),
        offer(discover.id, MAC, Ipv4Addr::UNSPECIFIED).usual(HOUR),
        offer(discover.id, MAC, Ipv4Addr::new(224, 0, 0, 1)).usual(HOUR),
        offer(discover.id, MAC, ip(255)).usual(HOUR),
        offer(discover.id, MAC, ip(9)).option(1, &[255, 0, 255, 0]),
        offer(discover.id, MAC, ip(9)).option(1, &[0; 4]),
        answer(Kind::Ack, &discover),
        answer(Kind::Nak, &discover),
    ] {
        assert_eq!(client.receive(at(1), &wrong.bytes()), None);
        assert_eq!((client.poll(at(1)), client.deadline()), (None, next));
    }
    client.receive(at(1), &answer(Kind::Offer, &discover).bytes());
    let (request, _) = sent(&mut client, at(1));
    let ack = |yours, server| Answer::new(Kind::Ack, request.id, MAC, yours, server);
    for wrong in [
        ack(ip(8), ip(1)).usual(HOUR),
        ack(ip(9), ip(2)).usual(HOUR),
        // Without a time.
        ack(ip(9), ip(1)).option(1, &[255, 255, 255, 0]),
    ] {
        assert_eq!(client.receive(at(1), &wrong.bytes()), None);
    }
    assert!(client.lease().is_none());
    // A refusal is not followed by the next attempt at once.
    assert_eq!(client.receive(at(2), &answer(Kind::Nak, &request).bytes()), None);
    assert_eq!(client.poll(at(2)), None);
    assert!(client.deadline().is_some_and(|next| next >= at(5)));
}

#[test]
fn times_are_the_servers_when_they_make_sense() {
    let leased = |options: &[(u8, u32)]| {
        let mut client = Client::new(MAC, 1, at(0));
        let (discover, _) = sent(&mut client, at(0));
        client.receive(at(0), &answer(Kind::Offer, &discover).bytes());
        let (request, _) = sent(&mut client, at(0));
        let ack = Answer::new(Kind::Ack, request.id, MAC, ip(9), ip(1)).option(1, &[255, 255, 255, 0]);
        let ack = options.iter().fold(ack, |ack, (kind, seconds)| ack.option(*kind, &seconds.to_be_bytes()));
        assert!(client.receive(at(0), &ack.bytes()).is_some());
        client
    };
    assert_eq!(leased(&[(51, 3600), (58, 100), (59, 200)]).deadline(), Some(at(100)));
    assert_eq!(leased(&[(51, 3600), (58, 4000), (59, 5000)]).deadline(), Some(at(1800)));
    assert_eq!(leased(&[(51, 3600), (59, 1000)]).deadline(), Some(at(1000)), "never after rebinding");
    assert_eq!(leased(&[(51, 0)]).deadline(), Some(at(5)), "as ten seconds");
    let mut for_ever = leased(&[(51, u32::MAX)]);
    assert_eq!((for_ever.deadline(), for_ever.poll(at(1 << 33))), (None, None));
}

proptest! {
    /// Whatever comes and however time goes: nothing is sent without end, and deadlines are not in the past.
    #[test]
    fn no_course_of_events_harms(
        seed in any::<u64>(),
        steps in prop::collection::vec((0u64..3000, 0u8..7, any::<bool>(), prop::sample::select(vec![0_u32, 20, 3600, u32::MAX])), 0..60),
    ) {
        let mut client = Client::new(MAC, seed, at(0));
        let (mut seconds, mut last) = (0, None);
        for (passed, what, right, lease) in steps {
            seconds += passed;
            let now = at(seconds);
            let mut count = 0;
            while let Some(output) = client.poll(now) {
                count += 1;
                prop_assert!(count <= 2, "one end of a lease and one message");
                if let Output::Send { message, .. } = output {
                    last = Asked::read(&message);
                }
            }
            prop_assert!(client.deadline().is_none_or(|deadline| deadline > now));
            let Some(Asked { request }) = last else { continue };
            let kind = [Kind::Offer, Kind::Ack, Kind::Nak][usize::from(what % 3)];
            let reply = Answer::new(kind, request.id, MAC, if right { ip(9) } else { ip(200) }, ip(1)).usual(lease);
            match what {
                0..5 => drop(client.receive(now, &reply.bytes())),
                5 => client.confirm(now),
                _ => {}
            }
        }
    }
}
