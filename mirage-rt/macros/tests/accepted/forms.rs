//! Functions that can be the main one, with a stand-in for what `mirage_rt::unikernel!()` defines.

use std::collections::BTreeMap;

macro_rules! __mirage_unikernel_comes_before_main {
    ($main:path) => {
        const _: () = {
            fn _accepts() {
                let _ = $main;
            }
        };
    };
}

struct Devices;
struct Keys;

#[mirage_rt_macros::main]
async fn start(_: Devices, _: Keys) -> Result<(), ()> {
    Ok(())
}

/// With a doc, a visibility, patterns and a comma at the end.
#[mirage_rt_macros::main]
pub(crate) async fn with_patterns(Devices: Devices, mut _keys: Keys,) -> std::result::Result<(), Box<dyn std::error::Error>> {
    _keys = Keys;
    Ok(())
}

#[mirage_rt_macros::main]
#[allow(unused_variables)]
async fn with_commas_in_types(devices: BTreeMap<u8, fn(u8, u8) -> u8>, keys: (Devices, Keys)) -> Result<(), ()> {
    Ok(())
}

fn main() {}
