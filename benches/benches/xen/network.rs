//! Networks: netfront alone, TCP through the stack, and pings, beside the Linux domU. The other end is in dom0, and is the
//! same for both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::thread;
use std::time::Duration;

use mirage_bench::figures::{Figure, Samples};
use mirage_lab::{Domain, Sample};

use crate::rate::{Rate, Shares, measure};
use crate::{Bench, LINUX, LONG, MEMORY, OURS, Result, head, row};

/// Headers of a segment over IPv4, as it is counted at the interface, and what IPv6 has more.
const HEADERS: u64 = 14 + 20 + 32;
const HEADERS_V6: u64 = 20;

/// Whether the guest receives or sends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::In => "in",
            Way::Out => "out",
        }
    }
}

/// netfront alone: a guest that moves segments without a stack, beside Linux's iperf3.
pub fn frames(bench: &Bench, image: &Path) -> Result<Vec<Figure>> {
    let words = format!("--ipv4 {OURS}/24");
    let ours = bench.lab.domain(image).memory(MEMORY).vif().cmdline(&words).start()?;
    ours.console().wait_for("serving frames", LONG)?;
    let mut figures = Vec::new();
    head("netfront alone, beside Linux's iperf3", bench);
    for six in [false, true] {
        for way in [Way::In, Way::Out] {
            let name = format!("frames-{}-v{}", way.name(), if six { 6 } else { 4 });
            let found = compare(
                bench,
                &name,
                &ours,
                |who| {
                    let address = if who == 0 { address(OURS, six) } else { address(LINUX, six) };
                    if who == 0 { raw_load(bench, address, way) } else { iperf(bench, address, way) }
                },
                way,
                six,
            )?;
            figures.push(Figure::at_least(&format!("{name}-bytes-per-cpu-of-linux"), found.bytes_per_cpu, 2.0));
            let name = format!("{name}-packets-per-notification-of-linux");
            figures.push(Figure::at_least(&name, found.packets_per_notification, 1.0));
        }
    }
    Ok(figures)
}

/// The stack: iperf3 in dom0 to a guest that speaks iperf3's protocol, and to Linux's; and pings.
pub fn stack(bench: &Bench, image: &Path, bulk: bool, pings: bool) -> Result<Vec<Figure>> {
    let own = address(OURS, true);
    let words = format!("--ipv4 {OURS}/24 --ipv4-gateway 10.0.2.2 --ipv6 {own}/64 --mode iperf3");
    // The address was another domain's.
    bench.lab.dom0_checked("ip neigh flush dev xenbr0")?;
    let ours = bench.lab.domain(image).memory(MEMORY).vif().cmdline(&words).start()?;
    ours.console().wait_for("iperf3 on port", LONG)?;
    let mut figures = Vec::new();
    if bulk {
        head("TCP through the stack, iperf3 at both ends", bench);
        for six in [false, true] {
            for way in [Way::In, Way::Out] {
                let name = format!("bulk-{}-v{}", way.name(), if six { 6 } else { 4 });
                let load = |who| iperf(bench, address(if who == 0 { OURS } else { LINUX }, six), way);
                let found = compare(bench, &name, &ours, load, way, six)?;
                figures.push(Figure::at_least(&format!("{name}-of-linux"), found.rate, 1.0));
                let cost = found.bytes_per_cpu.map(|efficiency| 1.0 / efficiency);
                figures.push(Figure::at_most(&format!("{name}-cpu-of-linux"), cost, 1.0));
            }
        }
    }
    if pings {
        figures.push(ping(bench)?);
    }
    Ok(figures)
}

/// Gives dom0 and Linux addresses of version 6; ours are the IPv4 addresses behind fd00::/96, and so are these.
pub fn families(bench: &Bench) -> Result {
    bench.lab.dom0_checked(
        "cd /proc/sys/net/ipv6/conf/xenbr0; echo 0 > accept_dad; echo 0 > disable_ipv6; ip address add fd00::1/64 dev xenbr0",
    )?;
    let own = address(LINUX, true);
    let script = format!("echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad; ip address add {own}/64 dev eth0");
    bench.lab.linux_run(LINUX, &script, LONG)?;
    Ok(())
}

