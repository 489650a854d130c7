//! The connection to xenstore.

use std::sync::atomic::Ordering;

use mirage_rt::runtime::spawn;
use mirage_rt::time::Duration;
use mirage_xen::model::Machine;
use mirage_xen::shared::SharedBytes;
use mirage_xen::xenstore::wire::Header;

use super::{Tally, briefly, settle};
use crate::random::Random;

/// The page (`io/xs_wire.h`): requests, responses, and the indices.
const RESPONSES: usize = 1024;
const RING: u32 = 1024;
const INDICES: [usize; 4] = [2048, 2052, 2056, 2060];
const RESPONSE_CONSUMER: usize = INDICES[2];
const RESPONSE_PRODUCER: usize = INDICES[3];

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

/// From one attachment to the next.
async fn life(machine: &Machine, random: &mut Random, tally: &mut Tally) {
    let store = machine.attachment.xenstore();
    let (page, _) = machine.world.xenstore_end();
    tally.lives += 1;
    // Some lives have the honest daemon beside what is done to the ring, others nothing else.
    let honest = random.one_in(2);
    if !honest {
        machine.world.end_services(0);
    }
    for _ in 0..random.below(200) {
        tally.steps += 1;
        act(machine, page, random).await;
        settle().await;
        if store.broken().is_some() {
            break;
        }
    }
    if let Some(reason) = store.broken() {
        tally.count("xenstore", &reason);
    }
    // All that waits ends: a request is failed by the new attachment.
    mirage_xen::model::restless::calm();
    machine.world.end_services(0);
    let start = random.one_of(&[0, 0xFFFF_FFF0]);
    // With the indices, what the two sides say of reconnecting and errors.
    (2048..2112).step_by(4).for_each(|word| page.store_u32(word, 0, Ordering::SeqCst));
    INDICES.iter().for_each(|index| page.store_u32(*index, start, Ordering::SeqCst));
    machine.world.add_service(Box::new(machine.store.daemon()));
    machine.attachment.reestablish().expect("the model refuses nothing");
    mirage_rt::time::sleep(Duration::from_secs(2)).await;
}

/// One step of either side.
async fn act(machine: &Machine, page: SharedBytes<'static>, random: &mut Random) {
    let (_, end) = machine.world.xenstore_end();
    let step = random.below(16);
    if (7..=14).contains(&step) {
        // The model's daemon can't live with what is done here: this one is dead, and something else has its ring.
        machine.world.end_services(0);
    }
    match step {
        0..=6 => request(machine, random),
        7..=11 => {
            answer(page, random);
            machine.world.notify(end);
        }
        12 => {
            // Also the words behind the indices: features, connection, error.
            let word = if random.one_in(4) { 2064 + random.below(4) as usize * 4 } else { random.one_of(&INDICES) };
            page.store_u32(word, random.awkward(), Ordering::SeqCst);
            machine.world.notify(end);
        }
        13 => page.store_u32(random.below(1024) as usize * 4, random.awkward(), Ordering::SeqCst),
        14 => mirage_xen::model::restless::stir(page, random.number(), 1 + random.below(200) as u32),
        _ => mirage_rt::time::sleep(Duration::from_millis(random.below(50))).await,
    }
}

/// Starts a request, which may never be answered.
fn request(machine: &Machine, random: &mut Random) {
    let store = machine.attachment.xenstore().clone();
    let what = random.below(8);
    let path = random.one_of(&["device", "a/b", "/local/domain/0/name", "", "//", "data/x"]);
    let value = vec![b'v'; random.below(300) as usize];
    spawn(async move {
        let _ = briefly(async {
            match what {
                0 => drop(store.read(path).await),
                1 => drop(store.write(path, &value).await),
                2 => drop(store.directory(path).await),
                3 => drop(store.permissions(path).await),
                4 => drop(store.remove(path).await),
                5 => drop(store.read_many(vec![path.to_owned(); 5]).await),
                6 => {
                    if let Ok(mut watch) = store.watch(path).await {
                        let _ = briefly(watch.next()).await;
                    }
                }
                _ => {
                    drop(store.transaction(async |transaction| transaction.write("data/x", b"1").await.map(drop)).await)
                }
            }
        })
        .await;
    });
}

/// Puts bytes into the response ring: a message with a header that is almost right, or anything.
fn answer(page: SharedBytes<'static>, random: &mut Random) {
    let length = random.one_of(&[0, 1, 10, 100, 900]);
    let mut bytes = Vec::new();
    if !random.one_in(4) {
        let header = Header {
            operation: if random.one_in(4) { random.awkward() } else { random.below(24) as u32 },
            request: if random.one_in(4) { random.awkward() } else { random.below(100) as u32 },
            transaction: random.below(3) as u32,
            length: if random.one_in(8) { random.awkward() } else { length as u32 },
        };
        bytes.extend_from_slice(&header.emit());
    }
    bytes.extend((0..length).map(|_| random.one_of(b"0/ab\0\xFFE")));
    let mut producer = page.load_u32(RESPONSE_PRODUCER, Ordering::SeqCst);
    let consumer = page.load_u32(RESPONSE_CONSUMER, Ordering::SeqCst);
    for byte in bytes {
        if producer.wrapping_sub(consumer) >= RING {
            break;
        }
        page.write_u8(RESPONSES + (producer % RING) as usize, byte);
        producer = producer.wrapping_add(1);
    }
    page.store_u32(RESPONSE_PRODUCER, producer, Ordering::SeqCst);
}
