//! Sections of a soak: what is done to domains for long, with traffic that has to survive it. `cargo test` runs them in their
//! short form, `cargo bench -p mirage-bench --bench soak` in the long one.

mod backends;
mod domains;
mod hotplug;
mod leaks;
mod mixed;
mod neighbour;
mod suspension;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use mirage_lab::{Domain, DomainBuilder, Lab, Service, Traffic, TrafficReport};

/// How long a step of a domain or of dom0 may take.
const LONG: Duration = Duration::from_secs(90);
const ECHO_PORT: u16 = 7007;
const BLOCK_PORT: u16 = 8081;
/// The disk of a domain of examples/block, in MiB: its log and some room.
const DISK_MIB: u32 = 8;

/// What a section found; for people, in one line.
pub type Outcome = Result<String, Box<dyn Error>>;

/// How much is done in each section.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// Times that a device is detached and attached again.
    pub hotplugs: u32,
    /// Times that one of two domains is saved and restored.
    pub saves: u32,
    /// Local migrations of one of two domains.
    pub migrations: u32,
    /// Times that Linux's backend loses its device and gets it back.
    pub backends: u32,
    /// Neighbours that are destroyed.
    pub neighbours: u32,
    /// Domains that are made one after the other.
    pub domains: u32,
    /// How long the mixed load goes on.
    pub mixed: Duration,
    /// What each connection of the traffic waits between two pieces: all of it takes from the processor that the rest needs.
    pub pause: Duration,
}

impl Length {
    /// For `cargo test`.
    pub const SHORT: Length = Length {
        hotplugs: 1,
        saves: 1,
        migrations: 1,
        backends: 1,
        neighbours: 1,
        // After one that is not counted.
        domains: 1,
        mixed: Duration::from_secs(4),
        pause: Duration::from_millis(300),
    };
    /// For the benchmark.
    pub const LONG: Length = Length {
        hotplugs: 20,
        saves: 40,
        migrations: 20,
        backends: 10,
        neighbours: 5,
        domains: 100,
        mixed: Duration::from_secs(600),
        pause: Duration::from_millis(20),
    };
}

/// The images and the lab that sections use.
pub struct Soak<'a> {
    /// Where it happens.
    pub lab: &'a Lab,
    /// How much of it.
    pub length: Length,
    /// The image of echo-server.
    pub echo: PathBuf,
    /// The image of block.
    pub block: PathBuf,
}

/// A section.
pub struct Section {
    /// Its name on the command line.
    pub name: &'static str,
    /// What is done in it.
    pub what: &'static str,
    run: fn(&Soak<'_>) -> Outcome,
}

/// All sections that need the lab, in the order in which they are run.
pub const SECTIONS: &[Section] = &[
    Section { name: "hotplug", what: "network interfaces detached and attached again", run: hotplug::networks },
    Section { name: "disks", what: "disks detached and attached again", run: hotplug::disks },
    Section { name: "backends", what: "Linux's backends detached and attached again", run: backends::run },
    Section { name: "neighbour", what: "xl destroy of a neighbour", run: neighbour::run },
    Section { name: "saves", what: "xl save and xl restore", run: suspension::saves },
    Section { name: "migrations", what: "xl migrate to localhost", run: suspension::migrations },
    Section { name: "domains", what: "domains of 4 MiB one after the other", run: domains::run },
    Section { name: "mixed", what: "mixed load", run: mixed::run },
];

impl Section {
    /// Does it all.
    ///
    /// # Errors
    ///
    /// With the first thing that should not have happened.
    pub fn run(&self, soak: &Soak<'_>) -> Outcome {
        (self.run)(soak)
    }
}

/// A server with one network interface, whose MAC address is known: an interface that comes again has it too.
struct Server {
    domain: Domain,
    address: Ipv4Addr,
}

impl Soak<'_> {
    /// A running echo server at 10.0.2.`last`.
    fn echo(&self, last: u8, memory: u32) -> Result<Server, Box<dyn Error>> {
        let address = Ipv4Addr::new(10, 0, 2, last);
        let domain = self.echo_builder(address, memory).start()?;
        domain.console().wait_for("echoing on", LONG)?;
        Ok(Server { domain, address })
    }

    fn echo_builder(&self, address: Ipv4Addr, memory: u32) -> DomainBuilder {
        let words = format!("--ipv4 {address}/24 --ipv4-gateway 10.0.2.2");
        self.lab.domain(&self.echo).memory(memory).vif_with(&interface(address)).cmdline(&words)
    }

    /// Traffic to it: a few connections, each with a piece under way every few milliseconds.
    fn traffic(&self, echo: &Server) -> Traffic {
        let server = SocketAddrV4::new(echo.address, ECHO_PORT);
        self.lab.traffic(Service::Echo, server, 4, 4000, self.length.pause)
    }

    /// A running domain of examples/block at 10.0.2.`last`, with a disk of zeros in dom0's memory.
    fn block(&self, last: u8) -> Result<Server, Box<dyn Error>> {
        let address = Ipv4Addr::new(10, 0, 2, last);
        let words = format!("--ipv4 {address}/24 --ipv4-gateway 10.0.2.2");
        let builder = self.lab.domain(&self.block).memory(16).vif_with(&interface(address)).cmdline(&words);
        let domain = builder.blank_disk("xvda", DISK_MIB).start()?;
        domain.console().wait_for("serving the disk on", LONG)?;
        Ok(Server { domain, address })
    }

    /// Patterns that are written to its disk, flushed and verified, by two connections.
    fn disk_traffic(&self, block: &Server, service: Service) -> Traffic {
        let server = SocketAddrV4::new(block.address, BLOCK_PORT);
        self.lab.traffic(service, server, 2, 256 * 1024, self.length.pause)
    }
}

/// xl's words for the interface of the domain at this address.
fn interface(address: Ipv4Addr) -> String {
    format!("bridge=xenbr0,mac=00:16:3e:50:00:{:02x}", address.octets()[3])
}

/// For the table: what the connections went through.
fn told(report: &TrafficReport) -> String {
    let TrafficReport { open, bytes, longest, .. } = report;
    format!("{open} connections, {} KiB compared, none lost, longest pause {} ms", bytes / 1024, longest.as_millis())
}
