//! Traffic from dom0 to a TCP service, for as long as a test does something to its domain.

use crate::error::CommandError;
use crate::lab::{Finished, Lab};
use crate::protocol::TrafficReport;
use std::net::SocketAddrV4;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The longest that traffic runs.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Running traffic; see [`Lab::traffic`]. Stopped when it is dropped.
pub struct Traffic {
    lab: Lab,
    report: String,
    running: Mutex<Option<Running>>,
}

type Running = JoinHandle<Result<Finished, CommandError>>;

/// What the traffic's service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// A TCP echo service: every byte that comes back is compared with what was sent.
    Echo,
    /// The disk of examples/block: patterns are written, flushed and verified.
    Block,
    /// The same, for a disk that is taken away at times: what fails then is done again.
    DetachedBlock,
}

impl Lab {
    /// Opens connections from dom0 to a TCP service and sends pieces of `bytes` bytes on each, with a pause after each, until
    /// it is [stopped](Traffic::stop). No connection is opened again: one that breaks is an error.
    pub fn traffic(
        &self,
        service: Service,
        server: SocketAddrV4,
        connections: u32,
        bytes: u32,
        pause: Duration,
    ) -> Traffic {
        let service = match service {
            Service::Echo => "echo",
            Service::Block => "block",
            Service::DetachedBlock => "detached-block",
        };
        let report = format!("/run/traffic-{}", self.number());
        let script = format!(
            "echo $$ >{report}.process
             exec mirage-lab-agent traffic {service} {server} {connections} {bytes} {} {report}",
            pause.as_millis()
        );
        let lab = self.clone();
        let running = thread::spawn(move || lab.dom0_within(&script, LIMIT));
        Traffic { lab: self.clone(), report, running: Mutex::new(Some(running)) }
    }
}

impl Traffic {
    /// What went there and back so far.
    ///
    /// # Errors
    ///
    /// If the lab is gone.
    pub fn report(&self) -> Result<TrafficReport, CommandError> {
        let sample = self.lab.sample(&[&self.report])?;
        Ok(sample.files.first().and_then(|text| TrafficReport::parse(text)).unwrap_or_default())
    }

    /// Waits until so many round trips more than now were made: what was done to the domain before did not end the traffic.
    ///
    /// # Errors
    ///
    /// If that takes longer than `limit`, or the traffic has ended by a connection's failure.
    pub fn goes_on(&self, round_trips: u64, limit: Duration) -> Result<TrafficReport, CommandError> {
        let deadline = Instant::now() + limit;
        let wanted = self.report()?.round_trips + round_trips;
        loop {
            let report = self.report()?;
            if report.round_trips >= wanted {
                return Ok(report);
            }
            if self.running.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_none_or(JoinHandle::is_finished)
            {
                let why = self.joined().and_then(|finished| finished.checked("traffic"));
                let why = why.map_or_else(|error| error.to_string(), |_| "nobody knows why".to_owned());
                return Err(CommandError::Refused(format!("the traffic has ended, {report}: {why}")));
            }
            if Instant::now() > deadline {
                return Err(CommandError::TimedOut(limit));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it: the connections are closed from dom0's side, and the service has to close them too.
    ///
    /// # Errors
    ///
    /// If a connection failed or brought something else than was sent.
    pub fn stop(self) -> Result<TrafficReport, CommandError> {
        self.lab.dom0_checked(&format!("touch {}.stop", self.report))?;
        let finished = self.joined()?;
        let printed = finished.checked("traffic")?;
        TrafficReport::parse(&printed).ok_or(CommandError::Refused(printed))
    }

    /// Waits for its end; what it came to can be asked once.
    fn joined(&self) -> Result<Finished, CommandError> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(CommandError::Gone)?;
        running.join().unwrap_or(Err(CommandError::Gone))
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // Whoever drops it does not want to know how it went, and its service may be gone.
        if let Some(running) = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = self.lab.dom0(&format!("kill $(cat {}.process)", self.report));
            let _ = running.join();
        }
    }
}
