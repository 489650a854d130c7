//! Stacks against each other on the switch, in virtual time: with smoltcp's TCP machine and with our own, and those tests that are
//! the same for both families over IPv6, too. They are written once; the machine and the family are those of the thread.

/// Makes tests of functions: each with both machines, over IPv4.
macro_rules! machines {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        mod with_smoltcp {
            $($(#[$meta])* #[test] fn $name() { super::in_world(false, false, super::$name); })*
        }
        mod with_own {
            $($(#[$meta])* #[test] fn $name() { super::in_world(true, false, super::$name); })*
        }
    };
}

/// Makes tests of functions: each with both machines, over both families.
macro_rules! worlds {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        machines! { $($(#[$meta])* $name),* }
        #[cfg(feature = "ipv6")]
        mod with_smoltcp_over_ipv6 {
            $($(#[$meta])* #[test] fn $name() { super::in_world(false, true, super::$name); })*
        }
        #[cfg(feature = "ipv6")]
        mod with_own_over_ipv6 {
            $($(#[$meta])* #[test] fn $name() { super::in_world(true, true, super::$name); })*
        }
    };
}

mod arp;
mod bad_input;
mod black_hole;
mod bulk;
mod close;
mod common;
mod configure;
mod differential;
#[cfg(feature = "datagrams")]
mod echoes;
mod flat;
mod floods;
#[cfg(feature = "datagrams")]
mod fragments;
mod hosts;
mod ipv4;
mod loss;
mod neighbours;
mod options;
mod pages;
mod raw;
mod segment_sizes;
mod vectored;

use common::*;
