//! Domains that are suspended in the middle of their work and go on elsewhere.

use super::{LONG, Outcome, Soak, told};

/// To a file and back.
pub fn saves(soak: &Soak<'_>) -> Outcome {
    let mut echo = soak.echo(64, 16)?;
    let traffic = soak.traffic(&echo);
    traffic.goes_on(20, LONG)?;
    for round in 1..=soak.length.saves {
        let saved = echo.domain.save().and_then(|()| echo.domain.restore());
        saved
            .and_then(|()| traffic.goes_on(20, LONG).map(drop))
            .map_err(|error| format!("round {round}: {error}\n{}", echo.domain.console().text()))?;
    }
    let report = traffic.stop()?;
    Ok(format!("{} times: {}", soak.length.saves, told(&report)))
}

/// To another domain of the same machine, while it runs.
pub fn migrations(soak: &Soak<'_>) -> Outcome {
    let mut echo = soak.echo(65, 16)?;
    let traffic = soak.traffic(&echo);
    traffic.goes_on(20, LONG)?;
    for round in 1..=soak.length.migrations {
        let migrated = echo.domain.migrate();
        migrated
            .and_then(|()| traffic.goes_on(20, LONG).map(drop))
            .map_err(|error| format!("round {round}: {error}\n{}", echo.domain.console().text()))?;
    }
    let report = traffic.stop()?;
    Ok(format!("{} times: {}", soak.length.migrations, told(&report)))
}
