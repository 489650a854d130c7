//! An address from the network itself: a DHCP client (RFC 2131).
//!
//! A program whose build.rs declares `.network(Network::new("service").dhcp())` needs nothing of this: its network has an
//! address when main begins, and keeps it. A program that opens a device itself asks by [`Dhcp::connect`]:
//!
//! ```
//! use mirage_rt::net::Config;
//! use mirage_rt::net::dhcp::Dhcp;
//! use mirage_rt::net::names::Resolver;
//! # async fn with_device<D: mirage_rt::types::network::NetworkDevice + 'static>(
//! #     device: D,
//! #     pool: std::rc::Rc<dyn mirage_rt::page::PagePool>,
//! # ) -> mirage_rt::Result {
//! let dhcp = Dhcp::connect(device, pool, Config::new()).await?;
//! let resolver = Resolver::new(dhcp.network(), dhcp.names());
//! # Ok(()) }
//! ```
//!
//! The lease's server is asked for more time at the half of it, any server at seven eighths, or when the server says. A
//! lease that ends nevertheless takes the address with it: as section 4.4.5 asks, nothing is sent from there any more, and
//! connections end with an error. The network goes on without an address, and another one is asked for at once, for as long as
//! it takes; listeners serve that one then. [`Network::addresses_changed`] tells.
//!
//! When the link is back that was down, as after a suspension or a move to another host, it may be another network's: any server
//! is asked whether the address is right there (INIT-REBOOT, section 4.3.2), and the address used meanwhile. If one says no, the
//! lease has ended; if nobody answers within a minute, it counts as before.
//!
//! Not done: waiting a random time before the first message, which would be most of the time that a boot takes; looking by ARP
//! whether somebody uses the address already; options in the fields `sname` and `file`; giving the address back at the end.

mod client;
#[cfg(test)]
mod frames;
pub mod message;
#[cfg(test)]
pub(crate) mod tests;

use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::net::{Ipv4Addr, SocketAddr};
use core::pin::pin;
use core::task::Poll;

pub use client::Lease;

use super::direct::counters::Event as Count;
use super::error::{BindError, ConfigError, ReceiveError};
use super::{Addressing, Config, ConfigureError, Link, Network, UdpSocket, log_targets, names};
use crate::cell::RefCell;
use crate::page::PagePool;
use crate::runtime::{Runtime, now};
use crate::time::{Duration, timeout};
use crate::types::network::NetworkDevice;
use crate::types::random::RandomError;
use client::{Client, Event, Loss, Output};

/// The port of servers.
pub const SERVER_PORT: u16 = 67;
/// The port of clients.
pub const CLIENT_PORT: u16 = 68;
/// Bytes of the longest message that is received.
const LONGEST: usize = 1500;
/// How long a first answer may take before the log says that there was none.
const PATIENCE: Duration = Duration::from_secs(10);

/// A network whose address is leased. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Dhcp {
    network: Network,
    shared: Rc<Shared>,
}

/// What the lease's keeper and the handles share.
#[derive(Debug)]
struct Shared {
    lease: RefCell<Lease>,
    lost: Cell<bool>,
}

