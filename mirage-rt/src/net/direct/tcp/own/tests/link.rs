//! Two machines with a bad link between them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::net::direct::tcp::half_open::{Offer, send_syn};
use crate::net::direct::tcp::smol::SmolSets;
use crate::net::direct::train::Train;
use crate::packet::Fragment;
use crate::page::Page;

/// What the link does, in thousandths and in time.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    loss: u32,
    duplication: u32,
    delay: Duration,
    jitter: Duration,
    /// Packets that are hardly delayed, and so overtake others.
    hasty: u32,
}

const NONE: Trouble = Trouble { loss: 0, duplication: 0, delay: MS, jitter: Duration::ZERO, hasty: 0 };

/// The delay of those.
const HASTE: Duration = Duration::from_micros(150);

/// A generator of numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) % u64::from(end.max(1))) as u32
    }
}

/// Pages that each side has.
const PAGES: usize = 4000;

/// One side: a machine and its application, which writes all it has, closes, and reads what comes.
struct Side {
    machine: Box<dyn TcpMachine>,
    out: Kept,
    tuple: FourTuple,
    to_write: Vec<u8>,
    written: usize,
    received: Vec<u8>,
    /// Bytes that it reads each time something happens.
    appetite: usize,
    shut: bool,
    deadline: Option<Instant>,
    /// Segments that were expected, and those of them that followed another one.
    predicted: usize,
    followed: usize,
    train: Option<Train>,
    /// It hands over pages as well as bytes, as this has it.
    mixture: Option<Random>,
    /// Pages that were taken.
    taken: usize,
}

impl Side {
    fn new(machine: Box<dyn TcpMachine>, tuple: FourTuple, to_write: Vec<u8>) -> Side {
        Side {
            machine,
            out: Kept::new(PAGES),
            tuple,
            to_write,
            written: 0,
            received: Vec::new(),
            appetite: usize::MAX,
            shut: false,
            deadline: Some(Instant::ZERO),
            predicted: 0,
            followed: 0,
            train: None,
            mixture: None,
            taken: 0,
        }
    }

    /// Writes, or gives a page; how many bytes there was room for.
    fn write_some(&mut self) -> usize {
        let bytes = &self.to_write[self.written..];
        let Some(mixture) = self.mixture.as_mut().filter(|_| !bytes.is_empty()) else {
            return self.machine.write(ID, bytes);
        };
        let bytes = &bytes[..bytes.len().min(1 + mixture.below(4096) as usize)];
        if mixture.below(3) == 0 {
            return self.machine.write(ID, bytes);
        }
        let mut page = Page::take(&self.out.pool).expect("there are pages");
        let start = mixture.below(4097 - bytes.len() as u32) as usize;
        let range = start..start + bytes.len();
        page[range.clone()].copy_from_slice(bytes);
        let mut fragment = Fragment::new(page, range).ok();
        self.machine.give_page(ID, &mut fragment);
        bytes.len() - fragment.map_or(0, |left| left.len())
    }

    /// Reads as much as it likes; with a mixture in several ways.
    fn read_some(&mut self) {
        let mut left = self.appetite.min(100_000);
        while left > 0 {
            let before = self.received.len();
            let way = self.mixture.as_mut().map_or(3, |mixture| mixture.below(4));
            if way == 0 {
                let length = self.machine.peek(ID).len().min(left);
                self.received.extend_from_slice(&self.machine.peek(ID)[..length]);
                self.machine.consume(ID, length);
            } else if let Some(page) = (way < 3).then(|| self.machine.take_page(ID)).flatten() {
                self.received.extend_from_slice(page.bytes());
                self.taken += 1;
            } else {
                let mut buffer = vec![0; left];
                let length = self.machine.read(ID, &mut buffer);
                self.received.extend_from_slice(&buffer[..length]);
            }
            let read = self.received.len() - before;
            if read == 0 {
                break;
            }
            left = left.saturating_sub(read);
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.machine.state(ID), State::Closed | State::TimeWait { .. })
            && self.machine.readiness(ID).readable == 0
    }

