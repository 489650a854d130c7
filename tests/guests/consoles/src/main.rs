//! Answers on a console besides its first one, until it is told to end.

#![no_std]
#![cfg_attr(not(test), no_main)]

extern crate alloc;

use alloc::format;

mirage_rt::unikernel!();

#[mirage_rt::main]
async fn main(devices: Devices, _: Keys) -> mirage_rt::Result {
    let console = devices.control;
    mirage_rt::println!("ready");
    while let Some(line) = console.read_line().await? {
        mirage_rt::println!("control: {line}");
        match line.as_str() {
            "end" => break,
            "many" => {
                for number in 0..1000_u32 {
                    console.write_all(format!("line {number:04}\n").as_bytes()).await?;
                }
            }
            _ => console.write_all(format!("you said: {line}\n").as_bytes()).await?,
        }
    }
    console.flush().await?;
    Ok(())
}
