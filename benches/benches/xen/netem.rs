//! Our TCP and Linux's over links that lose, delay, reorder and repeat packets: `tc netem` in dom0, between the bridge and a network
//! namespace that is the other side of both. Each run moves a file one way and back, and its checksum says whether all is there.

use std::net::Ipv4Addr;
use std::path::Path;

use mirage_bench::figures::{Figure, Samples};

use crate::{Bench, LINUX, LONG, MEMORY, OURS, Result, head, row};

const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 18);
/// Where a guest takes a file; at the next port it gives it back.
const PORT: u16 = 9001;

/// A link: its name, what netem does each way, and MB that take about 20 s at most.
struct Cell {
    name: &'static str,
    netem: &'static str,
    megabytes: u32,
}

const CELLS: [Cell; 6] = [
    Cell { name: "loss-0.1", netem: "delay 10ms loss 0.1%", megabytes: 60 },
    Cell { name: "loss-1", netem: "delay 10ms loss 1%", megabytes: 20 },
    Cell { name: "loss-5", netem: "delay 10ms loss 5%", megabytes: 6 },
    Cell { name: "delay", netem: "delay 25ms 2ms", megabytes: 100 },
    Cell { name: "reorder", netem: "delay 10ms reorder 5% 50%", megabytes: 60 },
    Cell { name: "duplicate", netem: "delay 10ms duplicate 1%", megabytes: 100 },
];

/// All cells, each way.
pub fn all(bench: &Bench, image: &Path, quick: bool) -> Result<Vec<Figure>> {
    bench.lab.dom0_checked("ip neigh flush dev xenbr0")?;
    let words = format!("--ipv4 {OURS}/24 --ipv4-gateway 10.0.2.2 --mode check --port {PORT}");
    let ours = bench.lab.domain(image).memory(MEMORY).vif().cmdline(&words).start()?;
    ours.console().wait_for("check on port", LONG)?;
    far(bench)?;
    linux(bench)?;
    let mut figures = Vec::new();
    head("goodput over links that netem spoils, each run checked", bench);
    for Cell { name, netem, megabytes } in &CELLS {
        let megabytes = if quick { megabytes.div_ceil(10) } else { *megabytes };
        spoil(bench, netem)?;
        let sum = file(bench, megabytes)?;
        let mut rates = <[[Samples; 2]; 2]>::default();
        for round in 0..bench.rounds.min(3) {
            for place in 0..2 {
                let who = (round + place) % 2;
                let address = [OURS, LINUX][who];
                for (way, rates) in rates.iter_mut().enumerate() {
                    let seconds = run(bench, address, way, &sum).map_err(|error| format!("{name}: {error}"))?;
                    rates[who].push(f64::from(megabytes) * 8.0 / seconds);
                }
            }
        }
        for (way, rates) in ["in", "out"].into_iter().zip(&rates) {
            let ratio = row(&format!("{name} {way}"), "Mbit/s", &rates[0], &rates[1]);
            figures.push(Figure::at_least(&format!("netem-{name}-{way}-of-linux"), ratio, 0.9));
        }
    }
    bench.lab.dom0_checked("ip netns del far")?;
    Ok(figures)
}

/// The other side: a namespace at the bridge.
fn far(bench: &Bench) -> Result {
    bench.lab.dom0_checked(&format!(
        "set -e; ip netns add far; ip link add far0 type veth peer name far1; ip link set far1 netns far; \
         ip link set far0 master xenbr0; ip link set far0 up; ip netns exec far ip link set lo up; \
         ip netns exec far ip address add {FAR}/24 dev far1; ip netns exec far ip link set far1 up"
    ))?;
    Ok(())
}

/// What takes files in the Linux domU, and gives them back.
fn linux(bench: &Bench) -> Result {
    let script = format!(
        "printf '#!/bin/sh\\ntee /kept | cksum\\n' > /take; printf '#!/bin/sh\\nexec cat /kept\\n' > /give; chmod +x /take /give; \
         nc -ll -p {PORT} -e /take & nc -ll -p {} -e /give &",
        PORT + 1
    );
    bench.lab.linux_run(LINUX, &script, LONG)?;
    Ok(())
}

/// Both ways alike.
fn spoil(bench: &Bench, netem: &str) -> Result {
    bench.lab.dom0_checked(&format!(
        "set -e; tc qdisc replace dev far0 root netem limit 5000 {netem}; \
         ip netns exec far tc qdisc replace dev far1 root netem limit 5000 {netem}"
    ))?;
    Ok(())
}

/// Makes the file, and returns its checksum and length as cksum prints them.
fn file(bench: &Bench, megabytes: u32) -> Result<String> {
    let script = format!("head -c {megabytes}000000 /dev/urandom > /run/file; cksum < /run/file");
    Ok(bench.lab.dom0_checked(&script)?.trim().to_owned())
}

/// Moves the file to (0) or from (1) the guest at `address`; how many seconds that took.
fn run(bench: &Bench, address: Ipv4Addr, way: usize, sum: &str) -> Result<f64> {
    let copy = match way {
        0 => format!("nc {address} {PORT} < /run/file"),
        _ => format!("nc {address} {} < /dev/null | cksum", PORT + 1),
    };
    let script =
        format!("cut -d' ' -f1 /proc/uptime; timeout 300 ip netns exec far sh -c '{copy}'; cut -d' ' -f1 /proc/uptime");
    let printed = bench.lab.dom0_checked(&script)?;
    let lines: Vec<&str> = printed.lines().map(str::trim).collect();
    match lines[..] {
        [start, found, end] if found == sum => Ok(end.parse::<f64>()? - start.parse::<f64>()?),
        _ => Err(format!("{address}, way {way}: {sum} was moved, and this came: {printed}").into()),
    }
}
