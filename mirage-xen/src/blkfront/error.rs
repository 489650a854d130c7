//! Why a disk does not work: what its backend did, and what it could not be connected for.

use alloc::string::String;
use core::fmt;

use crate::events::EventError;
use crate::grants::GrantError;
use crate::ring::ProducerOverflow;
use crate::xenbus::XenbusError;
use crate::xenstore::XenstoreError;

/// Why a disk was given up: what its backend did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Broken {
    /// It answered more requests than there were.
    Producer(ProducerOverflow),
    /// It answered a request with a number that no request has.
    Id {
        /// The number it gave.
        id: u64,
    },
    /// It answered a request that was not under way, for instance one twice.
    NotUnderWay {
        /// The number it gave.
        id: u64,
    },
    /// It answered with another operation than it was asked for.
    Operation {
        /// What it said.
        said: u8,
        /// What was asked for.
        asked: u8,
    },
    /// It answered with a status that does not exist.
    Status {
        /// The status.
        status: i16,
    },
    /// It still used a page of a request it had answered.
    InUse,
    /// Xen says that the event channel is gone.
    EventChannel,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Producer(overflow) => overflow.fmt(f),
            Self::Id { id } => write!(f, "an answer to request {id}, which can't exist"),
            Self::NotUnderWay { id } => write!(f, "an answer to request {id}, which is not under way"),
            Self::Operation { said, asked } => write!(f, "an answer to operation {said} where {asked} was asked for"),
            Self::Status { status } => write!(f, "an answer with status {status}, which does not exist"),
            Self::InUse => f.write_str("a page is still used after its request was answered"),
            Self::EventChannel => f.write_str("the event channel is gone"),
        }
    }
}

impl core::error::Error for Broken {}

/// A disk could not be connected.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The handshake with the backend failed.
    Xenbus(XenbusError),
    /// The tools are about to take the disk away.
    Detached,
    /// The backend does not say how large the disk is.
    Size {
        /// The node that should.
        path: String,
    },
    /// The backend's sectors are of a size that no disk has.
    SectorSize {
        /// Where it says so.
        path: String,
    },
    /// The pool has too few pages.
    NoPages {
        /// How many are needed.
        needed: usize,
    },
    /// The ring could not be granted.
    Grant(GrantError),
    /// No event channel could be had.
    Event(EventError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xenbus(error) => error.fmt(f),
            Self::Detached => f.write_str("the disk is being detached: attach it again"),
            Self::Size { path } => write!(f, "{path} in xenstore is no number of sectors: see the backend's log"),
            Self::SectorSize { path } => {
                write!(f, "{path} in xenstore is no size of sectors from 512 to 4096: see the backend's log")
            }
            Self::NoPages { needed } => {
                write!(f, "{needed} pages are needed for the ring: give the domain more memory")
            }
            Self::Grant(error) => error.fmt(f),
            Self::Event(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConnectError {}

impl From<XenbusError> for ConnectError {
    fn from(error: XenbusError) -> Self {
        Self::Xenbus(error)
    }
}

impl From<XenstoreError> for ConnectError {
    fn from(error: XenstoreError) -> Self {
        Self::Xenbus(XenbusError::Xenstore(error))
    }
}

impl From<GrantError> for ConnectError {
    fn from(error: GrantError) -> Self {
        Self::Grant(error)
    }
}

impl From<EventError> for ConnectError {
    fn from(error: EventError) -> Self {
        Self::Event(error)
    }
}
