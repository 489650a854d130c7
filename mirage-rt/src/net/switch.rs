//! An Ethernet switch in memory, for tests: its ports are network devices, its links can lose, delay, duplicate and reorder
//! frames. Everything follows from a seed and the runtime's clock; with virtual time a test of an hour takes a moment.

mod cut;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::task::{Context, Poll, Waker};

use crate::packet::{Checksum, Gso, Packet, PacketMut};
use crate::page::{HeapPool, PagePool};
use crate::runtime::{Runtime, now};
use crate::time::{Duration, Instant, sleep_until};
use crate::types::network::{NetworkDevice, NetworkError, NetworkInfo, TransmitError, TransmitErrorKind};

/// Frames that wait at a port to be received, at most; more are dropped, as a real port's buffer would.
const PORT_QUEUE: usize = 512;
/// Frames that a port takes before they must be flushed.
const PORT_ROOM: usize = 256;
/// Pages of a switch.
const PAGES: usize = 16_384;

/// What a switch does to the frames that pass it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Impairments {
    /// The part of frames that is lost, 0 to 1.
    pub loss: f64,
    /// The part of frames that arrives twice.
    pub duplication: f64,
    /// How long each frame takes.
    pub delay: Duration,
    /// How much longer it takes at most; when larger than the distance between frames, they overtake each other.
    pub jitter: Duration,
}

impl Impairments {
    /// A perfect switch.
    pub const NONE: Impairments =
        Impairments { loss: 0.0, duplication: 0.0, delay: Duration::ZERO, jitter: Duration::ZERO };

    /// With this part of frames lost.
    pub const fn with_loss(mut self, loss: f64) -> Impairments {
        self.loss = loss;
        self
    }

    /// With this part of frames duplicated.
    pub const fn with_duplication(mut self, duplication: f64) -> Impairments {
        self.duplication = duplication;
        self
    }

    /// With this delay, and at most `jitter` more.
    pub const fn with_delay(mut self, delay: Duration, jitter: Duration) -> Impairments {
        self.delay = delay;
        self.jitter = jitter;
        self
    }
}

/// A switch. Clones are handles to the same one.
#[derive(Clone)]
pub struct Switch {
    inner: Rc<RefCell<Inner>>,
    pool: Rc<dyn PagePool>,
}

/// A filter that sees each frame that passes and says whether it may.
pub type Filter = Rc<dyn Fn(&[u8]) -> bool>;

struct Inner {
    random: u64,
    impairments: Impairments,
    filter: Option<Filter>,
    ports: Vec<PortState>,
    /// Frames under way: the time of arrival and a number, to keep the order; the port.
    under_way: BTreeMap<(Instant, u64), (usize, PacketMut)>,
    number: u64,
    /// The deadline that a task sleeps for.
    armed: Option<Instant>,
    frames: u64,
}

struct PortState {
    mac: [u8; 6],
    /// When it is not that of the start any more.
    mtu: Option<u16>,
    /// It takes packets that were not cut.
    takes_long: bool,
    queue: VecDeque<PacketMut>,
    receiver: Option<Waker>,
    connected: bool,
    /// The device has said that it is not connected.
    told: bool,
    broken: bool,
}

impl Switch {
    /// A switch whose losses and delays follow from `seed`.
    pub fn new(seed: u64, impairments: Impairments) -> Switch {
        let inner = Inner {
            random: seed,
            impairments,
            filter: None,
            ports: Vec::new(),
            under_way: BTreeMap::new(),
            number: 0,
            armed: None,
            frames: 0,
        };
        Switch { inner: Rc::new(RefCell::new(inner)), pool: HeapPool::with_pages(PAGES) }
    }

    /// The pool that frames of this switch are made of.
    pub fn pool(&self) -> Rc<dyn PagePool> {
        Rc::clone(&self.pool)
    }

    /// A new port with an Ethernet address of its own, an MTU of 1500 and no offloads.
    pub fn port(&self) -> Port {
        let index = self.inner.borrow().ports.len();
        let [.., high, low] = (index as u16 + 1).to_be_bytes();
        let mac = [0x02, 0, 0, 0, high, low];
        let state = PortState {
            mac,
            mtu: None,
            takes_long: false,
            queue: VecDeque::new(),
            receiver: None,
            connected: true,
            told: false,
            broken: false,
        };
        self.inner.borrow_mut().ports.push(state);
        Port { switch: self.clone(), index, info: NetworkInfo::new(mac, 1500), pending: Vec::new() }
    }

