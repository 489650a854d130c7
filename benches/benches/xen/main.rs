//! What the drivers and the stack of an image do beside those of a Linux domU in the same boot of the lab, with the same
//! memory, processor, bridge and kind of disk.
//!
//! `cargo bench -p mirage-bench --bench xen`, and `-- --quick` for one short round of each; `-- frames bulk ping http udp netem disk`
//! for those alone; `-- loss-1` for one cell of netem's; `-- --count` in a machine whose clock counts its instructions.
//!
//! By its own clock the emulated machine is about a hundred times slower than real hardware, more or less so as its host is busy, and what is
//! hard to emulate counts for more: page tables, the way into a guest and out of it. Xen's scheduler measures by that clock, too: the
//! millisecond for which it lets a domain run before another one may interrupt it is a few packets' work. With `--count` an
//! instruction takes a nanosecond. Figures are the same then however busy the host is, and a millisecond is what it is elsewhere; of
//! caches, and of what instructions really take, nothing is told. It takes several times as long.
//!
//! Rates are taken in dom0 while a load goes on, from the backends' own counters and Xen's account of the guest's processor
//! time, for both alike: neither a load's start nor a guest's clock is in them. All domains share the one processor of the
//! lab, so a rate also has dom0's work in it; how the processor was shared is printed beside each rate, and says what limits it.

mod disk;
mod http;
mod netem;
mod network;
mod rate;
mod udp;

use std::error::Error;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use mirage_bench::figures::{self, Figure, Samples};
use mirage_bench::words;
use mirage_lab::{Domain, Lab, LabOptions};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const LONG: Duration = Duration::from_secs(120);
const LINUX: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 17);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 16);
/// The memory of each domain, in MiB.
const MEMORY: u32 = 256;
/// The size of each disk, in MiB. It lies in dom0's memory.
const DISK: u32 = 64;
const PARTS: [&str; 7] = ["frames", "bulk", "ping", "http", "udp", "netem", "disk"];

/// What every part needs.
struct Bench {
    lab: Lab,
    linux: Domain,
    rounds: usize,
    /// How long a load runs before a rate is taken, how long the rate is taken, and how much longer a load runs at least.
    settle: Duration,
    window: Duration,
    rest: Duration,
}

fn main() -> ExitCode {
    figures::report(run())
}

fn run() -> Result<Vec<Figure>> {
    let words = words();
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    let (quick, counts) = (has("--quick"), has("--count"));
    let chosen: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.starts_with('-')).collect();
    if let Some(unknown) = chosen.iter().find(|name| !PARTS.contains(*name) && !netem::is_cell(name)) {
        return Err(format!("there is no part {unknown}: {}", PARTS.join(" ")).into());
    }
    let cells = chosen.iter().any(|word| netem::is_cell(word));
    let wanted = |part: &str| chosen.is_empty() || chosen.contains(&part) || cells && part == "netem";
    // Built before the lab is there: it would be in the way.
    let image = |guest: &str, wanted: bool| wanted.then(|| mirage_tests::image(guest));
    let frames = image("frames", wanted("frames"));
    let bulk = image("bulk", ["bulk", "ping", "udp", "netem"].into_iter().any(wanted));
    let site = image("static-site", wanted("http"));
    let disk = image("disk", wanted("disk"));
    let options = LabOptions::new().memory(2560).dom0_memory(1024);
    let lab = Lab::start_with(&if counts { options.count_instructions() } else { options })?;
    disk::files(&lab)?;
    let linux = lab.linux(LINUX).memory(MEMORY).config_line(&disk::line("linux")).start()?;
    lab.linux_run(LINUX, "true", LONG)?;
    // What is counted needs no long windows: it is the same in each.
    let [settle, window, rest] = match (counts, quick) {
        (true, _) => [300, 500, 1200],
        (false, true) => [700, 1000, 2300],
        (false, false) => [700, 2000, 2300],
    }
    .map(Duration::from_millis);
    let bench = Bench { lab, linux, rounds: if quick { 1 } else { 5 }, settle, window, rest };
    if wanted("frames") || wanted("bulk") {
        network::families(&bench)?;
    }
    let mut figures = Vec::new();
    if let Some(frames) = frames {
        figures.extend(network::frames(&bench, &frames)?);
    }
    if let Some(bulk) = &bulk
        && (wanted("bulk") || wanted("ping"))
    {
        figures.extend(network::stack(&bench, bulk, wanted("bulk"), wanted("ping"))?);
    }
    if let Some(site) = site {
        figures.extend(http::all(&bench, &site)?);
    }
    if let Some(bulk) = &bulk
        && wanted("udp")
    {
        figures.extend(udp::all(&bench, bulk)?);
    }
    if let Some(bulk) = &bulk
        && wanted("netem")
    {
        figures.extend(netem::all(&bench, bulk, &chosen, quick)?);
    }
    if let Some(disk) = disk {
        figures.extend(disk::all(&bench, &disk)?);
    }
    Ok(figures)
}

/// One line of a table: what, ours, Linux's, and the ratio.
fn row(what: &str, unit: &str, ours: &Samples, linux: &Samples) -> Option<f64> {
    let ratio = ours.ratio(linux);
    let told = ratio.map_or("no ratio".to_owned(), |ratio| format!("{ratio:.2}"));
    println!("  {what:34} {unit:9} {:>26} {:>26} {told:>9}", ours.to_string(), linux.to_string());
    ratio
}

/// The head of a table.
fn head(title: &str, bench: &Bench) {
    println!("\n{title}, {} rounds, min / median / max", bench.rounds);
    println!("  {:34} {:9} {:>26} {:>26} {:>9}", "", "", "ours", "Linux", "ratio");
}
