//! Whole frames of a stranger against a stack that is in use: what it makes of Ethernet, ARP, IPv4, ICMP, TCP and UDP, and what it does
//! then.
//!
//! The stack has listeners, sockets, an echo request and a connection under way, and next to the stranger a client that does nothing
//! wrong. Whatever the stranger sends, the stack does not panic, what it holds stays within its bounds, all that it sends is sound, and the
//! client's connection goes on. At the end all pages are back in their pools.
//!
//! An input is a row of records: frames, and what is to be done to them that chance does not find (checksums, positions of
//! connections, what the stack has sent).

mod check;
mod hub;
mod lines;
mod make;
mod record;
mod seeds;
mod segment;
mod stranger;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use mirage_rt::keys::Cidr;
use mirage_rt::net::inside::{Held, held};
use mirage_rt::net::ipv6::Ipv6Config;
use mirage_rt::net::{Config, Network, TcpStream, UdpSocket};
use mirage_rt::page::{HeapPool, PagePool};
use mirage_rt::testing::VirtualPlatform;
use mirage_rt::{Duration, JoinHandle, Runtime, sleep, spawn, timeout};

use hub::{CLIENT, Hub, SERVER};
pub use seeds::{arp_seeds, icmp_seeds, ipv4_seeds, segment_seeds, tcp_seeds, udp_seeds};
pub use segment::segment;
use stranger::Stranger;

/// Where all that is random in the stacks follows from.
const SEED: u64 = 20_261_127;
/// Pages for the stack's frames, and for those of everybody else.
const PAGES: usize = 2048;
/// Bytes for all connections of the stack.
const BUDGET: usize = 256 << 10;
/// Lines in the log, whatever comes.
const MOST_LINES: usize = 40;

/// The stack's address.
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OURS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The client's.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// The stranger's.
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
const THEIRS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3);
/// A group that a socket of the stack has joined.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
/// Here what comes is sent back, as bytes and as pages.
const ECHO: u16 = 80;
const PAGE_ECHO: u16 = 81;
/// Here the stranger is asked for a connection.
const ASKED: u16 = 7;
/// Here datagrams are sent back, and there nobody reads them.
const SOCKET: u16 = 53;
const UNREAD: u16 = 54;

/// Has a stranger send what the input says.
pub fn frames(input: &[u8]) {
    let pools = [HeapPool::with_pages(PAGES), HeapPool::with_pages(PAGES)];
    // A device that finds received checksums right completes those of what is sent, too.
    let completes = record::read(input).next().is_some_and(|first| first.has(record::VERIFIED));
    let hub = Hub::new(Rc::clone(&pools[1]), completes);
    lines::begin();
    let runtime = Runtime::new(VirtualPlatform::new(SEED));
    runtime.run(play(&hub, &pools, input));
    assert!(hub.is_quiet(), "a stack goes on although nobody holds it");
    drop((runtime, hub));
    assert!(lines::count() <= MOST_LINES, "{} lines in the log", lines::count());
    for pool in pools {
        assert_eq!(pool.available(), PAGES, "a page is lost");
    }
}

async fn play(hub: &Hub, pools: &[Rc<dyn PagePool>; 2], input: &[u8]) {
    let server = server(hub, &pools[0]);
    let tasks = serve(&server).await;
    let config = Config::from_keys(Some(Cidr::new(CLIENTS, 24).expect("a prefix")), None);
    let client = Network::direct(hub.device(CLIENT), Rc::clone(&pools[1]), config).expect("a host's address");
    let connect =
        || async { in_time(client.tcp().connect(SocketAddr::from((OURS, ECHO)))).await.expect("the stack listens") };
    let before = connect().await;
    let mut stranger = Stranger::new(hub, &pools[1]);
    stranger.meet().await;
    for record in record::read(input) {
        stranger.send(&record);
        if record.has(record::BURST) {
            continue;
        }
        sleep(record.pause()).await;
        stranger.look();
        assert_bounded(&held(&server).expect("it is a stack"));
    }
    sleep(Duration::from_micros(10)).await;
    exchange(&before, 3000).await;
    exchange(&connect().await, 500).await;
    // What waits for something that does not come is given up.
    sleep(Duration::from_secs(120)).await;
    let held = held(&server).expect("it is a stack");
    assert_bounded(&held);
    assert_eq!((held.fragments, held.half_open), (0, 0), "{held:?}");
    exchange(&before, 100).await;
    tasks.end();
    drop((server, client, before));
    // Connections that nobody holds any more are kept for three minutes at most.
    sleep(Duration::from_secs(200)).await;
}

