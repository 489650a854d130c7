//! Datagrams that wait for their socket's user, in memory that is taken once and not for each of them.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// Bytes of payload that wait, at most; each datagram counts for [`COST`] more.
const MOST: usize = 64 * 1024 + COST;
/// What a datagram costs besides its payload.
const COST: usize = 64;
/// Bytes of memory that are kept while nothing waits.
const KEPT: usize = 8 * 1024;

/// A bounded queue of datagrams.
#[derive(Default)]
pub struct Queue {
    /// The payloads, one behind the other; those in front of `start` are taken.
    bytes: Vec<u8>,
    start: usize,
    /// Length and source of each that waits.
    datagrams: VecDeque<(usize, SocketAddr)>,
}

/// There is no room, or no memory.
#[derive(Debug)]
pub struct Full;

impl Queue {
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Bytes that wait, with what each datagram costs.
    #[cfg(feature = "test-utils")]
    pub fn bytes(&self) -> usize {
        self.bytes.len() - self.start + COST * self.datagrams.len()
    }

    /// Puts a datagram behind the others.
    pub fn push(&mut self, payload: &[u8], source: SocketAddr) -> Result<(), Full> {
        let waiting = self.bytes.len() - self.start;
        if waiting + payload.len() + COST * (self.datagrams.len() + 1) > MOST {
            return Err(Full);
        }
        // Moved to the front where at least as much was taken as is moved.
        if self.bytes.capacity() - self.bytes.len() < payload.len() && self.start >= waiting {
            self.bytes.copy_within(self.start.., 0);
            self.bytes.truncate(waiting);
            self.start = 0;
        }
        self.bytes.try_reserve(payload.len()).map_err(|_| Full)?;
        self.datagrams.try_reserve(1).map_err(|_| Full)?;
        self.bytes.extend_from_slice(payload);
        self.datagrams.push_back((payload.len(), source));
        Ok(())
    }

    /// Takes the first one: as much of it as `buffer` has room for, its length and its source.
    pub fn pop(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let (length, source) = self.datagrams.pop_front()?;
        let taken = length.min(buffer.len());
        buffer[..taken].copy_from_slice(&self.bytes[self.start..self.start + taken]);
        self.start += length;
        if self.datagrams.is_empty() {
            self.bytes.clear();
            self.start = 0;
            self.bytes.shrink_to(KEPT);
            self.datagrams.shrink_to(KEPT / COST);
        }
        Some((length, source))
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;
    use proptest::prelude::*;

    fn source(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// What comes out is what went in, in order, and neither what waits nor its memory grows without end.
        #[test]
        fn it_is_a_bounded_queue(steps in prop::collection::vec((any::<bool>(), 0..9000_usize), 1..400)) {
            let (mut queue, mut model, mut buffer) = (Queue::default(), VecDeque::new(), [0; 9000]);
            for (number, (push, length)) in steps.into_iter().enumerate() {
                if push {
                    let payload: Vec<u8> = (0..length).map(|at| (at + number) as u8).collect();
                    let waiting: usize = model.iter().map(|(bytes, _): &(Vec<u8>, _)| bytes.len() + COST).sum();
                    let pushed = queue.push(&payload, source(number as u16)).is_ok();
                    prop_assert_eq!(pushed, waiting + length + COST <= MOST);
                    if pushed {
                        model.push_back((payload, source(number as u16)));
                    }
                } else {
                    let popped = queue.pop(&mut buffer);
                    let popped = popped.map(|(length, source)| (buffer[..length].to_vec(), source));
                    prop_assert_eq!(popped, model.pop_front());
                }
                prop_assert_eq!(queue.is_empty(), model.is_empty());
                let most = if queue.is_empty() { KEPT } else { 4 * MOST };
                prop_assert!(queue.bytes.capacity() <= most && COST * queue.datagrams.capacity() <= most);
            }
        }
    }

    #[test]
    fn what_does_not_fit_the_buffer_is_lost() {
        let mut queue = Queue::default();
        for payload in [&b"abcdef"[..], b"gh"] {
            queue.push(payload, source(1)).expect("there is room");
        }
        let mut buffer = [0; 4];
        assert_eq!((queue.pop(&mut buffer), &buffer), (Some((6, source(1))), b"abcd"));
        assert_eq!((queue.pop(&mut buffer), &buffer), (Some((2, source(1))), b"ghcd"));
        assert_eq!(queue.pop(&mut buffer), None);
    }
}
