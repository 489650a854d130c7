//! What this unikernel is made of.

use mirage_build::{Config, Key};

fn main() {
    Config::new()
        // Nobody has it: it leads to the domain's connection to Xen.
        .network("none")
        .key(Key::<u16>::new("lend-to").optional().doc("The domain to lend a page to; without it, a page is borrowed"))
        .memory_mib(16)
        .xen()
        .unix()
        .emit();
}
