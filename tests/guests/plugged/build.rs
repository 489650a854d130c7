//! What this unikernel is made of.

use mirage_build::{Cidr, Config, Key};

fn main() {
    Config::new()
        .hotplug("plugged")
        .key(Key::<Cidr>::new("address").default("10.0.2.130/24").doc("Address of networks that come"))
        .memory_mib(16)
        .xen()
        .unix()
        .emit();
}