    /// Sets what happens to frames from now on.
    pub fn set_impairments(&self, impairments: Impairments) {
        self.inner.borrow_mut().impairments = impairments;
    }

    /// Sets a filter that sees every frame; those for which it returns `false` are lost.
    pub fn set_filter(&self, filter: Option<Filter>) {
        self.inner.borrow_mut().filter = filter;
    }

    /// From now on the device at `port` is broken.
    pub fn break_port(&self, port: usize) {
        if let Some(port) = self.inner.borrow_mut().ports.get_mut(port) {
            port.broken = true;
            if let Some(waker) = port.receiver.take() {
                waker.wake();
            }
        }
    }

    /// Takes the device at `port` away, as a backend that goes: frames to it are lost.
    pub fn unplug(&self, port: usize) {
        self.set_connected(port, false);
    }

    /// Brings the device at `port` back.
    pub fn plug(&self, port: usize) {
        self.set_connected(port, true);
    }

    /// Gives the port another MTU. Who uses it looks when the device has been away.
    pub fn set_mtu(&self, port: usize, mtu: u16) {
        if let Some(port) = self.inner.borrow_mut().ports.get_mut(port) {
            port.mtu = Some(mtu);
        }
    }

    fn set_connected(&self, port: usize, connected: bool) {
        if let Some(port) = self.inner.borrow_mut().ports.get_mut(port) {
            port.connected = connected;
            port.queue.clear();
            port.told = false;
            if let Some(waker) = port.receiver.take() {
                waker.wake();
            }
        }
    }

    /// How many frames have been sent.
    pub fn frames(&self) -> u64 {
        self.inner.borrow().frames
    }

    /// Sends `frame` from `port`.
    fn send(&self, port: usize, frame: &Packet) {
        let deadline = {
            let mut inner = self.inner.borrow_mut();
            inner.frames += 1;
            let mut bytes = Vec::new();
            for part in frame.parts() {
                bytes.extend_from_slice(part);
            }
            if inner.filter.as_ref().is_some_and(|filter| !filter(&bytes)) {
                return;
            }
            for to in inner.destinations(port, &bytes) {
                let takes_long = inner.ports.get(to).is_some_and(|port| port.takes_long);
                match frame.gso() {
                    Gso::Ipv4 { mss } if !takes_long => {
                        for part in cut::cut(&bytes, mss) {
                            inner.pass(&self.pool, to, &part, Checksum::None, Gso::None);
                        }
                    }
                    // What a device was to complete never touched a wire and counts as right.
                    gso => inner.pass(&self.pool, to, &bytes, frame.checksum(), gso),
                }
            }
            inner.deliver();
            inner.next_to_arm()
        };
        if let Some(deadline) = deadline {
            self.arm(deadline);
        }
    }

    /// Starts a task that delivers what arrives at `deadline`.
    fn arm(&self, deadline: Instant) {
        let switch = self.clone();
        drop(Runtime::current().spawn(async move {
            sleep_until(deadline).await;
            let next = {
                let mut inner = switch.inner.borrow_mut();
                if inner.armed == Some(deadline) {
                    inner.armed = None;
                }
                inner.deliver();
                inner.next_to_arm()
            };
            if let Some(next) = next {
                switch.arm(next);
            }
        }));
    }
}

impl Inner {
    /// The next number from 0 to 1 (SplitMix64).
    fn random(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// How many copies of a frame arrive.
    fn copies(&mut self) -> usize {
        if self.random() < self.impairments.loss {
            0
        } else if self.random() < self.impairments.duplication {
            2
        } else {
            1
        }
    }

    /// Sends a frame on its way to the port `to`.
    fn pass(&mut self, pool: &Rc<dyn PagePool>, to: usize, bytes: &[u8], checksum: Checksum, gso: Gso) {
        for _ in 0..self.copies() {
            let Some(mut copy) = PacketMut::copy_of(pool, bytes) else { continue };
            copy.set_gso(gso);
            copy.set_checksum(checksum);
            let at = self.arrival();
            self.under_way.insert((at, self.number), (to, copy));
            self.number += 1;
        }
    }

    fn arrival(&mut self) -> Instant {
        let jitter = self.random();
        now() + self.impairments.delay + self.impairments.jitter.mul_f64(jitter)
    }

    /// The ports that get a frame: one that has its destination, else all but the sender's.
    fn destinations(&self, from: usize, frame: &[u8]) -> Vec<usize> {
        let mac = frame.get(..6).unwrap_or_default();
        match self.ports.iter().position(|port| port.mac == mac) {
            Some(port) => Vec::from([port]),
            None if mac.first().is_some_and(|first| first & 1 == 1) => {
                (0..self.ports.len()).filter(|port| *port != from).collect()
            }
            None => Vec::new(),
        }
    }

    /// Puts what has arrived into the queues of the ports.
    fn deliver(&mut self) {
        let now = now();
        while let Some(entry) = self.under_way.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (to, frame) = entry.remove();
            let Some(port) = self.ports.get_mut(to) else { continue };
            if port.connected && port.queue.len() < PORT_QUEUE {
                port.queue.push_back(frame);
                if let Some(waker) = port.receiver.take() {
                    waker.wake();
                }
            }
        }
    }

