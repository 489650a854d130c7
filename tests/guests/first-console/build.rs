//! What this unikernel is made of.

use mirage_build::Config;

fn main() {
    Config::new().first_console("operator").memory_mib(8).xen().unix().emit();
}
