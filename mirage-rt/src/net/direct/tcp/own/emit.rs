//! Packets to be sent: an IP and a TCP header with what follows it.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::num::NonZeroU16;

use smoltcp::wire::{IpProtocol, TcpPacket, TcpSeqNumber};

use super::options::Written;
use crate::net::direct::ip::{IpOut, Route, TxMeta};
use crate::net::direct::ipv4;
use crate::net::direct::tcp::machine::OutOfMemory;
use crate::net::direct::tcp::segment::{FourTuple, Seq};
use crate::packet::MAX_HEAD;

/// Bytes of a TCP header without options.
const HEADER: usize = 20;

/// The header of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub seq: Seq,
    pub ack: Option<Seq>,
    pub syn: bool,
    pub fin: bool,
    pub push: bool,
    pub window: u16,
    pub options: Written,
}

impl Header {
    /// Writes the headers in front of `data` in `packet`, which has the right length; the checksum is left out.
    fn write(&self, tuple: &FourTuple, packet: &mut [u8], data: [&[u8]; 2]) -> Option<()> {
        let (local, remote) = (tuple.local(), tuple.remote());
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (local.ip(), remote.ip()) else { return None };
        let (ip, segment) = packet.split_first_chunk_mut::<{ ipv4::HEADER }>()?;
        ipv4::emit_header(ip, source, destination, IpProtocol::Tcp, segment.len());
        let (fixed, rest) = segment.split_first_chunk_mut::<HEADER>()?;
        fixed.fill(0);
        let mut header = TcpPacket::new_unchecked(&mut fixed[..]);
        header.set_src_port(local.port());
        header.set_dst_port(remote.port());
        header.set_seq_number(TcpSeqNumber(self.seq.0 as i32));
        header.set_ack_number(TcpSeqNumber(self.ack.unwrap_or_default().0 as i32));
        header.set_header_len((HEADER + self.options.length()) as u8);
        header.set_ack(self.ack.is_some());
        header.set_syn(self.syn);
        header.set_fin(self.fin);
        header.set_psh(self.push);
        header.set_window_len(self.window);
        let (options, rest) = rest.split_at_mut_checked(self.options.length())?;
        options.copy_from_slice(self.options.bytes());
        let (first, second) = rest.split_at_mut_checked(data[0].len())?;
        first.copy_from_slice(data[0]);
        second.get_mut(..data[1].len())?.copy_from_slice(data[1]);
        Some(())
    }

    /// Sends the segment with `data`, which the device is to cut into parts of `size` bytes if it is longer. `scratch` is
    /// used for what needs several pages. Fails when there are no pages.
    pub fn send(
        &self,
        tuple: &FourTuple,
        data: [&[u8]; 2],
        size: usize,
        route: &Route,
        out: &mut dyn IpOut,
        scratch: &mut Vec<u8>,
    ) -> Result<(), OutOfMemory> {
        let payload = data[0].len() + data[1].len();
        let length = ipv4::HEADER + HEADER + self.options.length() + payload;
        let segment = u16::try_from(size).ok().and_then(NonZeroU16::new).filter(|_| payload > size);
        let packet = if length <= MAX_HEAD {
            let mut packet = out.alloc().ok_or(OutOfMemory)?;
            self.write(tuple, packet.resize_head(length), data).ok_or(OutOfMemory)?;
            packet
        } else {
            scratch.clear();
            scratch.try_reserve(length).map_err(|_| OutOfMemory)?;
            scratch.resize(length, 0);
            self.write(tuple, scratch, data).ok_or(OutOfMemory)?;
            out.copy(scratch).ok_or(OutOfMemory)?
        };
        out.send(route, packet, TxMeta { fill_checksum: true, segment });
        Ok(())
    }
}