    fn hear(&mut self, now: Instant, packet: &[u8]) {
        // As the device, the stack and the demultiplexer do it.
        let segment = parse(&self.tuple.reversed(), packet);
        let framed = [&[0; 12][..], if packet[0] >> 4 == 4 { &[0x08, 0x00] } else { &[0x86, 0xdd] }, packet].concat();
        let frame = PacketMut::copy_of(&self.out.pool, &framed).expect("there are pages");
        let start = frame.head().as_ptr().addr();
        if self.machine.wants_pages() {
            self.machine.offer_pages(start..start + frame.head().len(), 1);
        }
        let whole = if frame.fragments().is_empty() { frame.head() } else { &framed };
        let following = self.train.as_ref().and_then(|train| train.read(whole, true));
        let follows = following.is_some_and(|following| self.machine.follow(now, ID, &following).is_some());
        let is_predicted = follows || self.machine.predict(now, ID, &whole[14..], &segment).is_some();
        if !follows {
            self.train = Train::begin(ID, whole).filter(|_| is_predicted && segment.length > 0);
        }
        if let Some(wanted) = self.machine.end_offer() {
            let (mut bytes, _) = frame.into_parts();
            bytes.truncate(wanted.bytes.end);
            bytes.pull_front(wanted.bytes.start);
            self.machine.keep_page(wanted.id, bytes);
        }
        self.followed += usize::from(follows);
        if is_predicted {
            self.predicted += 1;
            return;
        }
        self.machine.on_segment(now, ID, packet, &segment, &mut self.out);
    }

    fn act(&mut self, now: Instant) {
        self.train = None;
        loop {
            let written = self.write_some();
            self.written += written;
            if written == 0 {
                break;
            }
        }
        if self.written == self.to_write.len() && self.machine.state(ID) == State::Open && !self.shut {
            self.shut = true;
            self.machine.shutdown(ID);
        }
        self.read_some();
        let progress = self.machine.run(now, ID, &mut self.out);
        assert!(progress.blocked.is_none());
        assert!(progress.deadline.is_none_or(|deadline| deadline > now), "{:?} at {now:?}", progress.deadline);
        self.deadline = progress.deadline;
        if self.machine.readiness(ID).readable > 0 {
            let again = now + 5 * MS;
            self.deadline = Some(self.deadline.map_or(again, |deadline| deadline.min(again)));
        }
    }
}

/// The link.
struct Pair {
    sides: [Side; 2],
    trouble: Trouble,
    random: Random,
    /// By the time of arrival and a number; the side that gets it.
    under_way: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    packets: u64,
    /// What was sent, when and by which side.
    log: Vec<Sent>,
    now: Instant,
}

impl Pair {
    fn new(sides: [Side; 2], trouble: Trouble, seed: u64) -> Pair {
        let random = Random(seed | 1);
        Pair { sides, trouble, random, under_way: BTreeMap::new(), packets: 0, log: Vec::new(), now: Instant::ZERO }
    }

    fn collect(&mut self) {
        for from in 0..2 {
            for packet in self.sides[from].out.cut_packets() {
                self.log.push((self.now, from, packet.clone()));
                let copies = 1 + u32::from(self.random.below(1000) < self.trouble.duplication);
                for _ in 0..copies {
                    if self.random.below(1000) < self.trouble.loss {
                        continue;
                    }
                    let jitter = self.random.below(self.trouble.jitter.as_nanos() as u32);
                    let is_hasty = self.random.below(1000) < self.trouble.hasty;
                    let delay = if is_hasty { HASTE } else { self.trouble.delay };
                    let at = self.now + delay + Duration::from_nanos(u64::from(jitter));
                    self.packets += 1;
                    self.under_way.insert((at, self.packets), (1 - from, packet.clone()));
                }
            }
        }
    }

    /// Lets time pass until both sides are done, for `most` at most; whether they are.
    fn run(&mut self, most: Duration) -> bool {
        while self.now <= Instant::ZERO + most {
            if self.sides.iter().all(Side::is_over) {
                return true;
            }
            let deadlines = self.sides.iter().filter_map(|side| side.deadline);
            let Some(next) = deadlines.chain(self.under_way.keys().map(|key| key.0).take(1)).min() else {
                return false;
            };
            self.now = next.max(self.now);
            let mut active = [0, 1].map(|side| self.sides[side].deadline.is_some_and(|at| at <= self.now));
            while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (side, packet) = entry.remove();
                self.sides[side].hear(self.now, &packet);
                active[side] = true;
            }
            for (side, _) in active.into_iter().enumerate().filter(|(_, active)| *active) {
                self.sides[side].act(self.now);
            }
            self.collect();
        }
        false
    }

    /// Whether each side has what the other has written.
    fn check(&self) {
        for (from, to) in [(0, 1), (1, 0)] {
            let (sent, got) = (&self.sides[from].to_write, &self.sides[to].received);
            assert!(sent == got, "side {to} has {} of {} bytes, or others", got.len(), sent.len());
            assert_eq!(self.sides[from].out.pool.available(), PAGES, "all pages of side {from} are back");
        }
    }
}

