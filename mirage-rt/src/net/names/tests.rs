//! The resolver against name servers on the switch, in virtual time.

mod connecting;
mod forgery;
mod messages;
mod of_network;
pub(crate) mod server;

use alloc::rc::Rc;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::keys::Cidr;
use crate::net::Config;
use crate::net::switch::{Impairments, Switch};
use crate::runtime::spawn;
use crate::testing;
use crate::time::{Duration, Instant, sleep, timeout};
use server::{Asked, serve};

fn ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

fn host(switch: &Switch, number: u8) -> Network {
    let config = Config { ipv4: Cidr::new(ip(number), 24).ok(), ..Config::new() };
    Network::direct(switch.port(), switch.pool(), config).expect("a good configuration")
}

fn addresses(numbers: &[u8]) -> Vec<IpAddr> {
    numbers.iter().map(|number| IpAddr::V4(ip(*number))).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// `www.example` is 10.0.0.80 for a minute, `alias.example` its alias for half a minute; `empty.example` has nothing. Nothing
/// else is there. Both of the last hold for 100 s.
fn example(asked: &Asked) -> Vec<Vec<u8>> {
    let answer = asked.answer();
    let answer = match &asked.name[..] {
        "www.example" => answer.a("www.example", 60, [10, 0, 0, 80]),
        "alias.example" => answer.cname("alias.example", 30, "www.example").a("www.example", 60, [10, 0, 0, 80]),
        "empty.example" => answer.soa("example", 100, 3600),
        _ => answer.code(3).soa("example", 3600, 100),
    };
    vec![answer.bytes()]
}

/// Runs `test` with a resolver at 10.0.0.9 for servers at 10.0.0.1 and so on, which answer as the functions say.
fn with_servers<F: Future<Output = ()> + 'static>(
    servers: Vec<server::Answers>,
    test: impl FnOnce(Resolver, Vec<server::Log>) -> F + 'static,
) {
    testing::run(1, async move {
        let switch = Switch::new(1, Impairments::NONE);
        let (mut logs, mut hosts) = (Vec::new(), Vec::new());
        for (number, answers) in (1..).zip(servers) {
            let host = host(&switch, number);
            logs.push(serve(&host, move |asked| answers(asked)).await);
            hosts.push(host);
        }
        let client = host(&switch, 9);
        let options = Options::new((1..).take(hosts.len()).map(ip));
        test(Resolver::new(&client, options), logs).await;
    });
}

/// Questions, answers that were known, questions without an answer, and by TCP.
fn counted(resolver: &Resolver) -> [u64; 4] {
    let snapshot = resolver.inner.network.snapshot().expect("a network of its own");
    *snapshot.interface.events.last_chunk().expect("they are the last ones")
}

#[test]
fn answers_are_kept_as_long_as_they_hold() {
    with_servers(vec![Rc::new(example)], |resolver, logs| async move {
        let count = || logs[0].borrow().len();
        for _ in 0..3 {
            assert_eq!(resolver.lookup("www.example").await.expect("it is there"), addresses(&[80]));
        }
        assert_eq!(resolver.lookup("WWW.example.").await.expect("it is the same"), addresses(&[80]));
        assert_eq!(count(), 1);
        sleep(seconds(61)).await;
        assert!(resolver.lookup("www.example").await.is_ok());
        assert_eq!(count(), 2);
        // An alias holds as long as all of its parts.
        assert_eq!(resolver.lookup("alias.example").await.expect("it is there"), addresses(&[80]));
        sleep(seconds(29)).await;
        assert!(resolver.lookup("alias.example").await.is_ok());
        assert_eq!(count(), 3);
        sleep(seconds(2)).await;
        assert!(resolver.lookup("alias.example").await.is_ok());
        assert_eq!(count(), 4);
        resolver.clear();
        assert!(resolver.lookup("alias.example").await.is_ok());
        assert_eq!(count(), 5);
        assert_eq!(counted(&resolver), [5, 4, 0, 0]);
        assert!(logs[0].borrow().iter().all(|asked| asked.edns == Some(1232) && !asked.by_stream));
    });
}

