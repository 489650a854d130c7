//! The device types: what a driver offers and what an application may count on.
//!
//! Each trait says what holds at the edges (empty buffers, ends, full queues, dropped futures), in the way an implementor
//! can be tested against.

pub mod block;
pub mod clock;
pub mod console;
pub mod kv;
pub mod network;
pub mod random;
