//! Everything at once, for long: what is used at the end is what was used at the start.

use std::time::{Duration, Instant};

use mirage_lab::Service;

use super::{LONG, Outcome, Soak, told};

/// Traffic on connections that stay, patterns on a disk, connections that come and go, and pings.
pub fn run(soak: &Soak<'_>) -> Outcome {
    let echo = soak.echo(67, 16)?;
    let block = soak.block(69)?;
    let (traffic, writes) = (soak.traffic(&echo), soak.disk_traffic(&block, Service::Block));
    traffic.goes_on(20, LONG)?;
    writes.goes_on(4, LONG)?;
    let start = Instant::now();
    let before = dom0_memory(soak)?;
    let mut others = 0;
    while start.elapsed() < soak.length.mixed {
        let server = std::net::SocketAddrV4::new(echo.address, super::ECHO_PORT);
        let short = soak.lab.traffic(Service::Echo, server, 8, 20_000, Duration::ZERO);
        short.goes_on(50, LONG)?;
        others += short.stop()?.open;
        let ping = soak.lab.dom0_checked(&format!("ping -c 20 -i 0.05 -q -s 1400 {}", echo.address))?;
        if !ping.contains(" 0% packet loss") {
            return Err(format!("pings were lost: {ping}").into());
        }
        traffic.goes_on(1, LONG)?;
        writes.goes_on(1, LONG)?;
    }
    let (report, writes) = (traffic.stop()?, writes.stop()?);
    let after = dom0_memory(soak)?;
    Ok(format!(
        "{} s, {others} connections came and went; {}; disk: {}; dom0's memory in use {before} KiB before, {after} KiB after",
        start.elapsed().as_secs(),
        told(&report),
        told(&writes)
    ))
}

/// What of dom0's memory is in use and can't be given back, in KiB.
fn dom0_memory(soak: &Soak<'_>) -> Result<i64, Box<dyn std::error::Error>> {
    let script = "sync; echo 3 > /proc/sys/vm/drop_caches; awk '/^MemTotal/ { t = $2 } /^MemAvailable/ { a = $2 } END { print t - a }' /proc/meminfo";
    Ok(soak.lab.dom0_checked(script)?.trim().parse()?)
}
