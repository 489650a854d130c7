//! Two networks of one domain, on the same bridge, in conversation.

#![no_std]
#![cfg_attr(not(test), no_main)]

use mirage_conformance::Side;

mirage_rt::unikernel!();

#[mirage_rt::main]
async fn main(devices: Devices, _keys: Keys) -> mirage_rt::Result {
    let (near, far) = (Side::new(devices.near), Side::new(devices.far));
    mirage_conformance::run(near, far, |name| mirage_rt::println!("{name}")).await;
    mirage_rt::println!("all {} promises are kept", mirage_conformance::CASES.len());
    Ok(())
}
