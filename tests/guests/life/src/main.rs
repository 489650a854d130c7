//! Says what its clocks and random numbers are, four times a second, or gets stuck.

#![no_std]
#![cfg_attr(not(test), no_main)]

use mirage_rt::{Duration, Runtime, now, println, sleep};

mirage_rt::unikernel!();

#[mirage_rt::main]
async fn main(_: Devices, keys: Keys) -> mirage_rt::Result {
    if keys.how == "stuck" {
        println!("stuck");
        loop {
            core::hint::spin_loop();
        }
    }
    for number in 0_u64.. {
        let mut random = [0; 8];
        Runtime::current().fill_random(&mut random)?;
        let wall = Runtime::current().wall_clock().map_or(0, |time| time.as_nanos());
        println!("tick {number} {} {wall} {:016x}", now().as_nanos(), u64::from_le_bytes(random));
        sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}
