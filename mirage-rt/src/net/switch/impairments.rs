//! What a link does to frames.

use crate::time::Duration;

/// Which way frames go, as the device at a port sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the device into the switch.
    Transmit,
    /// From the switch to the device.
    Receive,
}

/// What happens to the frames that pass a link. Parts are from 0 (none) to 1 (all); those outside count as the nearest.
///
/// A frame that is too long goes nowhere. Any other first waits for its turn, when there is a
/// [`bandwidth`](Impairments::bandwidth), or is dropped because too many bytes wait already. Then it may be lost, else it is
/// sent once or twice, and each copy takes the delay and may be corrupted or held back.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Impairments {
    /// The most bytes of an IP packet that passes; longer ones are lost without a word, as at a router whose messages nobody
    /// gets. Without limit when `None`.
    pub longest: Option<u16>,
    /// The part of frames that is lost.
    pub loss: f64,
    /// The part of frames that arrives twice.
    pub duplication: f64,
    /// The part of frames of which one bit, somewhere behind the Ethernet header, is flipped. Checksums that were left
    /// to a device are completed before, so that who receives such a frame can know.
    pub corruption: f64,
    /// The part of frames that is held back for [`reordering_delay`](Impairments::reordering_delay), so that others
    /// overtake them.
    pub reordering: f64,
    /// How much longer than others a frame takes that is held back.
    pub reordering_delay: Duration,
    /// How long each frame takes.
    pub delay: Duration,
    /// How much longer it takes at most, evenly distributed; when that is more than the time between two frames, they
    /// overtake each other.
    pub jitter: Duration,
    /// How much passes in a time; without limit when `None`.
    pub bandwidth: Option<Bandwidth>,
}

/// How much passes a link in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bits of frames, Ethernet headers included, in a second. With 0 nothing passes.
    pub bits_per_second: u64,
    /// Bytes that may wait, the frame that is just being sent included. A frame that would make it more is dropped, but
    /// not when it is the only one.
    pub queue: usize,
}

impl Impairments {
    /// A perfect link.
    pub const NONE: Impairments = Impairments {
        longest: None,
        loss: 0.0,
        duplication: 0.0,
        corruption: 0.0,
        reordering: 0.0,
        reordering_delay: Duration::ZERO,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        bandwidth: None,
    };

    /// With nothing that passes but packets of at most `bytes`.
    pub const fn with_longest(mut self, bytes: u16) -> Impairments {
        self.longest = Some(bytes);
        self
    }

    /// With this part of frames lost.
    pub const fn with_loss(mut self, loss: f64) -> Impairments {
        self.loss = loss;
        self
    }

    /// With this part of frames duplicated.
    pub const fn with_duplication(mut self, duplication: f64) -> Impairments {
        self.duplication = duplication;
        self
    }

    /// With a flipped bit in this part of frames.
    pub const fn with_corruption(mut self, corruption: f64) -> Impairments {
        self.corruption = corruption;
        self
    }

    /// With this part of frames held back for `delay`.
    pub const fn with_reordering(mut self, reordering: f64, delay: Duration) -> Impairments {
        self.reordering = reordering;
        self.reordering_delay = delay;
        self
    }

    /// With this delay, and at most `jitter` more.
    pub const fn with_delay(mut self, delay: Duration, jitter: Duration) -> Impairments {
        self.delay = delay;
        self.jitter = jitter;
        self
    }

    /// With so many bits in a second, and room for `queue` bytes of frames that wait.
    pub const fn with_bandwidth(mut self, bits_per_second: u64, queue: usize) -> Impairments {
        self.bandwidth = Some(Bandwidth { bits_per_second, queue });
        self
    }
}

impl Default for Impairments {
    fn default() -> Impairments {
        Impairments::NONE
    }
}
