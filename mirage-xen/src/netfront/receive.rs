//! Packets on their way in: pages are posted for the backend to fill, and become a packet without a copy. A page's grant is
//! ended before anything is read from it.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;

use mirage_rt::packet::{Checksum, Fragment, MAX_FRAGMENTS, PacketMut};
use mirage_rt::page::{Page, PagePool};

use super::wire::{Extra, Receive, ReceiveData, ReceiveRequest, receive_flags};
use super::{Broken, ConnectError, checksum};
use crate::grants::{Access, GrantError, Grants, Place};
use crate::hypervisor::{DomainId, PAGE_SIZE};
use crate::ring::{FrontRing, ProducerOverflow, slots};
use crate::shared::SharedPage;
use crate::warning::network::{failed, warn};

/// Pages posted at first. There are more when they do not last.
const FIRST: u32 = 64;
/// Requests that are written before the backend is shown them, while it has others.
const BATCH: u32 = 32;
/// Pages in the pool that are more than enough for what is sent next.
const MANY: usize = 64;
/// Slots of the ring: their numbers are those of one byte.
const SLOTS: usize = 256;
const _: () = assert!(slots::<Receive>() as usize == SLOTS);
/// Extra slots of one packet; there are four kinds.
const MAX_EXTRAS: u32 = 4;

pub(super) struct ReceiveQueue {
    ring: FrontRing<Receive>,
    /// By request id: the page to be filled. There are more when more are posted.
    slots: Vec<Place<SharedPage>>,
    /// Ids that are not posted.
    free: Vec<u8>,
    /// By the slot's number, the id posted there: a response comes in the slot of its request.
    posted: Box<[u8; SLOTS]>,
    pool: Rc<dyn PagePool>,
    grants: Grants,
    backend: DomainId,
    /// Pages to have posted now, at most, and to keep posted when the pool has no more.
    target: u32,
    most: u32,
    least: u32,
    /// Whether the backend had few pages left since the last time.
    ran_low: bool,
    gso: bool,
    assembly: Assembly,
}

/// A packet of which not all slots have come.
#[derive(Default)]
struct Assembly {
    packet: Option<PacketMut>,
    /// Of the packet's first slot.
    flags: u16,
    expect: Expect,
    /// Data slots follow those of extra information.
    more: bool,
    extras: u32,
    /// Why it is dropped when it is complete.
    doom: Option<Doom>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Expect {
    #[default]
    First,
    Extra,
    More,
}

#[derive(Clone, Copy)]
enum Doom {
    Memory,
    Error,
}

/// What became of a packet that was dropped, or that one is complete.
#[derive(Clone, Copy)]
pub(super) enum Received {
    Packet,
    /// There was no page left to receive into.
    NoMemory,
    /// The backend reported an error, or the packet made no sense.
    Error,
}

impl ReceiveQueue {
    /// Posts some of the pages that the pool gives; later up to `most`.
    pub(super) fn new(
        ring: FrontRing<Receive>,
        grants: &Grants,
        backend: DomainId,
        pool: &Rc<dyn PagePool>,
        most: u32,
        gso: bool,
    ) -> Result<Self, ConnectError> {
        // A packet that is not cut takes a slot for each page and some for what is known of it.
        let least = if gso { MAX_FRAGMENTS as u32 + 2 } else { 4 };
        let most = most.clamp(least, slots::<Receive>());
        let target = FIRST.min(most);
        let mut queue = Self {
            ring,
            slots: Vec::with_capacity(most as usize),
            free: Vec::with_capacity(SLOTS),
            posted: Box::new([0; SLOTS]),
            pool: Rc::clone(pool),
            grants: grants.clone(),
            backend,
            target,
            most,
            least,
            ran_low: false,
            gso,
            assembly: Assembly::default(),
        };
        queue.refill();
        if queue.ring.outstanding() < least {
            return Err(ConnectError::NoPages { needed: least, available: queue.ring.outstanding() });
        }
        // Nobody is there yet to be notified.
        let _ = queue.ring.publish();
        Ok(queue)
    }

    /// Posts pages up to the target, as far as the pool has some.
    fn refill(&mut self) {
        while self.ring.outstanding() < self.target {
            let Some(page) = Page::take(&self.pool) else { return };
            let id = match self.free.pop().map_or_else(|| self.another(), Ok) {
                Ok(id) => id,
                Err(error) => {
                    warn(format_args!("netfront: fewer pages to receive into than wished: {error}"));
                    self.most = self.ring.outstanding().max(self.least);
                    self.target = self.most;
                    return;
                }
            };
            if !self.post(id, page.into()) {
                return;
            }
        }
    }

