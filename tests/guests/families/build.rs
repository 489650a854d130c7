//! What this unikernel is made of.

use mirage_build::{Config, Key, Network, Port};

fn main() {
    Config::new()
        .network(Network::new("service").ipv6().names().mtu())
        .key(Key::<Port>::new("port").default(7).doc("TCP and UDP port to echo at"))
        .memory_mib(24)
        .xen()
        .unix()
        .emit();
}
