//! From the entry point to main.

pub mod start_info;
