//! Domains that are suspended in the middle of their work and go on elsewhere: one with connections, one with a disk.

use mirage_lab::{CommandError, Domain, Service};

use super::{LONG, Outcome, Soak, told};

/// To a file and back.
pub fn saves(soak: &Soak<'_>) -> Outcome {
    suspended(soak, soak.length.saves, |domain| domain.save().and_then(|()| domain.restore()))
}

/// To another domain of the same machine, while it runs.
pub fn migrations(soak: &Soak<'_>) -> Outcome {
    suspended(soak, soak.length.migrations, Domain::migrate)
}

/// The two take turns, the one with the disk first.
fn suspended(soak: &Soak<'_>, times: u32, suspend: impl Fn(&mut Domain) -> Result<(), CommandError>) -> Outcome {
    let (mut block, mut echo) = (soak.block(65)?, soak.echo(64, 16)?);
    let (traffic, writes) = (soak.traffic(&echo), soak.disk_traffic(&block, Service::Block));
    traffic.goes_on(20, LONG)?;
    writes.goes_on(4, LONG)?;
    for round in 1..=times {
        let server = if round % 2 == 1 { &mut block } else { &mut echo };
        let suspended = suspend(&mut server.domain);
        let told = server.domain.console();
        suspended.map_err(|error| format!("round {round}: {error}\n{}", told.text()))?;
        let problem = |error| {
            format!("round {round}: {error}\n{}{}", echo.domain.console().text(), block.domain.console().text())
        };
        traffic.goes_on(20, LONG).map_err(problem)?;
        writes.goes_on(4, LONG).map_err(problem)?;
    }
    let (traffic, writes) = (traffic.stop()?, writes.stop()?);
    Ok(format!("{times} times: {}; disk: {}", told(&traffic), told(&writes)))
}
