//! Many domains, one after the other: nothing of them stays.

use std::time::Duration;

use mirage_lab::Service;

use super::leaks::Holdings;
use super::{Outcome, Soak};

/// Domains of 4 MiB with an interface and a disk, each of which has served a connection before it is destroyed.
pub fn run(soak: &Soak<'_>) -> Outcome {
    // The first one fills what is kept on purpose: programs in dom0's page cache, slabs, the bridge's tables.
    one(soak, 0)?;
    let before = settled(soak, None)?;
    for round in 1..=soak.length.domains {
        one(soak, round)?;
    }
    let after = settled(soak, Some(&before))?;
    match before.leaks(&after) {
        leaks if leaks.is_empty() => Ok(format!("{} times, no leak: {after}", soak.length.domains)),
        leaks => Err(format!("after {} domains: {}", soak.length.domains, leaks.join("; ")).into()),
    }
}

fn one(soak: &Soak<'_>, round: u32) -> Result<(), Box<dyn std::error::Error>> {
    let address = std::net::Ipv4Addr::new(10, 0, 2, 66);
    let domain = soak.echo_builder(address, 4).blank_disk("xvda", 1).start()?;
    let problem = |error| format!("domain {round}: {error}\n{}", domain.console().text());
    domain.console().wait_for("echoing on", super::LONG).map_err(|error| problem(error.to_string()))?;
    let server = std::net::SocketAddrV4::new(address, super::ECHO_PORT);
    let traffic = soak.lab.traffic(Service::Echo, server, 1, 1000, Duration::ZERO);
    traffic.goes_on(2, super::LONG).map_err(|error| problem(error.to_string()))?;
    traffic.stop().map_err(|error| problem(error.to_string()))?;
    Ok(domain.destroy()?)
}

/// What is held when the kernel's work for the last domain is done, which goes on for a moment after `xl destroy`.
fn settled(soak: &Soak<'_>, before: Option<&Holdings>) -> Result<Holdings, Box<dyn std::error::Error>> {
    let mut last = Holdings::count(soak.lab)?;
    for _ in 0..20 {
        soak.lab.dom0_checked("usleep 500000")?;
        let now = Holdings::count(soak.lab)?;
        if before.map_or(now == last, |before| before.leaks(&now).is_empty()) {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
