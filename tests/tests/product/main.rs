//! The whole product: what a newcomer types, finished images, and domains on a real Xen with a real dom0. One program for all of
//! it, so that two boots of the lab are enough for all tests, and the processors have something to do until the last of them.
//!
//! Tests begin in the order of their names, and releases are the last images to be there: `addresses` comes first because it needs
//! none of them and mostly waits. A test that needs its machine for itself takes it by `Lab::alone_or_skip`. The others run beside
//! each other, so each uses addresses of its own: 10.0.2.40 to 59 are those of `domains`, 60 to 69 of `soak`, 70 to 79 of
//! `lifecycle`, 80 to 82 of `networks`, 91 that of `lab`, 120 to 129 of `block_example`, 130 to 139 of `hotplug`.

mod addresses;
mod block_example;
mod blocks;
mod consoles;
mod crash;
mod domains;
mod features;
mod hotplug;
mod image;
mod ipv6;
mod lab;
mod lifecycle;
mod link;
mod machine;
mod networks;
mod new_project;
mod newcomer;
mod runner;
mod scripts;
mod soak;
