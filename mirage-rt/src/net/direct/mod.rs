//! A stack of our own on a network device.
//!
//! Below are [Ethernet and ARP](ethernet), [routes](ip), ICMP, and with the feature `ipv6` the same for IPv6 in a folder of its
//! own; above them UDP and the [demultiplexer](tcp) of TCP, with a
//! [machine](tcp::machine) for the open connections. One task, the [driver], moves frames between the device and the stack.
//! Handles call the stack directly and wake the driver when there is something to be sent, so that what several tasks
//! write in one round of the runtime leaves with one notification.

mod checksum;
mod configure;
pub mod counters;
#[cfg(feature = "datagrams")]
mod cutting;
mod driver;
#[cfg(feature = "datagrams")]
mod echoes;
pub(super) mod ethernet;
#[cfg(feature = "datagrams")]
mod fragments;
#[cfg(feature = "datagrams")]
mod groups;
mod handles;
mod hash;
pub(super) mod header;
mod icmp;
mod identification;
#[cfg(feature = "test-utils")]
pub mod inside;
mod ip;
pub(super) mod ipv4;
#[cfg(feature = "ipv6")]
mod ipv6;
mod known;
mod limit;
mod link;
mod neighbours;
mod pages;
#[cfg(feature = "datagrams")]
mod quotes;
mod reach;
mod stack;
mod tcp;
#[cfg(test)]
mod tests;
#[cfg(any(test, not(feature = "smoltcp-tcp")))]
mod train;
#[cfg(feature = "forward")]
pub(super) mod transit;
mod udp;
#[cfg(any(test, not(feature = "smoltcp-tcp")))]
mod usual;
mod wakers;

use alloc::rc::Rc;
use alloc::vec::Vec;

use core::net::{IpAddr, Ipv4Addr};
use core::task::{Context, Poll};

pub use handles::{Connection, Listener, Socket};
pub use ip::NO_ADDRESS;

use super::address::ListenAddr;
use super::error::{BindError, ConfigError, ConnectError};
use crate::cell::RefCell;
use crate::keys::Cidr;
use crate::net::metrics::Snapshot;
use crate::net::names::{Family, NameSlot};
use crate::net::{Config, Link};
use crate::page::{Page, PagePool};
use crate::runtime::Runtime;
use crate::types::network::NetworkDevice;
use core::net::SocketAddr;
use counters::Event;
use stack::{Secrets, Stack};

/// The smallest MTU that IPv4 allows a host.
pub(super) const LEAST_MTU: u16 = 576;

/// What the driver and the handles share.
pub struct Shared {
    stack: RefCell<Stack>,
    mac: [u8; 6],
    names: NameSlot,
}

/// A handle to a stack.
#[derive(Clone)]
pub struct Direct {
    shared: Rc<Shared>,
}

