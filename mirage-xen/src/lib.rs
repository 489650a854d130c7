//! The Xen platform of Mirage: what runs below [`mirage_rt`] when an application is a PVH guest of Xen.
//!
//! The crate has two halves. The lower one boots the image, owns its memory and makes the hypercalls; it is the only
//! one with unsafe code of any size. The upper one (grants, event channels, xenstore, the split device drivers) sees
//! Xen only through the object-safe trait [`hypervisor::Hypervisor`], so the same drivers run on the host against the
//! in-process model of feature `test-utils`.
//!
//! Everything a backend or xenstore says is copied once, validated and then used ([`untrusted`]); memory that another
//! domain can write is never behind a reference ([`shared`]).
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod abi;
pub mod attachment;
pub mod balloon;
pub mod blkfront;
pub mod boot;
pub mod clock;
pub mod connector;
pub mod console;
#[allow(unsafe_code)]
pub mod cpu;
#[allow(unsafe_code)]
pub mod entropy;
pub mod events;
pub mod grants;
pub mod hotplug;
#[allow(unsafe_code)]
pub mod hypercall;
#[allow(unsafe_code)]
pub mod hypervisor;
mod lists;
pub mod memory;
#[cfg(feature = "test-utils")]
pub mod model;
pub mod netfront;
mod parts;
#[allow(unsafe_code)]
pub mod platform;
mod power;
pub mod ring;
#[allow(unsafe_code)]
pub mod shared;
#[allow(unsafe_code)]
mod single;
#[allow(unsafe_code)]
mod sleep;
#[allow(unsafe_code)]
mod terminal;
#[allow(unsafe_code)]
pub mod traps;
pub mod untrusted;
mod warning;
mod watchdog;
#[allow(unsafe_code)]
pub mod xen;
pub mod xenbus;
pub mod xenstore;
