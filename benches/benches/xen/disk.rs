//! Disks: blkfront of ours beside Linux's, with O_DIRECT, on files of the same size in dom0's memory.

use std::path::Path;
use std::thread;
use std::time::Duration;

use mirage_bench::figures::{Figure, Samples};
use mirage_lab::Lab;

use crate::rate::{Rate, Shares, measure};
use crate::{Bench, DISK, LINUX, LONG, MEMORY, Result, head, row};

/// A load and what is to be reached.
struct Load {
    name: &'static str,
    operation: &'static str,
    bytes: u64,
    depth: u32,
    /// Operations in a second, as a part of Linux's.
    rate: f64,
}

const LOADS: [Load; 6] = [
    Load { name: "random-read-depth-1", operation: "randread", bytes: 4096, depth: 1, rate: 1.2 },
    Load { name: "random-read-depth-32", operation: "randread", bytes: 4096, depth: 32, rate: 1.2 },
    Load { name: "random-write-depth-1", operation: "randwrite", bytes: 4096, depth: 1, rate: 1.2 },
    Load { name: "random-write-depth-32", operation: "randwrite", bytes: 4096, depth: 32, rate: 1.2 },
    Load { name: "sequential-read", operation: "read", bytes: 131_072, depth: 4, rate: 1.0 },
    Load { name: "sequential-write", operation: "write", bytes: 131_072, depth: 4, rate: 1.0 },
];
/// Guest processor time for an operation, as a part of Linux's.
const CPU: f64 = 0.6;
/// The number of `xvda`.
const DEVICE: u32 = 51712;

/// Makes both disks' files, filled: reading a hole is something else.
pub fn files(lab: &Lab) -> Result {
    lab.dom0_checked(&format!("for who in ours linux; do dd if=/dev/zero of=/tmp/$who.img bs=1M count={DISK}; done"))?;
    Ok(())
}

/// xl's line for the disk of `who`.
pub fn line(who: &str) -> String {
    format!("disk=['format=raw,vdev=xvda,access=rw,backendtype=phy,script=block-lab,target=/tmp/{who}.img']")
}

/// All loads.
pub fn all(bench: &Bench, image: &Path) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    head("disk: 4 KiB random, 128 KiB sequential (4 under way)", bench);
    for load in &LOADS {
        let (mut rates, mut costs, mut shares) =
            (<[Samples; 2]>::default(), <[Samples; 2]>::default(), <[Shares; 2]>::default());
        for round in 0..bench.rounds {
            for place in 0..2 {
                let who = (round + place) % 2;
                let rate = if who == 0 { ours(bench, image, load)? } else { linux(bench, load)? };
                let operations = (rate.counts[0] * 512 / load.bytes) as f64;
                rates[who].push(operations / rate.seconds);
                costs[who].push(rate.guest_ns / operations.max(1.0) / 1000.0);
                shares[who].push(&rate);
            }
        }
        let faster = row(load.name, "1/s", &rates[0], &rates[1]);
        let cheaper = row("", "CPU, us", &costs[0], &costs[1]);
        println!("  {:34} the processor: ours {}; Linux {}", "", shares[0], shares[1]);
        figures.push(Figure::at_least(&format!("disk-{}-of-linux", load.name), faster, load.rate));
        figures.push(Figure::at_most(&format!("disk-{}-cpu-of-linux", load.name), cheaper, CPU));
    }
    Ok(figures)
}

/// The backend's count of sectors.
fn counter(load: &Load, domain: u32) -> Vec<String> {
    let count = if load.operation.ends_with("write") { "wr_sect" } else { "rd_sect" };
    vec![format!("/sys/bus/xen-backend/devices/vbd-{domain}-{DEVICE}/statistics/{count}")]
}

fn ours(bench: &Bench, image: &Path, load: &Load) -> Result<Rate> {
    let words = format!(
        "--work load --operation {} --bytes {} --depth {} --seconds 60",
        load.operation, load.bytes, load.depth
    );
    let builder = bench.lab.domain(image).memory(MEMORY).config_line(&line("ours")).cmdline(&words);
    let domain = builder.start()?;
    domain.console().wait_for("load starts", LONG)?;
    measure(bench, &domain, &counter(load, domain.number()), |sample, index| sample.number(index))
}

fn linux(bench: &Bench, load: &Load) -> Result<Rate> {
    // Long enough for the rate, and for a shell that starts slowly.
    let seconds = (bench.settle + bench.window + Duration::from_millis(2300)).as_secs();
    let script = format!("disk-load /dev/xvda {} {} {} {seconds}", load.operation, load.bytes, load.depth);
    let lab = bench.lab.clone();
    let running = thread::spawn(move || lab.linux_run(LINUX, &script, LONG));
    let counters = counter(load, bench.linux.number());
    let rate = measure(bench, &bench.linux, &counters, |sample, index| sample.number(index));
    running.join().map_err(|_| "the load's thread panicked")??;
    rate
}
