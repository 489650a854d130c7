//! What this unikernel is made of.

use mirage_build::{Config, Key, Network, Port};

fn main() {
    Config::new()
        .network(Network::new("service").ipv6())
        .key(
            Key::<String>::new("mode")
                .default("iperf3")
                .doc("What connections get: iperf3, check, echo, source or sink"),
        )
        .key(Key::<Port>::new("port").default(5201).doc("TCP port to listen at"))
        .memory_mib(32)
        .xen()
        .unix()
        .emit();
}
