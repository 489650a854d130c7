//! A connected backend: packets from the guest's rings and into them.

use alloc::rc::Rc;
use alloc::vec::Vec;

use mirage_rt::packet::Gso;

use super::hostile::Mischief;
use super::{Frame, Shared};
use crate::hypervisor::PAGE_SIZE;
use crate::model::{BackRing, BackendPort, Mapping, World};
use crate::netfront::wire::{
    Extra, Receive, ReceiveData, STATUS_ERROR, STATUS_NULL, STATUS_OKAY, Transmit, TransmitResponse, receive_flags,
    transmit_flags,
};
use crate::ring::slots;

pub(super) struct Link {
    pub(super) transmit: BackRing<Transmit>,
    pub(super) receive: BackRing<Receive>,
    pub(super) transmit_end: BackendPort,
    pub(super) receive_end: Option<BackendPort>,
    pub(super) transmit_kicked: bool,
    pub(super) receive_kicked: bool,
    /// Requests taken whose answer is held back, with what they keep mapped.
    pub(super) held: Vec<(TransmitResponse, Option<Mapping>)>,
    /// Pages a hostile backend does not let go of.
    pub(super) kept: Vec<Mapping>,
    /// It only scribbles from now on.
    pub(super) scribbles: bool,
    /// It has done something hostile: what it finds need not make sense, as it may be its own doing.
    pub(super) lenient: bool,
}

/// Groups that a backend keeps apart, as Linux's does.
const MOST_GROUPS: usize = 64;

/// Takes down a group; whether there was room for it.
fn note_group(shared: &mut Shared, group: [u8; 6], wanted: bool) -> bool {
    let groups = shared.groups.get_or_insert_default();
    groups.retain(|known| *known != group);
    if wanted {
        if groups.len() == MOST_GROUPS {
            return false;
        }
        groups.push(group);
    }
    true
}

impl Link {
    /// What an honest backend finds. One that is not serves its rings no more where that is missing.
    fn must<T>(&mut self, value: Option<T>, what: &str) -> Option<T> {
        if value.is_none() {
            assert!(self.lenient, "{what}");
            self.scribbles = true;
        }
        value
    }

    pub(super) fn notify(&self, world: &World, shared: &mut Shared, receive: bool) {
        shared.notifications += 1;
        world.notify(self.receive_end.filter(|_| receive).unwrap_or(self.transmit_end));
    }

    pub(super) fn hear(&mut self, world: &World) {
        let event = world.take_pending(self.transmit_end);
        self.transmit_kicked |= event;
        self.receive_kicked |= match self.receive_end {
            None => event,
            Some(end) => world.take_pending(end),
        };
    }

    /// Takes the next packet from the guest; `None` when there is none.
    pub(super) fn take_packet(&mut self, world: &Rc<World>, shared: &mut Shared) -> Option<()> {
        let (_, raw) = self.transmit.take()?;
        let first = Transmit::data(&raw);
        let mut frame = Frame {
            blank: first.flags & transmit_flags::CHECKSUM_BLANK != 0,
            validated: first.flags & transmit_flags::DATA_VALIDATED != 0,
            ..Frame::default()
        };
        let mut extra_follows = first.flags & transmit_flags::EXTRA_INFO != 0;
        let (mut extras, mut changed) = (0, None);
        while extra_follows {
            let raw = self.transmit.take();
            let (_, raw) = self.must(raw, "a packet is published whole")?;
            let extra = self.must(Transmit::extra(&raw), "the frontend sends what the protocol knows")?;
            let (extra, more) = extra;
            match extra {
                Extra::Gso(gso) => frame.gso = gso,
                Extra::Group { group, wanted } => changed = Some(note_group(shared, group, wanted)),
                Extra::Other { .. } => self.must(None, "a frontend has no reason to send other extra information")?,
            }
            extras += 1;
            extra_follows = more;
        }
        if let Some(done) = changed {
            let alone = (first.size, first.flags) == (0, transmit_flags::EXTRA_INFO);
            self.must(alone.then_some(()), "there is no packet with it")?;
            let status = if done { STATUS_OKAY } else { STATUS_ERROR };
            self.held.push((TransmitResponse { id: first.id, status }, None));
            self.held.push((TransmitResponse { id: 0, status: STATUS_NULL }, None));
            return Some(());
        }
        let mut parts = Vec::from([first]);
        while parts.last().is_some_and(|part| part.flags & transmit_flags::MORE_DATA != 0) {
            let raw = self.transmit.take();
            let (_, raw) = self.must(raw, "a packet is published whole")?;
            parts.push(Transmit::data(&raw));
        }
        let rest: usize = parts[1..].iter().map(|part| usize::from(part.size)).sum();
        let mut sizes: Vec<_> = parts.iter().map(|part| usize::from(part.size)).collect();
        sizes[0] = self.must(usize::from(first.size).checked_sub(rest), "the first size is the packet's")?;
        frame.slots = parts.len();
        let bounded =
            parts.iter().zip(&sizes).all(|(part, size)| *size > 0 && usize::from(part.offset) + size <= PAGE_SIZE);
        if !bounded || parts.len() > 18 {
            shared.refused += 1;
            if self.lenient {
                return self.must(None, "");
            }
        }
        for (part, size) in parts.iter().zip(&sizes) {
            let mapping = self.must(world.map_grant(part.grant, false).ok(), "the frontend granted what it sends")?;
            let read_only = world.map_grant(part.grant, true).is_err();
            self.must(read_only.then_some(()), "pages to be sent are granted for reading only")?;
            let start = frame.bytes.len();
            frame.bytes.resize(start + size, 0);
            mapping.bytes().copy_out(usize::from(part.offset), &mut frame.bytes[start..]);
            let response = TransmitResponse { id: part.id, status: STATUS_OKAY };
            self.held.push((response, Some(mapping)));
        }
        for _ in 0..extras {
            self.held.push((TransmitResponse { id: 0, status: STATUS_NULL }, None));
        }
        if shared.echo {
            shared.outgoing.push_back(frame.clone());
            shared.kicked = true;
        }
        shared.incoming.push(frame);
        Some(())
    }

