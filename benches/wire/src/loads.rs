//! The loads. Each prints how many operations were counted.

use crate::client::Client;
use crate::frame::{Received, question};
use crate::{Application, Family, SEGMENT, Server, Setting};

/// Bytes of a request and its answer.
const REQUEST: usize = 64;
/// Rounds before counting begins.
const WARM: usize = 20;
/// Bytes of the headers of IPv6 and TCP.
const HEADERS: usize = 60;
/// Bytes of the first long packet: no more than a connection takes at first.
const FIRST: usize = 4 * SEGMENT;
/// The first port of the client's.
const FIRST_PORT: u16 = 1024;
/// Microseconds between two deliveries.
const PAUSE: u64 = 100;

/// Lets the server work. Callgrind collects here, and nowhere else.
#[inline(never)]
pub fn counted<S: Server>(server: &mut S) {
    server.work();
}

/// Callgrind forgets what it has counted before this.
#[inline(never)]
pub fn begin() {
    std::hint::black_box(());
}

/// The program that is counted: `LOAD CONNECTIONS BATCH ROUNDS offload|sums CUT [ipv6]`.
///
/// LOAD is `echo` or `loop` (10 connections of all are active, so many of them at a time; with and without a task for each),
/// `receive` or `send` (one connection), or `take` or `give`, which are the same in pages. With `idle` and `kept` the program
/// ends as it stands when all connections have waited for a while, so that what is in use can be
/// counted: with a task for each, after a request on each, or with nothing but the connections.
///
/// # Panics
///
/// When the words are not as said above, or the server does not do what it should.
pub fn program<S: Server>(make: impl FnOnce(Setting) -> S) {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [load, connections, batch, rounds, sums, cut, rest @ ..] = words.as_slice() else {
        panic!("say: LOAD CONNECTIONS BATCH ROUNDS offload|sums CUT [ipv6]");
    };
    let family = if rest.iter().any(|word| word == "ipv6") { Family::Ipv6 } else { Family::Ipv4 };
    let number = |word: &String| word.parse::<usize>().expect("a number");
    let (connections, batch, rounds) = (number(connections), number(batch), number(rounds));
    let application = match load.as_str() {
        "echo" => Application::Echo,
        "loop" => Application::Loop,
        "receive" => Application::Sink,
        "send" => Application::Source,
        "take" => Application::Taker,
        "give" => Application::Giver,
        "idle" => Application::Echo,
        "kept" => Application::Keep,
        other => panic!("there is no load {other}"),
    };
    let setting = Setting { application, connections, family, offload: sums == "offload", cut: number(cut) };
    let mut server = make(setting);
    server.deliver(&question(family));
    counted(&mut server);
    if load == "idle" || load == "kept" {
        idle(&mut server, &setting);
        println!("operations {connections}");
        std::process::exit(0);
    }
    let operations = match application {
        Application::Keep => unreachable!("it was handled above"),
        Application::Echo | Application::Loop => echo(&mut server, &setting, batch, rounds),
        Application::Sink | Application::Taker => receive(&mut server, &setting, batch, rounds),
        Application::Source | Application::Giver => send(&mut server, &setting, batch, rounds),
    };
    println!("operations {operations}");
}

/// Opens all connections.
pub(crate) fn open(server: &mut impl Server, setting: &Setting) -> Vec<Client> {
    (0..setting.connections)
        .map(|number| {
            server.pass(PAUSE);
            Client::open(server, setting.family, FIRST_PORT + number as u16)
        })
        .collect()
}

