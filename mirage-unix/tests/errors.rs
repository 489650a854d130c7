//! What goes wrong has the same name on a stack of our own and on the host's sockets, in whatever situation can be made between two
//! addresses of this host.

#![forbid(unsafe_code)]

mod namespace;

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use mirage_rt::net::ipv6::Ipv6Config;
use mirage_rt::net::switch::{Impairments, Switch};
use mirage_rt::net::{Config, Network, TcpStream, WriteError};
use mirage_rt::platform::Platform;
use mirage_rt::{Duration, Runtime, spawn, timeout};
use mirage_unix::{HostSockets, UnixPlatform};

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// Two networks that reach each other.
struct Pair {
    server: Network,
    client: Network,
}

/// What has come of each step, by name.
#[derive(Default)]
struct Table(Vec<(String, String)>);

impl Table {
    /// Writes down the name of an error, or what there was instead.
    fn add<T: Debug, E: Debug>(&mut self, what: impl Into<String>, result: Result<T, E>) {
        let outcome = match result {
            Ok(value) => format!("{value:?}"),
            Err(error) => {
                let text = format!("{error:?}");
                let name = text.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
                match name {
                    "Host" => text,
                    name => name.into(),
                }
            }
        };
        self.0.push((what.into(), outcome));
    }

    async fn within<T: Debug, E: Debug>(&mut self, what: &str, future: impl Future<Output = Result<T, E>>) {
        let result = timeout(LONG, future).await.unwrap_or_else(|_| panic!("{what} did not come to an end"));
        self.add(what, result);
    }

    async fn read(&mut self, what: &str, stream: &TcpStream) {
        self.within(what, stream.read(&mut [0; 8])).await;
    }

    /// Writes until the peer's answer has come.
    async fn write_until_error(&mut self, what: &str, stream: &TcpStream) {
        let writing = async {
            loop {
                stream.write(b"x").await?;
                mirage_rt::sleep(Duration::from_millis(1)).await;
            }
        };
        self.within::<(), WriteError>(what, writing).await;
    }

    async fn write(&mut self, what: &str, stream: &TcpStream) {
        self.within(what, stream.write(b"x")).await;
    }
}

impl Pair {
    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(*self.server.addresses().first().expect("it has an address"), port)
    }

    /// A connection, the server's end first.
    async fn connected(&self) -> (TcpStream, TcpStream) {
        let mut listener = self.server.tcp().bind(0).await.expect("a port is free");
        let address = self.at(listener.local_addr().port());
        let client = self.client.tcp().connect(address).await.expect("it listens");
        (listener.accept().await.expect("it has come").0, client)
    }

    /// A port that nobody has.
    async fn closed(&self) -> SocketAddr {
        let listener = self.server.tcp().bind(0).await.expect("a port is free");
        self.at(listener.local_addr().port())
    }
}

/// Waits until the peer's reset or end has come.
async fn arrived(stream: &TcpStream) {
    drop(timeout(LONG, stream.readable()).await.expect("it comes"));
}

async fn binding(pair: &Pair, table: &mut Table) {
    let (tcp, udp) = (pair.server.tcp(), pair.server.udp());
    let (listener, socket) = (tcp.bind(0).await.expect("a port"), udp.bind(0).await.expect("a port"));
    table.within("tcp bind in use", tcp.bind(listener.local_addr().port())).await;
    table.within("udp bind in use", udp.bind(socket.local_addr().port())).await;
    // 192.0.2.0/24 and 2001:db8::/32 are for documentation only (RFC 5737, RFC 3849).
    let foreign = [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), "2001:db8::1".parse().expect("an address")];
    for address in foreign {
        table.within("tcp bind foreign", tcp.bind((address, 0))).await;
        table.within("udp bind foreign", udp.bind((address, 0))).await;
    }
}

async fn connecting(pair: &Pair, table: &mut Table) {
    let closed = pair.closed().await;
    table.within("connect closed", pair.client.tcp().connect(closed)).await;
    table.within("connect port 0", pair.client.tcp().connect(pair.at(0))).await;
    // No host has any of these, and nothing leaves for them. (A host of Linux is reached by its own address and by none; a stack of our own is not.)
    for to in ["224.0.0.1", "255.255.255.255", "ff02::1"] {
        let to = SocketAddr::new(to.parse().expect("an address"), closed.port());
        table.within(&format!("connect {}", to.ip()), pair.client.tcp().connect(to)).await;
    }
}

/// The peer resets the connection, and whoever reads or writes learns of it, each time again.
async fn resets(pair: &Pair, table: &mut Table) {
    let (server, client) = pair.connected().await;
    let waiting = spawn({
        let client = client.clone();
        async move { client.read(&mut [0; 8]).await }
    });
    mirage_rt::yield_now().await;
    server.abort();
    table.add("reset: read that waits", waiting.await.expect("it ends"));
    for step in ["reset: after reading", "reset: after that"] {
        table.read(step, &client).await;
        table.write(step, &client).await;
        table.add(step, client.shutdown());
    }

    let (server, client) = pair.connected().await;
    server.abort();
    table.write_until_error("reset: write", &client).await;
    for step in ["reset: after writing", "reset: after that"] {
        table.read(step, &client).await;
        table.write(step, &client).await;
    }

    let (server, client) = pair.connected().await;
    server.abort();
    arrived(&client).await;
    table.add("reset: shutdown", client.shutdown());
    table.write("reset: write after shutdown", &client).await;
    table.read("reset: read after shutdown", &client).await;

    let (server, client) = pair.connected().await;
    client.shutdown().expect("it is open");
    server.abort();
    arrived(&client).await;
    table.write("shut down, reset: write", &client).await;
    table.read("shut down, reset: read", &client).await;
    table.add("shut down, reset: shutdown", client.shutdown());
}

