//! What this unikernel is made of.

use mirage_build::{Config, Key};

fn main() {
    Config::new()
        .key(Key::<String>::new("look").doc("What to look at: modules, vectors, memory, time"))
        .memory_mib(32)
        .memory_max_mib(32)
        .xen()
        .unix()
        .emit();
}