    /// One more id. There are as many as are posted, at most as many as the ring has slots.
    fn another(&mut self) -> Result<u8, GrantError> {
        let mut place = Place::empty();
        place.equip(self.grants.reference()?);
        let id = u8::try_from(self.slots.len()).map_err(|_| GrantError::NoReference)?;
        self.slots.push(place);
        Ok(id)
    }

    #[inline(always)]
    fn post(&mut self, id: u8, page: SharedPage) -> bool {
        let Some(place) = self.slots.get_mut(usize::from(id)) else { return false };
        match place.lend(page, self.backend, Access::ReadWrite) {
            Ok(number) => {
                self.request(id, number);
                true
            }
            Err((error, _page)) => {
                failed(format_args!("netfront: {error}"));
                self.free.push(id);
                false
            }
        }
    }

    /// Asks for the page with this id, and grant, to be filled.
    #[inline(always)]
    fn request(&mut self, id: u8, grant: u32) {
        self.posted[self.ring.next_request() as usize % SLOTS] = id;
        // There is room, because there are no more ids than slots.
        self.ring.push(&ReceiveRequest { id: id.into(), grant });
    }

    /// The reference the ring is granted by.
    pub(super) fn ring_reference(&self) -> u32 {
        self.ring.memory().number()
    }

    /// Shows the backend the pages posted, in batches as long as it has others; whether to notify it.
    pub(super) fn publish(&mut self, at_once: bool) -> bool {
        if at_once {
            if self.ran_low {
                self.ran_low = false;
                self.target = (self.target * 2).min(self.most);
            }
            self.refill();
        }
        (at_once || self.ring.unpublished() >= BATCH) && self.ring.publish()
    }

    /// Whether the pool has so many pages that a few more or less do not matter.
    pub(super) fn has_pages(&self) -> bool {
        self.pool.available() >= MANY
    }

    /// Asks for an event with the next response; whether there is one already.
    pub(super) fn listen(&mut self) -> Result<bool, Broken> {
        Ok(self.ring.listen(1).map_err(Broken::ReceiveProducer)? > 0)
    }

    /// The next packet that is complete, which is put into `packet`, or was and is dropped; `None` when there is none.
    #[inline(always)]
    pub(super) fn next(&mut self, packet: &mut Option<PacketMut>) -> Result<Option<Received>, Broken> {
        loop {
            let available = self.ring.available().map_err(Broken::ReceiveProducer)?;
            if available == 0 {
                return Ok(None);
            }
            // The backend has used up most of what it had.
            self.ran_low |= self.ring.outstanding() - available < self.target / 4;
            let id = self.posted[self.ring.next_response() as usize % SLOTS];
            let Some(raw) = self.ring.take() else { return Ok(None) };
            // Interpreted by what came before, and checked there field by field.
            let raw = raw.for_any_value();
            let complete = match self.assembly.expect {
                Expect::Extra => self.take_extra(id, raw, packet)?,
                Expect::First | Expect::More => self.take_data(id, raw, packet)?,
            };
            if complete.is_some() {
                return Ok(complete);
            }
        }
    }

    /// Takes a slot of data; what has come, if it was the packet's last.
    #[inline(always)]
    fn take_data(&mut self, id: u8, raw: [u8; 8], packet: &mut Option<PacketMut>) -> Result<Option<Received>, Broken> {
        let data = ReceiveData::parse(&raw);
        if data.id != u16::from(id) {
            return Err(Broken::ReceiveId { id: data.id, expected: id.into() });
        }
        let start = usize::from(data.offset);
        let length = usize::try_from(data.status).unwrap_or(0);
        if start + length > PAGE_SIZE {
            return Err(Broken::ReceiveBounds { offset: data.offset, size: data.status });
        }
        let page =
            self.slots.get_mut(usize::from(id)).map_or(Ok(None), Place::end).map_err(|_| Broken::ReceiveInUse)?;
        // There is one: the ring gives no more responses than requests, and each request left its page here.
        let page = page.ok_or(Broken::ReceiveProducer(ProducerOverflow { claimed: 1, outstanding: 0 }))?;
        let page = self.replace(id, page);

        let first = self.assembly.expect == Expect::First;
        let goes_on = data.flags & (receive_flags::EXTRA_INFO | receive_flags::MORE_DATA) != 0;
        if first && !goes_on && data.status >= 0 {
            // Nearly all of them: there is nothing to be put together.
            let Some(page) = page else { return Ok(Some(Received::NoMemory)) };
            let head = Fragment::new(page, start..start + length);
            *packet = head.ok().and_then(|head| complete(head, data.flags));
            return Ok(Some(if packet.is_some() { Received::Packet } else { Received::Error }));
        }
        let assembly = &mut self.assembly;
        if first {
            assembly.flags = data.flags;
        }
        match page {
            _ if data.status < 0 => assembly.doom = Some(Doom::Error),
            None => assembly.doom = Some(Doom::Memory),
            Some(page) => match (Fragment::new(page, start..start + length), &mut assembly.packet) {
                (Ok(head), packet @ None) => *packet = Some(PacketMut::from_head(head)),
                (Ok(fragment), Some(packet)) => {
                    if packet.push_fragment(fragment).is_err() {
                        assembly.doom = Some(Doom::Error);
                    }
                }
                (Err(_), _) => assembly.doom = Some(Doom::Error),
            },
        }
        assembly.more = data.flags & receive_flags::MORE_DATA != 0;
        assembly.expect = match (first && data.flags & receive_flags::EXTRA_INFO != 0, assembly.more) {
            (true, _) => Expect::Extra,
            (false, true) => Expect::More,
            (false, false) => return Ok(Some(self.finish(packet))),
        };
        Ok(None)
    }

