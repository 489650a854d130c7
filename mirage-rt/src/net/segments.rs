//! Packets of many TCP segments, cut as a device would (TSO).

use alloc::vec::Vec;

use smoltcp::wire::{IpProtocol, TcpPacket, TcpSeqNumber};

use super::direct::header;

/// The packets into which `packet` is cut, one of TCP without IP options or extension headers: each has at most `mss` bytes of data,
/// and its checksums. `None` when it is none that can be cut, or there is no memory.
pub(super) fn cut(packet: &[u8], mss: u16) -> Option<Vec<Vec<u8>>> {
    if header::protocol(packet) != Some(IpProtocol::Tcp) || mss == 0 {
        return None;
    }
    let tcp_at = header::length_in(packet);
    let tcp = TcpPacket::new_checked(packet.get(tcp_at..)?).ok()?;
    let data_at = tcp_at + usize::from(tcp.header_len());
    let (seq, fin, psh, cwr) = (tcp.seq_number(), tcp.fin(), tcp.psh(), tcp.cwr());
    let (head, data) = packet.split_at_checked(data_at)?;
    let parts = data.len().div_ceil(usize::from(mss));
    let mut packets = Vec::new();
    packets.try_reserve_exact(parts).ok()?;
    for (number, part) in data.chunks(usize::from(mss)).enumerate() {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(head.len() + part.len()).ok()?;
        bytes.extend_from_slice(head);
        bytes.extend_from_slice(part);
        let last = number + 1 == parts;
        let mut tcp = TcpPacket::new_unchecked(bytes.get_mut(tcp_at..)?);
        tcp.set_seq_number(TcpSeqNumber(seq.0.wrapping_add((number * usize::from(mss)) as i32)));
        tcp.set_fin(fin && last);
        tcp.set_psh(psh && last);
        // It says once that the window was made smaller (RFC 3168, 6.1.2).
        tcp.set_cwr(cwr && number == 0);
        // Without the flag that it may not be cut, each has a number of its own (RFC 6864, 4).
        if let [0x45, _, _, _, high, low, flags, ..] = &mut bytes[..]
            && *flags & 0x40 == 0
        {
            [*high, *low] = u16::from_be_bytes([*high, *low]).wrapping_add(number as u16).to_be_bytes();
        }
        header::set_length(&mut bytes);
        header::fill_transport(&mut bytes, false);
        packets.push(bytes);
    }
    Some(packets)
}