fn buffers(receive: usize, send: usize) -> Buffers {
    Buffers { receive, send, budget: 1 << 26 }
}

fn own(buffers: Buffers, most: usize, algorithm: CongestionControl) -> Box<dyn TcpMachine> {
    Box::new(OwnTcp::new(Paths::of(1500, most), buffers, algorithm, KEY))
}

fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| ((at * 31 + seed * 7) ^ (at >> 8)) as u8).collect()
}

/// Both sides call each other at once.
fn crossed(machines: [Box<dyn TcpMachine>; 2], lengths: [usize; 2], trouble: Trouble, seed: u64) -> Pair {
    let [first, second] = machines;
    let mut sides = [
        Side::new(first, tuple(), pattern(1, lengths[0])),
        Side::new(second, tuple().reversed(), pattern(2, lengths[1])),
    ];
    for (number, side) in sides.iter_mut().enumerate() {
        let isn = Seq((seed as u32).wrapping_mul(77).wrapping_add(number as u32 * 0x7fff_0000));
        side.machine.connect(Instant::ZERO, ID, &side.tuple, isn).expect("there is memory");
    }
    Pair::new(sides, trouble, seed)
}

/// The first side has connected to the second, as the demultiplexer does it.
fn accepted(machines: [Box<dyn TcpMachine>; 2], lengths: [usize; 2], trouble: Trouble, seed: u64) -> Pair {
    let [first, second] = machines;
    let mut client = Side::new(first, tuple(), pattern(1, lengths[0]));
    let mut server = Side::new(second, tuple().reversed(), pattern(2, lengths[1]));
    let (isn, peer_isn) = (Seq(u32::MAX - 5000), Seq(seed as u32));
    client.machine.connect(Instant::ZERO, ID, &client.tuple, peer_isn).expect("there is memory");
    client.act(Instant::ZERO);
    let packets = client.out.cut_packets();
    let [packet] = &packets[..] else { panic!("one SYN") };
    let syn = parse(&client.tuple, packet);
    assert!(syn.syn && syn.ack.is_none() && syn.seq == peer_isn);
    let mut options = syn.options(&packet[20..]);
    let clock = server.machine.clock(&server.tuple);
    options.stamp = options.stamp.filter(|_| clock.is_some());
    options.ecn &= server.machine.ecn();
    let (tuple, window, sent) = (server.tuple, syn.window, Instant::ZERO);
    let handshake = Handshake { tuple, isn, peer_isn, options, window, sent, repeated: false, clock };
    let machine = &server.machine;
    let offer =
        Offer { paths: Paths::of(1500, 0), window: machine.initial_window(), window_shift: machine.window_shift() };
    send_syn(&handshake, handshake.stamp(), &offer, &mut server.out);
    let then = Instant::ZERO + MS;
    for packet in server.out.cut_packets() {
        client.hear(then, &packet);
    }
    client.act(then);
    server.machine.establish(then, ID, &handshake).expect("there is memory");
    let mut pair = Pair::new([client, server], trouble, seed);
    pair.now = then;
    pair.collect();
    pair
}

const BOTH: [CongestionControl; 2] = [CongestionControl::NewReno, CongestionControl::Cubic];

#[test]
fn a_clean_link_carries_all_both_ways_and_both_close() {
    for algorithm in BOTH {
        for most in [0, 65_521] {
            let machines = || [0, 1].map(|_| own(buffers(8192, 8192), most, algorithm));
            for mut pair in
                [crossed(machines(), [300_000, 100_000], NONE, 1), accepted(machines(), [300_000, 100_000], NONE, 1)]
            {
                assert!(pair.run(Duration::from_secs(2)), "it is {:?}", pair.now);
                pair.check();
                // Three segments of data for two that are acknowledged, at most.
                assert!(pair.packets < 500, "{}", pair.packets);
            }
        }
    }
}