impl Dhcp {
    /// Makes a network on `device`, as [`Network::unaddressed`] does, and asks for its address by [`start`](Dhcp::start).
    ///
    /// # Errors
    ///
    /// See [`DhcpError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the device.
    ///
    /// # Panics
    ///
    /// Outside of a running [`Runtime`].
    pub async fn connect<D: NetworkDevice + 'static>(
        device: D,
        pool: Rc<dyn PagePool>,
        config: Config,
    ) -> Result<Dhcp, DhcpError> {
        let network = Network::unaddressed(device, pool, config).map_err(DhcpError::Config)?;
        Dhcp::start(&network, Addressing::default()).await
    }

    /// Asks for an address on `network`, a network of our own without one, for as long as it takes, and configures it. What
    /// `fixed` says of gateway, routes and MTU counts more than what a server says. A task on the current runtime keeps the lease,
    /// and the network with it, until the program ends.
    ///
    /// # Errors
    ///
    /// See [`DhcpError`]. That nobody answers is none: give the future a [`timeout`](crate::time::timeout()) where there is
    /// something better to do than to wait.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the network without an address.
    ///
    /// # Panics
    ///
    /// Outside of a running [`Runtime`].
    pub async fn start(network: &Network, fixed: Addressing) -> Result<Dhcp, DhcpError> {
        let mac = network.mac().ok_or(DhcpError::Configure(ConfigureError::Host))?;
        let mut seed = [0; 8];
        Runtime::current().fill_random(&mut seed).map_err(DhcpError::Random)?;
        let client = Client::new(mac, u64::from_le_bytes(seed), now());
        let socket = network.udp().bind(CLIENT_PORT).await.map_err(DhcpError::Socket)?;
        let (link, buffer) = (network.link(), vec![0; LONGEST]);
        let mut keeper = Keeper { client, socket, network: network.clone(), link, fixed, buffer };
        let lease = match timeout(PATIENCE, keeper.leased()).await {
            Ok(lease) => lease,
            Err(_) => {
                log::warn!(target: log_targets::DHCP, "no DHCP server has answered yet; it is asked on, and nothing else done");
                keeper.leased().await
            }
        };
        let lease = lease.ok_or(DhcpError::Broken)?;
        keeper.configure(&lease).map_err(DhcpError::Configure)?;
        network.count(Count::Leased);
        let shared = Rc::new(Shared { lease: RefCell::new(lease), lost: Cell::new(false) });
        // The task ends by itself; nobody waits for it.
        drop(Runtime::current().spawn(keeper.keep(Rc::clone(&shared))));
        Ok(Dhcp { network: network.clone(), shared })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The lease, as last renewed; the last one that there was, while there [is none](Dhcp::is_lost).
    pub fn lease(&self) -> Lease {
        self.shared.lease.borrow().clone()
    }

    /// Whether the lease has ended, and no other was got yet.
    pub fn is_lost(&self) -> bool {
        self.shared.lost.get()
    }

    /// The lease's name servers, with the domains to search in.
    pub fn names(&self) -> names::Options {
        self.shared.lease.borrow().names()
    }
}

impl Lease {
    /// The name servers, with the domains to search in.
    fn names(&self) -> names::Options {
        let mut options = names::Options::new(self.name_servers.iter().copied());
        options.search = self.search.clone();
        if options.search.is_empty() {
            options.search = self.domain.iter().cloned().collect();
        }
        options
    }
}

/// A network got no address.
#[derive(Debug)]
#[non_exhaustive]
pub enum DhcpError {
    /// There are no random numbers for the numbers of messages.
    Random(RandomError),
    /// The device was given up.
    Broken,
    /// The network was not set up.
    Config(ConfigError),
    /// The address is of no use, or does not fit what is fixed.
    Configure(ConfigureError),
    /// There is no socket to ask with.
    Socket(BindError),
}

impl fmt::Display for DhcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DhcpError::Random(error) => error.fmt(f),
            DhcpError::Broken => {
                f.write_str("the network device was given up before it had an address; the log says why")
            }
            DhcpError::Config(error) => error.fmt(f),
            DhcpError::Configure(error) => write!(f, "what the DHCP server gives is of no use: {error}"),
            DhcpError::Socket(error) => write!(f, "no DHCP server could be asked: {error}"),
        }
    }
}

impl core::error::Error for DhcpError {}

/// Asks for a lease and keeps it.
struct Keeper {
    client: Client,
    socket: UdpSocket,
    network: Network,
    /// As it was looked at last.
    link: Link,
    fixed: Addressing,
    buffer: Vec<u8>,
}

impl Keeper {
    /// Goes on until something happens to the lease; `None` when the device was given up.
    async fn event(&mut self) -> Option<Event> {
        loop {
            match self.client.poll(now()) {
                Some(Output::Send { message, to }) => {
                    // As every datagram it may be lost, and is sent again.
                    let _ = self.socket.send_to(&message, (to, SERVER_PORT)).await;
                    continue;
                }
                Some(Output::Lost(loss)) => return Some(Event::Lost(loss)),
                None => {}
            }
            let Some(received) = self.datagram().await else { continue };
            let (length, from) = received.ok()?;
            if from.port() == SERVER_PORT
                && let Some(message) = self.buffer.get(..length)
                && let Some(event) = self.client.receive(now(), message)
            {
                return Some(event);
            }
        }
    }

