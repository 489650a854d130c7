//! Stacks against each other on the switch, in virtual time. These tests are there twice: with smoltcp's TCP machine, and
//! as `own_tests` with our own. Those that are the same for both families are there once more [over IPv6](over_ipv6.rs).

mod bad_input;
mod bulk;
mod close;
mod common;
mod configure;
#[cfg(feature = "datagrams")]
mod echoes;
mod flat;
#[cfg(feature = "datagrams")]
mod fragments;
mod hosts;
mod ipv4;
mod loss;
mod options;
mod pages;
mod raw;

use common::*;
