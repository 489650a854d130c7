//! The network stack beside others: in memory, where instructions are counted, and on the interfaces of this host.
//!
//! `cargo bench -p mirage-bench --bench network`, and `-- --quick` for one short round of each; `-- memory http-sockets …` for
//! some of its parts. What is compared with is started by the benchmark itself, in network namespaces of its own.

mod build;
mod bulk;
mod http;
mod memory;
mod namespace;
mod programs;
mod valgrind;

use std::error::Error;
use std::process::ExitCode;

use mirage_bench::figures::{self, Figure};
use mirage_bench::words;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// The parts, and what runs each.
const PARTS: [(&str, Part); 4] =
    [("memory", memory::all), ("http-sockets", http::sockets), ("http-tap", http::tap), ("bulk-tap", bulk::tap)];

type Part = fn(&Bench) -> Result<Vec<Figure>>;

/// What every part needs.
struct Bench {
    quick: bool,
}

impl Bench {
    /// How often each server is measured, one after the other.
    fn rounds(&self) -> usize {
        if self.quick { 1 } else { 5 }
    }
}

fn main() -> ExitCode {
    figures::report(run())
}

fn run() -> Result<Vec<Figure>> {
    let words = words();
    let bench = Bench { quick: words.iter().any(|word| word == "--quick") };
    let chosen: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    if let Some(unknown) = chosen.iter().find(|name| !PARTS.iter().any(|(part, _)| part == *name)) {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no part {unknown}: {}", names.join(" ")).into());
    }
    let mut figures = Vec::new();
    for (name, part) in PARTS {
        if chosen.is_empty() || chosen.contains(&name) {
            figures.extend(part(&bench)?);
        }
    }
    Ok(figures)
}
