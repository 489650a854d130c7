//! Packets to be sent: an IP and a TCP header with what follows it.

use core::num::NonZeroU16;

use super::ecn;
use crate::net::direct::header;
use crate::net::direct::ip::{IpOut, Route, TxMeta, Usual};
use crate::net::direct::tcp::emit::{Fields, HEADER, Written};
use crate::net::direct::tcp::machine::OutOfMemory;
use crate::net::direct::tcp::segment::FourTuple;
use crate::net::direct::usual::Leaving;
use crate::packet::MAX_HEAD;

/// The header of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub fields: Fields,
    pub options: Written,
    /// Routers may mark the packet (RFC 3168, 5).
    pub ect: bool,
}

impl Header {
    /// Writes the headers of a packet with `payload` bytes of data into `packet`, which has the right length; the checksum is
    /// left out.
    #[inline]
    pub fn write(&self, tuple: &FourTuple, packet: &mut [u8], payload: usize) -> Option<()> {
        self.fields.write(tuple, packet, self.options.bytes(), payload)?;
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
        if let Some(addresses) = tuple.ipv4()
            && headers + payload <= MAX_HEAD.min(size + headers)
        {
            let usual = Leaving {
                addresses,
                ports: tuple.ports(),
                fields: self.fields,
                options: self.options.bytes(),
                data,
                ect: self.ect,
            };
            let mut packet = out.alloc().ok_or(OutOfMemory)?;
            usual.write(&mut packet, route.offload).ok_or(OutOfMemory)?;
            out.send_usual(route, packet, Usual::Segment);
            return Ok(());
        }
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
