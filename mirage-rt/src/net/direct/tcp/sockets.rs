//! The upper side: what applications do with listeners and connections.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::task::{Context, Poll};

use super::machine::{ConnId, State, TcpMachine};
use super::segment::FourTuple;
use super::{End, FIRST_PORT, Holder, Listener, PORTS, Tcp};
use crate::net::address::ListenAddr;
use crate::net::direct::ip::{IpOut, Route};
use crate::net::direct::wakers::WakerSlot;
use crate::net::error::{AcceptError, BindError, ConnectError, ReadError, WriteError};
use crate::net::{OptionError, TcpOption};
use crate::packet::Fragment;
use crate::page::{PAGE_SIZE, Page};
use crate::time::{Duration, Instant};

impl<M: TcpMachine> Tcp<M> {
    /// Listens; see [`crate::net::Tcp::bind_with_backlog`]. The address is one of ours.
    pub fn bind(&mut self, local: ListenAddr, backlog: usize) -> Result<u32, BindError> {
        let port = match local.port {
            0 => self.free_port(|tcp, port| tcp.listener_at(port).is_none()).ok_or(BindError::NoPort)?,
            port if self.listener_at(port).is_some() => return Err(BindError::InUse { port }),
            port => port,
        };
        let listener = Listener {
            local: ListenAddr { address: local.address, port },
            backlog,
            queue: VecDeque::new(),
            acceptor: WakerSlot::default(),
        };
        let index = match self.listeners.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.listeners.push(None);
                self.listeners.len() - 1
            }
        };
        self.listeners[index] = Some(listener);
        self.ports.insert(self.key.hash(&port.to_be_bytes()), index as u32);
        Ok(index as u32)
    }

    /// Where a listener listens.
    pub fn listener_addr(&self, index: u32) -> ListenAddr {
        self.listener(index).map_or(ListenAddr { address: None, port: 0 }, |listener| listener.local)
    }

    /// The next connection of a listener.
    pub fn poll_accept(
        &mut self,
        index: u32,
        context: &mut Context<'_>,
    ) -> Poll<Result<(ConnId, SocketAddr), AcceptError>> {
        loop {
            let Some(listener) = self.listeners.get_mut(index as usize).and_then(Option::as_mut) else {
                return Poll::Ready(Err(AcceptError::Down));
            };
            let Some(id) = listener.queue.pop_front() else {
                if self.down {
                    return Poll::Ready(Err(AcceptError::Down));
                }
                listener.acceptor.register(context.waker());
                return Poll::Pending;
            };
            let slot = self.slot(id);
            // One that was reset while it waited is of no use to anybody.
            if slot.end.is_some_and(|end| end != End::Done) {
                self.release(id.index);
                continue;
            }
            slot.holder = Holder::Application;
            return Poll::Ready(Ok((id, slot.tuple.remote())));
        }
    }

    /// Closes a listener and resets what waits at it.
    pub fn close_listener(&mut self, index: u32, out: &mut dyn IpOut) {
        let Some(listener) = self.listeners.get_mut(index as usize).and_then(Option::take) else { return };
        self.ports.remove(self.key.hash(&listener.local.port.to_be_bytes()), index);
        self.half_open.remove_listener(index);
        for id in listener.queue {
            self.abort(id, out);
            self.release(id.index);
        }
    }

    /// Starts a connection; [`poll_connected`](Tcp::poll_connected) says when it is there.
    pub fn connect(&mut self, now: Instant, remote: SocketAddr, out: &dyn IpOut) -> Result<ConnId, ConnectError> {
        if self.down {
            return Err(ConnectError::Down);
        }
        let is_host = |route: &Route| {
            remote.port() != 0 && route.next_hop != IpAddr::V4(Ipv4Addr::BROADCAST) && !remote.ip().is_multicast()
        };
        let route = out.route(remote.ip()).filter(is_host);
        let Some(route) = route else { return Err(ConnectError::Unreachable(remote)) };
        let key = self.key;
        let tuple = |port| FourTuple::new(&key, SocketAddr::new(route.source, port), remote);
        let port = self
            .free_port(|tcp, port| {
                let tuple = tuple(port);
                tcp.listener_at(port).is_none() && tcp.find(&tuple).is_none() && !tcp.time_wait.contains(&tuple)
            })
            .ok_or(ConnectError::NoPort)?;
        let tuple = tuple(port);
        let id = self.open(tuple, Holder::Application).map_err(|_| ConnectError::OutOfMemory)?;
        let isn = self.isn.next(now, &tuple);
        if self.machine.connect(now, id, &tuple, isn).is_err() {
            self.release(id.index);
            return Err(ConnectError::OutOfMemory);
        }
        self.counters.active += 1;
        self.tuples.insert(tuple.hash(), id.index);
        self.mark(id.index);
        Ok(id)
    }

    /// A port for a socket without one of its own. Each search starts behind a number that grows in steps that others
    /// cannot foresee (RFC 6056).
    fn free_port(&mut self, is_free: impl Fn(&Self, u16) -> bool) -> Option<u16> {
        let nowhere = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        let step = self.isn.next(Instant::ZERO, &FourTuple::new(&self.key, nowhere(self.next_port), nowhere(0)));
        self.next_port = self.next_port.wrapping_add(1 + (step.0 % 500) as u16);
        let start = self.next_port;
        let port = (0..PORTS)
            .map(|offset| FIRST_PORT + start.wrapping_add(offset) % PORTS)
            .find(|port| is_free(self, *port))?;
        Some(port)
    }

    /// Ready when the connection is made.
    pub fn poll_connected(&mut self, id: ConnId, context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        let connecting = self.machine.state(id) == State::Connecting;
        let slot = self.slot(id);
        let peer = slot.tuple.remote();
        match slot.end {
            Some(End::Reset) => Poll::Ready(Err(ConnectError::Refused(peer))),
            Some(End::Down) => Poll::Ready(Err(ConnectError::Down)),
            Some(End::AddressGone) => Poll::Ready(Err(ConnectError::AddressGone)),
            Some(End::Unreachable) => Poll::Ready(Err(ConnectError::Unreachable(peer))),
            Some(End::TimedOut) => Poll::Ready(Err(ConnectError::TimedOut(peer))),
            Some(End::Done | End::Aborted) => Poll::Ready(Ok(())),
            None if connecting => {
                slot.writer.register(context.waker());
                Poll::Pending
            }
            None => Poll::Ready(Ok(())),
        }
    }

    /// The two ends of a connection: ours and the peer's.
    pub fn addresses(&mut self, id: ConnId) -> (SocketAddr, SocketAddr) {
        let tuple = self.slot(id).tuple;
        (tuple.local(), tuple.remote())
    }

    /// Reads into `buffer`, which is not empty.
    pub fn poll_read(
        &mut self,
        id: ConnId,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, ReadError>> {
        let length = self.machine.read(id, buffer);
        if length > 0 {
            self.taken(id);
            return Poll::Ready(Ok(length));
        }
        self.poll_end(id, context).map_ok(|()| 0)
    }

    /// Shows the first bytes to `look`, none at the end.
    pub fn poll_peek(
        &mut self,
        id: ConnId,
        context: &mut Context<'_>,
        look: &mut dyn FnMut(&[u8]),
    ) -> Poll<Result<(), ReadError>> {
        let bytes = self.machine.peek(id);
        if !bytes.is_empty() {
            look(bytes);
            return Poll::Ready(Ok(()));
        }
        let end = self.poll_end(id, context);
        if let Poll::Ready(Ok(())) = end {
            look(&[]);
        }
        end
    }

    /// Takes the first bytes in a page, no page at the end. Those that did not come in one, or share it, get one of `page`'s.
    pub fn poll_take(
        &mut self,
        id: ConnId,
        context: &mut Context<'_>,
        page: impl FnOnce() -> Option<Page>,
    ) -> Poll<Result<Option<Fragment>, ReadError>> {
        if let Some(fragment) = self.machine.take_page(id) {
            self.taken(id);
            return Poll::Ready(Ok(Some(fragment)));
        }
        let length = self.machine.peek(id).len().min(PAGE_SIZE);
        if length == 0 {
            return self.poll_end(id, context).map_ok(|()| None);
        }
        let Some(mut page) = page() else { return Poll::Ready(Err(ReadError::NoPage)) };
        let length = self.machine.read(id, &mut page[..length]);
        self.taken(id);
        Poll::Ready(Ok(Fragment::new(page, 0..length).ok()))
    }

    /// Takes all pages that are there, behind those in `pages`; how many, none at the end.
    pub fn poll_take_all(
        &mut self,
        id: ConnId,
        context: &mut Context<'_>,
        pages: &mut VecDeque<Fragment>,
        page: impl FnOnce() -> Option<Page>,
    ) -> Poll<Result<usize, ReadError>> {
        let before = pages.len();
        while pages.try_reserve(1).is_ok()
            && let Some(page) = self.machine.take_page(id)
        {
            pages.push_back(page);
        }
        if pages.len() == before {
            // Other bytes come first, or none.
            let one = self.poll_take(id, context, page)?;
            return one.map(|one| {
                Ok(one.map_or(0, |page| {
                    pages.push_back(page);
                    1
                }))
            });
        }
        self.taken(id);
        Poll::Ready(Ok(pages.len() - before))
    }

    /// Takes away bytes that were looked at.
    pub fn consume(&mut self, id: ConnId, length: usize) {
        self.machine.consume(id, length);
        self.taken(id);
    }

    /// There is nothing to read: ready when that is for good.
    fn poll_end(&mut self, id: ConnId, context: &mut Context<'_>) -> Poll<Result<(), ReadError>> {
        let finished = self.machine.readiness(id).finished;
        let slot = self.slot(id);
        match slot.end {
            Some(End::Done) => Poll::Ready(Ok(())),
            Some(End::Reset | End::Unreachable) => Poll::Ready(Err(ReadError::Reset)),
            Some(End::TimedOut) => Poll::Ready(Err(ReadError::TimedOut)),
            Some(End::Aborted) => Poll::Ready(Err(ReadError::Aborted)),
            Some(End::Down) => Poll::Ready(Err(ReadError::Down)),
            Some(End::AddressGone) => Poll::Ready(Err(ReadError::AddressGone)),
            None if finished => Poll::Ready(Ok(())),
            None => {
                slot.reader.register(context.waker());
                Poll::Pending
            }
        }
    }

    /// Bytes were read: the peer may send more, or the connection's memory is not needed any more.
    fn taken(&mut self, id: ConnId) {
        if self.slot(id).end.is_none() {
            self.mark(id.index);
        } else if self.machine.readiness(id).readable == 0 {
            self.machine.free(id);
        }
    }

    /// Takes over some of `bytes`, which are not empty.
    pub fn poll_write(
        &mut self,
        id: ConnId,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, WriteError>> {
        self.check_writable(id)?;
        let length = self.machine.write(id, bytes);
        if length > 0 {
            self.mark(id.index);
            return Poll::Ready(Ok(length));
        }
        self.wait_for_room(id, context);
        Poll::Pending
    }

    /// Takes over some of the bytes of `parts`, one part after the other; not all of them are empty. Nothing leaves before all is
    /// there.
    pub fn poll_write_vectored(
        &mut self,
        id: ConnId,
        context: &mut Context<'_>,
        parts: &[&[u8]],
    ) -> Poll<Result<usize, WriteError>> {
        self.check_writable(id)?;
        let mut length = 0;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let written = self.machine.write(id, part);
            length += written;
            if written < part.len() {
                break;
            }
        }
        if length > 0 {
            self.mark(id.index);
            return Poll::Ready(Ok(length));
        }
        self.wait_for_room(id, context);
        Poll::Pending
    }

    /// Takes over all of a page's bytes; what there was no room for so far stays in `fragment`.
    pub fn poll_give(
        &mut self,
        id: ConnId,
        context: &mut Context<'_>,
        fragment: &mut Option<Fragment>,
    ) -> Poll<Result<(), WriteError>> {
        while fragment.is_some() {
            self.check_writable(id)?;
            if !self.machine.give_page(id, fragment) {
                self.wait_for_room(id, context);
                return Poll::Pending;
            }
            self.mark(id.index);
        }
        Poll::Ready(Ok(()))
    }

    /// As [`poll_give`](Tcp::poll_give), the pages from the first on, as many as there is room for.
    pub fn poll_give_all(
        &mut self,
        id: ConnId,
        context: &mut Context<'_>,
        pages: &mut VecDeque<Fragment>,
    ) -> Poll<Result<(), WriteError>> {
        self.check_writable(id)?;
        let mut has_room = true;
        while has_room && let Some(page) = pages.pop_front() {
            let mut left = Some(page);
            has_room = self.machine.give_page(id, &mut left);
            if let Some(page) = left {
                pages.push_front(page);
            }
        }
        if has_room {
            self.mark(id.index);
            return Poll::Ready(Ok(()));
        }
        self.wait_for_room(id, context);
        Poll::Pending
    }

    /// Whether this side is not closed.
    #[inline]
    fn check_writable(&mut self, id: ConnId) -> Result<(), WriteError> {
        let slot = self.slot(id);
        match slot.end {
            Some(End::Reset | End::Unreachable) => Err(WriteError::Reset),
            Some(End::TimedOut) => Err(WriteError::TimedOut),
            Some(End::Down) => Err(WriteError::Down),
            Some(End::AddressGone) => Err(WriteError::AddressGone),
            Some(End::Done | End::Aborted) => Err(WriteError::Closed),
            None if slot.shut => Err(WriteError::Closed),
            None => Ok(()),
        }
    }

    /// There is no room for what is to be written.
    fn wait_for_room(&mut self, id: ConnId, context: &mut Context<'_>) {
        self.slot(id).writer.register(context.waker());
        // If there was no memory, the machine must look for some again.
        self.mark(id.index);
    }

    /// Closes this side.
    pub fn shutdown(&mut self, id: ConnId) -> Result<(), WriteError> {
        let slot = self.slot(id);
        match slot.end {
            Some(End::Done) | None => {}
            Some(End::Reset | End::Unreachable) => return Err(WriteError::Reset),
            Some(End::TimedOut) => return Err(WriteError::TimedOut),
            Some(End::Aborted) => return Err(WriteError::Closed),
            Some(End::Down) => return Err(WriteError::Down),
            Some(End::AddressGone) => return Err(WriteError::AddressGone),
        }
        if slot.end.is_none() && !slot.shut {
            slot.shut = true;
            // Whoever waits to write waits in vain.
            slot.writer.wake();
            self.machine.shutdown(id);
            self.mark(id.index);
        }
        Ok(())
    }

    /// Ready when the peer has acknowledged all that was written, and the end if this side was shut down.
    pub fn poll_sent(&mut self, id: ConnId, context: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        let waiting = self.machine.readiness(id).unacknowledged > 0;
        let slot = self.slot(id);
        match slot.end {
            Some(End::Done) => Poll::Ready(Ok(())),
            Some(End::Reset | End::Unreachable) => Poll::Ready(Err(WriteError::Reset)),
            Some(End::TimedOut) => Poll::Ready(Err(WriteError::TimedOut)),
            Some(End::Aborted) => Poll::Ready(Err(WriteError::Closed)),
            Some(End::Down) => Poll::Ready(Err(WriteError::Down)),
            Some(End::AddressGone) => Poll::Ready(Err(WriteError::AddressGone)),
            None if waiting => {
                slot.writer.register(context.waker());
                Poll::Pending
            }
            None => Poll::Ready(Ok(())),
        }
    }

    /// Makes a choice for a connection.
    pub fn set(&mut self, now: Instant, id: ConnId, option: TcpOption) -> Result<(), OptionError> {
        let slot = self.slot(id);
        if slot.end.is_some() {
            return Err(OptionError::Closed);
        }
        if let TcpOption::Linger(most) = option {
            slot.linger = most.map(Box::new);
            return Ok(());
        }
        let result = self.machine.set(now, id, option);
        self.mark(id.index);
        result
    }

    /// Resets the connection.
    pub fn abort(&mut self, id: ConnId, out: &mut dyn IpOut) {
        if self.slot(id).end.is_some() {
            return;
        }
        self.send_reset(id, out);
        self.end(id.index, End::Aborted);
    }

    /// The last handle of the application is gone.
    pub fn drop_handle(&mut self, id: ConnId, out: &mut dyn IpOut) {
        if self.slot(id).end.is_some() {
            return self.release(id.index);
        }
        let hard = self.slot(id).linger.as_deref().is_some_and(Duration::is_zero);
        let unread = self.machine.readiness(id).readable > 0;
        self.slot(id).holder = Holder::Orphan;
        if self.machine.state(id) == State::Connecting {
            self.end(id.index, End::Aborted);
        } else if unread || hard {
            self.send_reset(id, out);
            self.end(id.index, End::Reset);
        } else {
            self.machine.shutdown(id);
            self.mark(id.index);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::net::direct::hash::Keyed;
    use crate::net::direct::ip::Paths;
    use crate::net::direct::tcp::choice::{Machine, machine};
    use crate::net::direct::tcp::machine::Buffers;
    use crate::net::direct::tcp::{FIRST_PORT, PORTS};

    fn tcp(secret: [u64; 2]) -> Tcp<Machine> {
        let (paths, buffers) = (Paths::of(1500, 0), Buffers { receive: 8192, send: 8192, budget: 1 << 20 });
        let machine = machine(Ipv4Addr::new(10, 0, 0, 1).into(), 24, paths, buffers, secret);
        Tcp::new(machine, paths, Keyed::new([3, 4]), secret)
    }

    #[test]
    fn ports_of_connections_grow_in_steps_that_others_cannot_foresee() {
        let draw = |secret| {
            let mut tcp = tcp(secret);
            let ports = (0..100).map(|_| tcp.free_port(|_, _| true).expect("all are free"));
            ports.collect::<Vec<u16>>()
        };
        let (ports, others) = (draw([1, 2]), draw([1, 5]));
        assert!(ports.iter().all(|port| *port >= FIRST_PORT));
        let steps =
            |ports: &[u16]| -> Vec<u16> { ports.windows(2).map(|two| two[1].wrapping_sub(two[0]) % PORTS).collect() };
        let (own, other) = (steps(&ports), steps(&others));
        assert!(own.iter().all(|step| (1..=500).contains(step)), "{own:?}");
        let mut different = own.clone();
        different.sort_unstable();
        different.dedup();
        assert!(different.len() > 70, "{own:?}");
        assert!(own.iter().zip(&other).filter(|(step, other)| step == other).count() < 5, "{own:?} and {other:?}");
    }

    #[test]
    fn the_last_port_that_is_free_is_found() {
        let mut tcp = tcp([1, 2]);
        assert_eq!(tcp.free_port(|_, port| port == 50_000), Some(50_000));
        assert_eq!(tcp.free_port(|_, _| false), None);
    }
}