#[test]
fn pages_pass_both_ways_on_a_link_that_loses() {
    let trouble = Trouble { loss: 10, duplication: 10, delay: 2 * MS, jitter: MS, ..NONE };
    for (seed, trouble) in [(1, NONE), (2, trouble), (3, trouble)] {
        let machines = [0, 1].map(|_| own(buffers(8192, 8192), 65_521, CongestionControl::Cubic));
        let mut pair = crossed(machines, [300_000, 300_000], trouble, seed);
        for side in &mut pair.sides {
            side.mixture = Some(Random(seed));
        }
        assert!(pair.run(Duration::from_secs(100)), "seed {seed}: it is {:?}", pair.now);
        pair.check();
        let taken = pair.sides.iter().map(|side| side.taken).sum::<usize>();
        assert!(taken > if trouble.loss == 0 { 20 } else { 0 }, "seed {seed}: {taken} pages were taken");
    }
}

#[test]
fn nothing_to_say_is_closed_at_once() {
    let machines = [0, 1].map(|_| own(buffers(8192, 8192), 0, CongestionControl::Cubic));
    let mut pair = crossed(machines, [0, 0], NONE, 1);
    assert!(pair.run(Duration::from_millis(20)), "it is {:?}", pair.now);
}

#[test]
fn a_slow_reader_closes_the_window_and_opens_it_again() {
    let machines =
        [0, 1].map(|_| own(Buffers { receive: 4000, send: 8000, budget: 1 << 16 }, 0, CongestionControl::Cubic));
    let mut pair = crossed(machines, [200_000, 0], NONE, 1);
    pair.sides[1].appetite = 300;
    assert!(pair.run(Duration::from_secs(30)), "it is {:?}", pair.now);
    pair.check();
    // No silly windows: hardly more segments than there are bytes for.
    assert!(pair.packets < 500, "{}", pair.packets);
}

#[test]
fn it_speaks_with_smoltcps_machine() {
    let trouble = Trouble { loss: 20, duplication: 10, delay: 2 * MS, jitter: MS, ..NONE };
    for seed in 1..8 {
        for trouble in [NONE, trouble] {
            let smol = || -> Box<dyn TcpMachine> {
                let mut buffers = buffers(8192, 8192);
                buffers.budget = 1 << 24;
                Box::new(SmolSets::new(tuple().remote().ip(), 24, Paths::of(1500, 0), buffers))
            };
            let own = || own(buffers(8192, 8192), 0, CongestionControl::Cubic);
            let mut pair = accepted([own(), smol()], [60_000, 50_000], trouble, seed);
            assert!(pair.run(Duration::from_secs(300)), "seed {seed}: it is {:?}", pair.now);
            pair.check();
        }
    }
}

#[test]
fn losses_cost_little_time() {
    // 1 MB at up to 256 KiB each 20 ms takes 100 ms at best; a timeout each costs at least 200 ms.
    let trouble = Trouble { loss: 10, delay: 10 * MS, ..NONE };
    for algorithm in BOTH {
        let mut worst = Duration::ZERO;
        for seed in 1..5 {
            let machines = [0, 1].map(|_| own(buffers(8192, 8192), 0, algorithm));
            let mut pair = crossed(machines, [1_000_000, 0], trouble, seed);
            assert!(pair.run(Duration::from_secs(30)), "seed {seed}: it is {:?}", pair.now);
            pair.check();
            worst = worst.max(pair.now - Instant::ZERO);
        }
        assert!(worst < Duration::from_secs(4), "{algorithm:?}: {worst:?}");
    }
}

/// What a side has sent at a time.
type Sent = (Instant, usize, Vec<u8>);

/// A conversation in which both sides write and read bit by bit; what was sent, and how many segments were predicted and followed
/// others.
fn conversation(
    prediction: bool,
    open: Open,
    lengths: [usize; 2],
    trouble: Trouble,
    seed: u64,
) -> (Vec<Sent>, [usize; 2]) {
    let machines = [0, 1].map(|_| {
        // So little that nobody has said all at once.
        let buffers = Buffers { receive: 8192, send: 4096, budget: 40_000 };
        let mut machine = OwnTcp::new(Paths::of(1500, 0), buffers, CongestionControl::Cubic, KEY);
        machine.links.iter_mut().for_each(|link| link.prediction = prediction);
        Box::new(machine) as Box<dyn TcpMachine>
    });
    let mut pair = open(machines, lengths, trouble, seed);
    for side in &mut pair.sides {
        side.appetite = 3000;
    }
    assert!(pair.run(Duration::from_secs(1000)), "it is {:?}", pair.now);
    pair.check();
    let predicted = pair.sides.iter().map(|side| side.predicted).sum();
    (pair.log, [predicted, pair.sides.iter().map(|side| side.followed).sum()])
}

