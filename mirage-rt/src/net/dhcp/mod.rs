//! An address from the network itself: a DHCP client (RFC 2131).
//!
//! [`Dhcp::connect`] asks on a network device for an address, makes a [`Network`] with it, and keeps the lease for as long as the
//! program runs:
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
//! lease that ends nevertheless takes the network with it: as section 4.4.5 asks, nothing is sent from that address any more,
//! connections and sockets fail as if the device was given up, and a program that wants to go on connects again.
//!
//! Not done: waiting a random time before the first message, which would be most of the time that a boot takes; looking by ARP
//! whether somebody uses the address already; options in the fields `sname` and `file`; the option of classless routes;
//! giving the address back at the end.

mod client;
mod frames;
pub mod message;
#[cfg(test)]
mod tests;

use alloc::rc::Rc;
use alloc::vec;
use core::cell::Cell;
use core::fmt;
use core::future::{Future, poll_fn};
use core::net::{Ipv4Addr, SocketAddrV4};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

pub use client::Lease;

use super::direct::ethernet;
use super::error::{BindError, ConfigError};
use super::names;
use super::{Config, Network, UdpSocket};
use crate::cell::RefCell;
use crate::packet::{Checksum, Packet, PacketMut};
use crate::page::PagePool;
use crate::runtime::{Runtime, now};
use crate::time::{Sleep, sleep_until, timeout};
use crate::types::network::{GroupError, NetworkDevice, NetworkError, NetworkInfo, TransmitError};
use crate::types::random::RandomError;
use client::{Client, Event, Loss, Output};

/// The port of servers.
pub const SERVER_PORT: u16 = 67;
/// The port of clients.
pub const CLIENT_PORT: u16 = 68;
/// Bytes of the longest message that is received.
const LONGEST: usize = 1500;

/// A network whose address is leased. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Dhcp {
    network: Network,
    shared: Rc<Shared>,
}

/// What the lease's keeper, the device and the handles share.
#[derive(Debug)]
struct Shared {
    lease: RefCell<Lease>,
    lost: Cell<bool>,
    /// The task that serves the device.
    receiver: RefCell<Option<Waker>>,
}

impl Dhcp {
    /// Asks for an address on `device`, for as long as it takes, and makes a network with it as
    /// [`Network::direct`] does; `ipv4` and `gateway` of `config` are not used. A task on the current runtime keeps the lease,
    /// and the network with it, until the program ends.
    ///
    /// # Errors
    ///
    /// See [`DhcpError`]. That nobody answers is none: give the future a [`timeout`](crate::time::timeout()) where there is
    /// something better to do than to wait.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the device.
    ///
    /// # Panics
    ///
    /// Outside of a running [`Runtime`].
    pub async fn connect<D: NetworkDevice + 'static>(
        mut device: D,
        pool: Rc<dyn PagePool>,
        config: Config,
    ) -> Result<Dhcp, DhcpError> {
        let mac = device.info().mac;
        let mut seed = [0; 8];
        Runtime::current().fill_random(&mut seed).map_err(DhcpError::Random)?;
        let mut client = Client::new(mac, u64::from_le_bytes(seed), now());
        let lease = Asking { device: &mut device, pool: &pool, client: &mut client, timer: None, mac }.lease().await?;
        log::info!(target: "net", "{} is leased from {}", lease.address, lease.server);
        let config = Config { ipv4: Some(lease.address), gateway: lease.gateway, ..config };
        let shared =
            Rc::new(Shared { lease: RefCell::new(lease), lost: Cell::new(false), receiver: RefCell::new(None) });
        let device = Leased { device, shared: Rc::clone(&shared) };
        let network = Network::direct(device, pool, config).map_err(DhcpError::Config)?;
        let socket = network.udp().bind(CLIENT_PORT).await.map_err(DhcpError::Socket)?;
        // The task ends by itself; nobody waits for it.
        drop(Runtime::current().spawn(keep(client, socket, Rc::clone(&shared))));
        Ok(Dhcp { network, shared })
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The lease, as last renewed.
    pub fn lease(&self) -> Lease {
        self.shared.lease.borrow().clone()
    }

    /// Whether the lease has ended, and the network with it.
    pub fn is_lost(&self) -> bool {
        self.shared.lost.get()
    }

    /// The lease's name servers, with its domain to search in.
    pub fn names(&self) -> names::Options {
        let lease = self.shared.lease.borrow();
        let mut options = names::Options::new(lease.name_servers.iter().copied());
        options.search = lease.domain.iter().cloned().collect();
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
    /// There is no socket for renewing the lease.
    Socket(BindError),
}

impl fmt::Display for DhcpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DhcpError::Random(error) => error.fmt(f),
            DhcpError::Broken => {
                f.write_str("the network device was given up before it had an address; the log says why")
            }
            DhcpError::Config(error) => write!(f, "what the DHCP server gives is of no use: {error}"),
            DhcpError::Socket(error) => write!(f, "the lease could not be renewed: {error}"),
        }
    }
}

impl core::error::Error for DhcpError {}

/// The time before there is an address.
struct Asking<'a, D> {
    device: &'a mut D,
    pool: &'a Rc<dyn PagePool>,
    client: &'a mut Client,
    timer: Option<Sleep>,
    mac: [u8; 6],
}

