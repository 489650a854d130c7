//! The other end of a wire in memory: a client that makes TCP frames by hand, for programs that callgrind counts.
//!
//! A program that is counted implements [`Server`] and hands it to [`program`]. Callgrind is told to collect in
//! [`counted`] only, so that the client costs nothing, and to begin anew at [`begin`], so that opening the connections
//! and warming up costs nothing either.

#![forbid(unsafe_code)]

mod client;
mod frame;
mod loads;

pub use client::Client;
pub use frame::{Received, Segment, question};
pub use loads::{begin, counted, program};

use std::net::{Ipv4Addr, Ipv6Addr};

/// The server's Ethernet address.
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The client's.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The server's address; its network has a prefix of 16 bits.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The client's.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// The same over IPv6, in a network with a prefix of 64 bits.
pub const SERVER_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1);
/// The client's.
pub const CLIENT_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 2);
/// The server's port.
pub const PORT: u16 = 7;
/// Bytes of a packet on this wire.
pub const MTU: usize = 1500;
/// Bytes of data in a full segment over IPv4.
pub const SEGMENT: usize = MTU - 40;

/// Over which protocol TCP goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Bytes of data in a full segment.
    pub fn segment(self) -> usize {
        match self {
            Family::Ipv4 => SEGMENT,
            Family::Ipv6 => SEGMENT - 20,
        }
    }
}

/// What is counted: a stack and an application on it, with a device in memory.
pub trait Server {
    /// Puts a frame into the device.
    fn deliver(&mut self, frame: &[u8]);

    /// Works until nothing is left to do.
    fn work(&mut self);

    /// Shows each frame that it has sent to `see`, and forgets it.
    fn sent(&mut self, see: &mut dyn FnMut(&[u8]));

    /// Lets time pass.
    fn pass(&mut self, microseconds: u64);
}

/// What the server's application does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Application {
    /// Sends back what it gets, in a task for each connection.
    Echo,
    /// Sends back what it gets, in one loop without tasks.
    Loop,
    /// Reads and throws away.
    Sink,
    /// Writes without end.
    Source,
    /// Takes the pages that come, and throws them away.
    Taker,
    /// Gives pages that it keeps without end.
    Giver,
    /// Keeps its connections and does nothing with them.
    Keep,
}

/// How a server is made.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// What its application does.
    pub application: Application,
    /// Connections that it is to have.
    pub connections: usize,
    /// Over which protocol its connections go.
    pub family: Family,
    /// The device computes and checks checksums.
    pub offload: bool,
    /// Bytes of the longest packet that the device cuts into segments, or puts together of them; 0 when it does neither.
    pub cut: usize,
}

/// Connections of an echo server that have something to do.
const ACTIVE: usize = 10;

impl Setting {
    /// How many connections have something to do.
    pub fn active(&self) -> usize {
        self.connections.min(ACTIVE)
    }

    /// Whether the connection that was opened as the `number`th, from 0, is one of them: they are evenly spread.
    pub fn is_active(&self, number: usize) -> bool {
        number.is_multiple_of(self.connections / self.active())
    }
}