/// Tasks of the stack's applications.
#[derive(Clone, Default)]
struct Tasks(Rc<RefCell<Vec<JoinHandle<()>>>>);

impl Tasks {
    fn start(&self, task: impl Future<Output = ()> + 'static) {
        self.0.borrow_mut().push(spawn(task));
    }

    fn end(&self) {
        self.0.take().into_iter().for_each(JoinHandle::abort);
    }
}

/// The stack that is in use.
fn server(hub: &Hub, pool: &Rc<dyn PagePool>) -> Network {
    let mut config = Config::from_keys(Some(Cidr::new(OURS, 24).expect("a prefix")), Some([10, 0, 0, 254].into()));
    let mut ipv6 = Ipv6Config::fixed("2001:db8::1/64".parse().expect("a prefix"), None);
    ipv6.duplicate_probes = 0;
    config.ipv6 = Some(ipv6);
    config.connection_memory = BUDGET;
    Network::direct(hub.device(SERVER), Rc::clone(pool), config).expect("a host's address")
}

/// Starts all that the stack does for others.
async fn serve(server: &Network) -> Tasks {
    let tasks = Tasks::default();
    for port in [ECHO, PAGE_ECHO] {
        let mut listener = server.tcp().bind(port).await.expect("the port is free");
        let echoing = tasks.clone();
        tasks.start(async move {
            while let Ok((stream, _)) = listener.accept().await {
                echoing.start(echo(stream, port == PAGE_ECHO));
            }
        });
    }
    for port in [SOCKET, UNREAD] {
        let socket = server.udp().bind(port).await.expect("the port is free");
        socket.tell_unreachable(true).expect("every stack can");
        socket.join(GROUP).expect("it is a group");
        tasks.start(answer(socket, port == UNREAD));
    }
    let asking = server.clone();
    tasks.start(async move {
        if let Ok(stream) = asking.tcp().connect(SocketAddr::from((THEIRS, ASKED))).await {
            let _ = stream.write_all(&[7; 5000]).await;
            echo(stream, false).await;
        }
    });
    for to in [IpAddr::from(THEIRS), IpAddr::from(THEIRS6)] {
        let pinging = server.icmp();
        tasks.start(async move { drop(pinging.ping(to, b"are you there?", Duration::from_secs(60)).await) });
    }
    tasks
}

async fn echo(stream: TcpStream, in_pages: bool) {
    let mut pages = Default::default();
    if in_pages {
        // From the first page on that somebody takes, all frames go another way: not before there is something to take.
        let _ = stream.readable().await;
        while let Ok(1..) = stream.take_all(&mut pages).await {
            if stream.give_all(&mut pages).await.is_err() {
                return;
            }
        }
        return;
    }
    let mut buffer = [0; 2000];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Has a socket tell the stranger something, so that errors may be about it; then sends back what comes, if it is read.
async fn answer(socket: UdpSocket, unread: bool) {
    for to in [IpAddr::from(THEIRS), IpAddr::from(THEIRS6)] {
        let _ = socket.send_to(b"question", SocketAddr::new(to, SOCKET)).await;
    }
    if unread {
        return std::future::pending().await;
    }
    let mut buffer = [0; 2000];
    loop {
        // Errors are of what was sent; the socket goes on.
        if let Ok((length, from)) = socket.receive_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length.min(buffer.len())], from).await;
        }
    }
}

/// The client's bytes come back.
async fn exchange(stream: &TcpStream, length: usize) {
    let sent: Vec<u8> = (0..length).map(|at| at as u8 ^ (at >> 8) as u8).collect();
    let mut received = vec![0; length];
    let mut done = 0;
    in_time(stream.write_all(&sent)).await.expect("the client's connection lives");
    while done < length {
        match in_time(stream.read(&mut received[done..])).await.expect("the client's connection lives") {
            0 => panic!("the client's connection has ended"),
            more => done += more,
        }
    }
    assert!(received == sent, "the client's bytes came back as others");
}

/// What the client asks for does not take long.
async fn in_time<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(10), future).await.expect("the client waits in vain")
}

/// What strangers make a stack keep has bounds.
fn assert_bounded(held: &Held) {
    let Held { connection_memory, half_open, time_wait, neighbours, datagrams, fragments, .. } = *held;
    assert!(connection_memory.is_none_or(|bytes| bytes <= BUDGET), "{held:?}");
    assert!(half_open <= 256 && time_wait <= 1024 && neighbours <= 2 * 1024, "{held:?}");
    // Two sockets.
    assert!(datagrams <= 2 * (64 * 1024 + 64) && fragments <= mirage_rt::net::fragments::MOST_BYTES, "{held:?}");
}
