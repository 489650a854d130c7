//! Networks with IPv6, by their keys. The glue calls [`Boot::with_ipv6`] only for networks that build.rs declares so.

use alloc::string::String;
use core::fmt;
use core::future::Future;
use core::net::{IpAddr, Ipv6Addr};

use super::{Boot, NetworkSpec};
use crate::error::Result;
use crate::keys::{Cidr, Cidr6, Values};
use crate::net::ipv6::Ipv6Config;
use crate::net::ipv6::packet::LEAST_MTU;
use crate::net::{Config, Network, log_targets};
use crate::time::{Duration, timeout};

/// How long main waits for an address, if there is no other.
const PATIENCE: Duration = Duration::from_secs(5);

impl Boot {
    /// The network `name`, which `connecting` connects, if the keys for its IPv6 fit together; when it has IPv6 only, with
    /// an address that leads further than the link, or after five seconds.
    ///
    /// # Errors
    ///
    /// Those of `connecting`; and that its keys contradict each other. Nothing is connected then.
    pub async fn with_ipv6(
        &self,
        name: &'static str,
        connecting: impl Future<Output = Result<Network>>,
    ) -> Result<Network> {
        let spec = self.network_spec(name)?;
        if let Some(contradiction) = contradiction(spec, &self.values) {
            return Err(WrongKeys { spec, contradiction }.into());
        }
        let network = connecting.await?;
        // The host's sockets have the host's addresses.
        let is_waiting = network.mac().is_some() && spec.config(&self.values).has_ipv6();
        if is_waiting && timeout(PATIENCE, addressed(&network)).await.is_err() {
            log::warn!(target: log_targets::ADDRESSES, "no router has said yet which IPv6 addresses there are beyond the link of the network {name}");
        }
        Ok(network)
    }
}

/// Waits until `network` has an address that leads further than its link.
async fn addressed(network: &Network) {
    let leads_further = |address: &IpAddr| !matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    let mut addresses = network.addresses();
    while !addresses.iter().any(leads_further) {
        addresses = network.addresses_changed(&addresses).await;
    }
}

/// `config` with what the network's keys say of IPv6; a network that is not declared with IPv6 has no such keys.
pub(super) fn add(mut config: Config, spec: &NetworkSpec, values: &Values) -> Config {
    let Some(address) = spec.key::<String>(values, "ipv6").filter(|_| !flag(spec, values, "ipv4-only")) else {
        return config;
    };
    if is_alone(spec, values) {
        (config.ipv4, config.gateway) = (None, None);
    }
    let mut ipv6 = Ipv6Config::automatic();
    // They were read once already.
    ipv6.address = address.parse::<Cidr6>().ok();
    ipv6.gateway = spec.key::<String>(values, "ipv6-gateway").and_then(|text| text.parse::<Ipv6Addr>().ok());
    config.ipv6 = Some(ipv6);
    config
}

/// Whether the keys want no IPv4.
pub(super) fn is_alone(spec: &NetworkSpec, values: &Values) -> bool {
    flag(spec, values, "ipv6-only")
}

fn flag(spec: &NetworkSpec, values: &Values, name: &str) -> bool {
    spec.key(values, name).unwrap_or(false)
}

/// What is wrong with the keys, if anything is.
fn contradiction(spec: &NetworkSpec, values: &Values) -> Option<Contradiction> {
    let is_given = |name| spec.key::<String>(values, name).is_some_and(|value| value != "auto");
    let unused = match (flag(spec, values, "ipv4-only"), is_alone(spec, values)) {
        (true, true) => return Some(Contradiction::Neither),
        (true, false) if is_given("ipv6") => ("ipv6", "ipv4-only"),
        (true, false) if is_given("ipv6-gateway") => ("ipv6-gateway", "ipv4-only"),
        (true, false) if is_given("ipv6-routes") => ("ipv6-routes", "ipv4-only"),
        (true, false) => return None,
        (false, true) if spec.key::<Cidr>(values, "ipv4").is_some() => ("ipv4", "ipv6-only"),
        (false, true) if spec.key::<core::net::Ipv4Addr>(values, "ipv4-gateway").is_some() => {
            ("ipv4-gateway", "ipv6-only")
        }
        (false, true) if is_given("routes") => ("routes", "ipv6-only"),
        (false, _) => {
            let mtu = spec.key::<u16>(values, "mtu").filter(|mtu| *mtu < LEAST_MTU);
            return mtu.map(Contradiction::Mtu);
        }
    };
    Some(Contradiction::Unused { key: unused.0, only: unused.1 })
}

/// The keys of a network contradict each other.
#[derive(Debug)]
struct WrongKeys {
    spec: &'static NetworkSpec,
    contradiction: Contradiction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contradiction {
    /// Both families are left out.
    Neither,
    /// The key is for the family that another one leaves out.
    Unused { key: &'static str, only: &'static str },
    /// IPv6 needs more.
    Mtu(u16),
}

impl fmt::Display for WrongKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NetworkSpec { name, key_prefix: prefix, .. } = self.spec;
        write!(f, "network {name}: ")?;
        match self.contradiction {
            Contradiction::Neither => {
                write!(f, "--{prefix}ipv4-only and --{prefix}ipv6-only leave nothing: give one of them at most")
            }
            Contradiction::Unused { key, only } => {
                write!(f, "--{prefix}{key} has no use with --{prefix}{only}: leave one of them out")
            }
            Contradiction::Mtu(mtu) => write!(
                f,
                "IPv6 needs packets of {LEAST_MTU} bytes, --{prefix}mtu {mtu} is less: give --{prefix}ipv4-only, or more"
            ),
        }
    }
}

impl core::error::Error for WrongKeys {}
