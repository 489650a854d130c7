//! As [`exhaustive`](super::exhaustive), of a client and a listener, through the demultiplexers of both with their tables: of half-open
//! connections, of those that wait to be accepted, and of those in TIME_WAIT; and with applications that abort.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use core::task::{Context, Poll, Waker};

use super::*;
use crate::net::ReadError;
use crate::net::address::ListenAddr;
use crate::net::direct::tcp::Tcp;

extern crate std;

/// What each application sends, if it sends anything.
const WORDS: [&[u8]; 2] = [b"one", b"other"];
/// Packets under way in one direction, at most; more are lost.
const QUEUE: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The server takes the connection that waits.
    Accept,
    /// The application of this side writes what it has to say.
    Write(usize),
    /// It closes its side.
    Shut(usize),
    /// It ends the connection at once.
    Abort(usize),
    /// The oldest packet to this side arrives.
    Deliver(usize),
    /// The second one overtakes it.
    Overtake(usize),
    /// The oldest packet to this side arrives, and will once more.
    Repeat(usize),
    /// It is lost.
    Lose(usize),
    /// Nothing happens until a timer is due.
    Wait,
}

struct Side {
    tcp: Tcp<OwnTcp>,
    out: Kept,
    /// The connection, once the application has it.
    id: Option<ConnId>,
    written: bool,
    shut: bool,
    aborted: bool,
    received: Vec<u8>,
    /// How the peer's stream has ended.
    end: Option<Result<(), ReadError>>,
    queue: Vec<Vec<u8>>,
}

impl Side {
    fn new(secret: u64) -> Side {
        let buffers = Buffers { receive: 2000, send: 2000, budget: 1 << 16 };
        let machine = OwnTcp::new(Paths::of(1500, 0), buffers, CongestionControl::NewReno, KEY);
        Side {
            tcp: Tcp::new(machine, Paths::of(1500, 0), KEY, [secret, secret]),
            out: Kept::new(40),
            id: None,
            written: false,
            shut: false,
            aborted: false,
            received: Vec::new(),
            end: None,
            queue: Vec::new(),
        }
    }

    /// Whether the application can do something.
    fn is_open(&self) -> bool {
        self.end.as_ref().is_none_or(Result::is_ok)
            && !self.aborted
            && self.id.is_some_and(|id| self.tcp.machine.state(id) == State::Open)
    }

    /// Whether nothing is left to be done.
    fn is_over(&self) -> bool {
        !self.tcp.is_busy() && self.tcp.half_open() == 0
    }

    fn read(&mut self) {
        let Some(id) = self.id.filter(|_| self.end.is_none()) else { return };
        let mut buffer = [0; 100];
        loop {
            match self.tcp.poll_read(id, &mut Context::from_waker(Waker::noop()), &mut buffer) {
                Poll::Ready(Ok(0)) => self.end = Some(Ok(())),
                Poll::Ready(Ok(length)) => {
                    self.received.extend_from_slice(&buffer[..length]);
                    continue;
                }
                Poll::Ready(Err(error)) => self.end = Some(Err(error)),
                Poll::Pending => {}
            }
            return;
        }
    }
}

/// How many acts of the link and aborts there may be, and whether applications say anything.
type Start = (u32, u32, bool);

/// The client, the server, and the link.
struct World {
    sides: [Side; 2],
    now: Instant,
    /// What the link may still do to packets.
    mischief: u32,
    /// How many of the applications may still abort.
    aborts: u32,
    /// Whether they say anything.
    speak: bool,
}

impl World {
    fn new((mischief, aborts, speak): Start) -> World {
        let mut sides = [Side::new(5), Side::new(6)];
        sides[1].tcp.bind(ListenAddr { address: None, port: 80 }, 1).expect("the port is free");
        let client = &mut sides[0];
        let server = SocketAddr::from(([10, 0, 0, 2], 80));
        client.id = Some(client.tcp.connect(Instant::ZERO, server, &client.out).expect("there is memory"));
        let mut world = World { sides, now: Instant::ZERO, mischief, aborts, speak };
        world.run(0);
        world
    }

