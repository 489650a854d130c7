//! Connections to names: the race of addresses, alone and on a network.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::net::SocketAddr;

use super::super::race::{self, Lookup};
use super::server::serve;
use super::*;
use crate::net::ConnectError;

fn six(number: u16) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, number])
}

fn four(number: u8) -> IpAddr {
    ip(number).into()
}

/// A lookup that takes so many milliseconds.
fn after(milliseconds: u64, found: Result<Vec<IpAddr>, LookupError>) -> Lookup<'static> {
    Box::pin(async move {
        sleep(Duration::from_millis(milliseconds)).await;
        found
    })
}

/// When each attempt started, in milliseconds, and where to.
type Attempts = Rc<RefCell<Vec<(u64, IpAddr)>>>;

/// A race where an attempt takes what `outcome` says, in milliseconds, and succeeds if it says so. What came of it, when, and the
/// attempts.
async fn race(
    lookups: Vec<Lookup<'static>>,
    outcome: impl Fn(IpAddr) -> (u64, bool) + Copy + Unpin + 'static,
) -> (Result<IpAddr, NamedConnectError>, u64, Vec<(u64, IpAddr)>) {
    race_from(Vec::new(), lookups, outcome).await
}

/// The same on a host with the addresses `own`.
async fn race_from(
    own: Vec<IpAddr>,
    lookups: Vec<Lookup<'static>>,
    outcome: impl Fn(IpAddr) -> (u64, bool) + Copy + Unpin + 'static,
) -> (Result<IpAddr, NamedConnectError>, u64, Vec<(u64, IpAddr)>) {
    let attempts = Attempts::default();
    let milliseconds = || now().as_nanos() / 1_000_000;
    let started = Rc::clone(&attempts);
    let won = race::connect(lookups, own, 80, move |address: SocketAddr| {
        assert_eq!(address.port(), 80);
        started.borrow_mut().push((now().as_nanos() / 1_000_000, address.ip()));
        let (takes, succeeds) = outcome(address.ip());
        async move {
            sleep(Duration::from_millis(takes)).await;
            if succeeds { Ok(address.ip()) } else { Err(ConnectError::Refused(address)) }
        }
    })
    .await;
    (won, milliseconds(), attempts.take())
}

#[test]
fn ipv6_is_preferred_and_waited_for_a_moment() {
    testing::run(1, async {
        // IPv6 comes 40 ms after IPv4: that is waited for.
        let lookups = vec![after(50, Ok(vec![six(1)])), after(10, Ok(vec![four(1)]))];
        let (won, at, attempts) = race(lookups, |_| (20, true)).await;
        assert_eq!((won.expect("it is there"), at), (six(1), 70));
        assert_eq!(attempts, [(50, six(1))]);
    });
    testing::run(1, async {
        // 60 ms after: IPv4 goes first, IPv6 comes in a quarter of a second later, and wins.
        let lookups = vec![after(70, Ok(vec![six(1)])), after(10, Ok(vec![four(1), four(2)]))];
        let (won, at, attempts) =
            race(lookups, |address| if address.is_ipv4() { (10_000, true) } else { (20, true) }).await;
        assert_eq!((won.expect("it is there"), at), (six(1), 330));
        assert_eq!(attempts, [(60, four(1)), (310, six(1))]);
    });
    testing::run(1, async {
        // Without IPv6 addresses nothing is waited for.
        let lookups = vec![after(20, Err(LookupError::NoAddress("x".into()))), after(10, Ok(vec![four(1)]))];
        let (won, at, _) = race(lookups, |_| (20, true)).await;
        assert_eq!((won.expect("it is there"), at), (four(1), 40));
    });
}

#[test]
fn kinds_take_turns_with_a_delay() {
    testing::run(1, async {
        let lookups = vec![after(10, Ok(vec![six(1), six(2), six(3)])), after(10, Ok(vec![four(1), four(2)]))];
        let (won, at, attempts) =
            race(lookups, |address| if address == four(2) { (30, true) } else { (100_000, true) }).await;
        assert_eq!(won.expect("it is there"), four(2));
        let order = [(10, six(1)), (260, four(1)), (510, six(2)), (760, four(2))];
        assert_eq!((at, &attempts[..]), (790, &order[..]));
    });
}

/// The best address goes first and its kind has the first turn; the kinds go on in turn whatever their addresses are worth.
#[test]
fn better_addresses_go_first() {
    let site = |number| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, number]);
    let tried = |own: Vec<IpAddr>, sixes: Vec<IpAddr>, late: u64| {
        let order = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&order);
        testing::run(1, async move {
            let lookups = vec![after(10 + late, Ok(sixes)), after(10, Ok(vec![four(1), four(2)]))];
            let (_, _, attempts) = race_from(own, lookups, |_| (5, false)).await;
            kept.borrow_mut().extend(attempts.into_iter().map(|(_, address)| address));
        });
        order.take()
    };
    let worse = || vec![site(1), six(1)];
    assert_eq!(tried(vec![six(9), four(9)], worse(), 0), [six(1), four(1), site(1), four(2)]);
    // A host that has addresses of its site only reaches others by IPv4, if at all.
    assert_eq!(tried(vec![site(9), four(9)], vec![six(1), six(2)], 0), [four(1), six(1), four(2), six(2)]);
    // What comes after the first attempt has its turn.
    assert_eq!(tried(vec![six(9), four(9)], worse(), 52), [four(1), six(1), four(2), site(1)]);
}

