//! What this unikernel is made of.

use mirage_build::{Config, Key};

fn main() {
    Config::new()
        .key(Key::<String>::new("greeting").default("Hello, world!").doc("What to print"))
        .memory_mib(4)
        .xen()
        .unix()
        .emit();
}
