//! Nonsense for what comes from outside.
//!
//! [`targets`] has a function for each parser of foreign data, which takes any bytes; [`hostile`] has drivers of the guest
//! against backends that do what they like. Both are deterministic: what they do follows from a seed or an input.

#![forbid(unsafe_code)]

pub mod driver;
pub mod fragments;
pub mod frames;
pub mod groups;
pub mod hostile;
pub mod ipv6;
pub mod random;
pub mod seeds;
pub mod targets;
