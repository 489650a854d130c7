//! What this unikernel is made of.

use mirage_build::Config;

fn main() {
    Config::new().network("service").memory_mib(16).xen().unix().emit();
}
