//! Samples: counters of dom0 and processor times of domains, taken at one time.

use crate::error::CommandError;
use crate::lab::{COMMAND_LIMIT, Dom0Time, Lab};
use crate::protocol::{DomainState, Kind, take_u64};

/// What the domains had run and what counters stood at, at one time of dom0's clock. Two of them, taken while a load goes on,
/// give rates that neither its start nor its end is in.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it was taken.
    pub time: Dom0Time,
    /// What the files held, in the order in which they were named; nothing of one that could not be read.
    pub files: Vec<String>,
    states: Vec<DomainState>,
}

impl Sample {
    /// What the processor of the domain with this number had run, in nanoseconds; `None` if there was no such domain. dom0 is 0.
    pub fn cpu_ns(&self, domain: u32) -> Option<u64> {
        self.states.iter().find(|state| state.number == domain).map(|state| state.cpu_ns)
    }

    /// The first number in the file at `index`; 0 if it holds none.
    pub fn number(&self, index: usize) -> u64 {
        let text = self.files.get(index).map_or("", |text| text.trim());
        text.split(|c: char| !c.is_ascii_digit()).find_map(|digits| digits.parse().ok()).unwrap_or(0)
    }

    fn parse(mut answer: &[u8]) -> Self {
        let time = Dom0Time::from_nanoseconds(take_u64(&mut answer).unwrap_or(0));
        let mut parts = answer.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        let states = DomainState::parse_all(&parts.next().unwrap_or_default());
        Self { time, files: parts.collect(), states }
    }
}

impl Lab {
    /// Takes a sample of all domains and of these files of dom0: for example what sysfs has of a backend, by its path.
    ///
    /// # Errors
    ///
    /// If the lab is gone or the hypervisor can't be asked.
    pub fn sample(&self, files: &[&str]) -> Result<Sample, CommandError> {
        let answer = self.request(Kind::Sample, files.join("\n").into_bytes())?.only(COMMAND_LIMIT)?;
        Ok(Sample::parse(&answer))
    }
}

#[cfg(test)]
mod tests {
    use super::Sample;
    use std::time::Duration;

    #[test]
    fn a_sample_has_states_and_files() {
        let mut answer = 5_000_u64.to_le_bytes().to_vec();
        answer.extend_from_slice(b"0 700 524288 -1 0 0\n3 900 16384 -1 0 0\n\0 42 sectors\n\0\0last");
        let sample = Sample::parse(&answer);
        assert_eq!((sample.cpu_ns(0), sample.cpu_ns(3), sample.cpu_ns(4)), (Some(700), Some(900), None));
        assert_eq!(sample.files, [" 42 sectors\n", "", "last"]);
        assert_eq!((sample.number(0), sample.number(1), sample.number(9)), (42, 0, 0));
        assert_eq!(sample.time.since(Sample::parse(&[0; 8]).time), Duration::from_nanos(5_000));
    }
}
