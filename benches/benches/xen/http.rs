//! A page of about 1 KiB over HTTP: examples/static-site beside nginx, which has the same bytes in memory (`return 200`). `ab` in
//! dom0 is the client of both.

use std::net::Ipv4Addr;
use std::path::Path;

use mirage_bench::figures::{Figure, Samples};
use mirage_lab::Domain;

use crate::{Bench, LINUX, LONG, MEMORY, OURS, Result, head, row};

/// Where nginx has the page; static-site has it at its default port.
const PORTS: [u16; 2] = [8080, 8083];

/// A kind of load: its name, ab's words for it, requests of a round, the least ratio of their rates.
struct Load {
    name: &'static str,
    words: &'static str,
    requests: u32,
    faster: f64,
}

const LOADS: [Load; 3] = [
    Load { name: "http-c4", words: "-k -c 4", requests: 6000, faster: 1.3 },
    Load { name: "http-c32", words: "-k -c 32", requests: 6000, faster: 1.15 },
    Load { name: "http-new", words: "-c 4", requests: 1500, faster: 1.3 },
];

/// All loads.
pub fn all(bench: &Bench, image: &Path) -> Result<Vec<Figure>> {
    // The address was another domain's.
    bench.lab.dom0_checked("ip neigh flush dev xenbr0")?;
    let words = format!("--ipv4 {OURS}/24 --ipv4-gateway 10.0.2.2");
    let ours = bench.lab.domain(image).memory(MEMORY).vif().cmdline(&words).start()?;
    ours.console().wait_for("serving on", LONG)?;
    nginx(bench)?;
    let mut figures = Vec::new();
    head("HTTP, one page of 910 bytes, ab in dom0", bench);
    for load in &LOADS {
        let (mut costs, mut rates) = (<[Samples; 2]>::default(), <[Samples; 2]>::default());
        for round in 0..bench.rounds {
            for place in 0..2 {
                let who = (round + place) % 2;
                let domain = if who == 0 { &ours } else { &bench.linux };
                let (cost, rate) = run(bench, load, domain, [OURS, LINUX][who], PORTS[who])?;
                costs[who].push(cost);
                rates[who].push(rate);
            }
        }
        let name = load.name;
        let cost = row(name, "us/request", &costs[0], &costs[1]);
        let rate = row("", "request/s", &rates[0], &rates[1]);
        figures.push(Figure::at_most(&format!("{name}-cpu-of-linux"), cost, 1.0 / 3.0));
        figures.push(Figure::at_least(&format!("{name}-rate-of-linux"), rate, load.faster));
    }
    Ok(figures)
}

/// A second nginx in the Linux domU, with static-site's page.
fn nginx(bench: &Bench) -> Result {
    let page = include_str!("../../../examples/static-site/htdocs/index.html");
    let quoted = page.replace('\\', "\\\\").replace('"', "\\\"");
    let config = format!(
        "user root; daemon on; worker_processes 1; pid /run/page.pid; error_log /dev/null; \
         events {{ worker_connections 512; }} \
         http {{ access_log off; keepalive_requests 1000000; default_type text/html; \
         server {{ listen {}; location / {{ return 200 \"{quoted}\"; }} }} }}",
        PORTS[1]
    );
    bench.lab.linux_run(LINUX, &format!("cat > /page.conf <<'END'\n{config}\nEND\nnginx -c /page.conf"), LONG)?;
    Ok(())
}

/// Processor time of the guest for each request in microseconds, and requests in a second.
fn run(bench: &Bench, load: &Load, domain: &Domain, address: Ipv4Addr, port: u16) -> Result<(f64, f64)> {
    let Load { words, requests, .. } = load;
    let before = bench.lab.sample(&[])?;
    let printed = bench.lab.dom0_checked(&format!("ab -q {words} -n {requests} http://{address}:{port}/"))?;
    let after = bench.lab.sample(&[])?;
    let number = |line: &str| -> Option<f64> {
        let (_, rest) = printed.lines().find_map(|text| text.split_once(line))?;
        rest.split_ascii_whitespace().next()?.parse().ok()
    };
    let complete = number("Complete requests:") == Some(f64::from(*requests));
    if !complete || number("Failed requests:") != Some(0.0) || printed.contains("Non-2xx") {
        return Err(format!("{}: not all requests were answered: {printed}", load.name).into());
    }
    let cpu = |sample: &mirage_lab::Sample| sample.cpu_ns(domain.number());
    let (Some(from), Some(to)) = (cpu(&before), cpu(&after)) else {
        return Err(format!("domain {} was gone:\n{}", domain.number(), domain.console().text()).into());
    };
    let rate = number("Requests per second:").ok_or("ab says no rate")?;
    Ok((to.saturating_sub(from) as f64 / 1e3 / f64::from(*requests), rate))
}