    /// Posts another page in place of `page`, which is to be handed on; or `page` itself, when the pool has no other and
    /// few are posted.
    #[inline(always)]
    fn replace(&mut self, id: u8, page: SharedPage) -> Option<Page> {
        let wanted = self.ring.outstanding() < self.target;
        let (posted, handed) = match wanted.then(|| Page::take(&self.pool)).flatten() {
            Some(other) => (other.into(), Some(page.into_page())),
            None if self.ring.outstanding() >= self.least => {
                self.free.push(id);
                return Some(page.into_page());
            }
            None => (page, None),
        };
        self.post(id, posted);
        handed
    }

    /// Takes a slot of extra information, whose page was not used; what has come, if it was the packet's last.
    fn take_extra(&mut self, id: u8, raw: [u8; 8], packet: &mut Option<PacketMut>) -> Result<Option<Received>, Broken> {
        match self.slots.get(usize::from(id)).and_then(Place::number) {
            Some(grant) => self.request(id, grant),
            None => self.free.push(id),
        }
        let assembly = &mut self.assembly;
        assembly.extras += 1;
        if assembly.extras > MAX_EXTRAS {
            return Err(Broken::ReceiveExtras);
        }
        let (extra, another) = Extra::parse(&raw).ok_or(Broken::ReceiveExtra { kind: raw[0] })?;
        match (extra, &mut assembly.packet) {
            (Extra::Gso(gso), Some(packet)) if self.gso => packet.set_gso(gso),
            // Not offered, so not understood further up.
            (Extra::Gso(_), _) => assembly.doom = assembly.doom.or(Some(Doom::Error)),
            // A frontend's to say.
            (Extra::Group { .. }, _) => return Err(Broken::ReceiveExtra { kind: raw[0] }),
            (Extra::Other { .. }, _) => {}
        }
        if another {
            return Ok(None);
        }
        assembly.expect = Expect::More;
        Ok((!assembly.more).then(|| self.finish(packet)))
    }

    /// What was put together.
    #[inline(never)]
    fn finish(&mut self, whole: &mut Option<PacketMut>) -> Received {
        let Assembly { packet, flags, doom, .. } = core::mem::take(&mut self.assembly);
        match (doom, packet) {
            (None, Some(mut packet)) => {
                let Some(checksum) = checksum_of(packet.head(), flags) else { return Received::Error };
                packet.set_checksum(checksum);
                *whole = Some(packet);
                Received::Packet
            }
            (Some(Doom::Memory), _) => Received::NoMemory,
            _ => Received::Error,
        }
    }
}

/// A packet all of which is in its head.
#[inline(always)]
fn complete(head: Fragment, flags: u16) -> Option<PacketMut> {
    let checksum = checksum_of(head.bytes(), flags)?;
    let mut packet = PacketMut::from_head(head);
    packet.set_checksum(checksum);
    Some(packet)
}

/// What the backend's flags say of a frame; `None` when it has no header, or not what they tell of.
#[inline(always)]
fn checksum_of(head: &[u8], flags: u16) -> Option<Checksum> {
    if head.len() < super::ETHERNET_HEADER {
        None
    } else if flags & receive_flags::CHECKSUM_BLANK != 0 {
        checksum::locate(head)
    } else if flags & receive_flags::DATA_VALIDATED != 0 {
        Some(Checksum::Verified)
    } else {
        Some(Checksum::None)
    }
}
