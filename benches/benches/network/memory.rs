//! The stack in memory: instructions and cache misses of an operation, bytes of a connection that waits.

use std::path::{Path, PathBuf};

use mirage_bench::figures::Figure;

use crate::valgrind::{self, Counts, count, in_use};
use crate::{Bench, Result, build};

/// Bytes of the simulated last level of the cache: what a core has for itself on servers of today.
const CACHE: usize = 1 << 20;

/// The programs that are counted.
struct Programs {
    own: PathBuf,
    own_ipv6: PathBuf,
    smol: PathBuf,
    plain: PathBuf,
}

/// All figures of this part.
pub fn all(bench: &Bench) -> Result<Vec<Figure>> {
    if !valgrind::is_there() {
        println!("SKIPPED: the part `memory` counts with callgrind, and there is none: install valgrind");
        return Ok(Vec::new());
    }
    let programs = Programs {
        own: build::stack(true),
        own_ipv6: build::stack_with_ipv6(),
        smol: build::stack(false),
        plain: build::smoltcp(),
    };
    let mut figures = echo(bench, &programs)?;
    figures.extend(bulk(bench, &programs)?);
    figures.extend(idle(&programs)?);
    Ok(figures)
}

/// Requests and answers of 64 bytes on 10 of many connections.
fn echo(bench: &Bench, programs: &Programs) -> Result<Vec<Figure>> {
    println!("\n64-byte echo in memory, 10 active connections, instructions for each");
    println!("  {:34} {:>12} {:>12} {:>12}", "connections", 10, 1000, 10_000);
    let rounds = if bench.quick { "20" } else { "100" };
    let row = |name: &str, program: &Path, load: &str, batch: &str, sums: &str| -> Result<[f64; 3]> {
        let mut found = [0.0; 3];
        for (connections, place) in ["10", "1000", "10000"].iter().zip(&mut found) {
            *place = count(program, &[load, connections, batch, rounds, sums, "0"], None)?.instructions;
        }
        let [ten, thousand, most] = found;
        println!("  {name:34} {ten:12.0} {thousand:12.0} {most:12.0}");
        Ok(found)
    };
    let own = row("own stack and handles, 10 at a time", &programs.own, "loop", "10", "sums")?;
    row("the same, checksum offload", &programs.own, "loop", "10", "offload")?;
    row("with a task for each, 10 at a time", &programs.own, "echo", "10", "sums")?;
    row("with a task for each, one at a time", &programs.own, "echo", "1", "sums")?;
    row("smoltcp's machine, with tasks, 10", &programs.smol, "echo", "10", "sums")?;
    row("plain smoltcp, 10 at a time", &programs.plain, "loop", "10", "sums")?;
    row("plain smoltcp, one at a time", &programs.plain, "loop", "1", "sums")?;
    let misses = |connections: &str| -> Result<Counts> {
        count(&programs.own, &["echo", connections, "10", rounds, "sums", "0"], Some(CACHE))
    };
    let (few, many) = (misses("10")?.misses, misses("10000")?.misses);
    println!("  misses of a last level of {CACHE} bytes: {few:.2} with 10 connections, {many:.2} with 10,000");
    Ok(vec![
        Figure::at_most("echo-instructions", Some(own[0]), 1100.0),
        Figure::at_most("echo-10000-of-10", Some(own[2] / own[0]), 1.05),
        // Misses of less than one in ten echoes are none.
        Figure::at_most("echo-misses-10000-of-10", Some(many.max(0.1) / few.max(0.1)), 1.3),
    ])
}

/// One connection with all that it can carry.
fn bulk(bench: &Bench, programs: &Programs) -> Result<Vec<Figure>> {
    let rounds = if bench.quick { "50" } else { "500" };
    println!("\nbulk in memory, checksum offload, instructions for each 1460 bytes");
    println!("  {:34} {:>12} {:>12} {:>12}", "", "own", "smoltcp's", "plain");
    let row = |name: &str, words: [&str; 6], plain: bool| -> Result<f64> {
        let of = |program: &Path| Ok::<f64, Box<dyn std::error::Error>>(count(program, &words, None)?.instructions);
        let (own, smol) = (of(&programs.own)?, of(&programs.smol)?);
        let plain = if plain { format!("{:.0}", of(&programs.plain)?) } else { "-".to_owned() };
        println!("  {name:34} {own:12.0} {smol:12.0} {plain:>12}");
        Ok(own)
    };
    let look = row("receive, 16 frames at a time", ["receive", "1", "16", rounds, "offload", "0"], true)?;
    let take = row("the same, pages taken", ["take", "1", "16", rounds, "offload", "0"], false)?;
    let joined = ["receive", "1", "1", rounds, "offload", "65535"];
    let whole = row("receive, put together (LRO)", joined, false)?;
    row("the same, pages taken", ["take", "1", "1", rounds, "offload", "65535"], false)?;
    row("receive, one frame at a time", ["receive", "1", "1", rounds, "offload", "0"], true)?;
    row("send, acknowledged by two", ["send", "1", "2", rounds, "offload", "0"], true)?;
    row("send, cut by the device (TSO)", ["send", "1", "44", rounds, "offload", "65535"], false)?;
    let give = row("the same, pages given", ["give", "1", "44", rounds, "offload", "65535"], false)?;
    let row_ipv6 = |name: &str, words: [&str; 6]| -> Result<f64> {
        let own = count(&programs.own_ipv6, &[&words[..], &["ipv6"]].concat(), None)?.instructions;
        println!("  {name:34} {own:12.0} {:>12} {:>12}", "-", "-");
        Ok(own)
    };
    let look_ipv6 = row_ipv6("receive over IPv6, 16 at a time", ["receive", "1", "16", rounds, "offload", "0"])?;
    let whole_ipv6 = row_ipv6("receive over IPv6 (LRO)", joined)?;
    let give_ipv6 = row_ipv6("send over IPv6 (TSO), pages given", ["give", "1", "44", rounds, "offload", "65535"])?;
    Ok(vec![
        // Small frames are copied for less than it takes to hand their pages on.
        Figure::at_most("receive-instructions", Some(look.min(take)), 700.0),
        Figure::at_most("receive-lro-instructions", Some(whole), 700.0),
        Figure::at_most("send-tso-instructions", Some(give), 250.0),
        Figure::at_most("receive-instructions-ipv6", Some(look_ipv6), 700.0),
        Figure::at_most("receive-lro-instructions-ipv6", Some(whole_ipv6), 700.0),
        Figure::at_most("send-tso-instructions-ipv6", Some(give_ipv6), 250.0),
    ])
}

/// Connections that wait. The lists of the stack grow by doubling: between two powers of two they are full.
fn idle(programs: &Programs) -> Result<Vec<Figure>> {
    println!("\nbytes of the heap of a connection that waits");
    println!("  {:34} {:>12} {:>12}", "", "own", "smoltcp's");
    let each = |program: &Path, load: &str| -> Result<f64> {
        let all = |connections: &str| in_use(program, &[load, connections, "1", "1", "offload", "0"]);
        Ok((all("8192")? - all("4096")?) / 4096.0)
    };
    let stack = each(&programs.own, "kept")?;
    println!("  {:34} {stack:12.0} {:12.0}", "stack and handle, never used", each(&programs.smol, "kept")?);
    let used = each(&programs.own, "idle")?;
    println!("  {:34} {used:12.0} {:12.0}", "the same with a task, used once", each(&programs.smol, "idle")?);
    Ok(vec![Figure::at_most("idle-connection-bytes", Some(stack), 512.0)])
}
