//! Pages that the application gives to be sent: they are among the bytes of the send buffer, and packets share them until the
//! peer has acknowledged their bytes and the device has given the packets back.

use alloc::boxed::Box;

use super::connection::Connection;
use super::pages::{Pages, Queue};
use crate::packet::Fragment;
use crate::page::PAGE_SIZE;

impl Connection {
    /// The pages that were given, if there ever were any.
    #[inline]
    pub fn given(&self) -> Option<&dyn Pages> {
        self.rare.as_deref()?.given.as_deref()
    }

    /// Bytes to be sent that are in pages.
    #[inline]
    fn given_length(&self) -> usize {
        self.given().map_or(0, Pages::length)
    }

    /// Bytes that were written or given and not acknowledged.
    #[inline]
    pub fn send_length(&self) -> usize {
        self.send.length() + self.given_length()
    }

    /// How many more there is room for. Somewhat more may be given at once.
    #[inline]
    pub fn send_room(&self) -> usize {
        self.send.room().saturating_sub(self.given_length())
    }

    /// Bytes of memory that what is to be sent stands in.
    #[inline]
    pub fn send_memory(&self) -> usize {
        self.send.memory() + self.given().map_or(0, |pages| pages.count() * PAGE_SIZE)
    }

    /// The first bytes are acknowledged.
    #[inline]
    pub fn consume_sent(&mut self, length: usize) {
        match self.rare.as_deref_mut().and_then(|rare| rare.given.as_deref_mut()) {
            Some(pages) => pages.consume(&mut self.send, length),
            None => self.send.consume(length),
        }
    }

    /// Takes a page over, if there is room.
    pub fn give(&mut self, fragment: Fragment) -> Result<(), Fragment> {
        if !self.can_write() || self.send_room() == 0 {
            return Err(fragment);
        }
        let given = match &mut self.rare {
            Some(rare) => &mut rare.given,
            rare @ None => &mut rare.insert(Box::default()).given,
        };
        let given = given.get_or_insert_with(|| Box::new(Queue::default()));
        if !given.make_place(1) {
            return Err(fragment);
        }
        given.push(&self.send, fragment.into_shared());
        Ok(())
    }
}
