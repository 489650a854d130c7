//! Boot time, size, memory and idle figures of images, beside a C guest and a Linux domU of the same boot of the lab.
//!
//! `cargo bench -p mirage-bench --bench boot`, and `-- --quick` for one round of each. Times are taken in dom0, on its clock.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mirage_bench::figures::{Figure, Samples};
use mirage_bench::reference_guest;
use mirage_lab::{Domain, DomainBuilder, Lab, LabOptions};
use mirage_tests::images;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

const LONG: Duration = Duration::from_secs(120);
const SITE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 16);
const LINUX: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 17);

/// How often each measurement is taken.
struct Rounds {
    first_line: usize,
    first_page: usize,
}

fn main() -> Result {
    let quick = std::env::args().any(|word| word == "--quick");
    let rounds = if quick { Rounds { first_line: 1, first_page: 1 } } else { Rounds { first_line: 9, first_page: 5 } };
    let hello = mirage_tests::image("hello");
    let site = mirage_tests::image("static-site");
    let mut figures = sizes(&hello, &site)?;
    let lab = Lab::start()?;
    figures.extend(first_lines(&lab, &hello, rounds.first_line)?);
    figures.extend(first_pages(&lab, &site, rounds.first_page)?);
    figures.extend(memory_and_idle(&lab, &hello, &site)?);
    drop(lab);
    figures.extend(instructions(&hello)?);
    println!();
    for figure in &figures {
        println!("{figure}");
    }
    Ok(())
}

/// PT_LOAD bytes in the file; what the site embeds is not counted.
fn sizes(hello: &Path, site: &Path) -> Result<Vec<Figure>> {
    println!("PT_LOAD, KiB: in the file, in memory, without embedded content");
    let mut figures = Vec::new();
    let content = images::content(&mirage_tests::root().join("examples/static-site/htdocs"))?;
    for (name, path, content, at_most) in
        [("hello-size-kib", hello, 0, 64.0), ("static-site-size-kib", site, content, 300.0)]
    {
        let size = images::size(path)?;
        let own = size.file.saturating_sub(content) as f64 / 1024.0;
        println!("  {name:24} {:8.1} {:8.1} {own:8.1}", size.file as f64 / 1024.0, size.memory as f64 / 1024.0);
        figures.push(Figure::at_most(name, Some(own), at_most));
    }
    Ok(figures)
}

/// From the start of `xl create` to the first console line, and the guest's processor time by then.
fn first_lines(lab: &Lab, hello: &Path, rounds: usize) -> Result<Vec<Figure>> {
    let guests: [(&str, PathBuf); 2] = [("C guest", reference_guest()), ("hello", hello.into())];
    let mut wall = [Samples::default(), Samples::default()];
    let mut cpu = [Samples::default(), Samples::default()];
    for round in 0..rounds {
        // Each goes first as often as the other.
        for place in 0..guests.len() {
            let index = (round + place) % guests.len();
            let (name, image) = &guests[index];
            let domain = lab.domain(image).memory(32).start()?;
            domain.exit(LONG)?;
            let first = domain.first_output().ok_or_else(|| format!("{name} printed nothing"))?;
            wall[index].push(milliseconds(first.time.since(domain.times().create_started)));
            cpu[index].push(milliseconds(first.cpu));
        }
    }
    println!("\nxl create to the first console line, {rounds} rounds, min / median / max");
    println!("  {:12} {:>24} {:>24}", "", "wall, ms", "guest CPU, ms");
    for (index, (name, _)) in guests.iter().enumerate() {
        println!("  {name:12} {:>24} {:>24}", wall[index].to_string(), cpu[index].to_string());
    }
    let later = wall[1].differences(&wall[0]).median();
    let ratio = ratio(&cpu[1], &cpu[0]);
    Ok(vec![Figure::at_most("first-line-later-ms", later, 20.0), Figure::at_most("first-line-cpu-ratio", ratio, 1.5)])
}

/// From the return of `xl create` to the first page, beside Linux with nginx.
fn first_pages(lab: &Lab, site: &Path, rounds: usize) -> Result<Vec<Figure>> {
    let mut ours = Samples::default();
    let mut linux = Samples::default();
    for _ in 0..rounds {
        ours.push(first_page(lab, site_domain(lab, site, 16), SocketAddrV4::new(SITE, 8080))?);
        linux.push(first_page(lab, lab.linux(LINUX), SocketAddrV4::new(LINUX, 80))?);
    }
    println!("\nreturn of xl create to the first HTTP 200, {rounds} rounds, ms, min / median / max");
    println!("  static-site  {ours}\n  Linux, nginx {linux}");
    let share = ratio(&ours, &linux);
    if let Some(share) = share {
        println!("  1/{:.0} of Linux", 1.0 / share);
    }
    Ok(vec![Figure::at_most("first-page-of-linux", share, 1.0 / 40.0)])
}

