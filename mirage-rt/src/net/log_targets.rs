//! The targets of what networks write to the log, a name for each layer. They are shown in each line, and are what a logger can tell
//! messages apart by. Stacks, drivers and platforms all use these.
//!
//! What is dropped is counted and not logged: see [`metrics`](super::metrics). A line is written for what somebody may have to do
//! something about.

/// Network devices: netfront, tap interfaces, links that come and go, groups that a device can't hear.
pub const DEVICE: &str = "net::device";

/// Which addresses a network has: lifetimes, what routers say, others who claim the same.
pub const ADDRESSES: &str = "net::addresses";

/// Packets of IPv4 and IPv6, and their fragments.
pub const IP: &str = "net::ip";

/// Connections.
pub const TCP: &str = "net::tcp";

/// Leases of the [DHCP client](super::dhcp).
pub const DHCP: &str = "net::dhcp";

/// The [resolver](super::names) and the name servers that it asks.
pub const NAMES: &str = "net::names";

/// [Packet captures](super::capture) and who reads them.
pub const CAPTURE: &str = "net::capture";

/// The host's sockets, where these are the network.
pub const SOCKETS: &str = "net::sockets";
