//! Xen's paravirtual clock: system time and wall time from the shared info page.
//!
//! Both are written by Xen at any moment, under a version that is odd during the change (`xen.h`, `vcpu_time_info`).
//! The counter is read with RDTSC, never RDTSCP, which not every processor has.

use core::cell::Cell;
use core::mem::offset_of;
use core::sync::atomic::{Ordering, fence};

use crate::abi::{shared_info, vcpu_time_info};
use crate::cpu;
use crate::shared::SharedBytes;

const TIME: usize = offset_of!(shared_info, vcpu_info) + offset_of!(crate::abi::vcpu_info, time);
const WALL_VERSION: usize = offset_of!(shared_info, wc_version);

/// The clock of vCPU 0 in a shared info page.
#[derive(Clone, Copy)]
pub struct Clock {
    shared_info: SharedBytes<'static>,
}

/// One consistent reading of `vcpu_time_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TimeInfo {
    stamp: u64,
    nanoseconds: u64,
    multiplier: u32,
    shift: i8,
}

impl TimeInfo {
    /// What stands there, word by word: it is consistent if the version is.
    #[inline(always)]
    fn read(memory: SharedBytes<'_>) -> Self {
        let word = |offset: usize| memory.load_u32(TIME + offset, Ordering::Relaxed);
        let long = |offset: usize| u64::from(word(offset + 4)) << 32 | u64::from(word(offset));
        TimeInfo {
            // The first byte of its word. It is the last one, so that its bounds are those of all.
            shift: word(offset_of!(vcpu_time_info, tsc_shift)) as i8,
            multiplier: word(offset_of!(vcpu_time_info, tsc_to_system_mul)),
            stamp: long(offset_of!(vcpu_time_info, tsc_timestamp)),
            nanoseconds: long(offset_of!(vcpu_time_info, system_time)),
        }
    }

    /// System time at the counter's value `now`.
    fn at(self, now: u64) -> u64 {
        // A domain's counter starts at zero, so a stamp from before that is negative: the difference wraps. And the
        // counter can be a little behind the stamp when the virtual processor moved to another one.
        let ticks = now.wrapping_sub(self.stamp).cast_signed().max(0).cast_unsigned();
        // Of nonsense only, the shifts drop something, or have more bits than there are.
        let places = u32::from(self.shift.unsigned_abs());
        let ticks = if self.shift >= 0 { ticks.wrapping_shl(places) } else { ticks.wrapping_shr(places) };
        let nanoseconds = (u128::from(ticks) * u128::from(self.multiplier)) >> 32;
        self.nanoseconds.wrapping_add(nanoseconds as u64)
    }
}

impl Clock {
    /// The clock in `shared_info`, a whole page.
    pub const fn new(shared_info: SharedBytes<'static>) -> Self {
        Self { shared_info }
    }

    /// Nanoseconds since the host booted.
    pub fn system_time(&self) -> u64 {
        let version = TIME + offset_of!(vcpu_time_info, version);
        let (info, now) = self.consistent(version, |memory| (TimeInfo::read(memory), cpu::time_stamp()));
        info.at(now)
    }

    /// Nanoseconds of UTC since 1970.
    pub fn wall_time(&self) -> u64 {
        let (high, low, nanoseconds) = self.consistent(WALL_VERSION, |memory| {
            (
                memory.load_u32(offset_of!(shared_info, wc_sec_hi), Ordering::Relaxed),
                memory.load_u32(offset_of!(shared_info, wc_sec), Ordering::Relaxed),
                memory.load_u32(offset_of!(shared_info, wc_nsec), Ordering::Relaxed),
            )
        });
        let boot = (u64::from(high) << 32 | u64::from(low)).wrapping_mul(1_000_000_000);
        boot.wrapping_add(nanoseconds.into()).wrapping_add(self.system_time())
    }

