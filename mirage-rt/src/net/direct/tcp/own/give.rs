//! Pages that the application gives to be sent: they are among the bytes of the send buffer, and packets share them until the
//! peer has acknowledged their bytes and the device has given the packets back.

use alloc::boxed::Box;

use super::connection::Connection;
use super::pages::Handed;
use crate::packet::Fragment;
use crate::page::PAGE_SIZE;

impl Connection {
    /// The pages that were given, if there are any.
    #[inline]
    pub fn given(&self) -> Option<&Handed> {
        self.rare.as_deref()?.given.as_ref().filter(|given| given.count > 0)
    }

    /// Bytes of memory that what is to be sent stands in.
    pub fn send_memory(&self) -> usize {
        self.send.memory() + self.given().map_or(0, |given| given.count * PAGE_SIZE)
    }

    /// The first bytes are acknowledged.
    pub fn consume_sent(&mut self, length: usize) {
        match self.rare.as_deref_mut().and_then(|rare| rare.given.as_mut()) {
            Some(given) => given.consume(&mut self.send, length),
            None => self.send.consume(length),
        }
    }

    /// Takes a page over; there must be room.
    pub fn give(&mut self, fragment: Fragment) -> Result<(), Fragment> {
        let given = match &mut self.rare {
            Some(rare) => &mut rare.given,
            rare @ None => &mut rare.insert(Box::default()).given,
        };
        let given = given.get_or_insert_with(Handed::new);
        if !given.make_place(1) {
            return Err(fragment);
        }
        given.push(&mut self.send, fragment.into_shared());
        Ok(())
    }
}
