//! What the stack writes into the log: it is written out, and counted, as strangers must not fill it.

use std::cell::Cell;
use std::sync::Once;

use log::{LevelFilter, Log, Metadata, Record};

thread_local! {
    static LINES: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

impl Log for Counting {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        assert!(!line.is_empty() && !line.contains(char::is_control), "{line:?}");
        LINES.set(LINES.get() + 1);
    }

    fn flush(&self) {}
}

/// From now on, lines of this thread are counted from 0.
pub fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Counting).expect("nothing here has another one");
        log::set_max_level(LevelFilter::Info);
    });
    LINES.set(0);
}

/// How many lines there were.
pub fn count() -> usize {
    LINES.get()
}