impl<D: NetworkDevice> Asking<'_, D> {
    async fn lease(&mut self) -> Result<Lease, DhcpError> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Lease, DhcpError>> {
        loop {
            self.send(context)?;
            match self.device.poll_receive(context) {
                Poll::Ready(Ok(frame)) => {
                    if let Some(lease) = self.receive(&frame) {
                        return Poll::Ready(Ok(lease));
                    }
                    continue;
                }
                Poll::Ready(Err(NetworkError::Broken)) => return Poll::Ready(Err(DhcpError::Broken)),
                // It wakes this task when it is back.
                Poll::Ready(Err(NetworkError::Disconnected)) | Poll::Pending => {}
            }
            let Some(deadline) = self.client.deadline().filter(|deadline| *deadline > now()) else {
                // The device has no room: it wakes this task when it has.
                return Poll::Pending;
            };
            let timer = self.timer.insert(sleep_until(deadline));
            if Pin::new(timer).poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Sends what is due, when the device has room.
    fn send(&mut self, context: &mut Context<'_>) -> Result<(), DhcpError> {
        loop {
            match self.device.poll_ready(context) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(NetworkError::Broken)) => return Err(DhcpError::Broken),
                Poll::Ready(Err(NetworkError::Disconnected)) | Poll::Pending => return Ok(()),
            }
            let Some(Output::Send { message, to }) = self.client.poll(now()) else { return Ok(()) };
            let own = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
            let server = SocketAddrV4::new(to, SERVER_PORT);
            let frame = frames::emit([(self.mac, own), (ethernet::BROADCAST, server)], &message);
            // What can't be sent now is sent again when its time has come.
            if let Some(packet) = PacketMut::copy_of(self.pool, &frame) {
                let _ = self.device.transmit(packet.freeze());
                self.device.flush();
            }
        }
    }

    /// A frame came; the lease, if it brings one.
    fn receive(&mut self, frame: &PacketMut) -> Option<Lease> {
        let mut bytes = vec![0; frame.len().min(ethernet::HEADER + LONGEST)];
        frame.copy_to(&mut bytes);
        let ([(_, source), (mac, to)], message) = frames::parse(&bytes, frame.checksum() != Checksum::None)?;
        if (source.port(), to.port()) != (SERVER_PORT, CLIENT_PORT) || (mac != self.mac && mac != ethernet::BROADCAST) {
            return None;
        }
        match self.client.receive(now(), message)? {
            Event::Leased(lease) => Some(lease),
            Event::Lost(_) => None,
        }
    }
}

/// Renews the lease until it ends, or for ever.
async fn keep(mut client: Client, socket: UdpSocket, shared: Rc<Shared>) {
    let mut buffer = vec![0; LONGEST];
    let loss = loop {
        match client.poll(now()) {
            Some(Output::Send { message, to }) => {
                // As every datagram it may be lost, and is sent again.
                let _ = socket.send_to(&message, (to, SERVER_PORT)).await;
                continue;
            }
            Some(Output::Lost(loss)) => break loss,
            None => {}
        }
        // A lease without an end.
        let Some(deadline) = client.deadline() else { return };
        let Ok(received) = timeout(deadline - now(), socket.receive_from(&mut buffer)).await else { continue };
        // The device was given up.
        let Ok((length, from)) = received else { return };
        if from.port() != SERVER_PORT {
            continue;
        }
        match buffer.get(..length).and_then(|message| client.receive(now(), message)) {
            Some(Event::Leased(lease)) => shared.renew(lease),
            Some(Event::Lost(loss)) => break loss,
            None => {}
        }
    };
    shared.lose(loss);
}

impl Shared {
    fn renew(&self, lease: Lease) {
        let before = self.lease.replace(lease);
        if before.gateway != self.lease.borrow().gateway {
            log::warn!(target: "net", "the DHCP server names another gateway: it is used when the program starts again");
        }
    }

    fn lose(&self, loss: Loss) {
        let address = self.lease.borrow().address.address();
        let why = match loss {
            Loss::Expired => "no DHCP server has renewed its lease",
            Loss::Refused => "a DHCP server says that it is not ours",
            Loss::Moved => "the DHCP server gives another one",
        };
        log::error!(target: "net", "{address} can't be used any longer: {why}");
        self.lost.set(true);
        if let Some(receiver) = self.receiver.borrow_mut().take() {
            receiver.wake();
        }
    }
}

/// A device that is given up when the lease has ended.
struct Leased<D> {
    device: D,
    shared: Rc<Shared>,
}

impl<D: NetworkDevice> NetworkDevice for Leased<D> {
    fn info(&self) -> NetworkInfo {
        self.device.info()
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<PacketMut, NetworkError>> {
        if self.shared.lost.get() {
            return Poll::Ready(Err(NetworkError::Broken));
        }
        let received = self.device.poll_receive(context);
        if received.is_pending() {
            let mut receiver = self.shared.receiver.borrow_mut();
            if !receiver.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                *receiver = Some(context.waker().clone());
            }
        }
        received
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
        self.device.poll_ready(context)
    }

    fn transmit(&mut self, packet: Packet) -> Result<(), TransmitError> {
        self.device.transmit(packet)
    }

    fn flush(&mut self) {
        self.device.flush();
    }

    fn join(&mut self, group: [u8; 6]) -> Result<(), GroupError> {
        self.device.join(group)
    }

    fn leave(&mut self, group: [u8; 6]) {
        self.device.leave(group);
    }
}
