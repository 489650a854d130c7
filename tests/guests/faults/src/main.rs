//! Ends badly, in the way its key says.

#![no_std]
#![cfg_attr(not(test), no_main)]

extern crate alloc;

use alloc::vec::Vec;
use core::hint::black_box;

mirage_rt::unikernel!();

#[mirage_rt::main]
async fn main(_: Devices, keys: Keys) -> mirage_rt::Result {
    match keys.how.as_str() {
        "panic" => fail(),
        "stack" => mirage_rt::println!("{}", descend(0)),
        "memory" => mirage_rt::println!("{}", hoard()),
        "wait" => {
            mirage_rt::println!("waiting");
            core::future::pending::<()>().await;
        }
        other => return Err(mirage_rt::Error::message(alloc::format!("\"{other}\" is no way to end"))),
    }
    Ok(())
}

#[inline(never)]
fn fail() {
    panic!("asked to panic");
}

/// Uses more stack than there is.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    if frame[0] == u64::MAX {
        return 0;
    }
    descend(depth + 1) + frame[depth as usize % 64]
}

/// Uses more memory than there is.
fn hoard() -> usize {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    loop {
        kept.push(black_box(alloc::vec![1; 65536]));
    }
}