/// What has come before the reset is read.
async fn resets_behind_bytes(pair: &Pair, table: &mut Table) {
    for writes in [false, true] {
        let (server, client) = pair.connected().await;
        server.write_all(b"data").await.expect("it is open");
        arrived(&client).await;
        server.abort();
        if writes {
            table.write_until_error("data, reset: write", &client).await;
        }
        for step in ["data, reset: read", "data, reset: read again", "data, reset: read a third time"] {
            table.read(step, &client).await;
        }
    }
}

async fn ends(pair: &Pair, table: &mut Table) {
    let (server, client) = pair.connected().await;
    drop(server);
    arrived(&client).await;
    table.read("gone: read", &client).await;
    table.write_until_error("gone: write", &client).await;
    table.read("gone: read after that", &client).await;
    table.write("gone: write after that", &client).await;

    let (_server, client) = pair.connected().await;
    client.abort();
    table.read("aborted: read", &client).await;
    table.write("aborted: write", &client).await;
    table.add("aborted: shutdown", client.shutdown());

    let (server, client) = pair.connected().await;
    client.shutdown().expect("it is open");
    table.write("shut down: write", &client).await;
    drop(server);
    for step in ["shut down: when the peer has gone", "shut down: again"] {
        table.read(step, &client).await;
        table.write(step, &client).await;
        table.add(step, client.shutdown());
    }
}

async fn datagrams(pair: &Pair, table: &mut Table) {
    let client = pair.client.udp().bind(0).await.expect("a port");
    table.within("udp port 0", client.send_to(b"x", pair.at(0))).await;
    table.within("udp long", client.send_to(&[0; 70_000], pair.at(9))).await;
    // No route leads there, or it is of a family that the socket has not.
    let both = ["192.0.2.1", "2001:db8::1"];
    for to in if pair.at(9).is_ipv4() { &both[..] } else { &both[..1] } {
        let to = SocketAddr::new(to.parse().expect("an address"), 9);
        table.within(&format!("udp {}", to.ip()), client.send_to(b"x", to)).await;
    }
}

async fn table(pair: Pair) -> Vec<(String, String)> {
    let mut table = Table::default();
    binding(&pair, &mut table).await;
    connecting(&pair, &mut table).await;
    resets(&pair, &mut table).await;
    resets_behind_bytes(&pair, &mut table).await;
    ends(&pair, &mut table).await;
    datagrams(&pair, &mut table).await;
    table.0
}

/// Compares what has come of each step on the switch and on this host.
fn compare(ours: [&str; 2], hosts: [IpAddr; 2]) {
    let ours = mirage_rt::testing::run(1, async {
        let switch = Switch::new(1, Impairments::NONE);
        let [server, client] = ours
            .map(|address| Network::direct(switch.port(), switch.pool(), config(address)).expect("a host's address"));
        table(Pair { server, client }).await
    });
    let hosts = run(|platform| {
        let [server, client] = hosts.map(|address| Network::host(Rc::new(HostSockets::new(&platform, address))));
        table(Pair { server, client })
    });
    let same = ours.iter().zip(&hosts).filter(|(ours, hosts)| ours == hosts).count();
    assert!(same == ours.len() && same == hosts.len() && same > 40, "{same} are the same: {:#?}", {
        let pairs = ours.into_iter().zip(hosts);
        pairs.filter(|(ours, hosts)| ours != hosts).collect::<Vec<_>>()
    });
}

fn run<T, F: Future<Output = T>>(test: impl FnOnce(Rc<UnixPlatform>) -> F) -> T {
    let platform = UnixPlatform::new().expect("a test may open descriptors");
    Runtime::new(Rc::clone(&platform) as Rc<dyn Platform>).run(test(platform))
}

fn config(address: &str) -> Config {
    if !address.contains(':') {
        return Config::from_keys(address.parse().ok(), None);
    }
    let mut config = Config::new();
    let mut ipv6 = Ipv6Config::fixed(address.parse().expect("a prefix"), None);
    // Nobody else is on this link.
    ipv6.duplicate_probes = 0;
    config.ipv6 = Some(ipv6);
    config
}

#[test]
fn have_the_same_names() {
    compare(["10.0.0.1/24", "10.0.0.2/24"], [1, 2].map(|number| Ipv4Addr::new(127, 0, 0, number).into()));
}

#[test]
fn have_the_same_names_over_ipv6() {
    compare(["fd00:77::1/64", "fd00:77::2/64"], [Ipv6Addr::LOCALHOST.into(); 2]);
}

#[test]
fn a_peer_that_is_silent_is_one_that_timed_out() {
    namespace::run(&["inner::silence"]);
}

mod inner {
    use super::*;

    /// Linux says it once; a stack of our own says so to every call.
    #[test]
    #[ignore = "run by a_peer_that_is_silent_is_one_that_timed_out"]
    fn silence() {
        namespace::ip("link set lo up");
        run(|platform| async move {
            let network = || Network::host(Rc::new(HostSockets::new(&platform, Ipv4Addr::LOCALHOST)));
            let pair = Pair { server: network(), client: network() };
            let (_server, client) = pair.connected().await;
            client.set_user_timeout(Some(Duration::from_millis(100))).expect("Linux can");
            namespace::ip("link set lo down");
            client.write_all(b"x").await.expect("there is room");
            let mut table = Table::default();
            table.read("read", &client).await;
            table.read("read again", &client).await;
            table.write("write", &client).await;
            table.add("shutdown", client.shutdown());
            assert!(table.0.iter().all(|(_, outcome)| outcome == "TimedOut"), "{:?}", table.0);
        });
    }
}
