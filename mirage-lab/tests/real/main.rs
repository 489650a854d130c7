//! The lab and its runner, on a real Xen, with a guest in C that depends on none of our other crates. One program, so that the
//! runner's own machines boot while the shared ones work.

mod guest;
mod lab;
mod runner;