type Open = fn([Box<dyn TcpMachine>; 2], [usize; 2], Trouble, u64) -> Pair;

#[test]
fn prediction_changes_nothing_but_the_work() {
    let trouble = Trouble { loss: 20, duplication: 10, delay: 2 * MS, jitter: MS, ..NONE };
    for open in [crossed as Open, accepted] {
        for (trouble, seed) in [(NONE, 1), (trouble, 2), (trouble, 3), (trouble, 4)] {
            for lengths in [[100, 80_000], [60_000, 60_000]] {
                let (with, [predicted, followed]) = conversation(true, open, lengths, trouble, seed);
                let (without, [none, _]) = conversation(false, open, lengths, trouble, seed);
                let first = with.iter().zip(&without).position(|(one, other)| one != other);
                assert!(with == without, "seed {seed}: the {first:?}th packet is another one");
                // One that has said all is about to leave, and nothing is predicted for it.
                let least = if lengths[0] == lengths[1] { 20 } else { 0 };
                assert!(none == 0 && predicted >= least, "{predicted} of {} were predicted", with.len());
                // Those that follow come at the same time.
                let least = if trouble.jitter == Duration::ZERO { least } else { 0 };
                assert!(followed >= least, "{followed} of {} followed others", with.len());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_and_both_ends_close(
        seed in 1u64..u64::MAX,
        lengths in [0usize..60_000, 0usize..60_000],
        (loss, duplication) in (0u32..120, 0u32..100),
        (delay, jitter) in (0u64..30, 0u64..30),
        sizes in [(1000usize..9000, 1000usize..9000), (1000usize..9000, 1000usize..9000)],
        appetites in [200usize..10_000, 200usize..10_000],
        (most, budget) in (prop_oneof![Just(0), Just(65_521)], prop_oneof![Just(1usize << 16), Just(1 << 24)]),
        (cubic, is_crossed) in (any::<bool>(), any::<bool>()),
        mixed in any::<[bool; 2]>(),
    ) {
        let (delay, jitter) = (Duration::from_millis(delay), Duration::from_millis(jitter));
        let trouble = Trouble { loss, duplication, delay, jitter, ..NONE };
        let algorithm = if cubic { CongestionControl::Cubic } else { CongestionControl::NewReno };
        let machines = sizes.map(|(receive, send)| own(Buffers { receive, send, budget }, most, algorithm));
        let open = if is_crossed { crossed } else { accepted };
        let mut pair = open(machines, lengths, trouble, seed);
        for ((side, appetite), mixed) in pair.sides.iter_mut().zip(appetites).zip(mixed) {
            side.appetite = appetite;
            side.mixture = mixed.then_some(Random(seed | 1));
        }
        prop_assert!(pair.run(Duration::from_secs(1000)), "it is {:?}", pair.now);
        pair.check();
    }
}

#[test]
fn packets_that_overtake_others_cost_little_time() {
    // 256 KiB each 13 ms or so, once the buffers have grown: 10 MB take half a second at best, and took eight when each
    // that was overtaken was taken for lost.
    let overtaking = Trouble { delay: 10 * MS, hasty: 180, ..NONE };
    // With losses it took nine to thirteen.
    let losing = Trouble { loss: 10, ..overtaking };
    for (trouble, most) in [(overtaking, 2500 * MS), (losing, 8000 * MS)] {
        for (algorithm, seed) in BOTH.into_iter().flat_map(|algorithm| [1, 3, 5, 7].map(|seed| (algorithm, seed))) {
            let machines = [0, 1].map(|_| own(buffers(8192, 8192), 0, algorithm));
            let mut pair = accepted(machines, [10_000_000, 0], trouble, seed);
            assert!(pair.run(most), "{algorithm:?}, seed {seed}: {} bytes", pair.sides[1].received.len());
            pair.check();
        }
    }
}
