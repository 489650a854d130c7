//! TCP in bulk on one connection, each way: our stack on a tap device with and without offloads, a plain smoltcp interface on one,
//! and Linux over a pair of veth interfaces without offloads.

use std::path::Path;
use std::process::Command;

use mirage_bench::figures::{Figure, Samples};

use crate::namespace::Namespace;
use crate::programs::{Load, Server, command};
use crate::{Bench, Result, build};

/// Which way the bytes go.
struct Way {
    name: &'static str,
    /// What the server is.
    server: &'static str,
    /// What its client does.
    client: &'static str,
    /// How much faster than plain smoltcp ours without offloads is to be.
    plain_goal: f64,
}

const WAYS: [Way; 2] = [
    Way { name: "receive", server: "sink", client: "send", plain_goal: 1.3 },
    Way { name: "send", server: "source", client: "receive", plain_goal: 2.5 },
];

/// A server that is measured, with the namespace that it is in.
struct Row<'a> {
    name: &'static str,
    namespace: &'a Namespace,
    command: Command,
    ready: &'static str,
    address: &'static str,
    /// Gigabits in a second.
    rate: Samples,
    /// Seconds of the server's processor time for a gigabyte, and of that of the whole machine.
    server: Samples,
    machine: Samples,
}

impl<'a> Row<'a> {
    fn new(
        name: &'static str,
        namespace: &'a Namespace,
        command: Command,
        ready: &'static str,
        address: &'static str,
    ) -> Row<'a> {
        let samples = Samples::default;
        Row { name, namespace, command, ready, address, rate: samples(), server: samples(), machine: samples() }
    }

    fn measure(&mut self, bench: &Bench, clients: &Namespace, way: &Way) -> Result {
        let server = Server::start(self.namespace, &self.command, Some(self.ready))?;
        let (warmup, measured) = if bench.quick { ("200", "500") } else { ("500", "2000") };
        let client = command(build::peer("load-bulk"), &[way.client, self.address, warmup, measured]);
        let load = Load::run(clients, &client, &server).map_err(|error| format!("{}: {error}", self.name))?;
        let (gigabytes, seconds) = (load.number(0)? / 1e9, load.number(1)?);
        self.rate.push(gigabytes * 8.0 / seconds);
        self.server.push(load.server / gigabytes);
        self.machine.push(load.machine / gigabytes);
        Ok(())
    }
}

/// All figures of this part.
pub fn tap(bench: &Bench) -> Result<Vec<Figure>> {
    let program = build::bulk();
    let near = Namespace::new()?;
    (1..=3).try_for_each(|number| near.tap(number))?;
    let far = linux(&near)?;
    let mut figures = Vec::new();
    for way in &WAYS {
        figures.extend(one_way(bench, way, &program, &near, far.as_ref())?);
    }
    Ok(figures)
}

fn one_way(bench: &Bench, way: &Way, program: &Path, near: &Namespace, far: Option<&Namespace>) -> Result<Vec<Figure>> {
    let ours = |interface: &str, address: &str| {
        command(program, &["--mode", way.server, "--interface", interface, "--ipv4", address])
    };
    let mut plain = ours("tap2", "10.2.0.2/24");
    plain.env("MIRAGE_OFFLOADS", "none");
    let smoltcp = command(build::peer("smoltcp-tap"), &["tap3", "10.3.0.2:5201", "1", way.server]);
    let mut rows = vec![
        Row::new("ours, offloads", near, ours("tap1", "10.1.0.2/24"), way.server, "10.1.0.2:5201"),
        Row::new("ours, no offloads", near, plain, way.server, "10.2.0.2:5201"),
        Row::new("plain smoltcp", near, smoltcp, "serving", "10.3.0.2:5201"),
    ];
    if let Some(far) = far {
        let linux = command(build::peer("linux-bulk"), &[way.server, "10.9.0.2:5201"]);
        rows.push(Row::new("Linux, veth, no offloads", far, linux, "serving", "10.9.0.2:5201"));
    }
    for _ in 0..bench.rounds() {
        for row in &mut rows {
            row.measure(bench, near, way)?;
        }
    }
    println!("\nbulk TCP on a tap device: {}", way.name);
    print(&rows);
    let rate = |own: usize, other: usize| rows.get(other).and_then(|other| rows[own].rate.ratio(&other.rate));
    let cost = rows.get(3).and_then(|linux| rows[0].machine.ratio(&linux.machine));
    let name = |what: &str| format!("bulk-{}-{what}", way.name);
    Ok(vec![
        Figure::at_least(&name("offloads-of-smoltcp"), rate(0, 2), 3.0),
        Figure::at_least(&name("offloads-of-linux"), rate(0, 3), 1.0),
        Figure::at_most(&name("offloads-cpu-of-linux"), cost, 1.0),
        Figure::at_least(&name("plain-of-smoltcp"), rate(1, 2), way.plain_goal),
    ])
}

/// Prints all rows, the first beside the others.
fn print(rows: &[Row<'_>]) {
    println!(
        "  {:26} {:>22} {:>24} {:>24} {:>6} {:>6} {:>6}",
        "min / median / max", "Gbit/s", "CPU s/GB, server", "CPU s/GB, machine", "rate", "CPU", "CPU"
    );
    let Some(own) = rows.first() else { return };
    for row in rows {
        let ratio = |own: &Samples, other: &Samples| own.ratio(other).map_or("-".into(), |ratio| format!("{ratio:.2}"));
        println!(
            "  {:26} {:>22} {:>24} {:>24} {:>6} {:>6} {:>6}",
            row.name,
            row.rate.to_string(),
            row.server.to_string(),
            row.machine.to_string(),
            ratio(&own.rate, &row.rate),
            ratio(&own.server, &row.server),
            ratio(&own.machine, &row.machine)
        );
    }
    println!(
        "  the last three: {} divided by this row; what the client and the kernel do is in the machine's CPU",
        own.name
    );
}

/// A namespace at the other end of a pair of veth interfaces, whose near end is 10.9.0.1; `None` without a way to turn offloads off.
fn linux(near: &Namespace) -> Result<Option<Namespace>> {
    let ethtool = match mirage_lab::Programs::fetch().and_then(|programs| programs.command("ethtool")) {
        Ok(ethtool) => ethtool,
        Err(error) => {
            println!("LEFT OUT: Linux over veth, for which ethtool is needed, which is in Debian's packages: {error}");
            return Ok(None);
        }
    };
    let far = near.neighbour()?;
    near.ip(&format!("link add veth0 type veth peer name veth0 netns {}", far.pid()))?;
    for (namespace, number) in [(near, 1), (&far, 2)] {
        let mut settings = Command::new(ethtool.get_program());
        settings.args(ethtool.get_args()).args(["-K", "veth0", "tso", "off", "gso", "off", "gro", "off"]);
        namespace.run(&settings)?;
        namespace.ip(&format!("address add 10.9.0.{number}/24 dev veth0"))?;
        namespace.ip("link set veth0 up")?;
    }
    Ok(Some(far))
}