    /// The next datagram; `None` when the client has something to do: its time has come, or the link is back.
    async fn datagram(&mut self) -> Option<Result<(usize, SocketAddr), ReceiveError>> {
        let deadline = self.client.deadline();
        let mut receiving = pin!(self.socket.receive_from(&mut self.buffer));
        let waiting = poll_fn(|context| {
            while let Poll::Ready(link) = self.network.poll_link_changed(context, self.link) {
                self.link = link;
                if link.up {
                    self.client.confirm(now());
                    return Poll::Ready(None);
                }
            }
            receiving.as_mut().poll(context).map(Some)
        });
        // A lease without an end has no deadline.
        match deadline {
            Some(deadline) => timeout(deadline - now(), waiting).await.ok().flatten(),
            None => waiting.await,
        }
    }

    /// The next lease; `None` when the device was given up.
    async fn leased(&mut self) -> Option<Lease> {
        loop {
            if let Event::Leased(lease) = self.event().await? {
                return Some(lease);
            }
        }
    }

    /// Gives the network what the lease says.
    fn configure(&mut self, lease: &Lease) -> Result<(), ConfigureError> {
        let (fixed, mut addressing) = (&self.fixed, Addressing::new(Some(lease.address), lease.gateway));
        addressing.gateway = fixed.gateway.or(lease.gateway);
        addressing.routes = if fixed.routes.is_empty() { lease.routes.clone() } else { fixed.routes.clone() };
        addressing.mtu = fixed.mtu.or(lease.mtu);
        #[cfg(feature = "ipv6")]
        addressing.ipv6_routes.clone_from(&fixed.ipv6_routes);
        self.change(addressing)?;
        self.network.set_names(lease.names());
        log::info!(target: log_targets::DHCP, "{} is leased from {}", lease.address, lease.server);
        Ok(())
    }

    /// Configures the network. Another MTU of ours is no news of the link.
    fn change(&mut self, addressing: Addressing) -> Result<(), ConfigureError> {
        let before = self.network.link().changes;
        let outcome = self.network.configure(addressing);
        self.link.changes += self.network.link().changes - before;
        outcome
    }

    /// Takes the address away.
    fn unconfigure(&mut self) {
        let fixed = self.fixed.clone();
        let nothing = Addressing { ipv4: None, gateway: None, routes: Vec::new(), ..fixed };
        // It has no part that could be wrong.
        let _ = self.change(nothing);
    }

    /// Renews leases and gets others until the device is given up.
    async fn keep(mut self, shared: Rc<Shared>) {
        while let Some(event) = self.event().await {
            match event {
                Event::Leased(lease) => {
                    // A renewal that changes nothing is no news.
                    let renewed = shared.lease.borrow().gives_the_same(&lease) && !shared.lost.get();
                    if !renewed && let Err(error) = self.configure(&lease) {
                        log::error!(target: log_targets::DHCP, "the address {} can't be used: {error}", lease.address);
                        self.unconfigure();
                        shared.lost.set(true);
                        continue;
                    }
                    self.network.count(if renewed { Count::Renewed } else { Count::Leased });
                    shared.lease.replace(lease);
                    shared.lost.set(false);
                }
                Event::Lost(loss) => {
                    self.unconfigure();
                    shared.lost.set(true);
                    self.network.count(match loss {
                        Loss::Expired => Count::Expired,
                        Loss::Refused => Count::Refused,
                        Loss::Moved => Count::Moved,
                    });
                    log_loss(shared.lease.borrow().address.address(), loss);
                }
            }
        }
    }
}

fn log_loss(address: Ipv4Addr, loss: Loss) {
    let why = match loss {
        Loss::Expired => "no DHCP server has renewed its lease",
        Loss::Refused => "a DHCP server says that it is not ours",
        Loss::Moved => "the DHCP server gives another one",
    };
    log::error!(target: log_targets::DHCP, "{address} can't be used any longer: {why}; another one is asked for");
}
