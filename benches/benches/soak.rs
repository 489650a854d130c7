//! What takes long: domains and devices through everything that an administrator does to them, with traffic that is compared
//! byte by byte, and what is left behind afterwards.
//!
//! `cargo bench -p mirage-bench --bench soak`, with names of sections after `--` for those alone, and `--quick` for the short
//! form that `cargo test` runs too. Sections that need no lab come first.

use std::fmt;
use std::process::ExitCode;
use std::time::Instant;

use mirage_bench::{nonsense, words};
use mirage_lab::Lab;
use mirage_tests::image;
use mirage_tests::soak::{Length, Outcome, SECTIONS, Section, Soak};

/// A section that needs no lab: its name, what is done in it, and the function that does it (in its short form, if so).
type OnTheHost = (&'static str, &'static str, fn(bool) -> Outcome);

const ON_THE_HOST: &[OnTheHost] = &[
    ("hostile", "drivers against hostile backends", nonsense::hostile),
    ("parsers", "parsers of foreign data with changed inputs", nonsense::parsers),
];

/// One line of the table at the end.
struct Row {
    name: &'static str,
    what: &'static str,
    outcome: Outcome,
    seconds: u64,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { name, what, outcome, seconds } = self;
        let (verdict, found) = match outcome {
            Ok(found) => ("held", found.clone()),
            Err(error) => ("FAILED", error.to_string()),
        };
        let found = found.replace('\n', "\n             ");
        write!(f, "  {name:10} {verdict:6} {seconds:5} s  {what}\n             {found}")
    }
}

fn main() -> ExitCode {
    let words = words();
    let quick = words.iter().any(|word| word == "--quick");
    let chosen: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    let known: Vec<&str> = ON_THE_HOST.iter().map(|(name, ..)| *name).chain(SECTIONS.iter().map(|s| s.name)).collect();
    if let Some(unknown) = chosen.iter().find(|name| !known.contains(*name)) {
        eprintln!("there is no section {unknown}: {}", known.join(" "));
        return ExitCode::FAILURE;
    }
    let wanted = |name: &str| chosen.is_empty() || chosen.contains(&name);
    let mut rows = Vec::new();
    for (name, what, run) in ON_THE_HOST.iter().filter(|(name, ..)| wanted(name)) {
        rows.push(row(name, what, || run(quick)));
    }
    let length = if quick { Length::SHORT } else { Length::LONG };
    let sections: Vec<&Section> = SECTIONS.iter().filter(|section| wanted(section.name)).collect();
    rows.extend(in_the_lab(&sections, length));
    table(&rows)
}

fn in_the_lab(sections: &[&'static Section], length: Length) -> Vec<Row> {
    if sections.is_empty() {
        return Vec::new();
    }
    let (echo, block) = (image("echo-server"), image("block"));
    match Lab::start() {
        Ok(lab) => {
            let soak = Soak { lab: &lab, length, echo, block };
            sections.iter().map(|section| row(section.name, section.what, || section.run(&soak))).collect()
        }
        Err(error) => vec![row("lab", "the lab that all sections need", || Err(error.into()))],
    }
}

fn row(name: &'static str, what: &'static str, run: impl FnOnce() -> Outcome) -> Row {
    eprintln!("{name}: {what} …");
    let started = Instant::now();
    let outcome = run();
    let row = Row { name, what, outcome, seconds: started.elapsed().as_secs() };
    // A long run may be cut: what is known by then is to be seen.
    eprintln!("{row}");
    row
}

fn table(rows: &[Row]) -> ExitCode {
    println!("\nsoak");
    rows.iter().for_each(|row| println!("{row}"));
    println!();
    for Row { name, outcome, .. } in rows {
        // As figures have it: the value is the number of sections that failed, the goal is none.
        let (failed, verdict) = if outcome.is_ok() { (0, "met") } else { (1, "short") };
        println!("figure soak-{name} {failed} 0 {verdict}");
    }
    if rows.iter().all(|row| row.outcome.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
