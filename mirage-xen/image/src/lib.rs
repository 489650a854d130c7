//! What only a bootable image may contain.
//!
//! Entry point and exception entries in assembly, the panic handler, the global allocator, the memory functions that the compiler
//! calls, and the few functions of a C library that crates for Linux insist on. The generated glue of an application names
//! this crate by [`entry!`], and nothing else does: everything here would clash with the host's own on a host, so the crate
//! is empty in tests.
#![cfg_attr(not(test), no_std)]

#[cfg(not(test))]
mod assembly;
#[cfg(not(test))]
mod entry;
#[cfg(not(test))]
mod heap;
#[cfg(not(test))]
mod libc;
#[cfg(not(test))]
mod panic;

use mirage_rt::boot::{Boot, MainFuture};
use mirage_xen::platform::Networks;

pub use mirage_rt::boot::{Unikernel, boxed};
pub use mirage_xen::connector::networks;

/// Runs an application; see [`mirage_xen::platform::run`], which is compiled here, where size is favoured.
pub fn run(unikernel: &'static Unikernel, main: fn(Boot) -> MainFuture, networks: Option<Networks>) -> ! {
    mirage_xen::platform::run(unikernel, main, networks)
}

#[cfg(not(test))]
pub use panic::panicked;

/// Makes `$main` the program of this image: `entry!(&UNIKERNEL, main)`, once in a crate that is `no_main`.
///
/// `$main` takes the [`Boot`](mirage_rt::boot::Boot) and returns a future of [`mirage_rt::Result`]. A program that declares
/// networks says `entry!(&UNIKERNEL, main, networks)`; the image of any other has no code for them.
#[macro_export]
macro_rules! entry {
    ($unikernel:expr, $main:expr) => {
        $crate::entry!(@define $unikernel, $main, ::core::option::Option::None);
    };
    ($unikernel:expr, $main:expr, networks) => {
        $crate::entry!(@define $unikernel, $main, ::core::option::Option::Some($crate::networks));
    };
    (@define $unikernel:expr, $main:expr, $networks:expr) => {
        const _: () = {
            // SAFETY: the one definition of this name in an image, of the type that this crate declares it with.
            #[unsafe(export_name = "_mirage_unikernel")]
            static PROGRAM: &$crate::Unikernel = $unikernel;

            // SAFETY: as above.
            #[unsafe(export_name = "_mirage_main")]
            extern "C" fn main(_: u64) -> ! {
                $crate::run(PROGRAM, |boot| $crate::boxed($main(boot)), $networks)
            }

            #[panic_handler]
            fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
                $crate::panicked(info)
            }
        };
    };
}
