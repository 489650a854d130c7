//! What this unikernel is made of.

use mirage_build::{Config, Key};

fn main() {
    Config::new()
        .block("unused")
        .key(Key::<String>::new("work").doc("What to do: info, verify, follow, or load"))
        .key(Key::<String>::new("vdev").default("xvda").doc("Which disk"))
        .key(Key::<u32>::new("ring-order").default(0_u32).doc("Pages of the ring, as a power of two"))
        .key(Key::<u32>::new("segments").default(256_u32).doc("Pages of a request at most"))
        .key(Key::<bool>::new("lend").doc("Lend pages instead of copying through pages that stay granted"))
        .key(Key::<String>::new("operation").default("randread").doc("Of load: read, write, randread or randwrite"))
        .key(Key::<u32>::new("bytes").default(4096_u32).doc("Of load: bytes of a request"))
        .key(Key::<u32>::new("depth").default(1_u32).doc("Of load: requests under way"))
        .key(Key::<u32>::new("seconds").default(3_u32).doc("Of load: how long"))
        .memory_mib(32)
        .xen()
        .unix()
        .emit();
}