#[test]
fn a_failure_starts_the_next_one_at_once() {
    testing::run(1, async {
        let lookups = vec![after(10, Ok(vec![six(1), six(2)])), after(10, Ok(vec![four(1)]))];
        let (won, at, attempts) = race(lookups, |address| (5, address == six(2))).await;
        assert_eq!((won.expect("it is there"), at), (six(2), 25));
        assert_eq!(attempts, [(10, six(1)), (15, four(1)), (20, six(2))]);
    });
    testing::run(1, async {
        let lookups = vec![after(10, Ok(vec![six(1)])), after(500, Ok(vec![four(1)]))];
        let (won, at, _) = race(lookups, |_| (5, false)).await;
        let error = won.expect_err("nobody takes it");
        assert!(
            matches!(error, NamedConnectError::Connect(ConnectError::Refused(to)) if to.ip() == four(1)),
            "{error}"
        );
        assert_eq!(at, 505, "addresses that come late are tried too");
    });
    testing::run(1, async {
        let nobody = || LookupError::NoAddress("x".into());
        let lookups = vec![after(10, Err(nobody())), after(20, Err(LookupError::NoSuchName("x".into())))];
        let (won, ..) = race(lookups, |_| (5, true)).await;
        assert!(matches!(won, Err(NamedConnectError::Lookup(LookupError::NoSuchName(_)))));
    });
}

/// A listener at port 80 of host 80 that counts nothing and takes everybody.
async fn web(switch: &Switch) -> Network {
    let network = host(switch, 80);
    let mut listener = network.tcp().bind(80).await.expect("the port is free");
    drop(spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"hello").await;
        }
    }));
    network
}

#[test]
fn a_name_is_connected_to() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let _web = web(&switch).await;
        let (server, client) = (host(&switch, 1), host(&switch, 9));
        // The first address is nobody's, the second one refuses.
        let log = serve(&server, |asked| {
            let answer = asked.answer();
            let answer = match &asked.name[..] {
                "web.example" => {
                    let numbers = [70, 1, 80];
                    numbers.into_iter().fold(answer, |answer, number| answer.a("web.example", 60, [10, 0, 0, number]))
                }
                _ => answer.code(3),
            };
            vec![answer.bytes()]
        })
        .await;
        let resolver = Resolver::new(&client, Options::new([ip(1)]));
        let stream = resolver.connect("web.example:80").await.expect("somebody takes it");
        assert_eq!(stream.peer_addr(), (ip(80), 80).into());
        let took = now() - Instant::ZERO;
        assert!((250..300).contains(&took.as_millis()), "{took:?}");
        let mut buffer = [0; 8];
        assert_eq!(stream.read(&mut buffer).await.expect("it is written to"), 5);
        assert!(log.borrow().iter().all(|asked| asked.kind == super::server::A), "IPv6 is of no use here");
        let literal = resolver.connect("10.0.0.80:80").await.expect("it is the same host");
        assert_eq!(literal.peer_addr(), stream.peer_addr());
        assert_eq!(log.borrow().len(), 1);
        let refused = resolver.connect("10.0.0.80:81").await.expect_err("nobody listens");
        assert!(matches!(refused, NamedConnectError::Connect(ConnectError::Refused(_))), "{refused}");
        let missing = resolver.connect("none.example:80").await.expect_err("no such name");
        assert_eq!(missing.to_string(), "there is no host called none.example: look at its spelling");
    });
}

#[test]
fn targets_are_a_host_and_a_port() {
    for (target, expected) in [
        ("example.org:80", Some(("example.org", 80))),
        ("10.0.0.1:8080", Some(("10.0.0.1", 8080))),
        ("[2001:db8::1]:80", Some(("2001:db8::1", 80))),
        ("2001:db8::1:80", None),
        ("[example.org]:80", None),
        ("[::1:80", None),
        ("example.org", None),
        ("example.org:", None),
        ("example.org:0", None),
        ("example.org:65536", None),
        ("http://example.org:80", None),
    ] {
        assert_eq!(split(target), expected, "{target}");
    }
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let resolver = Resolver::new(&host(&switch, 9), Options::new([ip(1)]));
        let error = resolver.connect("example.org").await.expect_err("there is no port").to_string();
        assert!(error.starts_with("\"example.org\" is not a host and a port: write "), "{error}");
    });
}
