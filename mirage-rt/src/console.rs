//! Printing to the console of the current runtime, and `log` on it.

mod stream;

pub use stream::{Console, LINE_MAX};

use core::fmt::{self, Write};

use crate::runtime::Runtime;

/// Prints to the console, with a line end.
///
/// Outside of a running [`Runtime`](crate::runtime::Runtime) it prints nothing.
#[macro_export]
macro_rules! println {
    () => { $crate::console::print(::core::format_args!("\n")) };
    ($($argument:tt)*) => { $crate::console::print(::core::format_args!("{}\n", ::core::format_args!($($argument)*))) };
}

/// Prints to the console of the current runtime; see [`println!`](crate::println).
pub fn print(text: fmt::Arguments<'_>) {
    Runtime::with_current(|runtime| print_on(runtime, text));
}

/// Prints to the console of `runtime`.
#[inline(never)]
pub fn print_on(runtime: &Runtime, text: fmt::Arguments<'_>) {
    let mut line = Line { runtime, buffer: [0; 256], used: 0 };
    pieces(text, &mut |piece| line.add(piece));
    line.flush();
}

/// Formats `text` and gives its pieces to `take`, in their order. One function, because each type with [`Write`] is half a KiB
/// of code in an image.
#[inline(never)]
pub fn pieces(text: fmt::Arguments<'_>, take: &mut dyn FnMut(&str)) {
    // A Display that fails leaves its text half written; there is nobody to tell.
    let _ = Pieces(take).write_fmt(text);
}

struct Pieces<'a>(&'a mut dyn FnMut(&str));

impl Write for Pieces<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        (self.0)(text);
        Ok(())
    }
}

/// Collects the pieces of a line, so that the console gets it in one write.
struct Line<'a> {
    runtime: &'a Runtime,
    buffer: [u8; 256],
    used: usize,
}

impl Line<'_> {
    #[inline(never)]
    fn flush(&mut self) {
        if self.used > 0 {
            self.runtime.write_console(self.buffer.get(..self.used).unwrap_or_default());
            self.used = 0;
        }
    }

    // Not inlined into the closure that calls it, which is compiled twice.
    #[inline(never)]
    fn add(&mut self, text: &str) {
        if text.len() > self.buffer.len() - self.used {
            self.flush();
        }
        match self.buffer.get_mut(self.used..self.used + text.len()) {
            Some(room) => {
                room.copy_from_slice(text.as_bytes());
                self.used += text.len();
            }
            None => self.runtime.write_console(text.as_bytes()),
        }
    }
}

struct ConsoleLogger;

impl log::Log for ConsoleLogger {
    // Filters are asked when there is a message: to ask them here, too, would be 150 bytes in each image.
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    #[inline]
    fn log(&self, record: &log::Record<'_>) {
        Runtime::with_current(|runtime| {
            if !runtime.logs(record.metadata()) {
                return;
            }
            let now = runtime.now().as_nanos() / 1000;
            let (seconds, micros) = (now / 1_000_000, now % 1_000_000);
            print_on(
                runtime,
                format_args!("[{seconds:5}.{micros:06} {:5} {}] {}\n", record.level(), record.target(), record.args()),
            );
        });
    }

    fn flush(&self) {}
}

/// Sends `log`'s messages up to `level` to the console of the runtime that logs them. A logger that was set before stays.
#[inline]
pub fn install_logger(level: log::LevelFilter) {
    let _ = log::set_logger(&ConsoleLogger);
    log::set_max_level(level);
}

/// Has the console logger of the current runtime show only messages for which `filter` is true, of those that the key `--log` lets
/// pass; the last filter counts. Outside of a running [`Runtime`] it does nothing. `log_enabled!` knows of `--log` only.
///
/// It is a function and not a text with levels, because what reads such a text would be 2 KiB in each image. The targets of networks
/// are [`log_targets`](crate::net::log_targets).
///
/// ```
/// use mirage_rt::log::Level;
/// use mirage_rt::net::log_targets;
///
/// /// With `--log debug`: all of the DHCP client, of others what is not for developers.
/// fn main() {
///     mirage_rt::console::filter_log(|message| {
///         message.level() <= Level::Info || message.target() == log_targets::DHCP
///     });
/// }
/// ```
pub fn filter_log(filter: fn(&log::Metadata<'_>) -> bool) {
    Runtime::with_current(|runtime| runtime.filter_log(filter));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::log_targets;
    use crate::testing::VirtualPlatform;
    use alloc::rc::Rc;
    use log::{Level, Log};

    fn tell(level: Level, target: &str) {
        let arguments = format_args!("{target}");
        ConsoleLogger.log(&log::Record::builder().level(level).target(target).args(arguments).build());
    }

    #[test]
    fn a_filter_chooses_by_target_for_its_runtime_only() {
        let consoles = [false, true].map(|filtered| {
            let platform = VirtualPlatform::new(1);
            let runtime = Runtime::new(Rc::clone(&platform) as Rc<dyn crate::platform::Platform>);
            let _entered = runtime.enter();
            if filtered {
                filter_log(|_| false);
                filter_log(|message| message.level() <= Level::Info || message.target() == log_targets::DHCP);
            }
            for target in [log_targets::DHCP, log_targets::TCP, "program"] {
                tell(Level::Debug, target);
                tell(Level::Warn, target);
            }
            platform.console()
        });
        let line = |level, target| alloc::format!("[    0.000000 {level:5} {target}] {target}\n");
        let all = ["net::dhcp", "net::tcp", "program"].map(|target| line("DEBUG", target) + &line("WARN", target));
        assert_eq!(consoles[0], all.concat());
        let [dhcp, ..] = all;
        assert_eq!(consoles[1], dhcp + &line("WARN", "net::tcp") + &line("WARN", "program"));
    }
}
