//! Transactions: reads and writes that happen together or not at all.

use core::fmt;
use core::future::{Future, poll_fn};
use core::ops::{AsyncFnMut, Deref};
use core::pin::Pin;

use super::{Xenstore, XenstoreError};
use crate::xenstore::wire::{Code, Operation};

/// How often [`Xenstore::transaction`] tries.
const TRIES: u32 = 64;

/// A transaction under way: a [`Xenstore`] whose requests belong to it. Dropped without [`commit`](Self::commit), it
/// changes nothing.
pub struct Transaction {
    store: Xenstore,
    open: bool,
}

/// The number that answers the start of a transaction.
fn parse_number(payload: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(payload.strip_suffix(b"\0").unwrap_or(payload)).ok()?;
    text.parse().ok().filter(|number| *number != 0)
}

impl Xenstore {
    /// Starts a transaction. Cancel safe: a dropped future leaves none behind.
    ///
    /// # Errors
    ///
    /// `ENOSPC` or `EBUSY` when the domain has as many as it may.
    pub async fn begin(&self) -> Result<Transaction, XenstoreError> {
        let mut start = self.request(Operation::TransactionStart, "", b"").if_unclaimed(|connection, payload| {
            if let Some(transaction) = parse_number(payload) {
                connection.roll_back(transaction);
            }
        });
        let payload = poll_fn(|context| Pin::new(&mut start).poll(context)).await?;
        let number = parse_number(&payload).ok_or(XenstoreError::Reply(Operation::TransactionStart))?;
        let store = Xenstore { transaction: number, generation: start.session(), ..self.clone() };
        Ok(Transaction { store, open: true })
    }

    /// Runs `body` in a transaction and commits it, again from the start as long as other domains interfere.
    ///
    /// # Errors
    ///
    /// What `body` returns, which ends it without a change; what the start or the commit is refused for; and
    /// [`XenstoreError::Contended`] after many tries.
    pub async fn transaction<T>(
        &self,
        mut body: impl AsyncFnMut(&Transaction) -> Result<T, XenstoreError>,
    ) -> Result<T, XenstoreError> {
        for _ in 0..TRIES {
            let result = match self.begin().await {
                Ok(transaction) => match body(&transaction).await {
                    Ok(value) => transaction.commit().await.map(|()| value),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            match result {
                Err(error) if error.is(Code::Eagain) || error == XenstoreError::Interrupted => {}
                result => return result,
            }
        }
        Err(XenstoreError::Contended)
    }
}

impl Transaction {
    /// Makes all changes at once.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when another domain changed what this one read or wrote, or this domain was suspended meanwhile: nothing was
    /// changed, start again.
    pub async fn commit(mut self) -> Result<(), XenstoreError> {
        let mut end = self.store.request(Operation::TransactionEnd, "T", b"");
        poll_fn(|context| {
            let result = Pin::new(&mut end).poll(context);
            // Once the end is on its way, dropping this must not send another.
            self.open = !end.is_sent();
            result
        })
        .await
        .map(drop)
    }
}

impl Deref for Transaction {
    type Target = Xenstore;

    fn deref(&self) -> &Xenstore {
        &self.store
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.open && self.store.is_current() {
            self.store.connection.roll_back(self.store.transaction);
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction {}", self.store.transaction)
    }
}
