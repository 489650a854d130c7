//! An Ethernet switch in memory, for tests: its ports are network devices, and its cables lose, delay, repeat, reorder and
//! spoil frames. Everything follows from a seed, which is printed, and from the runtime's clock; with the virtual time of
//! [`testing::run`](crate::testing::run) a test of an hour takes a moment, and is the same on each run.
//!
//! A test starts as many stacks, or whole unikernels, as it likes. What an application does with its devices is an
//! ordinary function, so each unikernel is a task with a [`Network`](crate::net::Network) on a port of its own:
//!
//! ```
//! use mirage_rt::net::switch::{Direction, Impairments, Switch};
//! use mirage_rt::net::{Config, Network, ReadError};
//! use mirage_rt::{Duration, now, spawn, testing};
//!
//! /// What the main function of a unikernel does with its network: it tells everybody who it is.
//! async fn serve(network: Network, name: &'static [u8]) -> mirage_rt::Result {
//!     let mut listener = network.tcp().bind(80).await?;
//!     loop {
//!         let (stream, _) = listener.accept().await?;
//!         stream.write_all(name).await?;
//!         stream.shutdown()?;
//!     }
//! }
//!
//! async fn ask(network: &Network, address: [u8; 4]) -> Result<Vec<u8>, ReadError> {
//!     let stream = network.tcp().connect((address, 80)).await.expect("the server listens");
//!     let (mut answer, mut buffer) = (Vec::new(), [0; 100]);
//!     loop {
//!         match stream.read(&mut buffer).await? {
//!             0 => return Ok(answer),
//!             length => answer.extend_from_slice(&buffer[..length]),
//!         }
//!     }
//! }
//!
//! testing::run(7, async {
//!     let switch = Switch::new(7, Impairments::NONE.with_loss(0.01).with_duplication(0.01));
//!     let network = |address: &str| {
//!         let config = Config::from_keys(Some(address.parse().expect("an address")), None);
//!         Network::direct(switch.port(), switch.pool(), config).expect("a host's address")
//!     };
//!     spawn(serve(network("10.0.0.1/24"), b"Alice"));
//!     spawn(serve(network("10.0.0.2/24"), b"Bob"));
//!     // Bob, at port 1, has a slow line to the switch: 1 Mbit/s, with room for 64 KiB; and half a second to the moon.
//!     let slow = Impairments::NONE.with_bandwidth(1_000_000, 64 << 10).with_delay(Duration::from_millis(500), Duration::ZERO);
//!     switch.set_port_impairments(1, Direction::Transmit, slow);
//!
//!     let client = network("10.0.0.3/24");
//!     assert_eq!(ask(&client, [10, 0, 0, 1]).await.expect("an answer"), b"Alice");
//!     let start = now();
//!     assert_eq!(ask(&client, [10, 0, 0, 2]).await.expect("an answer"), b"Bob");
//!     assert!(now() - start > Duration::from_millis(1000), "two answers at least: that of the handshake, and Bob's");
//! });
//! ```
//!
//! A frame goes through three links: the cable of the port that sends it, the switch itself, and the cable of the port it is for.
//! Each has its own [`Impairments`], and random numbers of its own, so that what happens on one changes nothing on the others.
//! All of them are perfect at first but the switch itself, which [`Switch::new`] tells what to do.

mod cut;
mod impairments;
mod link;
mod port;
#[cfg(test)]
mod tests;

extern crate std;

use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;

pub use impairments::{Bandwidth, Direction, Impairments};
pub use link::LinkStatistics;
pub use port::Port;

use crate::packet::{Checksum, Gso, PacketMut};
use crate::page::{HeapPool, PagePool};
use crate::runtime::{Runtime, now};
use crate::time::{Instant, sleep_until};
use link::{Frame, Link, split_mix};
use port::PortState;

/// Pages of a switch.
const PAGES: usize = 16_384;

/// A switch. Clones are handles to the same one.
#[derive(Clone)]
pub struct Switch {
    inner: Rc<RefCell<Inner>>,
    pool: Rc<dyn PagePool>,
}

/// A filter that sees each frame that passes and says whether it may.
pub type Filter = Rc<dyn Fn(&[u8]) -> bool>;

struct Inner {
    seed: u64,
    middle: Link,
    filter: Option<Filter>,
    ports: Vec<PortState>,
    /// Frames under way: the time when they arrive at a place and a number, to keep the order; the place.
    under_way: BTreeMap<(Instant, u64), (Place, Frame)>,
    number: u64,
    /// The deadline that a task sleeps for.
    armed: Option<Instant>,
    frames: u64,
}

/// Where a frame arrives.
#[derive(Clone, Copy)]
enum Place {
    /// In the switch, from this port.
    Middle(usize),
    /// At the cable to this port.
    Cable(usize),
    /// At the device of this port.
    Device(usize),
}

