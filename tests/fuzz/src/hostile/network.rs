//! The network frontend.

use std::future::poll_fn;
use std::task::Poll;

use mirage_rt::packet::{Gso, PacketMut};
use mirage_rt::time::Duration;
use mirage_rt::types::network::NetworkDevice;
use mirage_xen::model::{Features, Frame, GUEST_PATH, Machine, Mischief, Netback};
use mirage_xen::netfront::{Netfront, Options};

use super::{Tally, briefly, bury, nonsense, settle};
use crate::random::Random;

const BACKEND: &str = "/local/domain/0/backend/vif/1/0";

const NODES: [&str; 9] = [
    "state",
    "feature-rx-copy",
    "feature-sg",
    "feature-gso-tcpv4",
    "feature-gso-tcpv6",
    "feature-no-csum-offload",
    "feature-ipv6-csum-offload",
    "feature-split-event-channels",
    "carrier",
];

pub(super) fn run(random: &mut Random, steps: u64) -> Tally {
    let machine = Machine::new(random.number());
    let mut tally = Tally::default();
    machine.run(async {
        while tally.steps < steps {
            life(&machine, random, &mut tally).await;
        }
    });
    tally
}

async fn life(machine: &Machine, random: &mut Random, tally: &mut Tally) {
    let features = Features {
        receive_copy: !random.one_in(50),
        scatter_gather: !random.one_in(4),
        gso: !random.one_in(4),
        checksum_ipv4: !random.one_in(4),
        checksum_ipv6: !random.one_in(4),
        split_channels: !random.one_in(3),
        ..Features::default()
    };
    let netback = Netback::attach(&machine.world, &machine.store, 0, features);
    netback.expect_nonsense();
    for (node, one_in) in [("mac", 40), ("mtu", 3), ("backend-id", 60)] {
        if random.one_in(one_in) {
            machine.store.write_for_guest(&format!("{GUEST_PATH}/device/vif/0/{node}"), &nonsense(random));
        }
    }
    let options = Options {
        receive_gso: !random.one_in(3),
        receive_pages: 8 + random.below(100) as u32,
        first_index: if random.one_in(2) { 0xFFFF_FFF0 } else { 0 },
        limit: Duration::from_millis(200),
        ..Options::default()
    };
    tally.steps += 1;
    let device = Netfront::connect(&machine.attachment, 0, machine.pool(), options).await;
    let Ok(mut device) = device else {
        tally.refused += 1;
        return bury(machine).await;
    };
    let control = device.control();
    tally.lives += 1;
    for _ in 0..random.below(120) {
        tally.steps += 1;
        act(machine, &netback, &mut device, random).await;
        settle().await;
        use_device(&mut device).await;
        if control.is_broken() {
            break;
        }
    }
    if let Some(reason) = control.broken() {
        tally.count("network", &reason);
    }
    let _ = briefly(control.quiesce()).await;
    drop(device);
    bury(machine).await;
}

/// One step of either side.
async fn act(machine: &Machine, netback: &Netback, device: &mut Netfront, random: &mut Random) {
    match random.below(32) {
        0..=7 => {
            let length = random.one_of(&[0, 13, 14, 60, 300, 1514, 4096, 9000, 65_535]);
            let gso = random.one_of(&[
                Gso::None,
                Gso::None,
                Gso::Ipv4 { mss: 1448 },
                Gso::Ipv6 { mss: 1428 },
                Gso::Ipv4 { mss: 0 },
            ]);
            let bytes = vec![random.number() as u8 & 0xFE; length];
            netback.send(Frame {
                bytes,
                gso,
                blank: random.one_in(2),
                validated: random.one_in(2),
                ..Frame::default()
            });
        }
        8..=15 => {
            let length = random.one_of(&[14, 60, 1514, 9000, 40_000]);
            if let Some(packet) = PacketMut::copy_of(&machine.pool(), &vec![2; length]) {
                let _ = device.transmit(packet);
                device.flush();
            }
        }
        16..=20 => {
            let word = if random.one_in(2) { random.below(4) } else { random.below(1024) } as u16;
            netback.provoke(Mischief::Scribble { receive: random.one_in(2), word, value: random.awkward() });
        }
        21..=25 => netback.provoke(mischief(random)),
        26 => netback.provoke(Mischief::Restless { receive: random.one_in(2), one_in: 1 + random.below(20) as u32 }),
        27 => {
            let node = random.one_of(&NODES);
            machine.store.write(&format!("{BACKEND}/{node}"), &nonsense(random));
        }
        28 => netback.hold(random.one_in(2)),
        29 => match random.below(4) {
            0 => netback.close(),
            1 => netback.restart(),
            2 => netback.set_carrier(random.one_in(2)),
            _ => machine.world.lose_ports(),
        },
        30 => mirage_rt::time::sleep(Duration::from_millis(random.below(500))).await,
        _ => {
            let _ = device.join([1, 0, 0x5E, 0, 0, random.number() as u8]);
        }
    }
}

fn mischief(random: &mut Random) -> Mischief {
    match random.below(10) {
        0 => Mischief::TransmitProducer,
        1 => Mischief::TransmitId(random.awkward() as u16),
        2 => Mischief::TransmitNull,
        3 => Mischief::ReceiveProducer,
        4 => Mischief::ReceiveId(random.awkward() as u16),
        5 => Mischief::ReceiveBounds { offset: random.awkward() as u16, size: random.awkward() as i16 },
        6 => Mischief::ReceiveExtra(random.number().to_le_bytes()),
        7 => Mischief::ReceiveExtras,
        8 => random.one_of(&[Mischief::ReceiveError, Mischief::ReceiveHalf]),
        // A page is lost each time, so that it does not happen often.
        _ if random.one_in(4) => random.one_of(&[Mischief::TransmitInUse, Mischief::ReceiveInUse]),
        _ => Mischief::ReceiveError,
    }
}

/// What the network stack does: takes what there is, as far as it is there at once.
async fn use_device(device: &mut Netfront) {
    poll_fn(|context| {
        while let Poll::Ready(Ok(packet)) = device.poll_receive(context) {
            // Every byte of a packet can be looked at.
            let sum: u64 = packet.parts().flatten().map(|byte| u64::from(*byte)).sum();
            std::hint::black_box(sum);
        }
        let _ = device.poll_ready(context);
        Poll::Ready(())
    })
    .await;
}