fn site_domain(lab: &Lab, site: &Path, memory: u32) -> DomainBuilder {
    let words = format!("--ipv4 {SITE}/24 --ipv4-gateway 10.0.2.2");
    lab.domain(site).memory(memory).vif().cmdline(&words)
}

fn first_page(lab: &Lab, domain: DomainBuilder, server: SocketAddrV4) -> Result<f64> {
    // What dom0 remembers of an earlier domain with this address must not delay a guest that does not announce itself.
    lab.dom0_checked("ip neigh flush dev xenbr0")?;
    let domain: Domain = domain.start()?;
    let answered = lab.first_answer(server, "/", LONG)?;
    Ok(milliseconds(answered.since(domain.times().create_returned)))
}

/// The least memory that works, and the processor time of a domain that waits.
fn memory_and_idle(lab: &Lab, hello: &Path, site: &Path) -> Result<Vec<Figure>> {
    let least = |memory: &mut dyn Iterator<Item = u32>, works: &dyn Fn(u32) -> Result<bool>| -> Result<Option<f64>> {
        let mut found = None;
        for mib in memory {
            match works(mib) {
                Ok(true) => found = Some(f64::from(mib)),
                _ => break,
            }
        }
        Ok(found)
    };
    let hello_least =
        least(&mut [4, 3, 2].into_iter(), &|mib| Ok(lab.domain(hello).memory(mib).start()?.exit(LONG)?.status() == 0))?;
    let site_least = least(&mut [8, 7, 6, 5, 4].into_iter(), &|mib| serves(lab, site, mib))?;
    println!("\nleast memory=, MiB: hello {hello_least:?}, static-site under ab -k -c32 {site_least:?}");
    let domain = site_domain(lab, site, 16).start()?;
    lab.first_answer(SocketAddrV4::new(SITE, 8080), "/", LONG)?;
    lab.dom0_checked("sleep 2")?;
    let mut idle = Samples::default();
    for _ in 0..5 {
        let before = domain.cpu_ns()?;
        lab.dom0_checked("sleep 10")?;
        idle.push((domain.cpu_ns()? - before) as f64 / 1e6);
    }
    // In most windows nothing happens at all; a frame to all hosts in one of them is a millisecond or two of this machine.
    println!("processor time of a waiting static-site in 10 s, ms, min / median / max: {idle}");
    Ok(vec![
        Figure::at_most("hello-memory-mib", hello_least, 4.0),
        Figure::at_most("static-site-memory-mib", site_least, 8.0),
        Figure::at_most("idle-ms-in-10-s", idle.median(), 2.0),
    ])
}

/// Whether the site answers all of ab's requests with this much memory.
fn serves(lab: &Lab, site: &Path, memory: u32) -> Result<bool> {
    let domain = site_domain(lab, site, memory).start()?;
    lab.first_answer(SocketAddrV4::new(SITE, 8080), "/", Duration::from_secs(20))?;
    let printed = lab.dom0_checked(&format!("ab -q -k -c32 -n2000 http://{SITE}:8080/"))?;
    drop(domain);
    Ok(printed.contains("Failed requests:        0") && !printed.contains("Non-2xx"))
}

/// Instructions from the image's entry to main, and how many more 1 GiB takes than 16 MiB: in a machine whose time-stamp counter
/// counts instructions, one for each nanosecond.
fn instructions(hello: &Path) -> Result<Vec<Figure>> {
    let lab = Lab::start_with(&LabOptions::new().count_instructions())?;
    let counted = |memory| -> Result<Option<f64>> {
        let domain = lab.domain(hello).memory(memory).cmdline("--log debug").start()?;
        let report = domain.exit(Duration::from_secs(300))?;
        Ok(report.console.lines().find_map(|line| {
            let (_, counted) = line.split_once("boot: ")?;
            counted.split_once(" ticks from entry to main")?.0.parse::<f64>().ok()
        }))
    };
    let (usual, small, large) = (counted(32)?, counted(16)?, counted(1024)?);
    println!(
        "instructions from entry to main, Xen's own included: 32 MiB {usual:?}, 16 MiB {small:?}, 1 GiB {large:?}"
    );
    let more = large.zip(small).map(|(large, small)| (large - small) / 1e6);
    Ok(vec![
        Figure::at_most("entry-to-main-instructions", usual, 1_000_000.0),
        Figure::at_most("one-gib-later-ms", more, 2.0),
    ])
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn ratio(ours: &Samples, theirs: &Samples) -> Option<f64> {
    Some(ours.median()? / theirs.median()?)
}
