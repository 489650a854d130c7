//! The disk frontend.

use std::rc::Rc;

use mirage_rt::block::Block;
use mirage_rt::runtime::spawn;
use mirage_rt::time::Duration;
use mirage_xen::blkfront::{Blkfront, Options};
use mirage_xen::model::{Blkback, DiskFeatures, DiskMischief, GUEST_PATH, Machine};

use super::{Tally, briefly, bury, nonsense, settle};
use crate::random::Random;

const XVDA: u32 = 51712;

const NODES: [&str; 11] = [
    "state",
    "sectors",
    "sector-size",
    "info",
    "feature-flush-cache",
    "feature-barrier",
    "feature-discard",
    "feature-persistent",
    "feature-max-indirect-segments",
    "max-ring-page-order",
    "discard-granularity",
];

pub(super) fn run(random: &mut Random, steps: u64) -> Tally {
    let machine = Machine::new(random.number());
    machine.world.limit_grant_frames(8);
    let mut tally = Tally::default();
    machine.run(async {
        while tally.steps < steps {
            life(&machine, random, &mut tally).await;
        }
    });
    tally
}

async fn life(machine: &Machine, random: &mut Random, tally: &mut Tally) {
    let features = DiskFeatures {
        bytes: 64 * 1024,
        sector_size: random.one_of(&[512, 4096]),
        read_only: random.one_in(10),
        flush: !random.one_in(4),
        barrier: !random.one_in(4),
        discard: !random.one_in(4),
        secure: !random.one_in(4),
        persistent: random.one_in(4),
        indirect: random.one_of(&[0, 1, 11, 32, 256, 100_000]),
        ring_order: random.one_of(&[0, 0, 1, 4]),
    };
    let blkback = Blkback::attach(&machine.world, &machine.store, XVDA, features);
    blkback.expect_nonsense();
    if random.one_in(30) {
        machine.store.write_for_guest(&format!("{GUEST_PATH}/device/vbd/{XVDA}/backend-id"), &nonsense(random));
    }
    let options = Options {
        ring_order: random.below(5) as u32,
        segments: 11 + random.below(40) as u32,
        persistent: random.one_in(4),
        requests: 16,
        first_index: if random.one_in(2) { 0xFFFF_FFF0 } else { 0 },
        limit: Duration::from_millis(200),
    };
    tally.steps += 1;
    let Ok(device) = Blkfront::connect(&machine.attachment, XVDA, machine.pool(), options).await else {
        tally.refused += 1;
        return bury(machine).await;
    };
    let control = device.control();
    let block = Rc::new(Block::new(Rc::new(device)));
    tally.lives += 1;
    for _ in 0..random.below(120) {
        tally.steps += 1;
        act(machine, &blkback, &block, random).await;
        settle().await;
        if control.broken().is_some() {
            break;
        }
    }
    if let Some(reason) = control.broken() {
        tally.count("block", &reason);
    }
    let _ = briefly(control.quiesce()).await;
    drop(block);
    bury(machine).await;
}

/// One step of either side.
async fn act(machine: &Machine, blkback: &Blkback, block: &Rc<Block>, random: &mut Random) {
    match random.below(32) {
        0..=15 => request(block, random),
        16..=19 => {
            let word = if random.one_in(2) { random.below(4) } else { random.below(1024) } as u16;
            blkback.provoke(DiskMischief::Scribble { word, value: random.awkward() });
        }
        20..=25 => {
            request(block, random);
            blkback.provoke(mischief(random));
        }
        26 => blkback.provoke(DiskMischief::Restless(1 + random.below(20) as u32)),
        27 => {
            let node = random.one_of(&NODES);
            machine.store.write(&format!("/local/domain/0/backend/vbd/1/{XVDA}/{node}"), &nonsense(random));
        }
        28 => blkback.hold(random.one_in(2)),
        29 => match random.below(4) {
            0 => blkback.close(),
            1 => blkback.restart(),
            2 => blkback.fail(random.below(5) as u32),
            _ => machine.world.lose_ports(),
        },
        30 => mirage_rt::time::sleep(Duration::from_millis(random.below(500))).await,
        _ => blkback.forget(random.one_in(2).then_some(random.below(8) as u8)),
    }
}

/// Starts a request, which may never be answered.
fn request(block: &Rc<Block>, random: &mut Random) {
    let (block, what) = (Rc::clone(block), random.below(8));
    let sector = if random.one_in(10) { random.number() } else { random.below(16) * 8 };
    let count = random.one_of(&[0, 1, 1, 1, 2, 12, 16]);
    spawn(async move {
        let _ = briefly(async {
            let Some(pages) = block.pages(count) else { return };
            match what {
                0..=2 => drop(block.read(sector, pages).await),
                3..=4 => drop(block.write(sector, pages).await),
                5 => drop(block.write_durable(sector, pages).await),
                6 => drop(block.flush().await),
                _ => drop(block.discard(sector, count as u64 * 8).await),
            }
        })
        .await;
    });
}

fn mischief(random: &mut Random) -> DiskMischief {
    match random.below(7) {
        0 => DiskMischief::Producer,
        1 => DiskMischief::Id(if random.one_in(2) { random.number() } else { random.below(40) }),
        2 => DiskMischief::Twice,
        3 => DiskMischief::Operation(random.number() as u8),
        4 => DiskMischief::Status(random.awkward() as i16),
        5 if random.one_in(4) => DiskMischief::InUse,
        _ => DiskMischief::Status(-1),
    }
}
