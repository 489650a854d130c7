//! What a hostile backend does.

use alloc::rc::Rc;
use core::sync::atomic::Ordering;

use super::World;
use super::link::{Link, Taken, Work};
use crate::blkfront::wire::{Response, status};
use crate::hypervisor::PAGE_SIZE;
use crate::model::restless;
use crate::ring::RingMemory;

/// What a hostile backend does once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskMischief {
    /// Claims more responses than requests.
    Producer,
    /// Answers a request with another one's number.
    Id(u64),
    /// Answers a request twice.
    Twice,
    /// Answers with another operation.
    Operation(u8),
    /// Answers with this status.
    Status(i16),
    /// Answers a request and keeps a page of it mapped.
    InUse,
    /// Serves the ring no more, and changes what the guest has read of it, one time in so many.
    Restless(u32),
    /// Writes a number somewhere into the ring, and serves it no more.
    Scribble {
        /// The number of the 32-bit word in the ring's first page.
        word: u16,
        /// The number.
        value: u32,
    },
}

impl Link {
    /// Does what a hostile backend does; whether there was an occasion.
    pub(super) fn misbehave(&mut self, world: &Rc<World>, mischief: DiskMischief) -> bool {
        if let DiskMischief::Scribble { word, value } = mischief {
            self.scribbles = true;
            let page = self.ring.memory().bytes();
            page.store_u32(usize::from(word) % (PAGE_SIZE / 4) * 4, value, Ordering::SeqCst);
            world.notify(self.end);
            return true;
        }
        if let DiskMischief::Restless(one_in) = mischief {
            self.scribbles = true;
            restless::stir(self.ring.memory().bytes(), u64::from(one_in) + 54321, one_in);
            world.notify(self.end);
            return true;
        }
        if mischief == DiskMischief::Producer {
            self.ring.skip(self.ring.size() + 1);
            return true;
        }
        let Some(Taken { id, operation, work, .. }) = self.take_any() else { return false };
        let honest = Response { id, operation, status: status::OKAY };
        let response = match mischief {
            DiskMischief::Id(id) => Response { id, ..honest },
            DiskMischief::Operation(operation) => Response { operation, ..honest },
            DiskMischief::Status(status) => Response { status, ..honest },
            _ => honest,
        };
        if let (DiskMischief::InUse, Ok(Work::Transfer { mut parts, .. })) = (mischief, work) {
            self.kept.extend(parts.first_mut().and_then(|part| part.mapping.take()));
        }
        self.ring.push(&response);
        if mischief == DiskMischief::Twice {
            self.ring.push(&response);
        }
        true
    }
}
