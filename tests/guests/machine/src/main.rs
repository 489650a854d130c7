//! Looks at what the domain was given, and says what it saw. Each file is one look.

#![no_std]
#![cfg_attr(not(test), no_main)]

extern crate alloc;

#[cfg(mirage_target)]
mod hoard;
#[cfg(mirage_target)]
mod memory;
#[cfg(mirage_target)]
mod modules;
#[cfg(mirage_target)]
mod time;
#[cfg(mirage_target)]
mod vectors;

mirage_rt::unikernel!();

#[cfg(mirage_target)]
#[mirage_rt::main]
async fn main(_: Devices, keys: Keys) -> mirage_rt::Result {
    match keys.look.as_str() {
        "modules" => modules::look(),
        "memory" => memory::look().await,
        "time" => time::look().await,
        "vectors" => vectors::look().await,
        other => return Err(mirage_rt::Error::message(alloc::format!("\"{other}\" is nothing to look at"))),
    }
    Ok(())
}

#[cfg(not(mirage_target))]
#[mirage_rt::main]
async fn main(_: Devices, _: Keys) -> mirage_rt::Result {
    Err(mirage_rt::Error::message("this looks at a domain of Xen: build it with --target x86_64-unknown-xen"))
}