#[test]
fn what_is_not_there_is_kept_too() {
    with_servers(vec![Rc::new(example)], |resolver, logs| async move {
        for _ in 0..2 {
            let error = resolver.lookup("none.example").await.expect_err("it is not there");
            assert_eq!(error.to_string(), "there is no host called none.example: look at its spelling");
            let error = resolver.lookup("empty.example").await.expect_err("it has no address");
            assert!(matches!(&error, LookupError::NoAddress(name) if name == "empty.example"), "{error}");
        }
        assert_eq!(logs[0].borrow().len(), 2);
        sleep(seconds(101)).await;
        assert!(resolver.lookup("none.example").await.is_err() && resolver.lookup("empty.example").await.is_err());
        assert_eq!(logs[0].borrow().len(), 4);
    });
    // Without a record of the zone nobody knows how long that holds.
    let silent = |asked: &Asked| vec![asked.answer().code(3).bytes()];
    with_servers(vec![Rc::new(silent)], |resolver, logs| async move {
        for _ in 0..2 {
            assert!(matches!(resolver.lookup("none.example").await, Err(LookupError::NoSuchName(_))));
        }
        assert_eq!(logs[0].borrow().len(), 2);
    });
}

#[test]
fn long_answers_come_by_a_stream() {
    let answers = |asked: &Asked| {
        let answer = asked.answer();
        if !asked.by_stream {
            return vec![answer.truncated().bytes()];
        }
        vec![(0..200).fold(answer, |answer, number| answer.a(&asked.name, 60, [10, 0, 1, number])).bytes()]
    };
    with_servers(vec![Rc::new(answers)], |resolver, logs| async move {
        let found = resolver.lookup("many.example").await.expect("it is there");
        assert_eq!(found, (0..16).map(|number| IpAddr::from([10, 0, 1, number])).collect::<Vec<_>>());
        assert_eq!(logs[0].borrow().iter().map(|asked| asked.by_stream).collect::<Vec<_>>(), [false, true]);
        assert_ne!(logs[0].borrow()[0].id, logs[0].borrow()[1].id);
        assert!(resolver.lookup("many.example").await.is_ok());
        assert_eq!(logs[0].borrow().len(), 2);
        assert_eq!(counted(&resolver), [1, 1, 0, 1]);
    });
}

#[test]
fn servers_stand_in_for_each_other() {
    let silent = |_: &Asked| Vec::new();
    let refuses = |asked: &Asked| vec![asked.answer().code(5).bytes()];
    with_servers(vec![Rc::new(silent), Rc::new(refuses), Rc::new(example)], |resolver, logs| async move {
        assert!(resolver.lookup("www.example").await.is_ok());
        // One silent for a second, two that answered.
        assert_eq!(now() - Instant::ZERO, seconds(1) + server::DELAY * 2);
        assert_eq!(logs.iter().map(|log| log.borrow().len()).collect::<Vec<_>>(), [1, 1, 1]);
        // The one that answered is asked first from now on.
        assert!(resolver.lookup("alias.example").await.is_ok());
        assert_eq!(logs.iter().map(|log| log.borrow().len()).collect::<Vec<_>>(), [1, 1, 2]);
    });
    with_servers(vec![Rc::new(refuses), Rc::new(refuses)], |resolver, logs| async move {
        let error = resolver.lookup("www.example").await.expect_err("nobody answers");
        assert!(
            matches!(error, LookupError::Failed { server, code: 5, .. } if server == (ip(2), PORT).into()),
            "{error}"
        );
        assert_eq!(logs.iter().map(|log| log.borrow().len()).sum::<usize>(), 2, "no is no");
    });
}

#[test]
fn a_silent_server_is_asked_again_with_more_time() {
    let silent = |_: &Asked| Vec::new();
    with_servers(vec![Rc::new(silent), Rc::new(silent)], |resolver, logs| async move {
        let error = resolver.lookup("www.example").await.expect_err("nobody answers");
        assert!(matches!(error, LookupError::NoAnswer { .. }), "{error}");
        assert_eq!(now() - Instant::ZERO, seconds(2 * (1 + 2 + 4)));
        assert_eq!(counted(&resolver), [6, 0, 6, 0]);
        let times = |server: usize| -> Vec<u64> {
            logs[server].borrow().iter().map(|asked| asked.at.as_nanos() / 1_000_000_000).collect()
        };
        assert_eq!((times(0), times(1)), (vec![0, 2, 6], vec![1, 4, 10]));
    });
}

