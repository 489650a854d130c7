//! Opening and closing in every order: of what two applications do, of what the link does to each packet, of timers. Machines can't be
//! copied, so a state is a list of steps from the start, done again; states that look the same are followed once.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use super::*;

extern crate std;

/// What each application sends, if it sends anything.
const WORDS: [&[u8]; 2] = [b"one", b"other"];
/// Packets under way in one direction, at most; more are lost.
const QUEUE: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The application of this side writes what it has to say.
    Write(usize),
    /// It closes its side.
    Shut(usize),
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
    machine: OwnTcp,
    out: Kept,
    tuple: FourTuple,
    written: bool,
    shut: bool,
    received: Vec<u8>,
    deadline: Option<Instant>,
    queue: Vec<Vec<u8>>,
}

impl Side {
    fn new(tuple: FourTuple, isn: Seq) -> Side {
        let buffers = Buffers { receive: 2000, send: 2000, budget: 1 << 16 };
        let mut machine = OwnTcp::new(Paths::of(1500, 0), buffers, CongestionControl::NewReno, KEY);
        machine.connect(Instant::ZERO, ID, &tuple, isn).expect("there is memory");
        let out = Kept::new(4000);
        Side {
            machine,
            out,
            tuple,
            written: false,
            shut: false,
            received: Vec::new(),
            deadline: None,
            queue: Vec::new(),
        }
    }

    fn state(&self) -> State {
        self.machine.state(ID)
    }

    fn is_over(&self) -> bool {
        matches!(self.state(), State::Closed | State::TimeWait { .. })
    }
}

/// Both sides and the link.
struct World {
    sides: [Side; 2],
    now: Instant,
    /// What the link may still do to packets.
    mischief: u32,
}

impl World {
    /// Both sides call each other.
    fn new(mischief: u32) -> World {
        let isns = [Seq(u32::MAX - 1), Seq(0x7fff_ffff)];
        let sides = [Side::new(tuple(), isns[0]), Side::new(tuple().reversed(), isns[1])];
        let mut world = World { sides, now: Instant::ZERO, mischief };
        world.run([true, true]);
        world
    }

    /// Lets these sides do what they have to do, and their applications read.
    fn run(&mut self, who: [bool; 2]) {
        for (number, _) in who.into_iter().enumerate().filter(|(_, runs)| *runs) {
            let side = &mut self.sides[number];
            let mut buffer = [0; 100];
            let length = side.machine.read(ID, &mut buffer);
            side.received.extend_from_slice(&buffer[..length]);
            let progress = side.machine.run(self.now, ID, &mut side.out);
            assert!(progress.deadline.is_none_or(|deadline| deadline > self.now), "a deadline has passed");
            side.deadline = progress.deadline;
            for packet in self.sides[number].out.cut_packets() {
                let queue = &mut self.sides[1 - number].queue;
                if queue.len() < QUEUE {
                    queue.push(packet);
                }
            }
        }
    }

    fn hear(&mut self, to: usize, packet: &[u8]) {
        let side = &mut self.sides[to];
        let segment = parse(&side.tuple.reversed(), packet);
        if side.machine.predict(self.now, ID, packet, &segment).is_none() {
            side.machine.on_segment(self.now, ID, packet, &segment, &mut side.out);
        }
        self.run([to == 0, to == 1]);
    }

