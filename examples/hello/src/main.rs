//! The smallest unikernel: prints the value of a boot key and ends.

#![no_std]
#![cfg_attr(not(test), no_main)]

mirage_rt::unikernel!();

#[mirage_rt::main]
async fn main(_: Devices, keys: Keys) -> mirage_rt::Result {
    mirage_rt::println!("{}", keys.greeting);
    Ok(())
}