impl Switch {
    /// A switch that does this to all frames. Its losses and delays follow from `seed`, which is printed (a test's output
    /// is shown when it fails).
    pub fn new(seed: u64, impairments: Impairments) -> Switch {
        std::println!("switch seed {seed}");
        let inner = Inner {
            seed,
            middle: Link::new(seed, impairments),
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

    /// A new port with an Ethernet address of its own, an MTU of 1500 and no offloads. Ports are numbered from 0.
    pub fn port(&self) -> Port {
        let mut inner = self.inner.borrow_mut();
        let index = inner.ports.len();
        let [.., high, low] = (index as u16 + 1).to_be_bytes();
        let mac = [0x02, 0, 0, 0, high, low];
        let link = |number: u64| {
            let mut state = inner.seed ^ (2 * index as u64 + number);
            Link::new(split_mix(&mut state), Impairments::NONE)
        };
        let state = PortState::new(mac, link(1), link(2));
        inner.ports.push(state);
        Port::new(self.clone(), index, mac)
    }

    /// Sets what happens to all frames from now on.
    pub fn set_impairments(&self, impairments: Impairments) {
        self.inner.borrow_mut().middle.impairments = impairments;
    }

    /// Sets what happens from now on to frames on the cable between `port` and the switch, in one direction. Frames that
    /// are under way stay as they are.
    pub fn set_port_impairments(&self, port: usize, direction: Direction, impairments: Impairments) {
        if let Some(port) = self.inner.borrow_mut().ports.get_mut(port) {
            port.link_mut(direction).impairments = impairments;
        }
    }

    /// What has become of all frames in the switch itself: of each once for each port that is to get it.
    pub fn statistics(&self) -> LinkStatistics {
        self.inner.borrow().middle.statistics
    }

    /// What has become of the frames on the cable of `port`, in one direction. All is 0 when there is no such port.
    pub fn port_statistics(&self, port: usize, direction: Direction) -> LinkStatistics {
        self.inner.borrow().ports.get(port).map_or_else(LinkStatistics::default, |port| port.link(direction).statistics)
    }

    /// How many frames arrived at `port` and were dropped: its device was away, or had not received the 512 before.
    pub fn missed(&self, port: usize) -> u64 {
        self.inner.borrow().ports.get(port).map_or(0, |port| port.missed)
    }

    /// Sets a filter that sees every frame; those for which it returns `false` are lost.
    pub fn set_filter(&self, filter: Option<Filter>) {
        self.inner.borrow_mut().filter = filter;
    }

    /// From now on the device at `port` is broken.
    pub fn break_port(&self, port: usize) {
        if let Some(port) = self.inner.borrow_mut().ports.get_mut(port) {
            port.set_broken();
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
            port.set_connected(connected);
        }
    }

    /// How many frames have been sent.
    pub fn frames(&self) -> u64 {
        self.inner.borrow().frames
    }

    /// Sends `frame` from `port`.
    fn send(&self, port: usize, frame: &PacketMut) {
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
            inner.leave(port, Frame { bytes, checksum: frame.checksum(), gso: frame.gso() });
            inner.deliver(&self.pool);
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
                inner.deliver(&switch.pool);
                inner.next_to_arm()
            };
            if let Some(next) = next {
                switch.arm(next);
            }
        }));
    }
}

impl Inner {
    /// The device at `port` sends a frame. It cuts a packet that is longer than the receiver takes.
    fn leave(&mut self, port: usize, frame: Frame) {
        let takes_long = |to: usize| self.ports.get(to).is_some_and(|port| port.takes_long);
        let stays = self.destinations(port, &frame.bytes).into_iter().all(takes_long);
        match frame.gso {
            Gso::Ipv4 { mss } | Gso::Ipv6 { mss } if !stays => {
                for bytes in cut::cut(&frame.bytes, mss) {
                    self.pass_out(port, Frame { bytes, checksum: Checksum::None, gso: Gso::None });
                }
            }
            // What a device was to complete never touched a wire and counts as right.
            _ => self.pass_out(port, frame),
        }
    }

    fn pass_out(&mut self, from: usize, frame: Frame) {
        if let Some(port) = self.ports.get_mut(from) {
            let out = port.transmit.pass(now(), frame);
            self.go(Place::Middle(from), out);
        }
    }

    fn pass_middle(&mut self, to: usize, frame: Frame) {
        let out = self.middle.pass(now(), frame);
        self.go(Place::Cable(to), out);
    }

    fn go(&mut self, place: Place, frames: Vec<(Instant, Frame)>) {
        for (at, frame) in frames {
            self.under_way.insert((at, self.number), (place, frame));
            self.number += 1;
        }
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

    /// Lets go on what has arrived somewhere, to the queues of the ports at last.
    fn deliver(&mut self, pool: &Rc<dyn PagePool>) {
        let now = now();
        while let Some(entry) = self.under_way.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (place, frame) = entry.remove();
            match place {
                Place::Middle(from) => {
                    for to in self.destinations(from, &frame.bytes) {
                        self.pass_middle(to, frame.clone());
                    }
                }
                Place::Cable(to) => {
                    let out = self.ports.get_mut(to).map(|port| port.receive.pass(now, frame)).unwrap_or_default();
                    self.go(Place::Device(to), out);
                }
                Place::Device(to) => {
                    if let Some(port) = self.ports.get_mut(to) {
                        port.deliver(packet(pool, &frame));
                    }
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

/// The packet that a device receives; `None` when the pool has no pages left.
fn packet(pool: &Rc<dyn PagePool>, frame: &Frame) -> Option<PacketMut> {
    let mut packet = PacketMut::copy_of(pool, &frame.bytes)?;
    packet.set_gso(frame.gso);
    packet.set_checksum(frame.checksum);
    Some(packet)
}
