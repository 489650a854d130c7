//! Networks that have more than an address. The glue calls these functions only for networks that build.rs declares so: an image
//! has no code for the others.

use alloc::vec::Vec;
use core::fmt;

use super::{AddressFrom, Boot, NetworkSpec, NoSuchKey};
use crate::error::Result;
use crate::keys::{Cidr, read};
use crate::net::dhcp::{Dhcp, DhcpError};
use crate::net::{Addressing, ConfigureError, Network, StaticRoute};

impl Boot {
    /// Connects the network `name`, and has DHCP servers configure it when its key `ipv4` gives no address. Ready when it has
    /// one, however long that takes.
    ///
    /// # Errors
    ///
    /// As [`network`](Boot::network); and that what its keys or a server give is of no use.
    pub async fn network_by_dhcp(&self, name: &'static str) -> Result<Network> {
        let spec = self.network_spec(name)?;
        #[cfg(feature = "ipv6")]
        if super::ipv6::is_alone(spec, &self.values) {
            return self.routed_network(name).await;
        }
        if spec.key::<Cidr>(&self.values, "ipv4").is_some() {
            return self.routed_network(name).await;
        }
        let connector = self.connectors.networks.as_ref().ok_or(NoSuchKey { name })?;
        let network = connector.network(spec, &self.values, AddressFrom::Elsewhere).await?;
        // The host's sockets have the host's addresses.
        if network.mac().is_some() {
            let dhcp = Dhcp::start(&network, self.addressing(spec)).await;
            dhcp.map_err(|error| NotConfigured { name, reason: Reason::Dhcp(error) })?;
        }
        Ok(network)
    }

    /// Connects the network `name`, with the routes and the MTU that its keys give.
    ///
    /// # Errors
    ///
    /// As [`network`](Boot::network); and that a route is of no use.
    pub async fn routed_network(&self, name: &'static str) -> Result<Network> {
        let network = self.network(name).await?;
        let addressing = self.addressing(self.network_spec(name)?);
        if addressing == Addressing::new(addressing.ipv4, addressing.gateway) {
            return Ok(network);
        }
        let configured = network.configure(addressing);
        configured.map_err(|error| NotConfigured { name, reason: Reason::Configure(error) })?;
        Ok(network)
    }

    /// `network`, which was declared as `name`, with the name servers and search domains that its keys give.
    ///
    /// # Errors
    ///
    /// [`NoSuchKey`]: the glue and the program's description do not match.
    pub fn with_names(&self, name: &'static str, network: Network) -> Result<Network, NoSuchKey> {
        let spec = self.network_spec(name)?;
        network.fix_names(&self.list(spec, "dns"), self.list(spec, "search"));
        Ok(network)
    }

    /// What the keys of a network say.
    fn addressing(&self, spec: &NetworkSpec) -> Addressing {
        let values = &self.values;
        let mut addressing = Addressing::new(spec.key(values, "ipv4"), spec.key(values, "ipv4-gateway"));
        addressing.routes = self.list::<StaticRoute>(spec, "routes");
        #[cfg(feature = "ipv6")]
        addressing.ipv6_routes.clone_from(&self.list(spec, "ipv6-routes"));
        addressing.mtu = spec.key(values, "mtu");
        addressing
    }

    /// The parts of the value of a network's key; none when it is not given.
    fn list<T: core::str::FromStr>(&self, spec: &NetworkSpec, key: &str) -> Vec<T> {
        let text: Option<alloc::string::String> = spec.key(&self.values, key);
        // They were read once already.
        text.and_then(|text| read::list(&text)).unwrap_or_default()
    }
}

/// A network is connected, and does not do what its keys say.
#[derive(Debug)]
struct NotConfigured {
    name: &'static str,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Configure(ConfigureError),
    Dhcp(DhcpError),
}

impl fmt::Display for NotConfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network {}: ", self.name)?;
        match &self.reason {
            Reason::Configure(error) => error.fmt(f),
            Reason::Dhcp(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for NotConfigured {}
