//! What a hostile backend does.

use alloc::rc::Rc;
use core::sync::atomic::Ordering;

use super::World;
use super::link::Link;
use crate::hypervisor::PAGE_SIZE;
use crate::model::restless;
use crate::netfront::wire::{Receive, ReceiveData, STATUS_ERROR, receive_flags};
use crate::ring::slots;

/// What a hostile backend does once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mischief {
    /// Claims more transmit responses than requests.
    TransmitProducer,
    /// Answers a transmit request that is not under way.
    TransmitId(u16),
    /// Answers extra information that was not sent.
    TransmitNull,
    /// Answers a transmit request and keeps the page mapped.
    TransmitInUse,
    /// Claims more receive responses than requests.
    ReceiveProducer,
    /// Answers a receive request with another one's id.
    ReceiveId(u16),
    /// Gives a place of the data that is not in the page.
    ReceiveBounds {
        /// Offset.
        offset: u16,
        /// Size.
        size: i16,
    },
    /// Answers a receive request and keeps the page mapped.
    ReceiveInUse,
    /// Sends this as extra information.
    ReceiveExtra([u8; 8]),
    /// Sends extra information in every slot it has.
    ReceiveExtras,
    /// Writes a number somewhere into a ring, and serves neither ring any more.
    Scribble {
        /// Into the receive ring, not the transmit ring.
        receive: bool,
        /// The number of the 32-bit word in the page.
        word: u16,
        /// The number.
        value: u32,
    },
    /// Serves neither ring any more, and changes what the guest has read of one of them, one time in so many.
    Restless {
        /// The receive ring, not the transmit ring.
        receive: bool,
        /// One in how many reads is followed by a change.
        one_in: u32,
    },
    /// Reports an error instead of a packet, which is no breach of the protocol.
    ReceiveError,
    /// Starts a packet and never ends it, likewise.
    ReceiveHalf,
}

impl Mischief {
    /// Whether it is done to the receive ring.
    pub(super) fn is_receive(self) -> bool {
        !matches!(self, Self::TransmitProducer | Self::TransmitId(_) | Self::TransmitNull | Self::TransmitInUse)
    }
}

impl Link {
    /// Does what a hostile backend does with the guest's pages.
    pub(super) fn misbehave(&mut self, world: &Rc<World>, mischief: Mischief) {
        if mischief == Mischief::ReceiveProducer {
            self.receive.skip(slots::<Receive>() + 1);
            return;
        }
        let Some((_, request)) = self.receive.take() else { return };
        let honest = ReceiveData { id: request.id, offset: 0, flags: 0, status: 60 };
        let with_extra = ReceiveData { flags: receive_flags::EXTRA_INFO, ..honest };
        let response = match mischief {
            Mischief::ReceiveId(id) => ReceiveData { id, ..honest },
            Mischief::ReceiveBounds { offset, size } => ReceiveData { offset, status: size, ..honest },
            Mischief::ReceiveInUse => {
                self.kept.extend(world.map_grant(request.grant, true));
                honest
            }
            Mischief::ReceiveExtra(_) | Mischief::ReceiveExtras => with_extra,
            Mischief::ReceiveError => ReceiveData { status: STATUS_ERROR, ..honest },
            _ => ReceiveData { flags: receive_flags::MORE_DATA, ..honest },
        };
        self.receive.push(&response.emit());
        match mischief {
            Mischief::ReceiveExtra(raw) => {
                self.receive.take();
                self.receive.push(&raw);
            }
            Mischief::ReceiveExtras => {
                while self.receive.take().is_some() {
                    self.receive.push(&[4, 1, 0, 0, 0, 0, 0, 0]);
                }
            }
            _ => {}
        }
    }

    /// Changes what is read of a ring; from then on this is all the backend does.
    pub(super) fn stir(&mut self, receive: bool, one_in: u32) {
        self.scribbles = true;
        let page = if receive { self.receive.memory().bytes() } else { self.transmit.memory().bytes() };
        restless::stir(page, u64::from(one_in) + 12345, one_in);
    }

    /// Writes a number into a ring; from then on this is all the backend does.
    pub(super) fn scribble(&mut self, receive: bool, word: u16, value: u32) {
        self.scribbles = true;
        let page = if receive { self.receive.memory().bytes() } else { self.transmit.memory().bytes() };
        page.store_u32(usize::from(word) % (PAGE_SIZE / 4) * 4, value, Ordering::SeqCst);
    }
}
