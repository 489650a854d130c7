//! What is compared of the frames of a train. All of it is made when this is compiled.

use super::IP;
use crate::net::direct::ipv4;
use crate::net::direct::tcp::emit::{HEADER as TCP_HEADER, PSH};

/// Bytes at the start of a frame that are compared: the headers, as far as there can be something in them that is to be the same.
pub const COMPARED: usize = 80;
/// These bytes, eight at a time.
pub type Words = [u64; COMPARED / 8];

/// Where things stand in the frames of a family, and which bytes are to be the same; one mask without and one with timestamps.
pub struct Layout {
    /// The place of TCP's header.
    pub tcp: usize,
    pub masks: [Words; 2],
}

/// Places of TCP's header.
pub const IPV4_TCP: usize = IP + ipv4::HEADER;
pub const IPV6_HEADER: usize = 40;
/// Those of IPv4.
pub static IPV4: Layout = Layout::new(IPV4_TCP, [(IP + 2, 4), (IP + 10, 2)]);
#[cfg(feature = "ipv6")]
pub const IPV6_TCP: usize = IP + IPV6_HEADER;
/// Those of IPv6.
#[cfg(feature = "ipv6")]
pub static IPV6: Layout = Layout::new(IPV6_TCP, [(IP + 4, 2), (IP + 4, 2)]);

impl Layout {
    /// `other` are places in the IP header, and numbers of bytes, that tell of a packet's length, or name it.
    const fn new(tcp: usize, other: [(usize, usize); 2]) -> Layout {
        Layout { tcp, masks: [Layout::mask(tcp, other, 0), Layout::mask(tcp, other, 4)] }
    }

    /// The bytes of the headers that are the same in all segments of a train, and `options` of what follows them.
    const fn mask(tcp: usize, other: [(usize, usize); 2], options: usize) -> Words {
        let mut mask = [[0; 8]; COMPARED / 8];
        let mut at = 0;
        while at < tcp + TCP_HEADER + options {
            let is_position = at >= tcp + 4 && at < tcp + 8;
            let is_checksum_or_urgent = at >= tcp + 16 && at < tcp + TCP_HEADER;
            let is_other =
                at >= other[0].0 && at < other[0].0 + other[0].1 || at >= other[1].0 && at < other[1].0 + other[1].1;
            mask[at / 8][at % 8] = match () {
                () if is_position || is_checksum_or_urgent || is_other => 0,
                // Where a writer has paused is nothing that matters here.
                () if at == tcp + 13 => !PSH,
                () => 0xff,
            };
            at += 1;
        }
        let mut words = [0; COMPARED / 8];
        let mut at = 0;
        while at < words.len() {
            words[at] = u64::from_ne_bytes(mask[at]);
            at += 1;
        }
        words
    }
}
