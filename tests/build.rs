//! Tests that wait for what takes its time on a real Xen (watchdogs, leases, timeouts) would keep a processor idle: one test more
//! than there are processors runs at a time. Cargo gives the tests what is said here; who sets the variable decides.

use std::thread::available_parallelism;

fn main() {
    const THREADS: &str = "RUST_TEST_THREADS";
    println!("cargo::rerun-if-env-changed={THREADS}");
    if std::env::var_os(THREADS).is_none() {
        let processors = available_parallelism().map_or(1, usize::from);
        println!("cargo::rustc-env={THREADS}={}", processors + 1);
    }
}
