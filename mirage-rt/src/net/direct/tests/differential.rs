//! The same script with our own machine on both sides, with smoltcp's on both, and with one of each: applications see the same. When
//! they see it may differ, and where a stream is cut off when somebody aborts it.

extern crate std;

use super::*;
use crate::net::direct::tcp::either;
use crate::net::{ConnectError, ReadError, WriteError};
use crate::time::{Duration, sleep, timeout};

/// Scripts, each with four pairs of machines.
const SCRIPTS: u64 = 200;
const PAIRS: [[bool; 2]; 4] = [[false, false], [true, true], [true, false], [false, true]];

/// A generator of numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) % end.max(1) as u64) as usize
    }

    fn milliseconds(&mut self, end: usize) -> Duration {
        Duration::from_millis(self.below(end) as u64)
    }
}

/// What an application does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Write(usize),
    /// Reads up to so many bytes if some come soon.
    Read(usize),
    Pause(Duration),
    Shutdown,
}

/// How it all ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finish {
    /// Both shut their side and read to the end.
    Both,
    /// Both drop their streams after that, the first one at once when it has the other's end.
    Dropped,
    /// This side aborts, and the other one reads to the end.
    Abort(usize),
    /// The link dies, and then the client says something.
    Dead,
    /// Nobody listens.
    Refused,
}

#[derive(Clone, Debug)]
struct Script {
    acts: [Vec<Act>; 2],
    link: Vec<(Duration, Impairments)>,
    finish: Finish,
}

impl Script {
    fn new(seed: u64) -> Script {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let finish = match random.below(10) {
            0..4 => Finish::Both,
            4..6 => Finish::Dropped,
            6..8 => Finish::Abort(random.below(2)),
            8 => Finish::Dead,
            _ => Finish::Refused,
        };
        // One side has more to say than fits all buffers, but not both: else they could wait for each other.
        let talker = random.below(2);
        let acts = [0, 1].map(|side| {
            let most = if side == talker { 12_000 } else { 1200 };
            let mut acts: Vec<Act> = (0..random.below(7))
                .map(|_| match random.below(5) {
                    0 | 1 => Act::Write(1 + random.below(most)),
                    2 | 3 => Act::Read(1 + random.below(4000)),
                    _ => Act::Pause(random.milliseconds(120)),
                })
                .collect();
            if random.below(3) == 0 && matches!(finish, Finish::Both | Finish::Dropped) {
                let at = random.below(acts.len() + 1);
                acts.insert(at, Act::Shutdown);
                // Nothing can be written behind it.
                let mut number = 0;
                acts.retain(|act| {
                    number += 1;
                    number <= at + 1 || !matches!(act, Act::Write(_))
                });
            }
            acts
        });
        let link = (0..1 + random.below(3))
            .map(|_| {
                let mut link = Impairments::NONE
                    .with_delay(random.milliseconds(20), random.milliseconds(8))
                    .with_duplication(random.below(10) as f64 / 100.0)
                    .with_reordering(random.below(10) as f64 / 100.0, random.milliseconds(20));
                // A reset that is lost is not sent again: who has nothing to say would never know of it.
                if !matches!(finish, Finish::Abort(_)) {
                    link = link.with_loss(random.below(8) as f64 / 100.0);
                }
                (random.milliseconds(200), link)
            })
            .collect();
        Script { acts, link, finish }
    }

    /// Whether `side` aborts in the end.
    fn aborts(&self, side: usize) -> bool {
        self.finish == Finish::Abort(side)
    }

    /// What `side` has to say.
    fn words(&self, side: usize) -> Vec<u8> {
        let length = self.acts[side].iter().map(|act| if let Act::Write(length) = act { *length } else { 0 }).sum();
        pattern(side, length)
    }
}

/// How reading ended, and writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In order.
    Done,
    Reset,
    TimedOut,
    /// Of this application's own making.
    Aborted,
    Refused,
    Other,
}

fn of_read(error: ReadError) -> End {
    match error {
        ReadError::Reset => End::Reset,
        ReadError::TimedOut => End::TimedOut,
        ReadError::Aborted => End::Aborted,
        _ => End::Other,
    }
}

fn of_write(error: WriteError) -> End {
    match error {
        WriteError::Reset => End::Reset,
        WriteError::TimedOut => End::TimedOut,
        WriteError::Closed => End::Aborted,
        _ => End::Other,
    }
}

/// What an application has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    received: Vec<u8>,
    end: End,
    written: End,
}

