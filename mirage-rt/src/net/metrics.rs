//! What networks have counted, as text for Prometheus.
//!
#![cfg_attr(feature = "test-utils", doc = "```")]
#![cfg_attr(not(feature = "test-utils"), doc = "```ignore")]
//! use mirage_rt::net::switch::{Impairments, Switch};
//! use mirage_rt::net::{Config, Network, metrics};
//! use mirage_rt::{sleep, Duration, testing};
//!
//! testing::run(1, async {
//!     let switch = Switch::new(1, Impairments::NONE);
//!     let config = Config::from_keys("10.0.0.1/24".parse().ok(), None);
//!     let service = Network::direct(switch.port(), switch.pool(), config).expect("a host's address");
//!     sleep(Duration::from_millis(1)).await;
//!     let mut page = String::new();
//!     metrics::write(&mut page, &[("service", &service)]).expect("a string takes all");
//!     // It has announced itself.
//!     assert!(page.contains("\nmirage_network_transmit_packets_total{interface=\"service\"} 1\n"), "{page}");
//! });
//! ```
//!
//! The format is the text exposition format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>), to be served as [`CONTENT_TYPE`]. All counters start with
//! 0 when the network is made and are 64 bits wide. Names begin with `mirage_`, bytes are bytes, and each line says its
//! interface by the name that it is given here. The host's sockets count nothing here: the host does.
//!
//! Reading them costs what the text costs; counting is an addition for each packet and layer.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt::{self, Write};

use super::direct::counters::{
    Counters, DHCP_EVENTS, NAME_EVENTS, RECEIVE_REASONS, ReceiveDrop, TCP_ENDS, TRANSMIT_REASONS, TcpCounters,
    UdpCounters,
};
use super::{Link, Network};

/// The media type of what [`write`](fn@write) writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a network has counted, at one time.
pub(super) struct Snapshot {
    pub(super) link: Link,
    pub(super) interface: Counters,
    #[cfg(feature = "datagrams")]
    pub(super) reassembly: super::fragments::Counts,
    pub(super) neighbours: usize,
    pub(super) udp: UdpCounters,
    pub(super) sockets: usize,
    pub(super) tcp: TcpCounters,
    pub(super) tcp_now: TcpNow,
}

/// What TCP has at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TcpNow {
    pub(super) listeners: usize,
    pub(super) half_open: usize,
    pub(super) open: usize,
    pub(super) time_wait: usize,
    /// Segments that were sent again.
    pub(super) retransmitted: u64,
}

impl Snapshot {
    /// Adds what the layers above count to the reasons for drops.
    fn receive_drops(&self) -> [u64; RECEIVE_REASONS.len()] {
        let mut drops = self.interface.receive_drops;
        for (reason, count) in [
            (ReceiveDrop::UdpPort, self.udp.port_drops),
            (ReceiveDrop::UdpQueue, self.udp.queue_drops),
            (ReceiveDrop::Malformed, self.udp.malformed + self.tcp.malformed),
            (ReceiveDrop::TcpBacklog, self.tcp.backlog_drops),
        ] {
            drops[reason as usize] += count;
        }
        drops
    }
}

/// Writes what `networks` have counted, each under the name that it is given.
///
/// # Errors
///
/// Those of `out`.
pub fn write(out: &mut dyn Write, networks: &[(&str, &Network)]) -> fmt::Result {
    let snapshots: Vec<(&str, Snapshot)> =
        networks.iter().filter_map(|(name, network)| Some((*name, network.snapshot()?))).collect();
    let mut page = Page { out, snapshots: &snapshots };
    page.interface()?;
    page.drops()?;
    page.arp()?;
    page.ip_and_icmp()?;
    #[cfg(feature = "datagrams")]
    page.reassembly()?;
    page.udp()?;
    page.tcp()?;
    page.services()
}

/// What is being written.
struct Page<'a> {
    out: &'a mut dyn Write,
    snapshots: &'a [(&'a str, Snapshot)],
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

