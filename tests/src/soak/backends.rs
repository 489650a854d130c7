//! Linux's backend drivers let go of a device and take it again, as when a driver domain is restarted.

use super::{LONG, Outcome, Soak, told};

/// netback, with connections over it.
pub fn run(soak: &Soak<'_>) -> Outcome {
    let echo = soak.echo(61, 16)?;
    let traffic = soak.traffic(&echo);
    traffic.goes_on(20, LONG)?;
    let number = echo.domain.number();
    for round in 1..=soak.length.backends {
        let problem = |error| format!("round {round}: {error}\n{}", echo.domain.console().text());
        // What the toolstack's script does for a new interface has to be done again: it is not started for an old device.
        let script = format!(
            "cd /sys/bus/xen-backend/drivers/vif
             echo vif-{number}-0 > unbind; echo vif-{number}-0 > bind
             tries=0
             until ip link set dev vif{number}.0 master xenbr0 up 2>/dev/null; do
                 tries=$((tries + 1)); [ $tries -lt 500 ] || exit 1; usleep 20000
             done
             xenstore-write /local/domain/0/backend/vif/{number}/0/hotplug-status connected"
        );
        soak.lab.dom0_checked(&script).map_err(problem)?;
        traffic.goes_on(20, LONG).map_err(problem)?;
    }
    let report = traffic.stop()?;
    Ok(format!("netback {} times: {}", soak.length.backends, told(&report)))
}
