//! Packets to be sent: an IP and a TCP header with what follows it.

use core::num::NonZeroU16;

use smoltcp::wire::IpProtocol;

use super::ecn;
use super::options::Written;
use crate::net::direct::header;
use crate::net::direct::ip::{IpOut, Route, TxMeta};
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
    /// Flags of RFC 3168; `ect` says that routers may mark the packet.
    pub ece: bool,
    pub cwr: bool,
    pub ect: bool,
    pub window: u16,
    pub options: Written,
}

impl Header {
    /// Writes the headers of a packet with `payload` bytes of data into `packet`, which has the right length; the checksum is
    /// left out.
    #[inline]
    fn write(&self, tuple: &FourTuple, packet: &mut [u8], payload: usize) -> Option<()> {
        let (local, remote) = (tuple.local(), tuple.remote());
        let segment = header::emit_before(packet, local.ip(), remote.ip(), IpProtocol::Tcp, payload)?;
        let (fixed, rest) = segment.split_first_chunk_mut::<HEADER>()?;
        fixed[..2].copy_from_slice(&local.port().to_be_bytes());
        fixed[2..4].copy_from_slice(&remote.port().to_be_bytes());
        fixed[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ack.unwrap_or_default().0.to_be_bytes());
        fixed[12] = ((HEADER + self.options.length()) as u8 / 4) << 4;
        let flags =
            [(self.fin, 1), (self.syn, 2), (self.push, 8), (self.ack.is_some(), 16), (self.ece, 64), (self.cwr, 128)];
        fixed[13] = flags.into_iter().map(|(is_set, flag)| u8::from(is_set) * flag).sum();
        fixed[14..16].copy_from_slice(&self.window.to_be_bytes());
        fixed[16..].fill(0);
        rest.get_mut(..self.options.length())?.copy_from_slice(self.options.bytes());
        if self.ect {
            ecn::allow_marks(packet);
        }
        Some(())
    }

    /// Sends the segment with `data`, which the device is to cut into parts of `size` bytes if it is longer. Fails when there are
    /// no pages.
    pub fn send(
        &self,
        tuple: &FourTuple,
        data: [&[u8]; 2],
        size: usize,
        route: &Route,
        out: &mut dyn IpOut,
    ) -> Result<(), OutOfMemory> {
        let payload = data[0].len() + data[1].len();
        let headers = header::length(tuple.remote().ip()) + HEADER + self.options.length();
        let segment = u16::try_from(size).ok().and_then(NonZeroU16::new).filter(|_| payload > size);
        let mut packet = out.alloc().ok_or(OutOfMemory)?;
        if headers + payload <= MAX_HEAD {
            let (place, rest) =
                packet.resize_head(headers + payload).split_at_mut_checked(headers).ok_or(OutOfMemory)?;
            self.write(tuple, place, payload).ok_or(OutOfMemory)?;
            let (first, second) = rest.split_at_mut_checked(data[0].len()).ok_or(OutOfMemory)?;
            first.copy_from_slice(data[0]);
            second.copy_from_slice(data[1]);
        } else {
            self.write(tuple, packet.resize_head(headers), payload).ok_or(OutOfMemory)?;
            for part in data {
                out.append(&mut packet, part).ok_or(OutOfMemory)?;
            }
        }
        out.send(route, packet, TxMeta { fill_checksum: true, segment });
        Ok(())
    }
}
