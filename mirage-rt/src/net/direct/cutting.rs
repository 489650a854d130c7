//! Datagrams and echo replies that are longer than packets may be, cut into fragments (RFC 791, 3.2; RFC 8200, 4.5).

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
    send_whole(route, [source, destination], IpProtocol::Udp, &mut whole, numbers, out);
}

/// Completes the checksum of `whole`, a datagram or a message of ICMP, and sends it in fragments from the first address to the
/// second one.
pub fn send_whole(
    route: &Route,
    [source, destination]: [IpAddr; 2],
    protocol: IpProtocol,
    whole: &mut [u8],
    numbers: Numbers,
    out: &mut dyn IpOut,
) {
    let at = if protocol == IpProtocol::Udp { 6 } else { 2 };
    let pseudo = pseudo(source, destination, protocol, whole.len() as u32);
    let Some(field) = whole.get_mut(at..at + 2) else { return };
    field.fill(0);
    let sum = match !checksum::combine(&[pseudo, checksum::data(whole)]) {
        // A datagram with 0 there would say that it has no checksum (RFC 768).
        0 if protocol == IpProtocol::Udp => !0,
        sum => sum,
    };
    whole[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    // Behind the headers, in multiples of eight bytes.
    let extension = if destination.is_ipv4() { 0 } else { FRAGMENT_HEADER };
    let most = route.mtu.saturating_sub(header::length(destination) + extension) & !7;
    if most == 0 {
        return;
    }
    let count = whole.len().div_ceil(most);
    for (index, piece) in whole.chunks(most).enumerate() {
        let place = (index * most) as u16;
        let more = index + 1 < count;
        let Some(mut packet) = out.alloc() else { return };
        let head = packet.resize_head(header::length(destination) + extension + piece.len());
        if emit(head, [source, destination], protocol, piece, (place, more), numbers).is_some() {
            out.send(route, packet, TxMeta { fill_checksum: false, segment: None });
        }
    }
}

/// Bytes of the header that says over IPv6 where a fragment belongs.
const FRAGMENT_HEADER: usize = 8;

fn emit(
    packet: &mut [u8],
    [source, destination]: [IpAddr; 2],
    protocol: IpProtocol,
    piece: &[u8],
    (place, more): (u16, bool),
    Numbers { number, hops }: Numbers,
) -> Option<()> {
    if destination.is_ipv4() {
        header::emit(packet, source, destination, protocol)?.copy_from_slice(piece);
        let fields = packet.get_mut(4..8)?;
        fields[..2].copy_from_slice(&(number as u16).to_be_bytes());
        fields[2..].copy_from_slice(&((place / 8) | (u16::from(more) << 13)).to_be_bytes());
    } else {
        let body = header::emit(packet, source, destination, IpProtocol::Ipv6Frag)?;
        let (fragment, body) = body.split_first_chunk_mut::<FRAGMENT_HEADER>()?;
        fragment[..2].copy_from_slice(&[protocol.into(), 0]);
        fragment[2..4].copy_from_slice(&(place | u16::from(more)).to_be_bytes());
        fragment[4..].copy_from_slice(&number.to_be_bytes());
        body.copy_from_slice(piece);
    }
    // With the checksum of the header.
    header::set_hops(packet, hops);
    Some(())
}

/// The sum of the pseudo header; messages of ICMP over IPv4 have none.
fn pseudo(source: IpAddr, destination: IpAddr, protocol: IpProtocol, length: u32) -> u16 {
    match (source, destination) {
        (IpAddr::V4(_), IpAddr::V4(_)) if protocol == IpProtocol::Icmp => 0,
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            super::checksum::pseudo_header_v4(&source, &destination, protocol, length)
        }
        #[cfg(feature = "ipv6")]
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            checksum::pseudo_header_v6(&source, &destination, protocol, length)
        }
        _ => 0,
    }
}
