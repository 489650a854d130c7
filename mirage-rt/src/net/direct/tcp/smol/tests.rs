use core::net::SocketAddr;

use super::*;
use crate::net::direct::hash::Keyed;
use crate::net::direct::ip::Blocked;
use crate::net::direct::ipv4::Ipv4;
use crate::net::direct::tcp::kept::Kept;
use crate::net::direct::tcp::segment::SynOptions;
use crate::packet::{Gso, PacketMut};
use crate::page::HeapPool;

impl Kept {
    /// The headers of what was sent since the last call.
    fn segments(&mut self) -> Vec<Segment> {
        let segment = |packet: PacketMut| {
            let packet = Ipv4::parse(packet.head()).expect("a sound packet");
            Segment::parse(&KEY, packet.source.into(), packet.destination.into(), packet.payload()).expect("a segment")
        };
        core::mem::take(&mut self.packets).into_iter().map(segment).collect()
    }
}

fn tuple() -> FourTuple {
    FourTuple::new(&KEY, SocketAddr::from(([10, 0, 0, 1], 80)), SocketAddr::from(([10, 0, 0, 2], 4000)))
}

fn machine() -> SmolSets {
    SmolSets::new(tuple().local().ip(), 24, Paths::of(1500, 0), Buffers { receive: 8192, send: 8192, budget: 1 << 20 })
}

const KEY: Keyed = Keyed::new([1, 2]);
const ID: ConnId = ConnId { index: 3, generation: 5 };

/// If this fails, smoltcp draws its numbers in another way than `seed::seed` believes.
#[test]
fn connections_take_the_position_they_are_given() {
    for isn in [0, 1, 0x1234_5678, 0x7fff_ffff, 0x8000_0000, u32::MAX].map(Seq) {
        let (mut machine, mut out) = (machine(), Kept::new(100));
        machine.connect(Instant::ZERO, ID, &tuple(), isn).expect("there is memory");
        machine.run(Instant::ZERO, ID, &mut out);
        let sent = out.segments();
        assert!(matches!(sent.as_slice(), [syn] if syn.syn && syn.seq == isn), "{isn:?}: {sent:?}");
        machine.free(ID);

        let handshake = Handshake {
            tuple: tuple(),
            isn,
            peer_isn: Seq(77),
            options: Default::default(),
            window: 1000,
            sent: Instant::ZERO,
            repeated: false,
            clock: None,
        };
        machine.establish(Instant::ZERO, ID, &handshake).expect("there is memory");
        assert_eq!((machine.expected(ID).sent, machine.expected(ID).next), (isn.add(1), Seq(78)));
    }
}

#[test]
fn a_blocked_connection_says_so_and_sends_later() {
    let (mut machine, mut out) = (machine(), Kept::new(100));
    machine.connect(Instant::ZERO, ID, &tuple(), Seq(1)).expect("there is memory");
    out.blocked = Some(Blocked::Device);
    let progress = machine.run(Instant::ZERO, ID, &mut out);
    assert_eq!((progress.blocked, progress.deadline), (Some(Blocked::Device), None));
    assert!(out.segments().is_empty());
    out.blocked = None;
    let progress = machine.run(Instant::ZERO, ID, &mut out);
    assert_eq!(progress.blocked, None);
    assert_eq!(out.segments().len(), 1);
    // It waits to send the SYN again.
    let again = progress.deadline.expect("a timer runs");
    machine.run(again, ID, &mut out);
    assert_eq!(out.segments().len(), 1);
}

#[test]
fn without_pages_it_tries_again_soon() {
    let (mut machine, mut out) = (machine(), Kept::new(100));
    out.pool = HeapPool::with_pages(0);
    machine.connect(Instant::ZERO, ID, &tuple(), Seq(1)).expect("there is memory");
    let progress = machine.run(Instant::ZERO, ID, &mut out);
    assert_eq!((progress.blocked, progress.deadline), (None, Some(Instant::ZERO + PAGE_WAIT)));
}

