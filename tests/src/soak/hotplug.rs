//! Devices that go and come while they are used.

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
