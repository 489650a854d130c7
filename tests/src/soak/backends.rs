//! Linux's backend drivers let go of a device and take it again, as when a driver domain is restarted.

use mirage_lab::Service;

use super::{LONG, Outcome, Soak, told};

/// netback with connections over it, and blkback with a disk in use.
pub fn run(soak: &Soak<'_>) -> Outcome {
    let (echo, block) = (soak.echo(61, 16)?, soak.block(58)?);
    let (traffic, writes) = (soak.traffic(&echo), soak.disk_traffic(&block, Service::Block));
    traffic.goes_on(20, LONG)?;
    writes.goes_on(4, LONG)?;
    let number = echo.domain.number();
    // What the toolstack's script does for a new interface has to be done again: it is not started for an old device.
    let network = format!(
        "cd /sys/bus/xen-backend/drivers/vif
         echo vif-{number}-0 > unbind; echo vif-{number}-0 > bind
         tries=0
         until ip link set dev vif{number}.0 master xenbr0 up 2>/dev/null; do
             tries=$((tries + 1)); [ $tries -lt 500 ] || exit 1; usleep 20000
         done
         xenstore-write /local/domain/0/backend/vif/{number}/0/hotplug-status connected"
    );
    let disk = format!(
        "cd /sys/bus/xen-backend/drivers/vbd
         echo vbd-{number}-51712 > unbind; echo vbd-{number}-51712 > bind",
        number = block.domain.number()
    );
    for round in 1..=soak.length.backends {
        let problem = |error| {
            format!("round {round}: {error}\n{}{}", echo.domain.console().text(), block.domain.console().text())
        };
        soak.lab.dom0_checked(&network).map_err(problem)?;
        soak.lab.dom0_checked(&disk).map_err(problem)?;
        traffic.goes_on(20, LONG).map_err(problem)?;
        writes.goes_on(4, LONG).map_err(problem)?;
    }
    let (traffic, writes) = (traffic.stop()?, writes.stop()?);
    Ok(format!("{} times each: {}; disk: {}", soak.length.backends, told(&traffic), told(&writes)))
}