#[test]
fn the_budget_holds() {
    let buffers = Buffers { receive: 1000, send: 1000, budget: 50_000 };
    let mut machine = SmolSets::new(tuple().local().ip(), 24, Paths::of(1500, 0), buffers);
    let id = |index| ConnId { index, generation: 0 };
    let connect = |machine: &mut SmolSets, index| machine.connect(Instant::ZERO, id(index), &tuple(), Seq(1));
    let small = 2000 + OVERHEAD;
    // The first one finds three quarters of the budget free for others even with larger buffers, if not the largest.
    assert_eq!(connect(&mut machine, 0), Ok(()));
    assert_eq!(machine.memory, 8000 + OVERHEAD);
    let more = (50_000 - machine.memory) / small;
    for index in 1..=more {
        assert_eq!(connect(&mut machine, index as u32), Ok(()));
    }
    assert_eq!(machine.memory, 8000 + OVERHEAD + more * small);
    assert!(!machine.has_room());
    assert_eq!(connect(&mut machine, 90), Err(OutOfMemory));
    machine.free(ConnId { index: 1, generation: 1 });
    assert_eq!(connect(&mut machine, 90), Err(OutOfMemory), "it was another connection");
    machine.free(id(1));
    assert_eq!(connect(&mut machine, 90), Ok(()));
    for index in (0..=more).filter(|index| *index != 1).chain([90]) {
        machine.free(id(index as u32));
    }
    assert_eq!(machine.memory, 0);
    assert!(machine.spare.len() <= SPARE);
    // What was kept serves the next connections, as new.
    assert_eq!(connect(&mut machine, 5), Ok(()));
    assert_eq!((machine.memory, machine.state(id(5))), (8000 + OVERHEAD, State::Connecting));
    assert_eq!(machine.readiness(id(5)).readable, 0);
}

#[test]
fn windows_are_shifted_as_peers_were_told() {
    for (receive, budget) in [(1000, 10_000), (8192, 100_000), (8192, 1 << 30), (65_536, 200_000), (1 << 20, 1 << 30)] {
        let buffers = Buffers { receive, send: 1000, budget };
        let (mut machine, mut out) =
            (SmolSets::new(tuple().local().ip(), 24, Paths::of(1500, 0), buffers), Kept::new(100));
        let told = machine.window_shift();
        assert_eq!(told, shift(32 * receive), "{receive}");
        for window_shift in [Some(7), None] {
            let options = SynOptions { mss: Some(1460), window_shift, sack: true, ..SynOptions::default() };
            let handshake = Handshake {
                tuple: tuple(),
                isn: Seq(100),
                peer_isn: Seq(77),
                options,
                window: 60_000,
                sent: Instant::ZERO,
                repeated: false,
                clock: None,
            };
            machine.establish(Instant::ZERO, ID, &handshake).expect("there is memory");
            assert_eq!(machine.expected(ID).end.since(Seq(78)), i32::from(machine.initial_window()), "as in our SYN");
            hear(&mut machine, &mut out, Seq(78), Seq(101), &[]);
            hear(&mut machine, &mut out, Seq(78), Seq(101), &[1; 900]);
            machine.run(Instant::ZERO, ID, &mut out);
            machine.run(Instant::ZERO + ACK_DELAY, ID, &mut out);
            let answers = out.segments();
            if let Some(answer) = answers.first() {
                // What the peer believes is what is checked later, and no more than there is room for.
                let believed = i64::from(answer.window) << if window_shift.is_some() { told } else { 0 };
                let capacity = machine.get(ID).expect("it is there").socket().recv_capacity() as i64;
                let expected = machine.expected(ID);
                assert_eq!(believed, i64::from(expected.end.since(expected.next)), "{receive}");
                assert!(
                    believed <= capacity - 900 && believed > capacity.min(65_535) - 900 - (1 << told),
                    "{believed}"
                );
            }
            assert_eq!(answers.len(), 1, "{receive}");
            machine.free(ID);
        }
    }
}