    /// What can happen now.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (number, side) in self.sides.iter().enumerate() {
            // An application gets its stream when it is open.
            let is_open = side.state() == State::Open;
            if is_open && !side.written && !side.shut {
                steps.push(Step::Write(number));
            }
            if is_open && !side.shut {
                steps.push(Step::Shut(number));
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
        if self.sides.iter().any(|side| side.deadline.is_some()) && self.mischief > 0 {
            steps.push(Step::Wait);
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Write(number) => {
                self.sides[number].written = true;
                assert_eq!(self.sides[number].machine.write(ID, WORDS[number]), WORDS[number].len());
                self.run([number == 0, number == 1]);
            }
            Step::Shut(number) => {
                self.sides[number].shut = true;
                self.sides[number].machine.shutdown(ID);
                self.run([number == 0, number == 1]);
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
        let Some(next) = self.sides.iter().filter_map(|side| side.deadline).min() else { return };
        self.now = next;
        let due = [0, 1].map(|number| self.sides[number].deadline.is_some_and(|at| at <= next));
        self.run(due);
    }

    /// All that the future depends on, but for time itself.
    fn look(&self) -> String {
        let mut text = format!("{} ", self.mischief);
        for side in &self.sides {
            let expected = side.machine.expected(ID);
            text += &format!(
                "{:?} {:?} {:?} {} {} {} {:?} ",
                side.state(),
                side.machine.readiness(ID),
                (expected.next, expected.end, expected.sent),
                side.written,
                side.shut,
                side.received.len(),
                side.deadline.map(|deadline| (deadline - self.now).as_millis()),
            );
            for packet in &side.queue {
                // Addresses, identification and checksums say nothing, and timestamps are times.
                let segment = parse(&side.tuple.reversed(), packet);
                let what = (segment.seq, segment.ack, segment.window, segment.syn, segment.fin, segment.rst);
                text += &format!("{what:?} {} ", segment.length);
            }
        }
        text
    }

    /// From here on the link is a good one, and both applications say what they have to say and close. Both must come to their end
    /// with every byte.
    fn ends_well(&mut self) {
        for _ in 0..200 {
            if self.sides.iter().all(Side::is_over) {
                break;
            }
            let step = [0, 1].into_iter().find_map(|number| {
                let side = &self.sides[number];
                match side.state() {
                    _ if !side.queue.is_empty() => Some(Step::Deliver(number)),
                    State::Open if !side.written && !side.shut => Some(Step::Write(number)),
                    State::Open if !side.shut => Some(Step::Shut(number)),
                    _ => None,
                }
            });
            match step {
                Some(step) => self.take(step),
                None => self.wait(),
            }
        }
        for (number, side) in self.sides.iter().enumerate() {
            assert!(side.is_over(), "side {number} is {:?} at {:?}", side.state(), self.now);
            let expected = if self.sides[1 - number].written { WORDS[1 - number] } else { b"" };
            assert_eq!(side.received, expected, "side {number}");
        }
    }

    /// A reset at the position that is expected next ends the connection wherever it stands.
    fn ends_by_reset(&mut self, number: usize) {
        let side = &mut self.sides[number];
        if side.state() != State::Open {
            return;
        }
        let mut packet = alloc::vec![0; 40];
        packet[0] = 0x45;
        packet[24..28].copy_from_slice(&side.machine.expected(ID).next.0.to_be_bytes());
        packet[32..34].copy_from_slice(&[0x50, 0x04]);
        packet[20..24].copy_from_slice(&{
            let reversed = side.tuple.reversed();
            let [a, b] = reversed.local().port().to_be_bytes();
            let [c, d] = reversed.remote().port().to_be_bytes();
            [a, b, c, d]
        });
        let segment = parse(&side.tuple.reversed(), &packet);
        side.machine.on_segment(self.now, ID, &packet, &segment, &mut side.out);
        assert_eq!(side.state(), State::Closed);
    }
}

/// The world after these steps.
fn replay(mischief: u32, steps: &[Step]) -> World {
    let mut world = World::new(mischief);
    for step in steps {
        world.take(*step);
    }
    world
}

#[test]
fn every_order_of_opening_and_closing_ends_well() {
    for (mischief, states) in [(0, 227), (1, 8806)] {
        let mut seen = BTreeSet::new();
        let mut next = alloc::vec![Vec::new()];
        let mut longest = 0;
        while let Some(steps) = next.pop() {
            let world = replay(mischief, &steps);
            if !seen.insert(world.look()) {
                continue;
            }
            longest = longest.max(steps.len());
            for number in [0, 1] {
                replay(mischief, &steps).ends_by_reset(number);
            }
            for step in world.steps() {
                next.push([&steps[..], &[step]].concat());
            }
            replay(mischief, &steps).ends_well();
        }
        std::println!("{mischief} acts of the link: {} states, up to {longest} steps", seen.len());
        // More or fewer mean that connections behave in another way, or that not all of it was looked at.
        assert_eq!(seen.len(), states, "with {mischief} acts of the link");
    }
}
