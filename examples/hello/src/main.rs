//! The smallest unikernel: prints the value of a boot key and ends.

#![no_std]
#![cfg_attr(not(test), no_main)]

mirage_rt::unikernel!();

#[mirage_rt::main]
async fn main(_: Devices, keys: Keys) -> mirage_rt::Result {
    mirage_rt::println!("{}", keys.greeting);
    Ok(())
}

// Tests run as a Unix process.
#[cfg(all(test, not(mirage_target)))]
mod tests {
    use mirage_rt::Runtime;
    use mirage_rt::testing::VirtualPlatform;

    use super::*;

    #[test]
    fn prints_the_greeting() {
        let platform = VirtualPlatform::new(1);
        let keys = Keys { greeting: "Moin".into() };
        let ended = Runtime::new(platform.clone()).run(main(Devices {}, keys));
        assert!(ended.is_ok());
        assert_eq!(platform.console(), "Moin\n");
    }
}
