//! What this unikernel is made of.

use mirage_build::Config;

fn main() {
    Config::new().network("near").network("far").memory_mib(32).xen().unix().emit();
}
