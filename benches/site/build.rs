//! What this program is made of.

use mirage_build::{Config, Key, Port};

fn main() {
    Config::new()
        .network("service")
        .kv_ro("htdocs", "htdocs")
        .key(Key::<Port>::new("port").default(8080).doc("TCP port to serve"))
        .unix()
        .emit();
}