    /// What `read` returns between two looks at an even version that is the same.
    fn consistent<T>(&self, version: usize, read: impl Fn(SharedBytes<'static>) -> T) -> T {
        loop {
            let before = self.shared_info.load_u32(version, Ordering::Acquire);
            let value = read(self.shared_info);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.shared_info.load_u32(version, Ordering::Relaxed) == before {
                return value;
            }
            core::hint::spin_loop();
        }
    }
}

/// The clock of a runtime: counts system time on, never goes back, and stands still while the domain is suspended.
#[derive(Default)]
pub struct Monotonic {
    /// The last instant that was told: Xen corrects its clock, now and then backwards by a few nanoseconds.
    last: Cell<u64>,
    /// System time minus instant.
    ahead: Cell<i64>,
    stopped: Cell<bool>,
}

impl Monotonic {
    /// The instant at the system time `system`, both in nanoseconds.
    pub fn instant(&self, system: u64) -> u64 {
        if !self.stopped.get() {
            self.last.set(system.wrapping_sub_signed(self.ahead.get()).max(self.last.get()));
        }
        self.last.get()
    }

    /// The system time at `instant`.
    pub fn system(&self, instant: u64) -> u64 {
        instant.saturating_add_signed(self.ahead.get())
    }

    /// Stands still from the system time `system` on.
    pub fn stop(&self, system: u64) {
        self.instant(system);
        self.stopped.set(true);
    }

    /// Counts on from where it stood, as the system time, of another host perhaps, does from `system` on.
    pub fn go_on(&self, system: u64) {
        self.ahead.set(system.wrapping_sub(self.last.get()).cast_signed());
        self.stopped.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: TimeInfo = TimeInfo { stamp: 1_000, nanoseconds: 5_000, multiplier: 1 << 31, shift: 0 };

    #[test]
    fn counter_is_scaled_and_added() {
        assert_eq!(INFO.at(1_000), 5_000);
        assert_eq!(INFO.at(3_000), 6_000);
        assert_eq!(TimeInfo { shift: 2, ..INFO }.at(3_000), 9_000);
        assert_eq!(TimeInfo { shift: -1, ..INFO }.at(3_000), 5_500);
    }

    #[test]
    fn long_uptimes_do_not_overflow() {
        // 2.5 GHz for ten years: shift -1, multiplier 0.8 * 2^32.
        let ticks = 2_500_000_000 * 86_400 * 3_650;
        let info = TimeInfo { stamp: 0, nanoseconds: 0, multiplier: 3_435_973_836, shift: -1 };
        let seconds = info.at(ticks) / 1_000_000_000;
        assert!((86_400 * 3_650 - 1..=86_400 * 3_650).contains(&seconds), "{seconds}");
    }

    #[test]
    fn a_counter_behind_the_stamp_is_the_stamp() {
        assert_eq!(INFO.at(900), 5_000);
    }

    #[test]
    fn a_stamp_from_before_the_domain_was_made_is_negative() {
        let before = TimeInfo { stamp: 1_000u64.wrapping_neg(), ..INFO };
        assert_eq!(before.at(1_000), 6_000);
    }

    #[test]
    fn the_monotonic_clock_stands_still_while_suspended() {
        // Longer than before, and on a host that booted later.
        for later in [5_000_000, 3] {
            let clock = Monotonic::default();
            assert_eq!(clock.instant(1_000), 1_000);
            assert_eq!(clock.instant(990), 1_000, "never back");
            clock.stop(2_000);
            assert_eq!(clock.instant(later), 2_000);
            clock.go_on(later);
            assert_eq!(clock.instant(later), 2_000);
            assert_eq!(clock.instant(later + 10), 2_010);
            assert_eq!(clock.system(2_010), later + 10);
            assert!(clock.system(u64::MAX) >= u64::MAX - 2_000, "an instant far away stays so");
        }
    }

    #[test]
    fn any_shift_is_survived() {
        for shift in i8::MIN..=i8::MAX {
            TimeInfo { shift, ..INFO }.at(u64::MAX);
        }
    }
}