#[test]
fn without_anybody_to_ask_the_error_says_what_to_do() {
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let client = host(&switch, 9);
        assert_eq!(Options::of(&client), None);
        let nobody = Resolver::new(&client, Options::new(Vec::<IpAddr>::new()));
        assert!(matches!(nobody.lookup("www.example").await, Err(LookupError::NoServers)));
        // There is no gateway to it.
        let far = Resolver::new(&client, Options::new([[192, 0, 2, 53]]));
        let error = far.lookup("www.example").await.expect_err("it can't be reached");
        assert!(matches!(error, LookupError::Unreachable { .. }), "{error}");
        // Nobody has the address: the neighbour does not answer.
        let nowhere = Resolver::new(&client, Options::new([ip(77)]));
        assert!(matches!(nowhere.lookup("www.example").await, Err(LookupError::NoAnswer { .. })));
        switch.break_port(0);
        let error = nowhere.lookup("www.example").await.expect_err("the device is broken");
        assert!(matches!(error, LookupError::Down), "{error}");
    });
}

#[test]
fn a_server_from_before_edns_is_asked_without() {
    let old = |asked: &Asked| {
        if asked.edns.is_some() { vec![asked.answer().code(1).bytes()] } else { example(asked) }
    };
    with_servers(vec![Rc::new(old)], |resolver, logs| async move {
        assert_eq!(resolver.lookup("www.example").await.expect("it is there"), addresses(&[80]));
        assert_eq!(logs[0].borrow().iter().map(|asked| asked.edns).collect::<Vec<_>>(), [Some(1232), None]);
    });
}

#[test]
fn aliases_are_followed_up_to_a_bound() {
    /// `N.step.example` is an alias of `N+1.step.example`, of which the server says nothing more, up to 7.
    fn steps(asked: &Asked) -> Vec<Vec<u8>> {
        let number: u32 = asked.name.split('.').next().and_then(|label| label.parse().ok()).unwrap_or(0);
        let answer = asked.answer();
        if number == 7 {
            return vec![answer.a(&asked.name, 60, [10, 0, 0, 7]).bytes()];
        }
        vec![answer.cname(&asked.name, 20 + number, &alloc::format!("{}.step.example", number + 1)).bytes()]
    }
    with_servers(vec![Rc::new(steps)], |resolver, logs| async move {
        assert_eq!(resolver.lookup("0.step.example").await.expect("it is there"), addresses(&[7]));
        assert_eq!(logs[0].borrow().len(), 8);
        sleep(seconds(19)).await;
        assert!(resolver.lookup("0.step.example").await.is_ok());
        assert_eq!(logs[0].borrow().len(), 8, "it is kept");
        let error = resolver.lookup("8.step.example").await.expect_err("that leads nowhere");
        assert!(matches!(&error, LookupError::TooManyAliases(name) if name == "8.step.example"), "{error}");
        assert_eq!(logs[0].borrow().len(), 8 + 9);
    });
}

#[test]
fn names_without_dots_are_looked_for_in_the_search_domains() {
    fn answers(asked: &Asked) -> Vec<Vec<u8>> {
        let number = match &asked.name[..] {
            "www.second.example" => 1,
            "www.sub" => 2,
            "top" => 3,
            "www.sub.second.example" => 4,
            _ => return vec![asked.answer().code(3).soa("example", 60, 60).bytes()],
        };
        vec![asked.answer().a(&asked.name, 60, [10, 0, 0, number]).bytes()]
    }
    testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let (server, client) = (host(&switch, 1), host(&switch, 9));
        let log = serve(&server, answers).await;
        let mut options = Options::new([ip(1)]);
        options.search = ["first.example", "second.example"].map(|name| name.parse().expect("a good name")).into();
        let resolver = Resolver::new(&client, options.clone());
        let asked = || -> Vec<String> { log.borrow_mut().drain(..).map(|asked| asked.name).collect() };
        for (name, number, questions) in [
            ("www", 1, vec!["www.first.example", "www.second.example"]),
            ("top", 3, vec!["top.first.example", "top.second.example", "top"]),
            ("top.", 3, vec![]),
            ("www.sub", 2, vec!["www.sub"]),
        ] {
            assert_eq!(resolver.lookup(name).await.expect("it is there"), addresses(&[number]), "{name}");
            assert_eq!(asked(), questions, "{name}");
        }
        assert!(matches!(resolver.lookup("www.").await, Err(LookupError::NoSuchName(_))));
        assert_eq!(asked(), ["www"]);
        options.ndots = 2;
        let resolver = Resolver::new(&client, options);
        assert_eq!(resolver.lookup("www.sub").await.expect("it is there"), addresses(&[4]));
        assert_eq!(asked(), ["www.sub.first.example", "www.sub.second.example"]);
    });
}

