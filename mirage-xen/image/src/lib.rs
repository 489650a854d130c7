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
use mirage_xen::platform::Connect;

pub use mirage_rt::boot::{Unikernel, boxed};
pub use mirage_xen::connector;

/// Runs an application; see [`mirage_xen::platform::run`], which is compiled here, where size is favoured.
pub fn run(unikernel: &'static Unikernel, main: fn(Boot) -> MainFuture, connect: &[Connect]) -> ! {
    mirage_xen::platform::run(unikernel, main, connect)
}

#[cfg(not(test))]
pub use panic::panicked;

/// Fills the balloon, see [`mirage_xen::balloon`]: the glue of a program with one calls it before main.
pub use mirage_xen::balloon::inflate;

/// Makes `$main` the program of this image: `entry!(&UNIKERNEL, main)`, once in a crate that is `no_main`.
///
/// `$main` takes the [`Boot`](mirage_rt::boot::Boot) and returns a future of [`mirage_rt::Result`]. After it come the kinds of
/// devices that the program declares, functions of [`connector`]: `entry!(&UNIKERNEL, main, networks, watchdog(30))`. An image
/// has no code for other kinds.
#[macro_export]
macro_rules! entry {
    ($unikernel:expr, $main:expr $(, $kind:ident $(($argument:literal))?)*) => {
        $crate::entry!(@define $unikernel, $main, &[$($crate::connector::$kind $(::<$argument>)?),*]);
    };
    (@define $unikernel:expr, $main:expr, $connect:expr) => {
        const _: () = {
            // SAFETY: the one definition of this name in an image, of the type that this crate declares it with.
            #[unsafe(export_name = "_mirage_unikernel")]
            static PROGRAM: &$crate::Unikernel = $unikernel;

            // SAFETY: as above.
            #[unsafe(export_name = "_mirage_main")]
            extern "C" fn main(_: u64) -> ! {
                $crate::run(PROGRAM, |boot| $crate::boxed($main(boot)), $connect)
            }

            #[panic_handler]
            fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
                $crate::panicked(info)
            }
        };
    };
}
