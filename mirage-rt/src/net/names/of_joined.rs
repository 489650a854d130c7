//! Names of several networks as one: the servers of each are asked.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::net::IpAddr;
use core::task::Poll;

use super::race::Lookup;
use super::{Family, LookupError};
use crate::net::Network;

/// The addresses of `host` that a network finds first; when none finds any, why the first one with servers did not.
pub async fn find(parts: &[Network], host: &str, family: Family) -> Result<Vec<IpAddr>, LookupError> {
    let ask = |part: &Network| -> Option<Lookup<'_>> {
        let resolver = part.names();
        Some(Box::pin(async move { resolver.inner.find(host, family).await }))
    };
    let mut lookups: Vec<_> = parts.iter().map(ask).collect();
    let mut failures: Vec<Option<LookupError>> = parts.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut waits = false;
        for (lookup, failure) in lookups.iter_mut().zip(&mut failures) {
            match lookup.as_mut().map(|lookup| lookup.as_mut().poll(context)) {
                Some(Poll::Ready(Ok(addresses))) => return Poll::Ready(Ok(addresses)),
                Some(Poll::Ready(Err(error))) => {
                    *lookup = None;
                    *failure = Some(error);
                }
                Some(Poll::Pending) => waits = true,
                None => {}
            }
        }
        if waits {
            return Poll::Pending;
        }
        let had_servers = |error: &Option<LookupError>| !matches!(error, None | Some(LookupError::NoServers));
        let first = failures.iter().position(had_servers).and_then(|index| failures.get_mut(index)?.take());
        Poll::Ready(Err(first.unwrap_or(LookupError::NoServers)))
    })
    .await
}
