//! The network: TCP and UDP, on a device of its own or on the host's sockets.
//!
//! A [`Network`] is what an application gets for each `.network("name")` of its build.rs:
//!
//! ```text
//! let mut listener = devices.service.tcp().bind(keys.port).await?;
//! loop {
//!     let (stream, peer) = listener.accept().await?;
//!     mirage_rt::spawn(serve(stream, peer));
//! }
//! ```
//!
//! Handles are owned and do not borrow from the network, so that a task can keep them. Below them is either this crate's own
//! stack on a [`NetworkDevice`] ([`Network::direct`]) or the host's sockets
//! ([`Network::host`]); the application does not see which.
//!
//! What is worth a line in the log has the target of its layer, as `net::tcp`: [`log_targets`] has them all. What is only worth a
//! count is in [`metrics`].

#![forbid(unsafe_code)]

mod address;
mod addressing;
pub mod capture;
pub mod dhcp;
mod direct;
mod error;
#[cfg(feature = "forward")]
pub mod forward;
#[cfg(feature = "datagrams")]
pub mod fragments;
#[cfg(feature = "datagrams")]
pub mod groups;
pub mod host;
mod icmp;
mod io;
#[cfg(feature = "ipv6")]
pub mod ipv6;
mod joined;
pub mod log_targets;
pub mod metrics;
#[cfg(feature = "edge-nal")]
mod nal;
pub mod names;
#[cfg(any(test, feature = "test-utils", feature = "forward"))]
mod segments;
#[cfg(any(test, feature = "test-utils"))]
pub mod switch;
mod tcp;
mod tcp_info;
mod tcp_options;
mod tcp_pages;
mod tcp_vectored;
mod udp;
mod udp_options;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::task::{Context, Poll};

pub use address::ListenAddr;
pub use addressing::{Addressing, ConfigureError, Route6Error, RouteError, StaticRoute, StaticRoute6};
#[cfg(feature = "test-utils")]
pub use direct::inside;
pub use error::{
    AcceptError, BindError, ConfigError, ConnectError, HostError, ReadError, ReceiveError, SendError, WriteError,
};
#[cfg(feature = "datagrams")]
pub use icmp::Icmp;
pub use icmp::PingError;
pub use io::SocketError;
pub use tcp::{DEFAULT_BACKLOG, Tcp, TcpListener, TcpStream};
pub use tcp_info::{TcpInfo, TcpState};
pub use tcp_options::{CongestionControl, KeepAlive, OptionError, TcpOption};
pub use udp::{Udp, UdpSocket};
pub use udp_options::{JoinError, UdpOption};

use crate::boot::AddressFrom;
use crate::keys::Cidr;
use crate::page::PagePool;
use crate::types::network::NetworkDevice;
use direct::Direct;
use direct::counters::Event;
use host::HostStack;

/// A network that an application uses. Cloning gives another handle to the same network.
#[derive(Clone)]
pub struct Network {
    stack: Stack,
}

#[derive(Clone)]
enum Stack {
    Direct(Direct),
    Host(Rc<dyn HostStack>),
}

