//! A neighbour on the same bridge is destroyed in the middle of its traffic.

use super::{LONG, Outcome, Soak, told};

/// The neighbours' connections break, ours go on.
pub fn run(soak: &Soak<'_>) -> Outcome {
    let echo = soak.echo(62, 16)?;
    let traffic = soak.traffic(&echo);
    for _ in 0..soak.length.neighbours {
        let neighbour = soak.echo(63, 16)?;
        let its = soak.traffic(&neighbour);
        its.goes_on(20, LONG)?;
        neighbour.domain.kill()?;
        traffic.goes_on(50, LONG)?;
        // Its connections hang: they end with this value.
        drop(its);
    }
    let report = traffic.stop()?;
    Ok(format!("{} times: {}", soak.length.neighbours, told(&report)))
}
