//! Devices that go and come while they are used.

use mirage_lab::Service;

use super::{LONG, Outcome, Soak, interface, told};

/// The only interface of a domain, with connections over it.
pub fn networks(soak: &Soak<'_>) -> Outcome {
    let echo = soak.echo(60, 16)?;
    let traffic = soak.traffic(&echo);
    traffic.goes_on(20, LONG)?;
    for round in 1..=soak.length.hotplugs {
        let problem = |error| format!("round {round}: {error}\n{}", echo.domain.console().text());
        echo.domain.network_detach("0").map_err(problem)?;
        echo.domain.network_attach(&interface(echo.address)).map_err(problem)?;
        traffic.goes_on(20, LONG).map_err(problem)?;
    }
    let report = traffic.stop()?;
    Ok(format!("{} times: {}", soak.length.hotplugs, told(&report)))
}

/// The only disk of a domain, while patterns are written and verified. What fails while it is away is done again; what was
/// flushed before is there afterwards, and no request is lost.
pub fn disks(soak: &Soak<'_>) -> Outcome {
    let block = soak.block(68)?;
    let traffic = soak.disk_traffic(&block, Service::DetachedBlock);
    traffic.goes_on(4, LONG)?;
    let name = block.domain.name();
    for round in 1..=soak.length.hotplugs {
        let problem = |error| format!("round {round}: {error}\n{}", block.domain.console().text());
        block.domain.block_detach("xvda").map_err(problem)?;
        // The same file: what is on it stays.
        let again = format!(
            "xl block-attach {name} 'format=raw,vdev=xvda,access=rw,backendtype=phy,script=block-lab,target=/tmp/{name}.xvda'"
        );
        soak.lab.dom0_checked(&again).map_err(problem)?;
        traffic.goes_on(4, LONG).map_err(problem)?;
    }
    let report = traffic.stop()?;
    Ok(format!("{} times: {}", soak.length.hotplugs, told(&report)))
}
