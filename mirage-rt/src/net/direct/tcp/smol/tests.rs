use alloc::rc::Rc;
use core::net::SocketAddr;

use super::*;
use crate::net::direct::hash::Keyed;
use crate::net::direct::ip::{Blocked, Route, TxMeta};
use crate::net::direct::ipv4::Ipv4;
use crate::net::direct::tcp::segment::SynOptions;
use crate::packet::PacketMut;
use crate::page::{HeapPool, PagePool};

/// Keeps what is sent.
struct Kept {
    pool: Rc<dyn PagePool>,
    packets: Vec<PacketMut>,
    blocked: Option<Blocked>,
}

impl Kept {
    fn new() -> Kept {
        Kept { pool: HeapPool::with_pages(100), packets: Vec::new(), blocked: None }
    }

    /// The headers of what was sent since the last call.
    fn take(&mut self) -> Vec<Segment> {
        let segment = |packet: PacketMut| {
            let packet = Ipv4::parse(packet.head()).expect("a sound packet");
            Segment::parse(&KEY, packet.source.into(), packet.destination.into(), packet.payload()).expect("a segment")
        };
        core::mem::take(&mut self.packets).into_iter().map(segment).collect()
    }
}

impl IpOut for Kept {
    fn route(&self, destination: IpAddr) -> Option<Route> {
        Some(Route { source: tuple().local().ip(), next_hop: destination, mtu: 1500 })
    }

    fn ready(&self, _: &Route) -> Result<(), Blocked> {
        self.blocked.map_or(Ok(()), Err)
    }

    fn has_room(&self) -> bool {
        true
    }

    fn alloc(&mut self) -> Option<PacketMut> {
        PacketMut::new(&self.pool)
    }

    fn send(&mut self, _: &Route, packet: PacketMut, _: TxMeta) {
        self.packets.push(packet);
    }
}

fn tuple() -> FourTuple {
    FourTuple::new(&KEY, SocketAddr::from(([10, 0, 0, 1], 80)), SocketAddr::from(([10, 0, 0, 2], 4000)))
}

fn machine() -> SmolSets {
    SmolSets::new(tuple().local().ip(), 24, 1500, Buffers { receive: 8192, send: 8192, budget: 1 << 20 })
}

const KEY: Keyed = Keyed::new([1, 2]);
const ID: ConnId = ConnId { index: 3, generation: 5 };

/// If this fails, smoltcp draws its numbers in another way than `isn::seed` believes.
#[test]
fn connections_take_the_position_they_are_given() {
    for isn in [0, 1, 0x1234_5678, 0x7fff_ffff, 0x8000_0000, u32::MAX].map(Seq) {
        let (mut machine, mut out) = (machine(), Kept::new());
        machine.connect(Instant::ZERO, ID, &tuple(), isn).expect("there is memory");
        machine.run(Instant::ZERO, ID, &mut out);
        let sent = out.take();
        assert!(matches!(sent.as_slice(), [syn] if syn.syn && syn.seq == isn), "{isn:?}: {sent:?}");
        machine.free(ID);

        let handshake = Handshake {
            tuple: tuple(),
            isn,
            peer_isn: Seq(77),
            options: Default::default(),
            window: 1000,
            sent: Instant::ZERO,
        };
        machine.establish(Instant::ZERO, ID, &handshake).expect("there is memory");
        assert_eq!((machine.expected(ID).sent, machine.expected(ID).next), (isn.add(1), Seq(78)));
    }
}

#[test]
fn a_blocked_connection_says_so_and_sends_later() {
    let (mut machine, mut out) = (machine(), Kept::new());
    machine.connect(Instant::ZERO, ID, &tuple(), Seq(1)).expect("there is memory");
    out.blocked = Some(Blocked::Device);
    let progress = machine.run(Instant::ZERO, ID, &mut out);
    assert_eq!((progress.blocked, progress.deadline), (Some(Blocked::Device), None));
    assert!(out.take().is_empty());
    out.blocked = None;
    let progress = machine.run(Instant::ZERO, ID, &mut out);
    assert_eq!(progress.blocked, None);
    assert_eq!(out.take().len(), 1);
    // It waits to send the SYN again.
    let again = progress.deadline.expect("a timer runs");
    machine.run(again, ID, &mut out);
    assert_eq!(out.take().len(), 1);
}

