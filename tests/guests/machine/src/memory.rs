//! Memory that comes and goes, while the domain runs.

use mirage_rt::Duration;
use mirage_rt::memory::{Pressure, pressure};
use mirage_xen::memory::machine::Memory;

use crate::hoard::hoard;

/// Says how much memory is free whenever that changed by a MiB, and how short memory is. Once it was critically short and is not any
/// more, writes to all there is. For ever.
pub async fn look() {
    mirage_rt::spawn(watch());
    let Some(memory) = Memory::machine() else { return };
    let mut told = 0;
    loop {
        let free = memory.free_frames() / 256;
        if free != told {
            told = free;
            mirage_rt::println!("free: {told} MiB");
        }
        mirage_rt::sleep(Duration::from_millis(50)).await;
    }
}

async fn watch() {
    let mut pressure = pressure();
    let mut before = Pressure::Relaxed;
    loop {
        let now = pressure.changed().await;
        mirage_rt::println!("memory is {now:?}");
        if now == Pressure::Relaxed && before == Pressure::Critical {
            return mirage_rt::println!("wrote {} bytes", hoard());
        }
        before = now;
    }
}
