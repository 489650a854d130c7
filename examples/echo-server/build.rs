//! What this unikernel is made of.

use mirage_build::{Config, Key, Port};

fn main() {
    Config::new()
        .network("service")
        .key(Key::<Port>::new("port").default(7007).doc("TCP port to serve"))
        .memory_mib(16)
        .xen()
        .unix()
        .emit();
}
