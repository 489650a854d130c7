//! Two machines on a link in virtual time, and scripts of what arrives and what must leave.

mod accepted;
mod blind;
mod buffers;
mod choices;
mod exhaustive;
mod exhaustive_passive;
mod link;
mod marks;
mod pages;
mod path;
mod recovery;
mod resets;
mod script;
mod scripts;
mod taking;

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::*;
use crate::net::direct::tcp::kept::Kept;
use crate::packet::{Gso, PacketMut};

const KEY: Keyed = Keyed::new([1, 2]);
const ID: ConnId = ConnId { index: 3, generation: 5 };
const MS: Duration = Duration::from_millis(1);

impl Kept {
    /// The packets that were sent since the last call, cut as a device would cut them.
    fn cut_packets(&mut self) -> Vec<Vec<u8>> {
        core::mem::take(&mut self.packets).into_iter().flat_map(|packet| cut(&packet)).collect()
    }
}

/// Cuts a packet as its sender wants it.
fn cut(packet: &PacketMut) -> Vec<Vec<u8>> {
    let whole = packet.parts().collect::<Vec<_>>().concat();
    let Gso::Ipv4 { mss } = packet.gso() else { return Vec::from([whole]) };
    let headers = 20 + 4 * usize::from(whole[32] >> 4);
    let (headers, data) = whole.split_at(headers);
    let count = data.len().div_ceil(usize::from(mss));
    let part = |(number, part): (usize, &[u8])| {
        let mut bytes = [headers, part].concat();
        let length = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        let seq = u32::from_be_bytes(bytes[24..28].try_into().expect("four bytes"));
        let seq = seq.wrapping_add((number * usize::from(mss)) as u32);
        bytes[24..28].copy_from_slice(&seq.to_be_bytes());
        if number + 1 < count {
            // FIN and PSH belong to the last.
            bytes[33] &= !9;
        }
        bytes
    };
    data.chunks(usize::from(mss)).enumerate().map(part).collect()
}

fn tuple() -> FourTuple {
    FourTuple::new(&KEY, SocketAddr::from(([10, 0, 0, 1], 80)), SocketAddr::from(([10, 0, 0, 2], 4000)))
}

/// The header of a packet from `tuple`'s local side.
fn parse(tuple: &FourTuple, packet: &[u8]) -> Segment {
    Segment::parse(&KEY, tuple.local().ip(), tuple.remote().ip(), &packet[20..]).expect("a segment")
}

#[test]
fn a_connection_is_small() {
    // What it does not need while it waits is in boxes that are not there then.
    assert!(size_of::<Connection>() <= if cfg!(feature = "ipv6") { 392 } else { 368 }, "{}", size_of::<Connection>());
}