impl Network {
    /// A network of our own on `device`, whose frames are made of pages of `pool`. A task on the current runtime serves
    /// the device from now on.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`].
    ///
    /// # Panics
    ///
    /// Outside of a running [`Runtime`](crate::runtime::Runtime).
    pub fn direct<D: NetworkDevice + 'static>(
        device: D,
        pool: Rc<dyn PagePool>,
        config: Config,
    ) -> Result<Network, ConfigError> {
        Network::start(device, pool, config, AddressFrom::Keys)
    }

    /// As [`direct`](Network::direct), without an address: it can send to everybody on the link only, and hear what is sent to
    /// everybody, until [`configure`](Network::configure) gives it one. `ipv4` and `gateway` of `config` are not used.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`].
    ///
    /// # Panics
    ///
    /// As [`direct`](Network::direct).
    pub fn unaddressed<D: NetworkDevice + 'static>(
        device: D,
        pool: Rc<dyn PagePool>,
        config: Config,
    ) -> Result<Network, ConfigError> {
        Network::start(device, pool, config, AddressFrom::Elsewhere)
    }

    /// As [`direct`](Network::direct), or as [`unaddressed`](Network::unaddressed) when the address comes from elsewhere: for
    /// platforms, so that an image has the code once.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`].
    ///
    /// # Panics
    ///
    /// As [`direct`](Network::direct).
    pub fn start<D: NetworkDevice + 'static>(
        device: D,
        pool: Rc<dyn PagePool>,
        config: Config,
        address: AddressFrom,
    ) -> Result<Network, ConfigError> {
        let address = match address {
            #[cfg(feature = "ipv6")]
            AddressFrom::Keys if config.ipv6.is_some() && config.ipv4.is_none() && config.gateway.is_none() => {
                direct::NO_ADDRESS
            }
            AddressFrom::Keys => direct::check(config.ipv4, config.gateway)?,
            AddressFrom::Elsewhere => direct::NO_ADDRESS,
        };
        Ok(Network { stack: Stack::Direct(Direct::start(device, pool, &config, address)?) })
    }

    /// Gives the network another address, or none, and other routes; it goes on meanwhile. Connections from an address that
    /// is gone end with an error, and nothing that came from it leaves any more; listeners and sockets that are not bound to
    /// an address go on with the new one. A listener or socket that is bound to the old address waits until it is back.
    ///
    /// # Errors
    ///
    /// See [`ConfigureError`]; nothing has changed then.
    pub fn configure(&self, addressing: Addressing) -> Result<(), ConfigureError> {
        match &self.stack {
            Stack::Direct(direct) => direct.configure(addressing),
            Stack::Host(host) => host.configure(addressing),
        }
    }

    /// A network on the host's own sockets.
    pub fn host(stack: Rc<dyn HostStack>) -> Network {
        Network { stack: Stack::Host(stack) }
    }

    /// Streams.
    pub fn tcp(&self) -> Tcp {
        Tcp::new(self.stack.clone())
    }

    /// Datagrams.
    pub fn udp(&self) -> Udp {
        Udp::new(self.stack.clone())
    }

    /// The Ethernet address, `None` when the host's sockets are the network.
    pub fn mac(&self) -> Option<[u8; 6]> {
        match &self.stack {
            Stack::Direct(direct) => Some(direct.mac()),
            Stack::Host(_) => None,
        }
    }

    /// The state of the link now.
    pub fn link(&self) -> Link {
        match &self.stack {
            Stack::Direct(direct) => direct.link(),
            Stack::Host(host) => host.link(),
        }
    }

    /// Waits until the link has changed since it was as in `since`, and returns how it is then: an earlier state that has
    /// passed is seen by its [`changes`](Link::changes) only. Host sockets never change.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens but waiting.
    pub async fn link_changed(&self, since: Link) -> Link {
        poll_fn(|context| self.poll_link_changed(context, since)).await
    }

    fn poll_link_changed(&self, context: &mut Context<'_>, since: Link) -> Poll<Link> {
        match &self.stack {
            Stack::Direct(direct) => direct.poll_link_changed(context, since),
            Stack::Host(host) => host.poll_link_changed(context, since),
        }
    }

    /// The name servers that routers have told this network of (RFC 8106), as long as they last.
    #[cfg(feature = "ipv6")]
    pub fn name_servers(&self) -> Vec<IpAddr> {
        match &self.stack {
            Stack::Direct(direct) => direct.name_servers(),
            Stack::Host(_) => Vec::new(),
        }
    }

    /// Counts what somebody did who serves this network, if it is one of our own.
    fn count(&self, event: Event) {
        if let Stack::Direct(direct) = &self.stack {
            direct.count(event);
        }
    }

    /// What was counted so far; `None` when the host's sockets are the network.
    fn snapshot(&self) -> Option<metrics::Snapshot> {
        match &self.stack {
            Stack::Direct(direct) => Some(direct.snapshot()),
            Stack::Host(_) => None,
        }
    }

    /// The addresses by which others reach this network, as far as they are known: with IPv6 those that nobody has objected
    /// to, which is known a second after the start.
    pub fn addresses(&self) -> Vec<IpAddr> {
        match &self.stack {
            Stack::Direct(direct) => direct.addresses(),
            Stack::Host(host) => host.addresses(),
        }
    }

    /// Waits until the addresses are others than `since`, and returns them: none while a lease is looked for. Host sockets
    /// never change.
    ///
    /// # Cancel safety
    ///
    /// Nothing happens but waiting.
    pub async fn addresses_changed(&self, since: &[IpAddr]) -> Vec<IpAddr> {
        poll_fn(|context| self.poll_addresses_changed(context, since)).await
    }

    fn poll_addresses_changed(&self, context: &mut Context<'_>, since: &[IpAddr]) -> Poll<Vec<IpAddr>> {
        match &self.stack {
            Stack::Direct(direct) => direct.poll_addresses_changed(context, since),
            Stack::Host(host) => host.poll_addresses_changed(context, since),
        }
    }

    /// The kinds of addresses to which connections can be made, the preferred one first.
    fn families(&self) -> &'static [names::Family] {
        match &self.stack {
            Stack::Direct(direct) => direct.families(),
            Stack::Host(host) => host.families(),
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("addresses", &self.addresses()).finish()
    }
}