fn address(address: Ipv4Addr, six: bool) -> IpAddr {
    let [a, b, c, d] = address.octets();
    let halves = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
    let mapped = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, halves[0], halves[1]);
    if six { mapped.into() } else { address.into() }
}

/// A running load, and how it is ended.
type Running = thread::JoinHandle<std::result::Result<(), String>>;

fn seconds(bench: &Bench) -> u64 {
    (bench.settle + bench.window + bench.rest).as_secs()
}

/// iperf3's client in dom0.
fn iperf(bench: &Bench, address: IpAddr, way: Way) -> Running {
    let reverse = if way == Way::Out { "-R" } else { "" };
    let script = format!("iperf3 -c {address} -t {} {reverse}", seconds(bench));
    let lab = bench.lab.clone();
    thread::spawn(move || lab.dom0_checked(&script).map(drop).map_err(|error| format!("{script}: {error}")))
}

/// As much as dom0 can send to, or take from, the guest that has no stack.
fn raw_load(bench: &Bench, address: IpAddr, way: Way) -> Running {
    let copy = match way {
        Way::In => format!("exec dd if=/dev/zero bs=1M > /dev/tcp/{address}/10"),
        Way::Out => format!("exec dd bs=1M of=/dev/null < /dev/tcp/{address}/20"),
    };
    // It has no end: that is the timeout's.
    let script = format!("timeout {} bash -c '{copy}'", seconds(bench));
    let lab = bench.lab.clone();
    thread::spawn(move || lab.dom0(&script).map(drop).map_err(|error| format!("{script}: {error}")))
}

/// Ours in relation to Linux's.
struct Found {
    rate: Option<f64>,
    bytes_per_cpu: Option<f64>,
    packets_per_notification: Option<f64>,
}

fn compare(
    bench: &Bench,
    name: &str,
    ours: &Domain,
    start: impl Fn(usize) -> Running,
    way: Way,
    six: bool,
) -> Result<Found> {
    let (mut rates, mut efficiency, mut batches, mut shares) =
        (<[Samples; 2]>::default(), <[Samples; 2]>::default(), <[Samples; 2]>::default(), <[Shares; 2]>::default());
    for round in 0..bench.rounds {
        for place in 0..2 {
            let who = (round + place) % 2;
            let domain = if who == 0 { ours } else { &bench.linux };
            let events = Events::before(bench, domain, who)?;
            let running = start(who);
            let number = domain.number();
            let rate = measure(bench, domain, &counters(number, way), |sample, index| counted(sample, index, number))?;
            running.join().map_err(|_| "the load's thread panicked")??;
            let bytes = payload(&rate, six);
            if bytes < 1e6 {
                return Err(format!("{name}: no traffic\n{}", domain.console().text()).into());
            }
            rates[who].push(bytes * 8.0 / rate.seconds / 1e6);
            efficiency[who].push(bytes / 1e6 / (rate.guest_ns / 1e9));
            if let Some(batch) = events.packets_for_each(bench, domain, who, way, &rate)? {
                batches[who].push(batch);
            }
            shares[who].push(&rate);
        }
    }
    let rate = row(name, "Mbit/s", &rates[0], &rates[1]);
    let bytes_per_cpu = row("", "MB/CPU s", &efficiency[0], &efficiency[1]);
    let packets_per_notification = row("", "pkt/event", &batches[0], &batches[1]);
    println!("  {:34} the processor: ours {}; Linux {}", "", shares[0], shares[1]);
    Ok(Found { rate, bytes_per_cpu, packets_per_notification })
}

/// The interface's counters in dom0, whose receiving is the guest's sending, and dom0's interrupts.
fn counters(domain: u32, way: Way) -> Vec<String> {
    let prefix = if way == Way::In { "tx" } else { "rx" };
    let statistics = format!("/sys/class/net/vif{domain}.0/statistics");
    vec![
        format!("{statistics}/{prefix}_bytes"),
        format!("{statistics}/{prefix}_packets"),
        "/proc/interrupts".to_owned(),
    ]
}