#[test]
fn a_question_of_many_tasks_is_asked_once() {
    with_servers(vec![Rc::new(example)], |resolver, logs| async move {
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let resolver = resolver.clone();
                spawn(async move { resolver.lookup("www.example").await })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.expect("it ends").expect("it is there"), addresses(&[80]));
        }
        assert_eq!(logs[0].borrow().len(), 1);
    });
}

#[test]
fn who_waits_goes_on_when_the_one_that_asks_is_stopped() {
    with_servers(vec![Rc::new(example)], |resolver, logs| async move {
        let first = resolver.clone();
        let asking = spawn(async move { timeout(Duration::from_millis(5), first.lookup("www.example")).await });
        crate::yield_now().await;
        assert_eq!(resolver.lookup("www.example").await.expect("it is there"), addresses(&[80]));
        assert!(asking.await.expect("it ends").is_err(), "the first one was stopped");
        assert_eq!(logs[0].borrow().len(), 2);
        assert!(
            resolver
                .inner
                .state()
                .known
                .flights
                .join(&question("www.example"))
                .is_some_and(|role| matches!(role, Role::Lead(_)))
        );
    });
}

fn question(name: &str) -> Question {
    Question { name: name.parse().expect("a good name"), family: Family::V4 }
}

#[test]
fn there_is_a_bound_for_questions_under_way() {
    let silent = |_: &Asked| Vec::new();
    with_servers(vec![Rc::new(silent)], |resolver, _| async move {
        let busy = Rc::new(Cell::new(0));
        let tasks: Vec<_> = (0..flights::MOST + 3)
            .map(|number| {
                let (resolver, busy) = (resolver.clone(), Rc::clone(&busy));
                spawn(async move {
                    let error = resolver.lookup(&alloc::format!("{number}.example")).await.expect_err("no answer");
                    busy.set(busy.get() + u32::from(matches!(error, LookupError::Busy)));
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("it ends");
        }
        assert_eq!(busy.get(), 3);
    });
}

#[test]
fn addresses_and_localhost_need_no_server() {
    with_servers(vec![Rc::new(example)], |resolver, logs| async move {
        for (text, expected) in
            [("10.0.0.7", [10, 0, 0, 7]), ("localhost", [127, 0, 0, 1]), ("a.LocalHost.", [127, 0, 0, 1])]
        {
            assert_eq!(resolver.lookup(text).await.expect("it is an address"), [IpAddr::from(expected)], "{text}");
        }
        assert!(matches!(resolver.lookup("::1").await, Err(LookupError::NoAddress(_))), "this network has IPv4 only");
        for family in [Family::V6, Family::V4] {
            assert!(resolver.lookup_family("localhost", family).await.expect("always there")[0].is_loopback());
        }
        let error = resolver.lookup("b\u{fc}cher.example").await.expect_err("not ASCII");
        assert!(error.to_string().contains("xn--"), "{error}");
        assert_eq!(logs[0].borrow().len(), 0);
    });
}

#[test]
fn ipv6_addresses_are_asked_for_and_read() {
    let six = |asked: &Asked| {
        let answer = asked.answer();
        let answer = if asked.kind == server::AAAA {
            answer.aaaa(&asked.name, 60, [0x20; 16])
        } else {
            answer.soa("example", 60, 60)
        };
        vec![answer.bytes()]
    };
    with_servers(vec![Rc::new(six)], |resolver, logs| async move {
        let found = resolver.lookup_family("six.example", Family::V6).await.expect("it is there");
        assert_eq!(found, [IpAddr::from([0x20; 16])]);
        assert!(matches!(resolver.lookup("six.example").await, Err(LookupError::NoAddress(_))));
        assert_eq!(logs[0].borrow().iter().map(|asked| asked.kind).collect::<Vec<_>>(), [server::AAAA, server::A]);
    });
}

#[test]
fn lossy_networks_answer_in_the_end() {
    testing::run(3, async {
        let switch = Switch::new(3, Impairments::NONE.with_loss(0.25).with_duplication(0.1));
        let (server, client) = (host(&switch, 1), host(&switch, 9));
        let _log = serve(&server, |asked| vec![asked.answer().a(&asked.name, 60, [10, 0, 0, 80]).bytes()]).await;
        let mut options = Options::new([ip(1)]);
        options.rounds = 8;
        let resolver = Resolver::new(&client, options);
        for number in 0..50 {
            let name = alloc::format!("host{number}.example");
            assert_eq!(resolver.lookup(&name).await.expect("in the end"), addresses(&[80]));
        }
    });
}