impl Page<'_> {
    /// A family with one line for each network.
    fn one(&mut self, kind: Kind, name: &str, help: &str, value: impl Fn(&Snapshot) -> Option<u64>) -> fmt::Result {
        self.head(kind, name, help)?;
        for (interface, snapshot) in self.snapshots {
            if let Some(value) = value(snapshot) {
                self.line(name, interface, &[], value)?;
            }
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Fn(&Snapshot) -> u64) -> fmt::Result {
        self.one(Kind::Counter, name, help, |snapshot| Some(value(snapshot)))
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Fn(&Snapshot) -> u64) -> fmt::Result {
        self.one(Kind::Gauge, name, help, |snapshot| Some(value(snapshot)))
    }

    /// A family of counters with a line for each network and value of the label.
    fn labelled<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        labels: [&str; N],
        values: impl Fn(&Snapshot) -> [u64; N],
    ) -> fmt::Result {
        self.head(Kind::Counter, name, help)?;
        for (interface, snapshot) in self.snapshots {
            for (text, value) in labels.into_iter().zip(values(snapshot)) {
                self.line(name, interface, &[(label, text)], value)?;
            }
        }
        Ok(())
    }

    fn head(&mut self, kind: Kind, name: &str, help: &str) -> fmt::Result {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n")
    }

    fn line(&mut self, name: &str, interface: &str, labels: &[(&str, &str)], value: u64) -> fmt::Result {
        write!(self.out, "{name}{{interface=\"{}\"", Escaped(interface))?;
        for (label, text) in labels {
            write!(self.out, ",{label}=\"{text}\"")?;
        }
        writeln!(self.out, "}} {value}")
    }

    fn interface(&mut self) -> fmt::Result {
        self.gauge("mirage_network_up", "Whether the interface's link is up.", |network| network.link.up.into())?;
        self.one(Kind::Gauge, "mirage_network_mtu_bytes", "The most bytes of an IP packet.", |network| {
            network.link.mtu.map(u64::from)
        })?;
        self.counter("mirage_network_link_changes_total", "Changes of the link's state or MTU.", |network| {
            network.link.changes
        })?;
        self.counter("mirage_network_receive_packets_total", "Frames that came from the device.", |network| {
            network.interface.received.packets
        })?;
        self.counter("mirage_network_receive_bytes_total", "Bytes of frames that came from the device.", |network| {
            network.interface.received.bytes
        })?;
        self.counter("mirage_network_transmit_packets_total", "Frames that the device took.", |network| {
            network.interface.sent.packets
        })?;
        self.counter("mirage_network_transmit_bytes_total", "Bytes of frames that the device took.", |network| {
            network.interface.sent.bytes
        })
    }

    fn drops(&mut self) -> fmt::Result {
        let name = "mirage_network_receive_drops_total";
        self.head(Kind::Counter, name, "What came in and went no further, by protocol and reason.")?;
        for (interface, snapshot) in self.snapshots {
            for ((protocol, reason), value) in RECEIVE_REASONS.into_iter().zip(snapshot.receive_drops()) {
                self.line(name, interface, &[("protocol", protocol), ("reason", reason)], value)?;
            }
        }
        let name = "mirage_network_transmit_drops_total";
        self.head(Kind::Counter, name, "What was to be sent and did not leave, by protocol and reason.")?;
        for (interface, snapshot) in self.snapshots {
            for ((protocol, reason), value) in TRANSMIT_REASONS.into_iter().zip(snapshot.interface.transmit_drops) {
                self.line(name, interface, &[("protocol", protocol), ("reason", reason)], value)?;
            }
        }
        Ok(())
    }

    fn arp(&mut self) -> fmt::Result {
        let operations = ["request", "reply"];
        self.labelled(
            "mirage_arp_receive_packets_total",
            "ARP packets for this host, or of its neighbours.",
            "operation",
            operations,
            |network| network.interface.arp_received,
        )?;
        self.labelled(
            "mirage_arp_transmit_packets_total",
            "ARP packets of this host.",
            "operation",
            operations,
            |network| network.interface.arp_sent,
        )?;
        self.gauge("mirage_arp_neighbours", "Entries of the neighbour table.", |network| network.neighbours as u64)
    }

    fn ip_and_icmp(&mut self) -> fmt::Result {
        self.counter("mirage_ip_receive_packets_total", "IP packets for this host.", |network| {
            network.interface.ip_received.packets
        })?;
        self.counter("mirage_ip_receive_bytes_total", "Bytes of IP packets for this host.", |network| {
            network.interface.ip_received.bytes
        })?;
        self.counter("mirage_ip_transmit_packets_total", "IP packets that this host made.", |network| {
            network.interface.ip_sent.packets
        })?;
        self.counter("mirage_ip_transmit_bytes_total", "Bytes of IP packets that this host made.", |network| {
            network.interface.ip_sent.bytes
        })?;
        self.labelled(
            "mirage_icmp_receive_messages_total",
            "ICMP messages for this host.",
            "type",
            ["echo_request", "destination_unreachable", "other"],
            |network| network.interface.icmp_received,
        )?;
        self.labelled(
            "mirage_icmp_transmit_messages_total",
            "ICMP messages of this host.",
            "type",
            ["echo_reply", "destination_unreachable"],
            |network| network.interface.icmp_sent,
        )?;
        self.counter("mirage_icmp_limited_total", "ICMP errors that a limit has kept back.", |network| {
            network.interface.icmp_limited
        })
    }

    #[cfg(feature = "datagrams")]
    fn reassembly(&mut self) -> fmt::Result {
        self.labelled(
            "mirage_ip_reassembly_packets_total",
            "Packets that came in fragments, by what has become of them.",
            "outcome",
            ["whole", "timed_out", "pushed_out"],
            |network| [network.reassembly.whole, network.reassembly.late, network.reassembly.pushed_out],
        )
    }

    /// What does not belong to the stack, but serves it.
    fn services(&mut self) -> fmt::Result {
        self.labelled("mirage_dhcp_events_total", "What has become of leases.", "event", DHCP_EVENTS, |network| {
            network.interface.events.first_chunk().copied().unwrap_or_default()
        })?;
        self.labelled(
            "mirage_names_events_total",
            "Questions for names and what became of them.",
            "event",
            NAME_EVENTS,
            |network| network.interface.events.last_chunk().copied().unwrap_or_default(),
        )
    }

    fn udp(&mut self) -> fmt::Result {
        self.counter("mirage_udp_receive_datagrams_total", "Datagrams that sockets got.", |network| {
            network.udp.received.packets
        })?;
        self.counter("mirage_udp_receive_bytes_total", "Bytes of payload that sockets got.", |network| {
            network.udp.received.bytes
        })?;
        self.counter("mirage_udp_transmit_datagrams_total", "Datagrams that sockets sent.", |network| {
            network.interface.datagrams_sent
        })?;
        self.gauge("mirage_udp_sockets", "Bound sockets.", |network| network.sockets as u64)
    }

    fn tcp(&mut self) -> fmt::Result {
        self.counter(
            "mirage_tcp_receive_segments_total",
            "Segments that came in; those put together count once.",
            |network| network.tcp.segments,
        )?;
        self.counter("mirage_tcp_receive_train_segments_total", "Those that followed one like them.", |network| {
            network.tcp.followed
        })?;
        self.counter("mirage_tcp_receive_bytes_total", "Bytes of data in segments that came in.", |network| {
            network.tcp.bytes
        })?;
        self.counter(
            "mirage_tcp_transmit_segments_total",
            "Segments sent; those the device cuts count once.",
            |network| network.interface.segments_sent,
        )?;
        self.counter("mirage_tcp_retransmissions_total", "Segments sent again.", |network| {
            network.tcp_now.retransmitted
        })?;
        self.labelled(
            "mirage_tcp_connections_opened_total",
            "Connections that were begun, by this side or by a peer whose handshake is done.",
            "side",
            ["active", "passive"],
            |network| [network.tcp.active, network.tcp.passive],
        )?;
        self.labelled(
            "mirage_tcp_connections_ended_total",
            "Connections that ended, by how.",
            "cause",
            TCP_ENDS,
            |network| network.tcp.ends,
        )?;
        self.counter("mirage_tcp_resets_sent_total", "Resets for segments of no connection.", |network| {
            network.tcp.resets
        })?;
        self.counter(
            "mirage_tcp_path_mtu_reductions_total",
            "Messages of routers that made segments shorter.",
            |network| network.tcp.too_big,
        )?;
        self.counter("mirage_tcp_challenges_sent_total", "Challenge acknowledgements (RFC 5961).", |network| {
            network.tcp.challenges
        })?;
        self.counter("mirage_tcp_cookies_sent_total", "SYNs that were answered with a cookie.", |network| {
            network.tcp.cookies
        })?;
        self.gauge("mirage_tcp_listeners", "Listening sockets.", |network| network.tcp_now.listeners as u64)?;
        self.gauge("mirage_tcp_connections_half_open", "Handshakes under way.", |network| {
            network.tcp_now.half_open as u64
        })?;
        self.gauge("mirage_tcp_connections", "Connections, those being opened here or closed included.", |network| {
            network.tcp_now.open as u64
        })?;
        self.gauge("mirage_tcp_connections_time_wait", "Connections in TIME-WAIT.", |network| {
            network.tcp_now.time_wait as u64
        })
    }
}

/// A label's value, with what the format escapes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
}