/// Plays one side of a script.
async fn play(stream: TcpStream, script: Script, side: usize) -> Seen {
    let (words, mut said) = (script.words(side), 0);
    let (mut received, mut buffer) = (Vec::new(), vec![0; 4000]);
    let (mut end, mut written) = (None, End::Done);
    for act in &script.acts[side] {
        match *act {
            Act::Pause(pause) => sleep(pause).await,
            Act::Write(length) => {
                if let Err(error) = stream.write_all(&words[said..said + length]).await {
                    written = of_write(error);
                }
                said += length;
            }
            Act::Read(length) => match timeout(Duration::from_millis(30), stream.read(&mut buffer[..length])).await {
                Ok(Ok(0)) => end = Some(End::Done),
                Ok(Ok(length)) => received.extend_from_slice(&buffer[..length]),
                Ok(Err(error)) => end = Some(of_read(error)),
                Err(_) => {}
            },
            Act::Shutdown => stream.shutdown().expect("it is open"),
        }
    }
    match script.finish {
        Finish::Abort(who) if who == side => {
            stream.abort();
            end = end.or(Some(End::Aborted));
        }
        Finish::Abort(_) => {}
        _ => stream.shutdown().unwrap_or(()),
    }
    while end.is_none() {
        match stream.read(&mut buffer).await {
            Ok(0) => end = Some(End::Done),
            Ok(length) => received.extend_from_slice(&buffer[..length]),
            Err(error) => end = Some(of_read(error)),
        }
    }
    if script.finish == Finish::Both {
        // Our end has arrived, too.
        written = stream.acknowledged().await.map_or_else(of_write, |()| written);
    }
    Seen { received, end: end.unwrap_or(End::Other), written }
}

/// What both sides see, the client first.
async fn run(seed: u64, script: Script, own: [bool; 2]) -> [Seen; 2] {
    let switch = Switch::new(seed, Impairments::NONE);
    let [client, server] = [(0, 2), (1, 1)].map(|(side, number)| {
        either::choose_own(own[side]);
        host(&switch, number)
    });
    let refused = Seen { received: Vec::new(), end: End::Refused, written: End::Refused };
    if script.finish == Finish::Refused {
        return match client.tcp().connect(at(1, 80)).await {
            Err(ConnectError::Refused(_)) => [refused.clone(), refused],
            other => panic!("{other:?}"),
        };
    }
    let mut listener = server.tcp().bind(80).await.expect("the port is free");
    let stream = client.tcp().connect(at(1, 80)).await.expect("the server listens");
    let (accepted, _) = listener.accept().await.expect("a connection waits");
    if script.finish == Finish::Dead {
        switch.set_impairments(Impairments::NONE.with_loss(1.0));
        stream.write_all(b"is anybody there?").await.expect("there is room");
        let end = stream.read(&mut [0; 10]).await.map_or_else(of_read, |_| End::Other);
        let written = stream.write(b"x").await.map_or_else(of_write, |_| End::Other);
        return [Seen { received: Vec::new(), end, written }, refused];
    }
    let (link, impaired) = (script.link.clone(), switch.clone());
    let _impairing = spawn(async move {
        for (pause, impairments) in link {
            impaired.set_impairments(impairments);
            sleep(pause).await;
        }
    });
    let served = spawn(play(accepted, script.clone(), 1));
    let called = play(stream, script, 0).await;
    [called, served.await.expect("the server ends")]
}

/// What is the same however it went: all that was received, if nobody has cut it off.
fn check(script: &Script, seen: &[Seen; 2]) {
    for side in [0, 1] {
        let (words, seen) = (script.words(1 - side), &seen[side]);
        match script.finish {
            Finish::Both | Finish::Dropped => {
                assert!(seen.received == words, "side {side}: {} of {} bytes", seen.received.len(), words.len());
                assert_eq!((seen.end, seen.written), (End::Done, End::Done), "side {side}");
            }
            Finish::Abort(_) => {
                assert!(words.starts_with(&seen.received), "side {side}");
                let expected = if script.aborts(side) { End::Aborted } else { End::Reset };
                assert_eq!(seen.end, expected, "side {side}");
                assert!(matches!(seen.written, End::Done | End::Reset), "side {side}: {:?}", seen.written);
            }
            Finish::Dead if side == 0 => assert_eq!((seen.end, seen.written), (End::TimedOut, End::TimedOut)),
            Finish::Dead | Finish::Refused => assert_eq!(seen.end, End::Refused),
        }
    }
}

#[test]
fn applications_see_the_same_with_either_machine() {
    for seed in 1..=SCRIPTS {
        let script = Script::new(seed);
        for own in PAIRS {
            std::println!("script {seed}, our own machine at the client and at the server: {own:?}: {script:?}");
            let playing = script.clone();
            let seen = testing::run(seed, run(seed, playing, own));
            check(&script, &seen);
        }
    }
}
