//! Packets on their way out: each part is granted for reading and lies in a slot of the transmit ring until the backend
//! has answered it. The packet's pages are kept that long, and may be read by their other owners.

use alloc::boxed::Box;
use alloc::vec::Vec;

use mirage_rt::packet::{Checksum, Fragment, Gso, PacketMut};
use mirage_rt::types::network::TransmitErrorKind;

use super::Broken;
use super::wire::{Extra, STATUS_NULL, STATUS_OKAY, Transmit, TransmitData, TransmitRequest, transmit_flags};
use crate::grants::{Grants, Place};
use crate::hypervisor::DomainId;
use crate::ring::{FrontRing, slots};
use crate::warning::network::warn;

/// Slots that every backend takes for the data of a packet (`XEN_NETIF_NR_SLOTS_MIN`).
const MAX_PARTS: usize = 18;
/// Slots of the largest packet: data and one of extra information.
const MAX_SLOTS: u32 = MAX_PARTS as u32 + 1;
/// Bytes of the largest packet: its size stands in 16 bits.
pub(super) const MAX_SIZE: usize = 0xFFFF;

/// Slots under way that are not worth an event.
const FEW: u32 = 32;
/// After the ring was full, packets are taken again when no more slots than these are under way: with each place that comes free
/// the backend would have to be told of one packet. What is left keeps it busy until the next ones are there.
const REST: u32 = 64;

/// What the backend takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Offloads {
    pub(super) scatter_gather: bool,
    pub(super) checksum_ipv4: bool,
    pub(super) checksum_ipv6: bool,
    pub(super) gso_ipv4: bool,
    pub(super) gso_ipv6: bool,
}

pub(super) struct TransmitQueue {
    ring: FrontRing<Transmit>,
    /// By request id: the part of a packet that is read.
    slots: Box<[Place<Fragment>]>,
    free: Vec<u16>,
    /// Requests that tell of a group.
    groups: Vec<u16>,
    /// It was full, and more than [`REST`] are under way.
    full: bool,
    /// Extra slots that were not answered: as many responses may carry no id.
    extras: u32,
    grants: Grants,
    backend: DomainId,
    offloads: Offloads,
    max_length: usize,
}

/// What [`TransmitQueue::reap`] found.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Reaped {
    /// Slots answered.
    pub(super) slots: u32,
    /// Of those, how many the backend refused.
    pub(super) refused: u32,
}

impl TransmitQueue {
    pub(super) fn new(
        ring: FrontRing<Transmit>,
        grants: &Grants,
        backend: DomainId,
        offloads: Offloads,
        max_length: usize,
    ) -> Self {
        let count = slots::<Transmit>() as u16;
        Self {
            ring,
            slots: (0..count).map(|_| Place::empty()).collect(),
            free: (0..count).rev().collect(),
            groups: Vec::new(),
            full: false,
            extras: 0,
            grants: grants.clone(),
            backend,
            offloads,
            max_length,
        }
    }

    /// How many packets of any size are to be queued now. After there was no room, that is none until most have been answered.
    pub(super) fn room(&mut self) -> usize {
        let room = self.ring.free().min(self.free.len() as u32) / MAX_SLOTS;
        self.full = room == 0 || self.full && self.ring.outstanding() > REST;
        if self.full { 0 } else { room as usize }
    }

