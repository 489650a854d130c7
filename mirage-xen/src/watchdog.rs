//! The watchdog: Xen ends the domain when the program's loop does not come round any more (`SCHEDOP_watchdog`).

use alloc::rc::Rc;
use core::cell::Cell;

use mirage_rt::runtime::spawn;
use mirage_rt::time::{Duration, sleep};

use crate::attachment::{Attachment, Companion};
use crate::hypervisor::{HypercallError, Resumed};
use crate::warning::warn;

/// Makes a watchdog (number 0), feeds it, or ends it (0 seconds); its number.
type Poke = fn(number: u32, seconds: u32) -> Result<u32, HypercallError>;

/// A watchdog that a task feeds. While the domain is suspended there is none.
struct Watchdog {
    poke: Poke,
    seconds: u32,
    /// 0 while there is none.
    number: Cell<u32>,
}

impl Watchdog {
    fn feed(&self) {
        match (self.poke)(self.number.get(), self.seconds) {
            Ok(number) => self.number.set(number),
            Err(error) => warn(format_args!("the watchdog is not fed: {error}")),
        }
    }
}

impl Companion for Watchdog {
    fn suspending(&self) {
        let number = self.number.replace(0);
        if number != 0
            && let Err(error) = (self.poke)(number, 0)
        {
            warn(format_args!("the watchdog goes on during a suspension: {error}"));
        }
    }

    fn resumed(&self, _: Resumed) {
        self.feed();
    }
}

/// Has the domain ended with the reason "watchdog" when its tasks do not let each other run for `seconds` (at least 2). Its
/// configuration's `on_watchdog` says what happens then.
///
/// # Panics
///
/// Outside of a running [`Runtime`](mirage_rt::runtime::Runtime).
pub(crate) fn start(attachment: &Attachment, poke: Poke, seconds: u32) {
    let watchdog = Rc::new(Watchdog { poke, seconds: seconds.max(2), number: Cell::new(0) });
    attachment.accompany(watchdog.clone());
    // Now: main, which may be stuck from the start, runs before any task does.
    watchdog.feed();
    drop(spawn(async move {
        loop {
            // Once more than need be, because Xen counts in whole seconds and the host may be busy.
            sleep(Duration::from_secs(watchdog.seconds.into()) / 3).await;
            watchdog.feed();
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::vec::Vec;

    use super::*;
    use crate::model::Machine;

    std::thread_local! {
        static POKES: RefCell<Vec<(u32, u32)>> = const { RefCell::new(Vec::new()) };
    }

    fn poke(number: u32, seconds: u32) -> Result<u32, HypercallError> {
        POKES.with_borrow_mut(|pokes| pokes.push((number, seconds)));
        Ok(if number == 0 { 7 } else { number })
    }

    fn pokes() -> Vec<(u32, u32)> {
        POKES.take()
    }

    #[test]
    fn it_is_fed_thrice_as_often_as_need_be_and_sleeps_during_suspensions() {
        let machine = Machine::new(1);
        machine.run(async {
            start(&machine.attachment, poke, 6);
            sleep(Duration::from_millis(6_500)).await;
            assert_eq!(pokes(), [(0, 6), (7, 6), (7, 6), (7, 6)]);
            for resumed in [Resumed::Same, Resumed::New] {
                machine.world.plan(resumed, None);
                machine.suspend_and_resume();
                assert_eq!(pokes(), [(7, 0), (0, 6)]);
            }
            sleep(Duration::from_secs(2)).await;
            assert_eq!(pokes(), [(7, 6)]);
        });
    }

    #[test]
    fn one_that_xen_refuses_is_no_reason_to_end() {
        let refused = |_, _| Err(HypercallError::new("SCHEDOP_watchdog", 17));
        let machine = Machine::new(1);
        machine.run(async {
            start(&machine.attachment, refused, 6);
            sleep(Duration::from_secs(60)).await;
            machine.suspend_and_resume();
        });
    }
}
