//! Datagrams that are longer than packets may be, cut into fragments (RFC 791, 3.2; RFC 8200, 4.5).

use alloc::vec::Vec;
use core::net::IpAddr;

use smoltcp::wire::{IpProtocol, UDP_HEADER_LEN, checksum};

use super::header;
use super::ip::{IpOut, Route, TxMeta};

/// What the fragments of a packet have in common.
#[derive(Clone, Copy)]
pub struct Numbers {
    /// Which packet they are of.
    pub number: u32,
    /// How many hops they may take.
    pub hops: u8,
}

/// Sends a datagram with these ports in fragments. Where there is no memory or no room it is lost, as datagrams may be.
pub fn send(
    route: &Route,
    source: IpAddr,
    destination: IpAddr,
    ports: [u16; 2],
    bytes: &[u8],
    numbers: Numbers,
    out: &mut dyn IpOut,
) {
    let mut whole = Vec::new();
    let length = UDP_HEADER_LEN + bytes.len();
    if whole.try_reserve_exact(length).is_err() {
        return;
    }
    for half in [ports[0], ports[1], length as u16, 0] {
        whole.extend_from_slice(&half.to_be_bytes());
    }
    whole.extend_from_slice(bytes);
    let sum = match !checksum::combine(&[pseudo(source, destination, length as u32), checksum::data(&whole)]) {
        // A datagram with 0 there would say that it has no checksum (RFC 768).
        0 => !0,
        sum => sum,
    };
    whole[6..8].copy_from_slice(&sum.to_be_bytes());
    // Behind the headers, in multiples of eight bytes.
    let extension = if destination.is_ipv4() { 0 } else { FRAGMENT_HEADER };
    let most = route.mtu.saturating_sub(header::length(destination) + extension) & !7;
    if most == 0 {
        return;
    }
    let count = length.div_ceil(most);
    for (index, piece) in whole.chunks(most).enumerate() {
        let place = (index * most) as u16;
        let more = index + 1 < count;
        let Some(mut packet) = out.alloc() else { return };
        let head = packet.resize_head(header::length(destination) + extension + piece.len());
        if emit(head, source, destination, piece, place, more, numbers).is_some() {
            out.send(route, packet, TxMeta { fill_checksum: false, segment: None });
        }
    }
}

/// Bytes of the header that says over IPv6 where a fragment belongs.
const FRAGMENT_HEADER: usize = 8;

fn emit(
    packet: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    piece: &[u8],
    place: u16,
    more: bool,
    Numbers { number, hops }: Numbers,
) -> Option<()> {
    if destination.is_ipv4() {
        header::emit(packet, source, destination, IpProtocol::Udp)?.copy_from_slice(piece);
        let fields = packet.get_mut(4..8)?;
        fields[..2].copy_from_slice(&(number as u16).to_be_bytes());
        fields[2..].copy_from_slice(&((place / 8) | (u16::from(more) << 13)).to_be_bytes());
    } else {
        let body = header::emit(packet, source, destination, IpProtocol::Ipv6Frag)?;
        let (fragment, body) = body.split_first_chunk_mut::<FRAGMENT_HEADER>()?;
        fragment[..2].copy_from_slice(&[IpProtocol::Udp.into(), 0]);
        fragment[2..4].copy_from_slice(&(place | u16::from(more)).to_be_bytes());
        fragment[4..].copy_from_slice(&number.to_be_bytes());
        body.copy_from_slice(piece);
    }
    // With the checksum of the header.
    header::set_hops(packet, hops);
    Some(())
}

/// The sum of the pseudo header.
fn pseudo(source: IpAddr, destination: IpAddr, length: u32) -> u16 {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            super::checksum::pseudo_header_v4(&source, &destination, IpProtocol::Udp, length)
        }
        #[cfg(feature = "ipv6")]
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            checksum::pseudo_header_v6(&source, &destination, IpProtocol::Udp, length)
        }
        _ => 0,
    }
}
