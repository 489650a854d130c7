//! What the layers count. A count is an addition to a number that only this stack has; everything else is for whoever asks.

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

impl Traffic {
    #[inline(always)]
    pub fn count(&mut self, bytes: usize) {
        self.packets += 1;
        self.bytes += bytes as u64;
    }
}

/// Why something that came in went no further. In the order of [`RECEIVE_REASONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveDrop {
    /// There was no memory to put its pieces together.
    Memory,
    /// Its Ethernet header is for others, from a group, or of another protocol.
    Ethernet,
    /// An ARP packet that is for others, claims our address, or is not sound.
    Arp,
    /// Its IP header is not sound.
    IpHeader,
    /// Its IP addresses are not ours, or nobody's.
    IpAddress,
    /// It is a part of a packet.
    IpFragment,
    /// Nobody here speaks its protocol.
    IpProtocol,
    /// Its transport checksum is wrong.
    Checksum,
    /// A TCP segment or UDP datagram that is not sound.
    Malformed,
    /// No socket is bound to the port of its datagram.
    UdpPort,
    /// The queue of its datagram's socket is full.
    UdpQueue,
    /// A SYN, or the end of a handshake, for which the listener has no room.
    TcpBacklog,
}

/// Protocols and reasons, as labels.
pub const RECEIVE_REASONS: [(&str, &str); 12] = [
    ("ethernet", "memory"),
    ("ethernet", "not_for_us"),
    ("arp", "not_for_us"),
    ("ip", "header"),
    ("ip", "address"),
    ("ip", "fragment"),
    ("ip", "protocol"),
    ("ip", "transport_checksum"),
    ("ip", "transport_header"),
    ("udp", "port"),
    ("udp", "queue_full"),
    ("tcp", "backlog_full"),
];

/// Why something that was to be sent did not leave. In the order of [`TRANSMIT_REASONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransmitDrop {
    /// Enough frames wait for the device.
    Congested,
    /// The device went away.
    Away,
    /// The device did not take it.
    Refused,
    /// There were no pages.
    Memory,
    /// Its neighbour does not answer, or enough packets wait for that.
    Neighbour,
}

/// Protocols and reasons, as labels.
pub const TRANSMIT_REASONS: [(&str, &str); 5] = [
    ("ethernet", "queue_full"),
    ("ethernet", "device_away"),
    ("ethernet", "device_refused"),
    ("ethernet", "memory"),
    ("arp", "neighbour_unresolved"),
];

/// What those do that stand beside the stack and serve it. In the order of [`DHCP_EVENTS`] and, behind them, [`NAME_EVENTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A server has given an address that we did not have.
    Leased,
    /// It was ours and stays so.
    Renewed,
    /// A lease has ended, as nobody has renewed it,
    Expired,
    /// as a server says that the address is not ours,
    Refused,
    /// or as it gives another one.
    Moved,
    /// A server was asked for a name.
    Question,
    /// The answer was known.
    Cached,
    /// A server has not answered in time.
    Timeout,
    /// The answer did not fit a datagram, or was not to be trusted.
    OverTcp,
}

/// What becomes of leases, as labels.
pub const DHCP_EVENTS: [&str; 5] = ["leased", "renewed", "expired", "refused", "moved"];

/// The same of questions for names.
pub const NAME_EVENTS: [&str; 4] = ["question", "cached", "timeout", "over_tcp"];

/// What an interface and the layers up to IP count, and ICMP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Frames that came from the device.
    pub received: Traffic,
    /// Frames that the device has taken.
    pub sent: Traffic,
    pub receive_drops: [u64; RECEIVE_REASONS.len()],
    pub transmit_drops: [u64; TRANSMIT_REASONS.len()],
    /// ARP requests and replies for us, or of neighbours that are known here.
    pub arp_received: [u64; 2],
    /// ARP requests and replies.
    pub arp_sent: [u64; 2],
    /// IPv4 packets for us.
    pub ip_received: Traffic,
    /// IPv4 packets of ours.
    pub ip_sent: Traffic,
    /// Of those the segments and the datagrams; what is left is ICMP.
    pub segments_sent: u64,
    pub datagrams_sent: u64,
    /// Echo requests, messages that a segment of ours was not delivered, and others.
    pub icmp_received: [u64; 3],
    /// Echo replies, messages that something was not delivered.
    pub icmp_sent: [u64; 2],
    /// Messages that were not sent, as there would have been too many.
    pub icmp_limited: u64,
    pub events: [u64; DHCP_EVENTS.len() + NAME_EVENTS.len()],
}

impl Counters {
    #[inline(always)]
    pub fn drop_received(&mut self, reason: ReceiveDrop) {
        self.receive_drops[reason as usize] += 1;
    }

    #[inline(always)]
    pub fn drop_sent(&mut self, reason: TransmitDrop) {
        self.transmit_drops[reason as usize] += 1;
    }
}

/// How connections end, as labels in the order of `tcp::End`.
pub const TCP_ENDS: [&str; 7] =
    ["closed", "reset", "timed_out", "aborted", "unreachable", "interface_down", "address_gone"];

/// What TCP counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpCounters {
    /// Segments that came in.
    pub segments: u64,
    /// Those of them that followed another one of their connection.
    pub followed: u64,
    /// Bytes of data in them.
    pub bytes: u64,
    /// Times that a connection was run.
    pub runs: u64,
    /// Resets sent to segments that belong to no connection.
    pub resets: u64,
    /// Challenge acknowledgements (RFC 5961).
    pub challenges: u64,
    /// Messages that a segment was too long for its way, and were believed.
    pub too_big: u64,
    /// Connections that were begun here.
    pub active: u64,
    /// Connections that were begun by peers, once the handshake was done.
    pub passive: u64,
    /// SYNs that were answered with a cookie.
    pub cookies: u64,
    /// SYNs, or ends of handshakes, that were not heard for lack of room.
    pub backlog_drops: u64,
    /// Segments that are not sound.
    pub malformed: u64,
    /// How connections ended.
    pub ends: [u64; TCP_ENDS.len()],
}

/// What UDP counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct UdpCounters {
    /// Datagrams that a socket got.
    pub received: Traffic,
    pub malformed: u64,
    pub port_drops: u64,
    pub queue_drops: u64,
}
