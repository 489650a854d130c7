//! What this unikernel is made of.

use mirage_build::{Config, Key, Port};

fn main() {
    Config::new()
        .network("service")
        .block("data")
        .key(Key::<Port>::new("port").default(8081).doc("TCP port to serve"))
        .memory_mib(16)
        .xen()
        .unix()
        .emit();
}
