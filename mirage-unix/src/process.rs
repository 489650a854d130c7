//! An application as a process: what [`entry!`](crate::entry) calls.

use std::pin::pin;
use std::rc::Rc;

use mirage_rt::Runtime;
pub use mirage_rt::boot::boxed;
use mirage_rt::boot::{Boot, ExitCode, MainFuture, Unikernel, run};
use mirage_rt::platform::Platform;

use crate::{UnixPlatform, connector, signals};

/// Defines the process's `main`, which runs an application: `entry!(&UNIKERNEL, main)`, or
/// `entry!(&UNIKERNEL, main, networks, blocks)` with the kinds of devices that it declares, which makes no difference here.
///
/// Called once, by the glue that build.rs generates. It exports the C function `main`, so the program is `#![no_main]` and
/// needs neither `std` nor unsafe code itself.
#[macro_export]
macro_rules! entry {
    ($unikernel:expr, $main:expr $(, $kind:ident)*) => {
        const _: () = {
            // SAFETY: the one definition of the C function `main` in a program that is no_main, with the return type that C's
            // start code expects. It may be defined without parameters (C11, 5.1.2.2.1).
            #[unsafe(no_mangle)]
            extern "C" fn main() -> ::core::ffi::c_int {
                $crate::process::main($unikernel, |boot| $crate::process::boxed($main(boot)))
            }
        };
    };
}

/// Runs an application with the process's arguments until its main returns or a signal asks it to stop; the process's exit
/// status.
///
/// A panic prints its message and ends the process with the status 101, without unwinding.
pub fn main(unikernel: &'static Unikernel, main: fn(Boot) -> MainFuture) -> i32 {
    exit_on_panic();
    i32::from(run_process(unikernel, main).0)
}

fn run_process(unikernel: &'static Unikernel, main: fn(Boot) -> MainFuture) -> ExitCode {
    let mut words = Vec::new();
    for argument in std::env::args_os().skip(1) {
        match argument.into_string() {
            Ok(word) => words.push(word),
            Err(argument) => {
                let shown = argument.display();
                eprintln!("{}: the argument \"{shown}\" is not UTF-8: write it in UTF-8", unikernel.name);
                return ExitCode::USAGE;
            }
        }
    }
    let platform = match UnixPlatform::new() {
        Ok(platform) => platform,
        Err(error) => {
            eprintln!("{}: error: {error}", unikernel.name);
            return ExitCode::FAILURE;
        }
    };
    let stop = match signals::install() {
        Ok(stop) => stop,
        Err(error) => {
            eprintln!("{}: error: no thread for signals: {error}; see `ulimit -u` and `ulimit -n`", unikernel.name);
            return ExitCode::FAILURE;
        }
    };
    let connectors = connector::connectors(&platform);
    let runtime = Runtime::new(platform as Rc<dyn Platform>);
    run(&runtime, unikernel, &words, connectors, pin!(stop), &main)
}

/// The same status for a panic as on Xen, whether the program unwinds or aborts.
fn exit_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        signal_hook::low_level::exit(ExitCode::CRASH.0.into());
    }));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    #[ignore = "run by a_panic_has_its_message_and_its_status"]
    fn panicking() {
        super::exit_on_panic();
        panic!("the reason");
    }

    #[test]
    fn a_panic_has_its_message_and_its_status() {
        let output = Command::new(std::env::current_exe().expect("a program knows its path"))
            .args(["--exact", "process::tests::panicking", "--ignored", "--nocapture"])
            .output()
            .expect("this program can be run again");
        assert_eq!(output.status.code(), Some(101));
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(message.contains("the reason"), "{message}");
        // The harness had no chance to report it: the process ended where it panicked.
        assert!(!String::from_utf8_lossy(&output.stdout).contains("FAILED"));
    }
}