/// Shows the machine a segment of the peer.
fn hear(machine: &mut SmolSets, out: &mut Kept, seq: Seq, ack: Seq, data: &[u8]) {
    let bare = Bare { seq, ack: Some(ack), window: 60_000, ..Bare::default() };
    let mut packet = [0; BARE_MOST];
    let length = bare.emit(&tuple().reversed(), &mut packet).expect("IPv4");
    let mut packet = packet[..length].to_vec();
    packet.extend_from_slice(data);
    smoltcp::wire::Ipv4Packet::new_unchecked(&mut packet[..]).set_total_len((length + data.len()) as u16);
    let payload = &packet[20..];
    let segment = Segment::parse(&KEY, tuple().remote().ip(), tuple().local().ip(), payload).expect("a segment");
    machine.on_segment(Instant::ZERO, ID, &packet, &segment, out);
}

/// A machine whose device cuts packets, with an open connection to a peer that takes segments of `mss` bytes.
fn cutting(mss: u16) -> (SmolSets, Kept) {
    let buffers = Buffers { receive: 8192, send: 8192, budget: 1 << 30 };
    let (mut machine, mut out) =
        (SmolSets::new(tuple().local().ip(), 24, Paths::of(1500, 65_521), buffers), Kept::new(100));
    let options = SynOptions { mss: Some(mss), window_shift: Some(7), sack: true, ..SynOptions::default() };
    let handshake = Handshake {
        tuple: tuple(),
        isn: Seq(100),
        peer_isn: Seq(77),
        options,
        window: 60_000,
        sent: Instant::ZERO,
        repeated: false,
        clock: None,
    };
    machine.establish(Instant::ZERO, ID, &handshake).expect("there is memory");
    hear(&mut machine, &mut out, Seq(78), Seq(101), &[]);
    out.segments();
    (machine, out)
}

#[test]
fn a_device_that_cuts_gets_packets_of_many_segments() {
    for mss in [1460, 536] {
        let (mut machine, mut out) = cutting(mss);
        // The initial window, and what is more once that has arrived.
        assert_eq!(machine.write(ID, &[1; 300_000]), 14_600);
        machine.run(Instant::ZERO, ID, &mut out);
        let [packet] = &out.packets[..] else { panic!("one packet, not {}", out.packets.len()) };
        assert_eq!((packet.len(), packet.gso()), (14_640, Gso::Ipv4 { mss }));
        out.packets.clear();
        let mut sent = 14_600;
        while sent < 200_000 {
            hear(&mut machine, &mut out, Seq(78), Seq(101).add(sent), &[]);
            sent += machine.write(ID, &[1; 300_000]) as u32;
            machine.run(Instant::ZERO, ID, &mut out);
        }
        let longest = out.packets.iter().map(|packet| packet.len()).max();
        // 44 segments of 1460 bytes and the headers.
        assert_eq!(longest, Some(64_280));
        // Three repetitions of the last one: one segment fills the gap.
        out.packets.clear();
        hear(&mut machine, &mut out, Seq(78), Seq(101).add(sent - 50_000), &[]);
        for _ in 0..3 {
            hear(&mut machine, &mut out, Seq(78), Seq(101).add(sent - 50_000), &[]);
        }
        machine.run(Instant::ZERO, ID, &mut out);
        let packets = core::mem::take(&mut out.packets);
        let [packet] = &packets[..] else { panic!("one packet, not {}", packets.len()) };
        assert_eq!((packet.len(), packet.gso()), (usize::from(mss) + 40, Gso::None));
        let packet = Ipv4::parse(packet.head()).expect("a sound packet");
        let segment = Segment::parse(&KEY, packet.source.into(), packet.destination.into(), packet.payload());
        assert_eq!(segment.expect("a segment").seq, Seq(101).add(sent - 50_000));
        // When the device cuts no more, packets are as long as the link allows, and the peer.
        machine.set_device(Paths::of(1000, 0));
        hear(&mut machine, &mut out, Seq(78), Seq(101).add(sent), &[]);
        assert!(machine.write(ID, &[1; 5000]) > 0);
        machine.run(Instant::ZERO, ID, &mut out);
        let longest = out.packets.iter().map(|packet| packet.len()).max();
        assert_eq!(longest, Some(1000.min(usize::from(mss) + 40)), "{mss}");
    }
}

