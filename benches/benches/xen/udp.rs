//! Echo over UDP: small datagrams, as those of name servers, to an image and to a C program in the Linux domU. dom0 asks.

use std::path::Path;

use mirage_bench::figures::{Figure, Samples};

use crate::{Bench, LINUX, LONG, MEMORY, OURS, Result, head, row};

const PORT: u16 = 5300;
/// Datagrams under way, and the bytes of each.
const WINDOW: u32 = 32;
const BYTES: u32 = 64;

/// Answers for each second of the guest's processor time.
pub fn all(bench: &Bench, image: &Path) -> Result<Vec<Figure>> {
    bench.lab.dom0_checked("ip neigh flush dev xenbr0")?;
    let words = format!("--ipv4 {OURS}/24 --mode echo --port {PORT}");
    let ours = bench.lab.domain(image).memory(MEMORY).vif().cmdline(&words).start()?;
    ours.console().wait_for("echo on port", LONG)?;
    bench.lab.linux_run(LINUX, &format!("udp-load echo {PORT} </dev/null >/dev/null 2>&1 &"), LONG)?;
    head(&format!("echo over UDP, {WINDOW} datagrams of {BYTES} bytes under way"), bench);
    let (mut efficiency, mut rates) = (<[Samples; 2]>::default(), <[Samples; 2]>::default());
    let seconds = bench.window.as_secs().max(1);
    for round in 0..bench.rounds {
        for place in 0..2 {
            let who = (round + place) % 2;
            let (domain, address) = if who == 0 { (&ours, OURS) } else { (&bench.linux, LINUX) };
            let before = bench.lab.sample(&[])?.cpu_ns(domain.number());
            let ask = format!("udp-load ask {address} {PORT} {WINDOW} {BYTES} {seconds}");
            let printed = bench.lab.dom0_checked(&ask)?;
            let after = bench.lab.sample(&[])?.cpu_ns(domain.number());
            let mut numbers = printed.split_ascii_whitespace().filter_map(|word| word.parse::<f64>().ok());
            let (Some(before), Some(after), Some(answers @ 1.0..), Some(ns)) =
                (before, after, numbers.next(), numbers.next())
            else {
                return Err(format!("no echo: {printed}\n{}", domain.console().text()).into());
            };
            efficiency[who].push(answers / (after.saturating_sub(before) as f64 / 1e9));
            rates[who].push(answers / (ns / 1e9));
        }
    }
    let ratio = row("udp-echo", "1/CPU s", &efficiency[0], &efficiency[1]);
    row("", "1/s", &rates[0], &rates[1]);
    Ok(vec![Figure::at_least("udp-echo-per-cpu-of-linux", ratio, 3.0)])
}