    pub(super) fn serve_transmit(&mut self, world: &Rc<World>, shared: &mut Shared) -> bool {
        let holds = shared.hold && shared.release == 0;
        if !core::mem::take(&mut self.transmit_kicked) && (self.held.is_empty() || holds) {
            return false;
        }
        let mut any = false;
        while self.take_packet(world, shared).is_some() {
            any = true;
        }
        if !holds {
            let released = core::mem::take(&mut shared.release);
            let count = if shared.hold { released.min(self.held.len()) } else { self.held.len() };
            any |= count > 0;
            for (response, mapping) in self.held.drain(..count) {
                let response = match shared.mischief {
                    Some(Mischief::TransmitId(id)) => TransmitResponse { id, ..response },
                    Some(Mischief::TransmitNull) => TransmitResponse { status: STATUS_NULL, ..response },
                    Some(Mischief::TransmitInUse) => {
                        self.kept.extend(mapping);
                        shared.mischief = None;
                        self.transmit.push(&response);
                        continue;
                    }
                    _ => response,
                };
                if let Some(Mischief::TransmitId(_) | Mischief::TransmitNull) = shared.mischief {
                    shared.mischief = None;
                }
                drop(mapping);
                self.transmit.push(&response);
            }
            if any && shared.mischief == Some(Mischief::TransmitProducer) {
                shared.mischief = None;
                self.transmit.skip(slots::<Transmit>());
            }
            if self.transmit.publish() {
                self.notify(world, shared, false);
            }
        }
        self.transmit_kicked = self.transmit.listen() > 0;
        any
    }

    /// Fills the guest's pages with a frame, if it has posted enough.
    pub(super) fn give_packet(&mut self, world: &Rc<World>, shared: &mut Shared) -> bool {
        let Some(frame) = shared.outgoing.front() else { return false };
        let extra = frame.gso != Gso::None;
        let parts = frame.bytes.len().div_ceil(PAGE_SIZE).max(1);
        if (self.receive.requests() as usize) < parts + usize::from(extra) {
            return false;
        }
        let Some(frame) = shared.outgoing.pop_front() else { return false };
        for (number, bytes) in frame.bytes.chunks(PAGE_SIZE).enumerate() {
            let Some((_, request)) = self.receive.take() else { return false };
            let mapping = world.map_grant(request.grant, true).ok();
            let Some(mapping) = self.must(mapping, "the frontend granted what it posted") else { return false };
            mapping.bytes().copy_in(0, bytes);
            let mut flags = 0;
            if number + 1 < parts {
                flags |= receive_flags::MORE_DATA;
            }
            if number == 0 {
                flags |= if frame.blank { receive_flags::CHECKSUM_BLANK } else { 0 };
                flags |= if frame.validated { receive_flags::DATA_VALIDATED } else { 0 };
                flags |= if extra { receive_flags::EXTRA_INFO } else { 0 };
            }
            self.receive.push(&ReceiveData { id: request.id, offset: 0, flags, status: bytes.len() as i16 }.emit());
            if number == 0 && extra {
                self.receive.take();
                self.receive.push(&Extra::Gso(frame.gso).emit());
            }
        }
        true
    }

    pub(super) fn serve_receive(&mut self, world: &Rc<World>, shared: &mut Shared) -> bool {
        if !core::mem::take(&mut shared.kicked) && !core::mem::take(&mut self.receive_kicked) {
            return false;
        }
        let mut any = false;
        if let Some(mischief) = shared.mischief.filter(|mischief| mischief.is_receive()) {
            shared.mischief = None;
            self.misbehave(world, mischief);
            any = true;
        }
        loop {
            while self.give_packet(world, shared) {
                any = true;
            }
            if shared.outgoing.is_empty() {
                break;
            }
            let before = self.receive.requests();
            if self.receive.listen() <= before {
                break;
            }
        }
        if self.receive.publish() {
            self.notify(world, shared, true);
        }
        any
    }
}
