//! References that stay where they are and lend one thing after another: those of the slots of a ring.

use core::fmt;
use core::ptr::NonNull;

use mirage_rt::packet::Fragment;

use super::{Access, GrantError, Quarantined, Reference, lose};
use crate::hypervisor::DomainId;
use crate::shared::SharedPage;

/// A place for a reference and for what is lent by it. Nothing of it is moved from one loan to the next, as a
/// [`Grant`](super::Grant) and its reference are. Dropping it ends the access, or puts all of it in quarantine when that is impossible.
pub struct Place<T> {
    /// None before there is one, and once it was lost.
    reference: Option<Reference>,
    lent: Option<T>,
}

impl<T> Place<T> {
    /// A place without a reference.
    pub const fn empty() -> Self {
        Self { reference: None, lent: None }
    }

    /// Whether it has a reference.
    #[inline]
    pub fn is_equipped(&self) -> bool {
        self.reference.is_some()
    }

    /// Gives it a reference; one that it has, and lends nothing by, goes back to the table.
    pub fn equip(&mut self, reference: Reference) {
        if self.lent.is_none() {
            self.reference = Some(reference);
        }
    }

    /// The reference's number, while something is lent by it.
    #[inline]
    pub fn number(&self) -> Option<u32> {
        self.lent.as_ref().and(self.reference.as_ref()).map(|reference| reference.number)
    }

    #[inline(always)]
    fn put(&mut self, owner: T, page: NonNull<u8>, domain: DomainId, access: Access) -> Result<u32, (GrantError, T)> {
        let Some(reference) = self.reference.as_ref().filter(|_| self.lent.is_none()) else {
            return Err((GrantError::NoReference, owner));
        };
        match reference.table.frame_of(page) {
            Ok(frame) => {
                reference.set(frame, domain, access);
                let number = reference.number;
                self.lent = Some(owner);
                Ok(number)
            }
            Err(error) => Err((error, owner)),
        }
    }

    /// Ends the other side's access, if it has any: what it had is ours alone again.
    ///
    /// # Errors
    ///
    /// [`Quarantined`] when the other side uses the page at this moment. What was lent and the reference are lost then, and the
    /// device whose backend does that is broken.
    #[inline(always)]
    pub fn end(&mut self) -> Result<Option<T>, Quarantined> {
        match &self.reference {
            Some(reference) if self.lent.is_some() && !reference.clear() => {
                self.lose();
                Err(Quarantined)
            }
            _ => Ok(self.lent.take()),
        }
    }

    #[cold]
    #[inline(never)]
    fn lose(&mut self) {
        lose(self.reference.take().zip(self.lent.take()));
    }
}

impl Place<SharedPage> {
    /// Lends `page` to `domain`; the number of the reference.
    ///
    /// # Errors
    ///
    /// The page comes back with the reason when it is not I/O memory, and when there is no reference that is free for it.
    #[inline(always)]
    pub fn lend(
        &mut self,
        page: SharedPage,
        domain: DomainId,
        access: Access,
    ) -> Result<u32, (GrantError, SharedPage)> {
        let address = page.address();
        self.put(page, address, domain, access)
    }
}

impl Place<Fragment> {
    /// Lets `domain` read the page of `part`; the number of the reference. We may go on reading the page ourselves: nobody
    /// writes it.
    ///
    /// # Errors
    ///
    /// The part comes back with the reason when its page is not I/O memory, and when there is no reference that is free for it.
    #[inline(always)]
    pub fn lend(&mut self, part: Fragment, domain: DomainId) -> Result<u32, (GrantError, Fragment)> {
        let address = NonNull::from(&part.page()[..]).cast();
        self.put(part, address, domain, Access::ReadOnly)
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl<T> fmt::Debug for Place<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "grant {number}"),
            None => f.write_str("no grant"),
        }
    }
}