    /// The next arrival, when no task sleeps for it or an earlier one yet; counts as armed.
    fn next_to_arm(&mut self) -> Option<Instant> {
        let next = self.under_way.keys().next()?.0;
        if self.armed.is_some_and(|armed| armed <= next) {
            return None;
        }
        self.armed = Some(next);
        Some(next)
    }
}

/// A port of a [`Switch`]. Dropping it leaves a port that nobody listens at.
pub struct Port {
    switch: Switch,
    index: usize,
    info: NetworkInfo,
    pending: Vec<Packet>,
}

impl Port {
    /// Changes what the port says of itself; its Ethernet address stays.
    pub fn with_info(mut self, change: impl FnOnce(&mut NetworkInfo)) -> Port {
        let mac = self.info.mac;
        change(&mut self.info);
        self.info.mac = mac;
        self
    }

    /// From now on packets that other ports are to cut arrive uncut.
    pub fn with_long_packets(self) -> Port {
        if let Some(port) = self.switch.inner.borrow_mut().ports.get_mut(self.index) {
            port.takes_long = true;
        }
        self
    }

    /// The port's number, from 0.
    pub fn index(&self) -> usize {
        self.index
    }
}

impl Port {
    /// Bytes of the longest frame.
    fn most(&self, gso: Gso) -> usize {
        match gso {
            Gso::None => usize::from(self.info().mtu) + 14,
            Gso::Ipv4 { .. } => self.info.gso_ipv4 as usize,
            Gso::Ipv6 { .. } => self.info.gso_ipv6 as usize,
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Some(port) = self.switch.inner.borrow_mut().ports.get_mut(self.index) {
            port.connected = false;
            port.queue.clear();
        }
    }
}

impl NetworkDevice for Port {
    fn info(&self) -> NetworkInfo {
        let inner = self.switch.inner.borrow();
        let mtu = inner.ports.get(self.index).and_then(|port| port.mtu).unwrap_or(self.info.mtu);
        NetworkInfo { mtu, ..self.info }
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<PacketMut, NetworkError>> {
        let mut inner = self.switch.inner.borrow_mut();
        let Some(port) = inner.ports.get_mut(self.index) else { return Poll::Pending };
        if port.broken {
            return Poll::Ready(Err(NetworkError::Broken));
        }
        if !port.connected && !core::mem::replace(&mut port.told, true) {
            return Poll::Ready(Err(NetworkError::Disconnected));
        }
        match port.queue.pop_front() {
            Some(frame) => Poll::Ready(Ok(frame)),
            None => {
                port.receiver = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Always ready while it is connected: a flush empties the port.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
        if let Some(port) = self.switch.inner.borrow_mut().ports.get_mut(self.index)
            && !port.connected
        {
            // It wakes whoever receives too: one task does both.
            port.receiver = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(PORT_ROOM - self.pending.len().min(PORT_ROOM - 1)))
    }

    fn transmit(&mut self, packet: Packet) -> Result<(), TransmitError> {
        let kind = if self.pending.len() == PORT_ROOM {
            Some(TransmitErrorKind::Full)
        } else if packet.len() < 14 || packet.len() > self.most(packet.gso()) {
            Some(TransmitErrorKind::Size)
        } else if packet.checksum() != Checksum::None && !self.info.checksum_ipv4 {
            Some(TransmitErrorKind::Offload)
        } else {
            None
        };
        match kind {
            Some(kind) => Err(TransmitError { packet, kind }),
            None => {
                self.pending.push(packet);
                Ok(())
            }
        }
    }

    fn flush(&mut self) {
        let connected = self.switch.inner.borrow().ports.get(self.index).is_some_and(|port| port.connected);
        for packet in core::mem::take(&mut self.pending) {
            if connected {
                self.switch.send(self.index, &packet);
            }
        }
    }
}
