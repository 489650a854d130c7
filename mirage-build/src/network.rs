//! The declaration of one network.

/// A network of a unikernel, and by which keys it can be set up.
///
/// Its name is enough, [`Config::network`](crate::Config::network) takes that, too: then it has the address that `--ipv4` gives.
/// What else a network can do is declared, because an image has the code only for what is:
///
/// ```
/// use mirage_build::{Config, Network};
///
/// let config = Config::new().network(Network::new("service").dhcp().names());
/// # let _ = config;
/// ```
///
/// The keys of the only network are named as below; those of several begin with its name: `--service-ipv4`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a network is declared by giving it to Config::network"]
pub struct Network {
    pub(crate) name: String,
    pub(crate) features: NetworkFeatures,
}

/// What a network has besides an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NetworkFeatures {
    pub(crate) dhcp: bool,
    pub(crate) names: bool,
    pub(crate) routes: bool,
    pub(crate) mtu: bool,
    pub(crate) ipv6: bool,
    pub(crate) capture: bool,
}

impl Network {
    /// A network of this name, whose address is given by `--ipv4 ADDRESS/PREFIX`, its gateway by `--ipv4-gateway ADDRESS`.
    pub fn new(name: impl Into<String>) -> Self {
        Network { name: name.into(), features: NetworkFeatures::default() }
    }

    /// The network asks DHCP servers for its address, gateway, routes, MTU and name servers, unless `--ipv4` gives an address:
    /// the key has the default `dhcp`. Main begins when there is a lease, and goes on when that ends or another one is got;
    /// `Network::addresses_changed` tells.
    ///
    /// On Unix, the host's sockets have the host's addresses: this is for `--interface`.
    pub fn dhcp(mut self) -> Self {
        self.features.dhcp = true;
        self
    }

    /// Name servers and search domains by `--dns ADDRESS,...` and `--search DOMAIN,...`, for `Network::names` and
    /// `Tcp::connect_to`. Without them those of the lease are used, or on Unix, on the host's sockets, those of the host.
    pub fn names(mut self) -> Self {
        self.features.names = true;
        self
    }

    /// Routes to networks behind other routers than the gateway, by `--routes 10.1.0.0/16=10.0.2.9,...`; with
    /// [`ipv6`](Network::ipv6), by `--ipv6-routes 2001:db8:1::/48=fe80::9,...`, too.
    pub fn routes(mut self) -> Self {
        self.features.routes = true;
        self
    }

    /// IPv6 beside IPv4: `--ipv6 auto`, the default, makes addresses as routers say (SLAAC), `--ipv6 ADDRESS/PREFIX` gives one,
    /// `--ipv6-gateway ADDRESS` the gateway; `--ipv4-only` and `--ipv6-only` leave one of the two out. A network that has only
    /// IPv6, because of `--ipv6-only` or because no IPv4 address is given, has main begin when there is an address that leads
    /// further than the link, or after five seconds without.
    ///
    /// The code is in mirage-rt's feature `ipv6`, which the application's Cargo.toml turns on: `mirage-rt = { ..., features =
    /// ["ipv6"] }`.
    ///
    /// On Unix, this is for `--interface`. The host's sockets serve at one address: at that of `--ipv6` with `--ipv6-only`, or when
    /// no IPv4 address is given; else at the IPv4 address.
    pub fn ipv6(mut self) -> Self {
        self.features.ipv6 = true;
        self
    }

    /// All that passes the network, for `nc HOST PORT > trace.pcap` at the port that `--capture` names: tcpdump and Wireshark read
    /// it. Without the key there is none. Whoever reaches the port reads everything.
    ///
    /// On Unix, this is for `--interface`.
    pub fn capture(mut self) -> Self {
        self.features.capture = true;
        self
    }

    /// The most bytes of an IP packet by `--mtu`, where a link takes less than its device says.
    pub fn mtu(mut self) -> Self {
        self.features.mtu = true;
        self
    }
}

impl From<&str> for Network {
    fn from(name: &str) -> Self {
        Network::new(name)
    }
}

impl From<String> for Network {
    fn from(name: String) -> Self {
        Network::new(name)
    }
}

impl From<&String> for Network {
    fn from(name: &String) -> Self {
        Network::new(name)
    }
}
