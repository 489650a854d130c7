//! What this unikernel is made of.

use mirage_build::{Config, Key};

fn main() {
    Config::new()
        .key(Key::<String>::new("how").doc("How to end: panic, stack, memory, wait"))
        .memory_mib(8)
        .xen()
        .unix()
        .emit();
}
