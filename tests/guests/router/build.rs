//! What this unikernel is made of.

use mirage_build::{Config, Network};

fn main() {
    Config::new().network("lan").network(Network::new("wan").capture()).memory_mib(16).xen().unix().emit();
}