    /// Queues a packet; it comes back when it does not fit or is not such that the backend takes it.
    pub(super) fn push(&mut self, packet: PacketMut) -> Result<(), (TransmitErrorKind, PacketMut)> {
        let (parts, length) = match self.check(&packet) {
            Ok(found) => found,
            Err(kind) => return Err((kind, packet)),
        };
        let extra = match packet.gso() {
            Gso::None => None,
            gso => Some(Extra::Gso(gso)),
        };
        let needed = parts as u32 + u32::from(extra.is_some());
        if self.ring.free() < needed || self.free.len() < parts {
            return Err((TransmitErrorKind::Full, packet));
        }
        if parts > 1 && !self.can_lend(&packet, parts) {
            return Err((TransmitErrorKind::Memory, packet));
        }
        let mut flags = match packet.checksum() {
            Checksum::None => 0,
            Checksum::Verified => transmit_flags::DATA_VALIDATED,
            Checksum::Partial { .. } => transmit_flags::CHECKSUM_BLANK | transmit_flags::DATA_VALIDATED,
        };
        if extra.is_some() {
            flags |= transmit_flags::EXTRA_INFO;
        }
        let mark = self.ring.next_request();
        let (checksum, gso) = (packet.checksum(), packet.gso());
        let (head, fragments) = packet.into_parts();
        let mut ids = [0; MAX_PARTS];
        let mut done = 0;
        let mut rest = fragments.into_iter();
        let mut next = Some(head);
        while let Some(part) = next {
            let range = part.range();
            if range.is_empty() {
                next = rest.next();
                continue;
            }
            let (id, grant) = match self.lend(part) {
                Ok(lent) => lent,
                Err(part) => {
                    // Of a packet in several parts only if what was found out above is not so any more.
                    self.take_back(mark, &ids[..done]);
                    let mut packet = PacketMut::from_head(part);
                    packet.set_checksum(checksum);
                    packet.set_gso(gso);
                    return Err((TransmitErrorKind::Memory, packet));
                }
            };
            ids[done] = id;
            done += 1;
            let more = if done < parts { transmit_flags::MORE_DATA } else { 0 };
            let size = if done == 1 { length } else { range.len() };
            // Both fit in 16 bits: `check` saw to the one, a page to the other.
            let (offset, size) = (range.start as u16, size as u16);
            self.ring
                .push(&TransmitRequest::Data(TransmitData { grant, offset, flags: flags | more, id, size }).emit());
            if let Some(extra) = extra.filter(|_| done == 1) {
                self.ring.push(&TransmitRequest::Extra(extra).emit());
            }
            flags = 0;
            next = rest.next();
        }
        self.extras += u32::from(extra.is_some());
        Ok(())
    }

    /// Tells the backend that frames for a group are wanted, or not any more; `false` when there is no room for it.
    pub(super) fn push_group(&mut self, group: [u8; 6], wanted: bool) -> bool {
        if self.ring.free() < 2 {
            return false;
        }
        let Some(id) = self.free.pop() else { return false };
        self.groups.push(id);
        // A packet that is none: nobody looks at its page.
        let data = TransmitData { grant: 0, offset: 0, flags: transmit_flags::EXTRA_INFO, id, size: 0 };
        self.ring.push(&TransmitRequest::Data(data).emit());
        self.ring.push(&TransmitRequest::Extra(Extra::Group { group, wanted }).emit());
        self.extras += 1;
        true
    }

    /// The number of parts and of bytes of a packet that the backend takes.
    fn check(&self, packet: &PacketMut) -> Result<(usize, usize), TransmitErrorKind> {
        let head = packet.head();
        let (mut parts, mut length) = (usize::from(!head.is_empty()), head.len());
        for part in packet.fragments() {
            parts += usize::from(!part.is_empty());
            length += part.len();
        }
        let gso = packet.gso();
        let most = if gso == Gso::None { self.max_length } else { MAX_SIZE };
        let most_parts = if self.offloads.scatter_gather { MAX_PARTS } else { 1 };
        if length < super::ETHERNET_HEADER || length > most || parts > most_parts {
            return Err(TransmitErrorKind::Size);
        }
        let cuts = match gso {
            Gso::None => true,
            Gso::Ipv4 { .. } => self.offloads.gso_ipv4,
            Gso::Ipv6 { .. } => self.offloads.gso_ipv6,
        };
        // Which of the two it is stands in the frame; a device that offers one of them only is looked at closer.
        let sums = match packet.checksum() {
            Checksum::None | Checksum::Verified => true,
            Checksum::Partial { .. } if self.offloads.checksum_ipv4 == self.offloads.checksum_ipv6 => {
                self.offloads.checksum_ipv4
            }
            Checksum::Partial { .. } => match packet.head().get(12..14) {
                Some([0x86, 0xDD]) => self.offloads.checksum_ipv6,
                _ => self.offloads.checksum_ipv4,
            },
        };
        if cuts && sums { Ok((parts, length)) } else { Err(TransmitErrorKind::Offload) }
    }

