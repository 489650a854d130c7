//! What this unikernel is made of.

use mirage_build::{Config, Key, Network};

fn main() {
    Config::new()
        .network(Network::new("service").dhcp().names().routes().mtu())
        .key(Key::<String>::new("target").default("").doc("A name and port to connect to, once there is an address"))
        .memory_mib(16)
        .xen()
        .unix()
        .emit();
}
