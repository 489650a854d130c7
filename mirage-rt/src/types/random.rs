//! Random numbers.

use core::fmt;

/// A source of random numbers fit for keys.
pub trait Random {
    /// Fills all of `buffer`. An empty buffer is filled at once and needs no source.
    ///
    /// # Errors
    ///
    /// [`RandomError`] when there is no source to be trusted; then nothing in `buffer` may be used.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), RandomError>;
}

/// The machine has no source of random numbers to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RandomError {
    /// The processor has neither RDSEED nor RDRAND, or they failed.
    NoHardwareSource,
    /// The program's build.rs declares none, so the image has no code for them.
    Undeclared,
    /// The host's system call failed.
    Host,
}

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RandomError::NoHardwareSource => {
                "no random numbers: this processor offers neither RDSEED nor RDRAND; give the domain a CPU model or CPUID policy \
                 that has one of them"
            }
            RandomError::Undeclared => "no random numbers: add `.random()` to the declaration in build.rs",
            RandomError::Host => "no random numbers: the host's getrandom() failed",
        })
    }
}

impl core::error::Error for RandomError {}
