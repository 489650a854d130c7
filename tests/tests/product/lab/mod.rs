//! The lab and its runner, with a guest in C that depends on none of our other crates. What a fresh machine has to fetch and boot for
//! it comes while the images of other tests are built, so these tests are here and not with the crate.

mod guest;
mod machines;
mod runner;