/// Ten connections, evenly spread over all, send requests and get them back, `batch` at a time.
fn echo(server: &mut impl Server, setting: &Setting, batch: usize, rounds: usize) -> usize {
    let clients = open(server, setting).into_iter().enumerate();
    let mut clients: Vec<Client> = clients.filter(|(number, _)| setting.is_active(*number)).map(|(_, it)| it).collect();
    let request = [0x5a; REQUEST];
    let mut operations = 0;
    for round in 0..WARM + rounds {
        if round == WARM {
            begin();
        }
        for clients in clients.chunks_mut(batch) {
            server.pass(PAUSE);
            clients.iter_mut().for_each(|client| client.send(server, &request));
            counted(server);
            let mut answers = 0;
            server.sent(&mut |frame| {
                let Some(answer) = Received::parse(frame, !setting.offload) else { return };
                if answer.data.is_empty() {
                    return;
                }
                let client = clients.iter_mut().find(|client| client.port == answer.port).expect("one of these");
                assert_eq!(
                    (answer.data, answer.ack),
                    (&request[..], client.next),
                    "the request, and it is acknowledged"
                );
                client.take(&answer);
                answers += 1;
            });
            assert_eq!(answers, clients.len(), "each request is answered");
            operations += if round < WARM { 0 } else { answers };
        }
    }
    operations
}

/// All connections wait for ten seconds, after an echo on each if that is what the server does.
fn idle(server: &mut impl Server, setting: &Setting) {
    let mut clients = open(server, setting);
    if setting.application == Application::Echo {
        for client in &mut clients {
            client.send(server, &[0x5a; REQUEST]);
            counted(server);
            server.sent(&mut |frame| {
                let answer = Received::parse(frame, false).filter(|answer| answer.port == client.port);
                answer.iter().for_each(|answer| client.take(answer));
            });
            server.deliver(&client.segment(&[]).frame());
            counted(server);
        }
    }
    for _ in 0..100 {
        server.pass(100_000);
        counted(server);
        server.sent(&mut |_| {});
    }
}

/// The server gets full segments, `batch` at a time, each as a frame of its own or, with a device that cuts packets, as many in
/// one as that would cut. How many times it got as much as such a segment has over IPv4.
fn receive(server: &mut impl Server, setting: &Setting, batch: usize, rounds: usize) -> usize {
    let mut client = open(server, setting)[0];
    let segment = setting.family.segment();
    let joined = (setting.cut.saturating_sub(HEADERS) / segment).max(1);
    let data = &vec![0x5a; joined * segment][..];
    for round in 0..WARM + rounds {
        if round == WARM {
            begin();
        }
        server.pass(PAUSE);
        // The window is small at first, and opens with what is acknowledged.
        let is_first = round < WARM / 2;
        let (batch, length) = if is_first { (1, data.len().min((round + 1) * FIRST)) } else { (batch, data.len()) };
        (0..batch).for_each(|_| client.send(server, &data[..length]));
        counted(server);
        let mut acknowledged = None;
        server.sent(&mut |frame| acknowledged = Received::parse(frame, false).map(|segment| segment.ack));
        if let Some(acknowledged) = acknowledged {
            let left = client.next.wrapping_sub(acknowledged) as usize;
            assert!(left < 2 * data.len(), "all but one frame is acknowledged");
        }
    }
    batch * rounds * data.len() / SEGMENT
}

/// The server sends as much as the client's window allows; the client acknowledges every `batch` segments. How many times it
/// sent as much as a full segment has over IPv4.
fn send(server: &mut impl Server, setting: &Setting, batch: usize, rounds: usize) -> usize {
    let mut client = open(server, setting)[0];
    let mut bytes = 0;
    for round in 0..WARM + rounds {
        if round == WARM {
            begin();
            bytes = 0;
        }
        server.pass(PAUSE);
        counted(server);
        let mut since = 0;
        let mut answers = Vec::new();
        server.sent(&mut |frame| {
            let Some(segment) = Received::parse(frame, !setting.offload) else { return };
            client.take(&segment);
            bytes += segment.data.len();
            since += segment.data.len();
            if since >= batch * setting.family.segment() {
                since = 0;
                answers.push(client.segment(&[]).frame());
            }
        });
        if since > 0 {
            answers.push(client.segment(&[]).frame());
        }
        answers.iter().for_each(|frame| server.deliver(frame));
    }
    bytes / SEGMENT
}