/// The state of a network's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// Frames can be sent and received. While they can't, connections wait, and repeat what was lost when it is up again.
    pub up: bool,
    /// The most bytes of an IP packet, the last known while the link is down; unknown for the host's sockets.
    pub mtu: Option<u16>,
    /// How often the other two have changed since the network was made.
    pub changes: u64,
}

/// How a network on a device of its own is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The address, with the length of its network's prefix.
    pub ipv4: Option<Cidr>,
    /// The gateway to everything outside of that network.
    pub gateway: Option<Ipv4Addr>,
    /// IPv6, when the network has it. One with IPv6 only has no `ipv4` and no `gateway`.
    #[cfg(feature = "ipv6")]
    pub ipv6: Option<ipv6::Ipv6Config>,
    /// Bytes that each connection can have received and not read yet: the window that is offered to peers. One that makes
    /// full use of it gets up to 512 times as much, but never more than an eighth of what is free of `connection_memory`.
    pub receive_buffer: usize,
    /// Bytes that each connection can have written and the peer not acknowledged yet, growing in the same way.
    pub send_buffer: usize,
    /// Bytes for all connections together: a kilobyte for each, and what their buffers really hold. When there are only few
    /// left, further connections are refused; without any, peers have to send again and writers wait.
    pub connection_memory: usize,
}

impl Config {
    /// Buffers of 8 KiB each way and more, 2 MiB for all connections (1,500 with little under way), no address yet, no IPv6.
    pub const fn new() -> Config {
        Config {
            ipv4: None,
            gateway: None,
            #[cfg(feature = "ipv6")]
            ipv6: None,
            receive_buffer: 8192,
            send_buffer: 8192,
            connection_memory: 2 << 20,
        }
    }

    /// As [`Config::new`], with the values of the keys `ipv4` and `ipv4-gateway`.
    pub const fn from_keys(ipv4: Option<Cidr>, gateway: Option<Ipv4Addr>) -> Config {
        let mut config = Config::new();
        config.ipv4 = ipv4;
        config.gateway = gateway;
        config
    }

    /// Whether the network has IPv6.
    pub const fn has_ipv6(&self) -> bool {
        #[cfg(feature = "ipv6")]
        return self.ipv6.is_some();
        #[cfg(not(feature = "ipv6"))]
        false
    }

    /// The IPv6 address, if one is given.
    pub fn ipv6_address(&self) -> Option<Ipv6Addr> {
        #[cfg(feature = "ipv6")]
        return self.ipv6?.address.map(crate::keys::Cidr6::address);
        #[cfg(not(feature = "ipv6"))]
        None
    }
}

impl Default for Config {
    fn default() -> Self {
        Config::new()
    }
}
