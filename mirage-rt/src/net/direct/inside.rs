//! What tests outside of this crate see of the inside (feature `test-utils`): how much a stack holds of what strangers make it
//! keep, and the reader of TCP segments by itself.

use core::net::IpAddr;

use super::hash::Keyed;
use super::tcp::segment::{Bare, Segment, SynOptions};
use crate::net::{Network, Stack};

/// What a stack on a device of its own holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Bytes that connections and their buffers have, of the budget for them; `None` when the machine counts none.
    pub connection_memory: Option<usize>,
    /// Connections that are no longer or not yet anybody's, and those of applications.
    pub connections: usize,
    /// Handshakes under way.
    pub half_open: usize,
    /// Connections in TIME-WAIT.
    pub time_wait: usize,
    /// Entries of the neighbour tables.
    pub neighbours: usize,
    /// Bytes of datagrams that wait in sockets, with what they cost.
    pub datagrams: usize,
    /// Bytes of fragments that wait for others, with what they cost.
    pub fragments: usize,
}

/// What the stack of `network` holds now; `None` when the host's sockets are the network.
pub fn held(network: &Network) -> Option<Held> {
    let Stack::Direct(direct) = &network.stack else { return None };
    let snapshot = direct.snapshot();
    let stack = direct.shared.stack.borrow();
    Some(Held {
        connection_memory: stack.tcp.memory(),
        connections: snapshot.tcp_now.open,
        half_open: snapshot.tcp_now.half_open,
        time_wait: snapshot.tcp_now.time_wait,
        neighbours: snapshot.neighbours,
        datagrams: stack.udp.queued(),
        #[cfg(feature = "datagrams")]
        fragments: stack.reassembly.bytes(),
        #[cfg(not(feature = "datagrams"))]
        fragments: 0,
    })
}

/// What the reader of segments has found in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Bytes of data.
    pub data: usize,
    /// How much of the sequence space it takes.
    pub span: u32,
    /// The largest segment that a SYN offers to take.
    pub mss: Option<u16>,
    /// The shift of windows that a SYN offers.
    pub window_shift: Option<u8>,
    /// The first and last sequence numbers of its SACK blocks, and whether there is a timestamp.
    pub sacks: [Option<(u32, u32)>; 4],
    /// Whether it has a timestamp.
    pub stamped: bool,
    /// Whether it is answered with a reset when it belongs to no connection.
    pub is_reset: bool,
}

/// Reads a segment from `source` to `destination` with all its options, as those of a SYN and as those of any other segment. `None`
/// when it makes no sense.
pub fn read_segment(source: IpAddr, destination: IpAddr, payload: &[u8]) -> Option<Read> {
    let segment = Segment::parse(&Keyed::new([1, 2]), source, destination, payload)?;
    let SynOptions { mss, window_shift, .. } = segment.options(payload);
    #[cfg_attr(feature = "smoltcp-tcp", allow(unused_mut, reason = "its machine reads options by itself"))]
    let mut read = Read {
        data: segment.length as usize,
        span: segment.span(),
        mss,
        window_shift,
        sacks: [None; 4],
        stamped: false,
        is_reset: Bare::reset_for(&segment).is_some(),
    };
    #[cfg(not(feature = "smoltcp-tcp"))]
    if let Some(bytes) = payload.get(20..payload.len() - read.data) {
        let options = super::tcp::own::Options::parse(bytes);
        read.stamped = options.timestamp.is_some();
        for (place, range) in read.sacks.iter_mut().zip(options.sacks()) {
            *place = Some((range.start.0, range.end.0));
        }
    }
    Some(read)
}
