//! What this unikernel is made of.

use mirage_build::Config;

fn main() {
    Config::new().memory_mib(8).xen().unix().emit();
}
