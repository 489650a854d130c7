//! Why a network device does not work: what its backend did, and what it could not be connected for.

use alloc::string::String;
use core::fmt;

use crate::events::EventError;
use crate::grants::GrantError;
use crate::ring::ProducerOverflow;
use crate::xenbus::XenbusError;
use crate::xenstore::XenstoreError;

/// Why a device was given up: what its backend did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Broken {
    /// It answered more transmit requests than there were.
    TransmitProducer(ProducerOverflow),
    /// It answered a transmit request that was not under way.
    TransmitId {
        /// The id it gave.
        id: u16,
    },
    /// It answered more extra slots than there were.
    TransmitNull,
    /// It still used a page of a transmit request it had answered.
    TransmitInUse,
    /// It answered more receive requests than there were.
    ReceiveProducer(ProducerOverflow),
    /// Its response did not stand in the slot of its request.
    ReceiveId {
        /// The id it gave.
        id: u16,
        /// The id of the slot's request.
        expected: u16,
    },
    /// Its data reached beyond the page.
    ReceiveBounds {
        /// Where it said the data starts.
        offset: u16,
        /// How many bytes it said there are.
        size: i16,
    },
    /// It still used a page of a receive request it had answered.
    ReceiveInUse,
    /// It sent extra information that makes no sense.
    ReceiveExtra {
        /// Its type.
        kind: u8,
    },
    /// It sent more extra information than there are kinds of.
    ReceiveExtras,
    /// Xen says that the event channel is gone.
    EventChannel,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TransmitProducer(overflow) => write!(f, "transmit ring: {overflow}"),
            Self::TransmitId { id } => write!(f, "transmit ring: answer to request {id}, which is not under way"),
            Self::TransmitNull => f.write_str("transmit ring: an answer to extra information that was not sent"),
            Self::TransmitInUse => f.write_str("transmit ring: a page is still used after its request was answered"),
            Self::ReceiveProducer(overflow) => write!(f, "receive ring: {overflow}"),
            Self::ReceiveId { id, expected } => {
                write!(f, "receive ring: answer to request {id} in the slot of request {expected}")
            }
            Self::ReceiveBounds { offset, size } => {
                write!(f, "receive ring: {size} bytes at offset {offset} reach beyond the page")
            }
            Self::ReceiveInUse => f.write_str("receive ring: a page is still used after its request was answered"),
            Self::ReceiveExtra { kind } => write!(f, "receive ring: extra information of type {kind} makes no sense"),
            Self::ReceiveExtras => f.write_str("receive ring: extra information without end"),
            Self::EventChannel => f.write_str("the event channel is gone"),
        }
    }
}

impl core::error::Error for Broken {}

/// A network device could not be connected.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The handshake with the backend failed.
    Xenbus(XenbusError),
    /// The device has no Ethernet address, or what stands there is none.
    Mac {
        /// The node that should have it.
        path: String,
    },
    /// The backend can't copy what it receives, which backends have done since 2008.
    NoReceiveCopy,
    /// The pool has too few pages to receive into.
    NoPages {
        /// How many are needed.
        needed: u32,
        /// How many there were.
        available: u32,
    },
    /// The rings could not be granted.
    Grant(GrantError),
    /// No event channel could be had.
    Event(EventError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xenbus(error) => error.fmt(f),
            Self::Mac { path } => {
                write!(
                    f,
                    "{path} in xenstore is no Ethernet address: set mac= of the vif in the domain's configuration"
                )
            }
            Self::NoReceiveCopy => f.write_str("the network backend is too old: it does not offer feature-rx-copy"),
            Self::NoPages { needed, available } => {
                write!(
                    f,
                    "{needed} pages are needed to receive into and {available} are left: give the domain more memory"
                )
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