    /// Whether all parts of a packet, so many, can be granted: it is not to be taken apart in vain.
    #[inline(never)]
    fn can_lend(&mut self, packet: &PacketMut, parts: usize) -> bool {
        let mut next = self.free.iter().rev().take(parts);
        if !next.all(|id| equip(&mut self.slots, &self.grants, *id).is_some()) {
            return false;
        }
        let can_lend = |part: &Fragment| part.is_empty() || self.grants.can_lend(part.page());
        can_lend(packet.head_fragment()) && packet.fragments().iter().all(can_lend)
    }

    /// Grants a part of a packet; the id of the slot that keeps it and the grant's number. The part comes back when that is
    /// impossible.
    fn lend(&mut self, part: Fragment) -> Result<(u16, u32), Fragment> {
        // `push` saw to it that there is an id for each part.
        let Some(&id) = self.free.last() else { return Err(part) };
        let Some(place) = equip(&mut self.slots, &self.grants, id) else { return Err(part) };
        match place.lend(part, self.backend) {
            Ok(number) => {
                self.free.pop();
                Ok((id, number))
            }
            Err((error, part)) => {
                warn(format_args!("netfront: a packet is not sent: {error}"));
                Err(part)
            }
        }
    }

    /// Undoes a packet half queued, of which the backend was told nothing.
    #[cold]
    #[inline(never)]
    fn take_back(&mut self, mark: u32, ids: &[u16]) {
        self.ring.rewind(mark);
        for id in ids {
            let _ = self.slots[usize::from(*id)].end();
            self.free.push(*id);
        }
    }

    /// The reference the ring is granted by.
    pub(super) fn ring_reference(&self) -> u32 {
        self.ring.memory().number()
    }

    /// Shows the backend what was queued; whether to notify it.
    pub(super) fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// Takes back what the backend has answered.
    pub(super) fn reap(&mut self) -> Result<Reaped, Broken> {
        let mut reaped = Reaped::default();
        while self.ring.available().map_err(Broken::TransmitProducer)? > 0 {
            let Some(response) = self.ring.take() else { break };
            reaped.slots += 1;
            // Any status is possible; only NULL changes what the rest means.
            let response = response.for_any_value();
            if response.status == STATUS_NULL {
                self.extras = self.extras.checked_sub(1).ok_or(Broken::TransmitNull)?;
                continue;
            }
            let refused = response.status != STATUS_OKAY;
            let id = response.id;
            let place = self.slots.get_mut(usize::from(id)).ok_or(Broken::TransmitId { id })?;
            if place.end().map_err(|_| Broken::TransmitInUse)?.is_none() {
                self.end_group(id, refused)?;
            }
            self.free.push(id);
            reaped.refused += u32::from(refused);
        }
        Ok(reaped)
    }

    /// A request that no part of a packet was lent for is answered.
    #[cold]
    #[inline(never)]
    fn end_group(&mut self, id: u16, refused: bool) -> Result<(), Broken> {
        let place = self.groups.iter().position(|group| *group == id).ok_or(Broken::TransmitId { id })?;
        self.groups.swap_remove(place);
        if refused {
            warn(format_args!("netfront: the backend has no room for another group"));
        }
        Ok(())
    }

    /// Asks for an event when half of what is under way has been answered, and all but [`REST`] if that is more, so that pages
    /// come back in good time but not each with an event of its own. With few under way, and pages enough (`lazy`), for none at
    /// all: they come back with whatever happens next. Whether there are responses already.
    pub(super) fn listen(&mut self, lazy: bool) -> Result<bool, Broken> {
        let outstanding = self.ring.outstanding();
        let half = outstanding / 2 + 1;
        let distance = match outstanding {
            0..FEW if lazy => slots::<Transmit>(),
            _ if lazy => half.max(outstanding.saturating_sub(REST)),
            _ => half,
        };
        Ok(self.ring.listen(distance).map_err(Broken::TransmitProducer)? > 0)
    }
}

/// The place of a slot, with a reference; `None` when there is none for it.
#[inline(always)]
fn equip<'a>(slots: &'a mut [Place<Fragment>], grants: &Grants, id: u16) -> Option<&'a mut Place<Fragment>> {
    let place = slots.get_mut(usize::from(id))?;
    if !place.is_equipped() {
        place.equip(grants.reference().ok()?);
    }
    Some(place)
}
