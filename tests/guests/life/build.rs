//! What this unikernel is made of.

use mirage_build::{Config, Key};

fn main() {
    Config::new()
        .key(Key::<String>::new("how").default("tick").doc("How to live: tick, or stuck"))
        .random()
        .watchdog(8)
        .memory_mib(8)
        .xen()
        .unix()
        .emit();
}