    /// Lets a side do what it has to do, and its application read.
    fn run(&mut self, number: usize) {
        let side = &mut self.sides[number];
        side.read();
        assert!(!side.tcp.run(self.now, 100, &mut side.out), "there is no end to it");
        assert!(side.tcp.deadline().is_none_or(|deadline| deadline > self.now), "a deadline has passed");
        side.read();
        for packet in self.sides[number].out.cut_packets() {
            let queue = &mut self.sides[1 - number].queue;
            if queue.len() < QUEUE {
                queue.push(packet);
            }
        }
    }

    fn hear(&mut self, to: usize, packet: &[u8]) {
        let side = &mut self.sides[to];
        let segment = segment(packet);
        side.tcp.on_segment(self.now, packet, &segment, &mut side.out);
        self.run(to);
    }

    /// What can happen now.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.is_waiting() {
            steps.push(Step::Accept);
        }
        for (number, side) in self.sides.iter().enumerate() {
            if self.speak && side.is_open() && !side.written && !side.shut {
                steps.push(Step::Write(number));
            }
            if side.is_open() && !side.shut {
                steps.push(Step::Shut(number));
            }
            if side.is_open() && self.aborts > 0 {
                steps.push(Step::Abort(number));
            }
            if !side.queue.is_empty() {
                steps.push(Step::Deliver(number));
                if self.mischief > 0 {
                    steps.extend([Step::Repeat(number), Step::Lose(number)]);
                }
            }
            if side.queue.len() > 1 && self.mischief > 0 {
                steps.push(Step::Overtake(number));
            }
        }
        if self.next().is_some() && self.mischief > 0 {
            steps.push(Step::Wait);
        }
        steps
    }

    /// Whether a connection waits to be accepted.
    fn is_waiting(&self) -> bool {
        self.sides[1].id.is_none() && self.sides[1].tcp.listeners.iter().flatten().any(|it| !it.queue.is_empty())
    }

    fn next(&self) -> Option<Instant> {
        self.sides.iter().filter_map(|side| side.tcp.deadline()).min()
    }

    fn take(&mut self, step: Step) {
        let mut context = Context::from_waker(Waker::noop());
        match step {
            Step::Accept => {
                // One that was reset meanwhile is none.
                if let Poll::Ready(Ok((id, _))) = self.sides[1].tcp.poll_accept(0, &mut context) {
                    self.sides[1].id = Some(id);
                }
                self.run(1);
            }
            Step::Write(number) | Step::Shut(number) | Step::Abort(number) => {
                let side = &mut self.sides[number];
                let id = side.id.expect("it has one");
                match step {
                    Step::Write(_) => {
                        side.written = true;
                        let length = WORDS[number].len();
                        let written = side.tcp.poll_write(id, &mut context, WORDS[number]);
                        assert!(matches!(written, Poll::Ready(Ok(written)) if written == length), "{written:?}");
                    }
                    Step::Shut(_) => {
                        side.shut = true;
                        side.tcp.shutdown(id).expect("it is open");
                    }
                    _ => {
                        self.aborts -= 1;
                        side.aborted = true;
                        side.tcp.abort(id, &mut side.out);
                    }
                }
                self.run(number);
            }
            Step::Deliver(number) => {
                let packet = self.sides[number].queue.remove(0);
                self.hear(number, &packet);
            }
            Step::Overtake(number) => {
                self.mischief -= 1;
                let packet = self.sides[number].queue.remove(1);
                self.hear(number, &packet);
            }
            Step::Repeat(number) => {
                self.mischief -= 1;
                let packet = self.sides[number].queue[0].clone();
                self.hear(number, &packet);
            }
            Step::Lose(number) => {
                self.mischief -= 1;
                self.sides[number].queue.remove(0);
            }
            Step::Wait => {
                self.mischief -= 1;
                self.wait();
            }
        }
    }

    /// Until the next timer is due.
    fn wait(&mut self) {
        let Some(next) = self.next() else { return };
        self.now = next;
        for number in [0, 1] {
            self.run(number);
        }
    }

    /// All that the future depends on, but for time itself.
    fn look(&self) -> String {
        let mut text = format!("{} {} ", self.mischief, self.aborts);
        for side in &self.sides {
            let connections: Vec<_> = (0..side.tcp.slots.len() as u32)
                .map(|index| {
                    let (id, machine) = (side.tcp.id(index), &side.tcp.machine);
                    let expected = machine.expected(id);
                    let positions = (expected.next, expected.end, expected.sent);
                    (machine.state(id), machine.info(self.now, id).state, machine.readiness(id), positions)
                })
                .collect();
            text += &format!(
                "{connections:?} {:?} {} {} {} {} {} {:?} {:?} ",
                side.tcp.now(),
                side.id.is_some(),
                side.written,
                side.shut,
                side.aborted,
                side.received.len(),
                side.end,
                side.tcp.deadline().map(|deadline| (deadline - self.now).as_millis()),
            );
            for packet in &side.queue {
                // Addresses, identification and checksums say nothing, and timestamps are times.
                let segment = segment(packet);
                let what = (segment.seq, segment.ack, segment.window, segment.syn, segment.fin, segment.rst);
                text += &format!("{what:?} {} ", segment.length);
            }
        }
        text
    }

    /// From here on the link is a good one, and both applications say what they have to say and close. Nothing is left of the
    /// connection on either side; if nobody has aborted it, with every byte.
    fn ends_well(&mut self) {
        for _ in 0..200 {
            if self.sides.iter().all(|side| side.is_over() && side.queue.is_empty()) {
                break;
            }
            let step = [0, 1].into_iter().find_map(|number| {
                let side = &self.sides[number];
                match () {
                    () if !side.queue.is_empty() => Some(Step::Deliver(number)),
                    () if number == 1 && self.is_waiting() => Some(Step::Accept),
                    () if self.speak && side.is_open() && !side.written && !side.shut => Some(Step::Write(number)),
                    () if side.is_open() && !side.shut => Some(Step::Shut(number)),
                    () => None,
                }
            });
            match step {
                Some(step) => self.take(step),
                None => self.wait(),
            }
        }
        let is_aborted = self.sides.iter().any(|side| side.aborted);
        for (number, side) in self.sides.iter().enumerate() {
            assert!(side.is_over(), "side {number} at {:?}: {}", self.now, self.look());
            let expected = if self.sides[1 - number].written { WORDS[1 - number] } else { b"" };
            assert!(expected.starts_with(&side.received), "side {number}");
            if !is_aborted {
                assert_eq!((&*side.received, side.end.is_some()), (expected, true), "side {number}");
                assert!(matches!(side.end, Some(Ok(()))), "side {number}: {:?}", side.end);
            } else if side.aborted {
                // What was heard before it still counts.
                assert!(matches!(side.end, Some(Ok(()) | Err(ReadError::Aborted))), "side {number}: {:?}", side.end);
            } else if side.id.is_some() {
                let is_whole = matches!(side.end, Some(Ok(()))) && self.sides[1 - number].shut;
                assert!(is_whole || matches!(side.end, Some(Err(ReadError::Reset))), "side {number}: {:?}", side.end);
            }
        }
    }
}

/// The header of a packet as the side has it that hears it.
fn segment(packet: &[u8]) -> Segment {
    let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]).into();
    Segment::parse(&KEY, address(12), address(16), &packet[20..]).expect("a segment")
}

/// The world after these steps.
fn replay(start: Start, steps: &[Step]) -> World {
    let mut world = World::new(start);
    for step in steps {
        world.take(*step);
    }
    world
}

#[test]
fn every_order_of_calling_accepting_aborting_and_closing_ends_well() {
    for (start, states) in [((0, 0, true), 292), ((0, 1, true), 1590), ((1, 0, false), 417)] {
        let mut seen = BTreeSet::new();
        let mut next = alloc::vec![Vec::new()];
        let mut longest = 0;
        while let Some(steps) = next.pop() {
            let world = replay(start, &steps);
            if !seen.insert(world.look()) {
                continue;
            }
            longest = longest.max(steps.len());
            for step in world.steps() {
                next.push([&steps[..], &[step]].concat());
            }
            replay(start, &steps).ends_well();
        }
        std::println!("{start:?}: {} states, up to {longest} steps", seen.len());
        assert_eq!(seen.len(), states, "with {start:?}");
    }
}
