//! Our TCP and Linux's over links that lose, delay, reorder and repeat packets: `tc netem` in dom0, between the bridge and a network
//! namespace that is the other side of both. Both ends look at every byte.
//!
//! The qdisc in front of netem cuts packets to what a wire carries: netem would lose the up to 64 KiB of a packet that is to be cut
//! (GSO) at once, and so more from who makes larger ones.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use mirage_bench::figures::{Figure, Samples};
use mirage_lab::Domain;

use crate::{Bench, LINUX, LONG, MEMORY, OURS, Result, head, row};

const FAR: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 18);
const PORT: u16 = 9001;
/// iproute2's own: the shell takes the bare names for busybox's.
const IP: &str = "/bin/ip";
const TC: &str = "/bin/tc";
/// When a run ends, whichever is first.
const MOST_BYTES: u64 = 200_000_000;
const MOST_TIME: Duration = Duration::from_secs(20);

/// A link: its name, and what netem does each way.
const CELLS: [(&str, &str); 6] = [
    ("loss-0.1", "loss 0.1%"),
    ("loss-1", "loss 1%"),
    ("loss-5", "loss 5%"),
    ("delay", "delay 20ms"),
    ("reorder", "delay 10ms reorder 25% 50%"),
    ("duplicate", "duplicate 1%"),
];

/// What the far side does, and the guest's part in it.
const WAYS: [(&str, &str); 2] = [("put", "in"), ("get", "out")];

/// Whether a word of the command line names a cell.
pub fn is_cell(word: &str) -> bool {
    CELLS.iter().any(|(name, _)| *name == word)
}

/// The cells among the chosen words, or all if there are none, each way.
pub fn all(bench: &Bench, image: &Path, chosen: &[&str], quick: bool) -> Result<Vec<Figure>> {
    // The address was another domain's.
    bench.lab.dom0_checked("ip neigh flush dev xenbr0")?;
    let words = format!("--ipv4 {OURS}/24 --ipv4-gateway 10.0.2.2 --mode check --port {PORT}");
    let ours = bench.lab.domain(image).memory(MEMORY).vif().cmdline(&words).start()?;
    ours.console().wait_for("check on port", LONG)?;
    bench.lab.linux_run(LINUX, &format!("tcp-load serve {PORT} </dev/null >/dev/null 2>&1 &"), LONG)?;
    far(bench)?;
    let limit = if quick { MOST_TIME / 10 } else { MOST_TIME };
    let mut figures = Vec::new();
    head(&format!("goodput over spoilt links, {} s or {} MB", limit.as_secs(), MOST_BYTES / 1_000_000), bench);
    let named = chosen.iter().any(|word| is_cell(word));
    for (name, netem) in CELLS.into_iter().filter(|(name, _)| !named || chosen.contains(name)) {
        spoil(bench, netem)?;
        for (ask, way) in WAYS {
            let mut rates = <[Samples; 2]>::default();
            for round in 0..bench.rounds {
                for place in 0..2 {
                    let who = (round + place) % 2;
                    let (domain, address) = [(&ours, OURS), (&bench.linux, LINUX)][who];
                    let words = format!("{ask} {address} {PORT} {round} {MOST_BYTES} {}", limit.as_millis());
                    let rate = run(bench, domain, &words).map_err(|error| format!("{name}, {way}: {error}"))?;
                    rates[who].push(rate);
                }
            }
            let ratio = row(&format!("{name} {way}"), "Mbit/s", &rates[0], &rates[1]);
            figures.push(Figure::at_least(&format!("netem-{name}-{way}-of-linux"), ratio, 0.9));
        }
    }
    bench.lab.dom0_checked(&format!("{IP} netns del far"))?;
    Ok(figures)
}

/// The other side: a namespace at the bridge.
fn far(bench: &Bench) -> Result {
    bench.lab.dom0_checked(&format!(
        "set -e; for module in $(cat /lib/mods/netem.order); do insmod /lib/mods/$module.ko; done
         ip() {{ {IP} \"$@\"; }}
         ip netns add far; ip link add far0 type veth peer name far1; ip link set far1 netns far
         ip link set far0 master xenbr0; ip link set far0 up; ip -n far link set lo up
         ip -n far address add {FAR}/24 dev far1; ip -n far link set far1 up"
    ))?;
    Ok(())
}

/// Both ways alike.
fn spoil(bench: &Bench, netem: &str) -> Result {
    let devices = [("far0", ""), ("far1", &*format!("{IP} netns exec far"))];
    for (device, within) in devices {
        bench.lab.dom0_checked(&format!(
            "set -e; {within} {TC} qdisc replace dev {device} root handle 1: tbf rate 10gbit burst 3000 limit 20mb
             {within} {TC} qdisc replace dev {device} parent 1: handle 2: netem limit 10000 {netem}"
        ))?;
    }
    Ok(())
}

/// Goodput in Mbit/s.
fn run(bench: &Bench, domain: &Domain, words: &str) -> Result<f64> {
    // More than a minute without progress, and the program itself gives up.
    let limit = MOST_TIME + Duration::from_secs(100);
    let finished = bench.lab.dom0_within(&format!("{IP} netns exec far tcp-load {words}"), limit)?;
    let numbers = finished.stdout.split_ascii_whitespace().filter_map(|word| word.parse::<f64>().ok());
    match numbers.collect::<Vec<_>>()[..] {
        [bytes, ns] if finished.status == 0 => Ok(bytes * 8e3 / ns),
        _ => {
            let links = bench.lab.dom0(&format!("{TC} -s qdisc; {IP} -s link; {IP} netns exec far {TC} -s qdisc"))?;
            Err(format!("{}{}\n{}", finished.stderr, links.stdout, domain.console().text()).into())
        }
    }
}