#[test]
fn what_came_in_one_packet_of_many_segments_is_acknowledged_at_once() {
    let (mut machine, mut out) = cutting(1460);
    // The peer is to learn that there is more room than our SYN said.
    hear(&mut machine, &mut out, Seq(78), Seq(101), &[1; 10]);
    machine.run(Instant::ZERO, ID, &mut out);
    assert_eq!(out.segments().len(), 1);
    hear(&mut machine, &mut out, Seq(88), Seq(101), &[1; 1450]);
    let progress = machine.run(Instant::ZERO, ID, &mut out);
    assert_eq!((progress.deadline, out.segments().len()), (Some(Instant::ZERO + ACK_DELAY), 0), "one segment waits");
    hear(&mut machine, &mut out, Seq(78 + 1460), Seq(101), &[1; 1000]);
    machine.run(Instant::ZERO, ID, &mut out);
    assert!(matches!(out.segments().as_slice(), [ack] if ack.ack == Some(Seq(78 + 2460))), "two do not");
    hear(&mut machine, &mut out, Seq(78 + 2460), Seq(101), &[1; 30_000]);
    machine.run(Instant::ZERO, ID, &mut out);
    assert!(matches!(out.segments().as_slice(), [ack] if ack.ack == Some(Seq(78 + 32_460))), "nor does a long packet");
    hear(&mut machine, &mut out, Seq(78 + 32_460), Seq(101), &[1; 10]);
    assert!(machine.write(ID, b"an answer") > 0);
    machine.run(Instant::ZERO, ID, &mut out);
    assert!(matches!(out.segments().as_slice(), [both] if both.ack == Some(Seq(78 + 32_470)) && both.length == 9));
    hear(&mut machine, &mut out, Seq(78 + 32_470), Seq(110), &[1; 10]);
    assert!(machine.run(Instant::ZERO, ID, &mut out).deadline.is_some_and(|at| at <= Instant::ZERO + ACK_DELAY));
    machine.run(Instant::ZERO + ACK_DELAY, ID, &mut out);
    assert_eq!(out.segments().len(), 1, "nobody waits for longer than that");
}

#[test]
fn a_loss_halves_what_may_be_under_way() {
    let (mut machine, mut out) = (machine(), Kept::new(100));
    let handshake = Handshake {
        tuple: tuple(),
        isn: Seq(100),
        peer_isn: Seq(77),
        options: SynOptions { mss: Some(1460), ..SynOptions::default() },
        window: 60_000,
        sent: Instant::ZERO,
        repeated: false,
        clock: None,
    };
    machine.establish(Instant::ZERO, ID, &handshake).expect("there is memory");
    let hear = |machine: &mut SmolSets, out: &mut Kept, ack: Seq| hear(machine, out, Seq(78), ack, &[]);
    hear(&mut machine, &mut out, Seq(101));
    // Ten segments at first, and no more than that.
    assert_eq!(machine.write(ID, &[1; 30_000]), 14_600);
    assert_eq!(machine.write(ID, &[1; 30_000]), 0);
    machine.run(Instant::ZERO, ID, &mut out);
    assert_eq!(out.segments().len(), 10);
    // One more for each that arrives.
    hear(&mut machine, &mut out, Seq(101 + 2920));
    assert_eq!(machine.write(ID, &[1; 30_000]), 5840);
    machine.run(Instant::ZERO, ID, &mut out);
    assert_eq!(out.segments().len(), 4);
    // The next one is lost: three later ones say so.
    for _ in 0..3 {
        hear(&mut machine, &mut out, Seq(101 + 2920));
    }
    machine.run(Instant::ZERO, ID, &mut out);
    assert!(out.segments().iter().any(|segment| segment.seq == Seq(101 + 2920)));
    // 12 segments were under way: 6 may be from now on, and two more for all that has arrived since.
    hear(&mut machine, &mut out, Seq(101 + 14_600 + 5840));
    assert_eq!(machine.write(ID, &[1; 30_000]), 8 * 1460);
}
