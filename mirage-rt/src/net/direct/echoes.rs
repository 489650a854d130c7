//! Echo requests of this host's programs, and what comes of them.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::task::{Context, Poll};

use smoltcp::wire::{IpProtocol, checksum};

use super::Direct;
use super::hash::Keyed;
use super::header;
use super::ip::{IpOut, TxMeta};
use super::stack::Stack;
use super::wakers::WakerSlot;
use crate::net::icmp::PingError;
use crate::time::{Duration, Instant};

/// Requests under way at once.
const MOST: usize = 64;
/// Bytes of an echo message besides its payload.
const HEADER: usize = 8;

/// What an error says of a request.
#[derive(Clone, Copy)]
enum Failure {
    Unreachable,
    /// Its way takes so many bytes of payload at most.
    #[cfg(feature = "ipv6")]
    TooLong(usize),
}

/// A request that was sent.
struct Request {
    /// Identifier and sequence number, which nobody can guess.
    number: u32,
    to: IpAddr,
    payload: Vec<u8>,
    sent: Instant,
    outcome: Option<Result<Duration, Failure>>,
    waker: WakerSlot,
}

/// All requests of an interface.
#[derive(Default)]
pub struct Echoes {
    list: Vec<Request>,
    made: u64,
    down: bool,
}

impl Echoes {
    /// An echo reply came; its checksum is right. It must be the answer that was asked for, to the last byte.
    pub fn answered(&mut self, now: Instant, source: IpAddr, message: &[u8]) {
        let Some((head, payload)) = message.split_first_chunk::<HEADER>() else { return };
        let number = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let is_it =
            |request: &&mut Request| request.number == number && request.to == source && request.payload == payload;
        if let Some(request) = self.list.iter_mut().find(is_it)
            && head[1] == 0
            && request.outcome.is_none()
        {
            request.outcome = Some(Ok(now - request.sent));
            request.waker.wake();
        }
    }

    /// An error came that quotes the start of an echo request to `to`.
    pub fn failed(&mut self, to: IpAddr, quoted: &[u8]) {
        self.end(to, quoted, Failure::Unreachable);
    }

    /// A router says that the way to `to` takes no more than `mtu` bytes, and quotes the start of an echo request; whether it is one of
    /// ours that is under way.
    #[cfg(feature = "ipv6")]
    pub fn too_long(&mut self, to: IpAddr, quoted: &[u8], mtu: u16) -> bool {
        self.end(to, quoted, Failure::TooLong(usize::from(mtu).saturating_sub(header::length(to) + HEADER)))
    }

    /// Ends the request to `to` of which an error quotes the start; whether there is one.
    fn end(&mut self, to: IpAddr, quoted: &[u8], failure: Failure) -> bool {
        let Some(head) = quoted.first_chunk::<HEADER>() else { return false };
        let number = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let is_it = |request: &&mut Request| request.number == number && request.to == to && request.outcome.is_none();
        match self.list.iter_mut().find(is_it) {
            Some(request) if head[0] == request_kind(to) => {
                request.outcome = Some(Err(failure));
                request.waker.wake();
                true
            }
            _ => false,
        }
    }

    /// The device was given up.
    pub fn down(&mut self) {
        self.down = true;
        self.list.iter_mut().for_each(|request| request.waker.wake());
    }

    fn free_number(&mut self, key: &Keyed) -> u32 {
        loop {
            self.made = self.made.wrapping_add(1);
            let number = key.signed(&self.made.to_be_bytes()) as u32;
            if self.list.iter().all(|request| request.number != number) {
                return number;
            }
        }
    }
}

fn request_kind(to: IpAddr) -> u8 {
    if to.is_ipv4() { 8 } else { 128 }
}

impl Stack {
    /// Sends a request; its number.
    fn send_echo(&mut self, to: IpAddr, payload: &[u8]) -> Result<u32, PingError> {
        self.ip.set_now(crate::runtime::now());
        if self.echoes.down {
            return Err(PingError::Down);
        }
        let route = self.ip.route(to).filter(|_| !to.is_multicast()).ok_or(PingError::Unreachable(to))?;
        let length = header::length(to);
        #[cfg(all(feature = "ipv6", feature = "datagrams"))]
        let route = self.ip.narrowed(route, to);
        let most = route.mtu.saturating_sub(length + HEADER);
        if payload.len() > most {
            return Err(PingError::TooLong { most });
        }
        if self.echoes.list.len() >= MOST {
            return Err(PingError::Busy);
        }
        let number = self.echoes.free_number(&self.key);
        // It may be lost here as on its way: then there is no answer.
        if let Some(mut packet) = self.ip.alloc() {
            let whole = packet.resize_head(length + HEADER + payload.len());
            let protocol = if to.is_ipv4() { IpProtocol::Icmp } else { IpProtocol::Icmpv6 };
            if let Some(message) = header::emit(whole, route.source, to, protocol) {
                message[..4].copy_from_slice(&[request_kind(to), 0, 0, 0]);
                message[4..HEADER].copy_from_slice(&number.to_be_bytes());
                message[HEADER..].copy_from_slice(payload);
                let sum = !checksum::data(message);
                message[2..4].copy_from_slice(&sum.to_be_bytes());
                #[cfg(feature = "ipv6")]
                if to.is_ipv6() {
                    header::fill_icmp(whole);
                }
                header::permit_cutting(packet.head_mut(), number as u16);
                self.ip.send(&route, packet, TxMeta { fill_checksum: false, segment: None });
            }
        }
        let sent = self.ip.now();
        let (payload, waker) = (payload.to_vec(), WakerSlot::default());
        self.echoes.list.push(Request { number, to, payload, sent, outcome: None, waker });
        self.kick();
        Ok(number)
    }
}

/// A request under way; dropping it forgets it.
pub struct Echo {
    direct: Direct,
    number: u32,
}

impl Direct {
    /// Sends an echo request.
    pub fn echo(&self, to: IpAddr, payload: &[u8]) -> Result<Echo, PingError> {
        let number = self.shared.stack.borrow_mut().send_echo(to, payload)?;
        Ok(Echo { direct: self.clone(), number })
    }
}

impl Echo {
    /// The time that the answer took, once it is there.
    pub fn poll(&self, context: &mut Context<'_>) -> Poll<Result<Duration, PingError>> {
        let mut stack = self.direct.shared.stack.borrow_mut();
        let down = stack.echoes.down;
        let request = stack.echoes.list.iter_mut().find(|request| request.number == self.number);
        let Some(request) = request else { return Poll::Ready(Err(PingError::Down)) };
        match request.outcome {
            Some(Ok(time)) => Poll::Ready(Ok(time)),
            Some(Err(Failure::Unreachable)) => Poll::Ready(Err(PingError::Unreachable(request.to))),
            #[cfg(feature = "ipv6")]
            Some(Err(Failure::TooLong(most))) => Poll::Ready(Err(PingError::TooLong { most })),
            None if down => Poll::Ready(Err(PingError::Down)),
            None => {
                request.waker.register(context.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        if let Ok(mut stack) = self.direct.shared.stack.try_borrow_mut() {
            stack.echoes.list.retain(|request| request.number != self.number);
        }
    }
}