impl Direct {
    /// Starts a stack on `device`, with a task of its own on the current runtime. `address` is a host's, or
    /// [`ip::NO_ADDRESS`].
    pub fn start<D: NetworkDevice + 'static>(
        device: D,
        pool: Rc<dyn PagePool>,
        config: &Config,
        address: Cidr,
    ) -> Result<Direct, ConfigError> {
        let info = device.info();
        #[cfg(feature = "ipv6")]
        if let Some(config) = &config.ipv6 {
            ipv6::check(config, info.mtu)?;
        }
        if !ethernet::is_unicast(info.mac) {
            return Err(ConfigError::Mac(info.mac));
        }
        if info.mtu < LEAST_MTU {
            return Err(ConfigError::Mtu(info.mtu));
        }
        let runtime = Runtime::current();
        let secrets = secrets(&runtime)?;
        let stack = Stack::new(&info, address, config, pool, &secrets);
        let shared = Rc::new(Shared { stack: RefCell::new(stack), mac: info.mac, names: NameSlot::default() });
        // The task ends by itself; nobody waits for it.
        drop(runtime.spawn(driver::drive(device, Rc::clone(&shared))));
        Ok(Direct { shared })
    }

    /// Whether both are handles to the same stack.
    pub fn is_same(&self, other: &Direct) -> bool {
        Rc::ptr_eq(&self.shared, &other.shared)
    }

    /// Bits of the longest prefix with which a route leads to `destination`.
    pub fn match_length(&self, destination: IpAddr) -> Option<u8> {
        let mut stack = self.shared.stack.borrow_mut();
        stack.update_now();
        stack.ip.match_length(destination)
    }

    /// The place for the network's name servers.
    pub fn name_slot(&self) -> &NameSlot {
        &self.shared.names
    }

    pub fn mac(&self) -> [u8; 6] {
        self.shared.mac
    }

    pub fn link(&self) -> Link {
        self.shared.stack.borrow().link.get()
    }

    pub fn poll_link_changed(&self, context: &mut Context<'_>, since: Link) -> Poll<Link> {
        self.shared.stack.borrow_mut().link.poll_changed(context, since)
    }

    /// A page for the application, as long as the device has enough.
    pub fn page(&self) -> Option<Page> {
        self.shared.stack.borrow().ip.page()
    }

    /// Counts what somebody did who serves this network.
    pub fn count(&self, event: Event) {
        self.shared.stack.borrow_mut().ip.counters.events[event as usize] += 1;
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.stack.borrow().snapshot()
    }

    /// The addresses that are ours now.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.shared.stack.borrow().ip.addresses()
    }

    /// The name servers that routers told of.
    #[cfg(feature = "ipv6")]
    pub fn name_servers(&self) -> Vec<IpAddr> {
        let mut stack = self.shared.stack.borrow_mut();
        stack.update_now();
        stack.ip.name_servers()
    }

    /// The families of addresses that can be reached, the preferred one first.
    pub fn families(&self) -> &'static [Family] {
        #[cfg(feature = "ipv6")]
        return self.shared.stack.borrow().ip.families();
        #[cfg(not(feature = "ipv6"))]
        &[Family::V4]
    }

    pub fn tcp_bind(&self, local: ListenAddr, backlog: usize) -> Result<Listener, BindError> {
        let mut stack = self.shared.stack.borrow_mut();
        stack.check_local(local)?;
        let index = stack.tcp.bind(local, backlog)?;
        Ok(Listener::new(self.clone(), index))
    }

    pub fn tcp_connect(&self, remote: SocketAddr) -> Result<Connection, ConnectError> {
        let mut stack = self.shared.stack.borrow_mut();
        let stack = &mut *stack;
        stack.update_now();
        let id = stack.tcp.connect(stack.ip.now(), remote, &stack.ip)?;
        stack.kick();
        Ok(Connection::new(self.clone(), id))
    }

    pub fn udp_bind(&self, local: ListenAddr) -> Result<Socket, BindError> {
        let mut stack = self.shared.stack.borrow_mut();
        stack.check_local(local)?;
        let index = stack.udp.bind(local)?;
        Ok(Socket::new(self.clone(), index))
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        // With the driver's own, this is the last handle but one: the driver looks whether it can end.
        if Rc::strong_count(&self.shared) == 2
            && let Ok(mut stack) = self.shared.stack.try_borrow_mut()
        {
            stack.kick();
        }
    }
}

/// Has the stacks that this thread makes from now on our own TCP machine.
#[cfg(all(test, feature = "forward"))]
pub fn choose_own_tcp() {
    tcp::either::choose_own(true);
}

/// Whether a host can have this address and gateway.
pub fn check(network: Option<Cidr>, gateway: Option<Ipv4Addr>) -> Result<Cidr, ConfigError> {
    let network = network.ok_or(ConfigError::NoAddress)?;
    let address = network.address();
    if !is_host(network, address) {
        return Err(ConfigError::NotAHost(address));
    }
    match gateway {
        Some(gateway) if gateway == address || !network.contains(gateway) || !is_host(network, gateway) => {
            Err(ConfigError::Gateway { gateway, address })
        }
        _ => Ok(network),
    }
}

/// Whether `address` can be that of a host in `network`.
pub(super) fn is_host(network: Cidr, address: Ipv4Addr) -> bool {
    let first = u32::from(address) & (u32::MAX >> network.prefix().min(31)) == 0;
    !(address.is_unspecified()
        || address.is_multicast()
        || address.is_loopback()
        || address.is_broadcast()
        || ip::broadcast(network) == Some(address)
        || (network.prefix() < 31 && first))
}

fn secrets(runtime: &Runtime) -> Result<Secrets, ConfigError> {
    let mut bytes = [0; 32];
    runtime.fill_random(&mut bytes).map_err(ConfigError::Random)?;
    let (words, _) = bytes.as_chunks::<8>();
    let word = |index: usize| words.get(index).map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Ok(Secrets { hash: [word(0), word(1)], isn: [word(2), word(3)] })
}
