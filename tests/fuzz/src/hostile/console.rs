//! Consoles: the first one, whose ring is there from the start, and a further one.

use std::rc::Rc;

use mirage_rt::console::Console;
use mirage_rt::time::Duration;
use mirage_rt::types::console::ConsoleError;
use mirage_xen::console::frontend::{ConsoleFrontend, FirstConsole};
use mirage_xen::model::{Conback, GUEST_PATH, Machine};
use mirage_xen::xenbus::State;

use super::{Tally, briefly, bury, nonsense, settle};
use crate::random::Random;

/// The words of the four indices in the page, by their number.
const INDICES: [u16; 4] = [768, 769, 770, 771];

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
    let backend = Conback::attach(&machine.world, &machine.store, 1, "control");
    if random.one_in(30) {
        machine.store.write_for_guest(&format!("{GUEST_PATH}/device/console/1/backend-id"), &nonsense(random));
    }
    tally.steps += 1;
    let opened = briefly(ConsoleFrontend::open(&machine.attachment, "control", machine.pool())).await;
    let Some(Ok(frontend)) = opened else {
        tally.refused += 1;
        return bury(machine).await;
    };
    let frontend = Rc::new(frontend);
    let console = Console::new(Rc::clone(&frontend) as _);
    let first = Console::new(Rc::new(FirstConsole(machine.attachment.console().clone())));
    tally.lives += 1;
    for _ in 0..random.below(120) {
        tally.steps += 1;
        act(machine, &backend, &first, random).await;
        settle().await;
        let length = random.one_of(&[0, 1, 100, 3000]);
        let mut buffer = vec![0; random.one_of(&[0, 1, 100, 3000])];
        let brief = Duration::from_micros(random.below(100));
        let read = mirage_rt::timeout(brief, console.read(&mut buffer)).await;
        let written = mirage_rt::timeout(brief, console.write_all(&vec![b'x'; length])).await;
        if read == Ok(Err(ConsoleError::Broken)) || written == Ok(Err(ConsoleError::Broken)) {
            break;
        }
    }
    if let Some(reason) = frontend.broken() {
        tally.count("console", &reason);
    }
    drop((console, frontend));
    bury(machine).await;
}

/// One step of either side.
async fn act(machine: &Machine, backend: &Conback, first: &Console, random: &mut Random) {
    let word = |random: &mut Random| if random.one_in(3) { random.below(1024) as u16 } else { random.one_of(&INDICES) };
    match random.below(16) {
        0..=4 => backend.type_bytes(&vec![b'y'; random.below(3000) as usize]),
        5 => drop(backend.printed()),
        6 => backend.stop(random.one_in(2)),
        7 => backend.scribble(word(random), random.awkward()),
        8 => match random.below(4) {
            0 => backend.close(),
            1 => backend.restart(),
            2 => backend.jump(State::from(random.below(10) as u32)),
            _ => machine.world.lose_ports(),
        },
        9 => backend.restless(1 + random.below(20) as u32),
        // xenconsoled, and the first console.
        10..=11 => {
            let (page, end) = machine.world.console_end();
            page.store_u32(usize::from(word(random)) * 4, random.awkward(), std::sync::atomic::Ordering::SeqCst);
            machine.world.notify(end);
        }
        12..=13 => machine.attachment.console().write(&vec![b'\n'; random.below(5000) as usize]),
        14 => {
            let mut buffer = [0; 200];
            let _ = mirage_rt::timeout(Duration::from_micros(10), first.read(&mut buffer)).await;
        }
        _ => mirage_rt::time::sleep(Duration::from_millis(random.below(500))).await,
    }
}