#[test]
fn without_pages_it_tries_again_soon() {
    let (mut machine, mut out) = (machine(), Kept::new());
    out.pool = HeapPool::with_pages(0);
    machine.connect(Instant::ZERO, ID, &tuple(), Seq(1)).expect("there is memory");
    let progress = machine.run(Instant::ZERO, ID, &mut out);
    assert_eq!((progress.blocked, progress.deadline), (None, Some(Instant::ZERO + PAGE_WAIT)));
}

#[test]
fn the_budget_holds() {
    let buffers = Buffers { receive: 1000, send: 1000, budget: 50_000 };
    let mut machine = SmolSets::new(tuple().local().ip(), 24, 1500, buffers);
    let id = |index| ConnId { index, generation: 0 };
    let connect = |machine: &mut SmolSets, index| machine.connect(Instant::ZERO, id(index), &tuple(), Seq(1));
    let small = 2000 + OVERHEAD;
    // The first one finds three quarters of the budget free for others even with large buffers.
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
}

#[test]
fn windows_are_shifted_as_peers_were_told() {
    for receive in [1000, 8192, 16_384, 32_768, 65_535, 65_536, 100_000, 1 << 20] {
        let machine = SmolSets::new(tuple().local().ip(), 24, 1500, Buffers { receive, send: 1000, budget: 1 << 30 });
        let most = machine.most_receive();
        assert!(most >= receive);
        assert_eq!(bits(most).saturating_sub(16), u32::from(machine.window_shift()), "{receive}");
    }
}

#[test]
fn a_loss_halves_what_may_be_under_way() {
    let (mut machine, mut out) = (machine(), Kept::new());
    let handshake = Handshake {
        tuple: tuple(),
        isn: Seq(100),
        peer_isn: Seq(77),
        options: SynOptions { mss: Some(1460), ..SynOptions::default() },
        window: 60_000,
        sent: Instant::ZERO,
    };
    machine.establish(Instant::ZERO, ID, &handshake).expect("there is memory");
    let hear = |machine: &mut SmolSets, out: &mut Kept, ack: Seq| {
        let bare = Bare { seq: Seq(78), ack: Some(ack), window: 60_000, ..Bare::default() };
        let mut packet = [0; BARE_MOST];
        let length = bare.emit(&tuple().reversed(), &mut packet).expect("IPv4");
        let payload = &packet[20..length];
        let segment = Segment::parse(&KEY, tuple().remote().ip(), tuple().local().ip(), payload).expect("a segment");
        machine.on_segment(Instant::ZERO, ID, &packet[..length], &segment, out);
    };
    hear(&mut machine, &mut out, Seq(101));
    // Ten segments at first, and no more than that.
    assert_eq!(machine.write(ID, &[1; 30_000]), 14_600);
    assert_eq!(machine.write(ID, &[1; 30_000]), 0);
    machine.run(Instant::ZERO, ID, &mut out);
    assert_eq!(out.take().len(), 10);
    // One more for each that arrives.
    hear(&mut machine, &mut out, Seq(101 + 2920));
    assert_eq!(machine.write(ID, &[1; 30_000]), 5840);
    machine.run(Instant::ZERO, ID, &mut out);
    assert_eq!(out.take().len(), 4);
    // The next one is lost: three later ones say so.
    for _ in 0..3 {
        hear(&mut machine, &mut out, Seq(101 + 2920));
    }
    machine.run(Instant::ZERO, ID, &mut out);
    assert!(out.take().iter().any(|segment| segment.seq == Seq(101 + 2920)));
    // 12 segments were under way: 6 may be from now on, and two more for all that has arrived since.
    hear(&mut machine, &mut out, Seq(101 + 14_600 + 5840));
    assert_eq!(machine.write(ID, &[1; 30_000]), 8 * 1460);
}
