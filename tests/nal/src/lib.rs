//! Libraries that are written to the traits of edge-nal, unchanged, on Mirage's networks: see the tests.

#![no_std]
#![forbid(unsafe_code)]
