//! The tests that are the same for both families, over IPv6.

mod bulk;
mod close;
mod common;
#[cfg(feature = "datagrams")]
mod echoes;
mod flat;
#[cfg(feature = "datagrams")]
mod fragments;
mod hosts;
mod loss;
mod raw;

use common::*;
