//! Does what is typed into its first console.

#![no_std]
#![cfg_attr(not(test), no_main)]

extern crate alloc;

use alloc::format;

use mirage_rt::runtime::Runtime;

mirage_rt::unikernel!();

#[mirage_rt::main]
async fn main(devices: Devices, _: Keys) -> mirage_rt::Result {
    let console = devices.operator;
    mirage_rt::println!("ready");
    while let Some(line) = console.read_line().await? {
        match line.split_once(' ') {
            // Without waiting: more than anybody reads.
            Some(("flood", lines)) => {
                let before = mirage_rt::now();
                for number in 0..lines.parse::<u32>().unwrap_or(0) {
                    mirage_rt::println!("flood {number:05} {}", "x".repeat(80));
                }
                let took = mirage_rt::now().saturating_duration_since(before);
                // Or the news would be lost, too.
                console.flush().await?;
                mirage_rt::println!("flooded in {} us, lost {}", took.as_micros(), Runtime::current().console_lost());
            }
            // Waiting: nothing is lost.
            Some(("count", lines)) => {
                for number in 0..lines.parse::<u32>().unwrap_or(0) {
                    console.write_all(format!("count {number:05}\n").as_bytes()).await?;
                }
                console.write_all(b"counted\n").await?;
            }
            _ if line == "end" => return Ok(()),
            _ => console.write_all(format!("you said: {line}\n").as_bytes()).await?,
        }
    }
    mirage_rt::println!("the end of the input");
    Ok(())
}
