//! Xen's public interface: numbers and layouts.
//!
//! They are generated from Xen's own headers by the test `abi`, which also fails when they are no longer what the
//! headers say. Names are the headers' names.

#[allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    dead_code,
    clippy::unnecessary_operation,
    clippy::identity_op,
    clippy::useless_transmute
)]
#[rustfmt::skip]
mod generated;

pub use generated::*;