fn payload(rate: &Rate, six: bool) -> f64 {
    let headers = HEADERS + if six { HEADERS_V6 } else { 0 };
    rate.counts[0].saturating_sub(rate.counts[1] * headers) as f64
}

fn counted(sample: &Sample, index: usize, domain: u32) -> u64 {
    match index {
        // Of the two event channels, the one of what the guest sends.
        2 => interrupts(sample.files.get(2).map_or("", String::as_str), &format!("vif{domain}.0"), "-rx"),
        _ => sample.number(index),
    }
}

/// The interrupts of a device in the text of /proc/interrupts, without those whose line ends so.
fn interrupts(text: &str, device: &str, without: &str) -> u64 {
    let of_device = text.lines().map(str::trim_end).filter(|line| line.contains(device) && !line.ends_with(without));
    of_device.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// Events of the guest before a load. What it takes, only the guest knows: Linux in /proc/interrupts, ours at the end of a
/// connection, if it has no stack.
struct Events {
    packets: u64,
    taken: u64,
    lines: usize,
}

/// How the line starts that says what the device had to do.
const DEVICE: &str = "device: received ";

impl Events {
    fn before(bench: &Bench, domain: &Domain, who: usize) -> Result<Events> {
        let lines = domain.console().text().matches(DEVICE).count();
        let (packets, taken) = if who == 0 { (0, 0) } else { Events::of_linux(bench, domain)? };
        Ok(Events { packets, taken, lines })
    }

    fn of_linux(bench: &Bench, domain: &Domain) -> Result<(u64, u64)> {
        let taken = interrupts(&bench.lab.linux_run(LINUX, "cat /proc/interrupts", LONG)?, "vif0-", "nothing");
        let packets = bench.lab.sample(&[&counters(domain.number(), Way::In)[1]])?.number(0);
        Ok((packets, taken))
    }

    /// Packets for each notification: that the guest took, or that dom0 took from the guest.
    fn packets_for_each(
        &self,
        bench: &Bench,
        domain: &Domain,
        who: usize,
        way: Way,
        rate: &Rate,
    ) -> Result<Option<f64>> {
        let ratio = |packets: u64, events: u64| (events > 0).then(|| packets as f64 / events as f64);
        if way == Way::Out {
            return Ok(ratio(rate.counts[1], rate.counts[2]));
        }
        if who == 1 {
            let (packets, taken) = Events::of_linux(bench, domain)?;
            return Ok(ratio(packets - self.packets, taken - self.taken));
        }
        // The line comes when the connection has ended; a guest with a stack prints none.
        for _ in 0..100 {
            let text = domain.console().text();
            if let Some(line) = text.lines().filter(|line| line.contains(DEVICE)).nth(self.lines) {
                let numbers = line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u64>().ok());
                let numbers: Vec<u64> = numbers.collect();
                let [received, .., taken] = numbers[..] else { return Ok(None) };
                return Ok(ratio(received, taken));
            }
            if text.contains("iperf3 on port") {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(None)
    }
}

/// Round trips of pings from dom0.
fn ping(bench: &Bench) -> Result<Figure> {
    let mut trips = <[Samples; 2]>::default();
    head("ping from dom0, means of 40", bench);
    for round in 0..bench.rounds {
        for place in 0..2 {
            let who = (round + place) % 2;
            let address = if who == 0 { OURS } else { LINUX };
            let printed = bench
                .lab
                .dom0_checked(&format!("ping -c 2 -q {address} >/dev/null; ping -c 40 -i 0.03 -q {address}"))?;
            trips[who].push(mean(&printed).ok_or_else(|| format!("ping was not answered: {printed}"))?);
        }
    }
    Ok(Figure::at_most("ping-of-linux", row("ping", "ms", &trips[0], &trips[1]), 1.05))
}

/// The mean in the last line of what ping prints: `round-trip min/avg/max = 0.5/0.7/1.2 ms`.
fn mean(printed: &str) -> Option<f64> {
    let (_, numbers) = printed.rsplit_once("min/avg/max = ")?;
    numbers.split('/').nth(1)?.parse().ok()
}
