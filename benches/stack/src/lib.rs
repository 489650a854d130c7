//! Our network stack on a device in memory.

#![forbid(unsafe_code)]

mod device;
mod direct;

use mirage_rt::time::Duration;
use std::collections::VecDeque;
use std::rc::Rc;

use device::{Device, Queues};
use direct::Connections;
use mirage_bench_wire::{Application, PORT, SEGMENT, SERVER, Server, Setting};
use mirage_rt::keys::Cidr;
use mirage_rt::net::{Config, Network, TcpStream};
use mirage_rt::packet::Fragment;
use mirage_rt::page::{HeapPool, PAGE_SIZE, Page};
use mirage_rt::runtime::Runtime;
use mirage_rt::testing::VirtualPlatform;

/// Bytes that a task of an application has room for.
const ROOM: usize = 64;
/// The same where there is much to read or write at once.
const LARGE_ROOM: usize = 16 << 10;

/// Bytes of what is given, and pages that are given at once.
const FILE: usize = 1 << 20;
const AT_ONCE: usize = 16;

/// A runtime with the stack and an application on it.
pub struct Stack {
    runtime: Runtime,
    platform: Rc<VirtualPlatform>,
    queues: Rc<Queues>,
    connections: Rc<Connections>,
}

impl Stack {
    /// Starts the stack, and the application on it.
    ///
    /// # Panics
    ///
    /// When the stack does not start.
    pub fn new(setting: Setting) -> Stack {
        let platform = VirtualPlatform::new(1);
        let runtime = Runtime::new(platform.clone());
        let pool = HeapPool::with_pages(1 << 16);
        let queues = Rc::new(Queues::new(pool.clone(), setting.offload));
        let mut config = Config::new();
        config.ipv4 = Cidr::new(SERVER, 16).ok();
        if matches!(setting.application, Application::Echo | Application::Loop | Application::Keep) {
            // So that 10,000 connections are within the budget.
            config.connection_memory = setting.connections * 8 * config.receive_buffer;
        }
        #[cfg(feature = "ipv6")]
        if setting.family == mirage_bench_wire::Family::Ipv6 {
            config.ipv6 = ipv6();
        }
        let device = Device::new(queues.clone(), &setting);
        let application = setting.application;
        let connections = Rc::new(Connections::default());
        let kept_here = connections.clone();
        {
            let _entered = runtime.enter();
            let network = Network::direct(device, pool, config).expect("the stack starts");
            drop(runtime.spawn(async move {
                let mut listener = network.tcp().bind_with_backlog(PORT, 128).await.expect("the port is free");
                let mut kept = Vec::new();
                while let Ok((stream, _)) = listener.accept().await {
                    // An application without end: its task is never waited for.
                    drop(match application {
                        Application::Echo => mirage_rt::spawn(echo(stream)),
                        Application::Sink => mirage_rt::spawn(sink(stream)),
                        Application::Source => mirage_rt::spawn(source(stream)),
                        Application::Taker => mirage_rt::spawn(taker(stream)),
                        Application::Giver => mirage_rt::spawn(giver(network.clone(), stream)),
                        Application::Loop => {
                            kept_here.keep(stream);
                            continue;
                        }
                        Application::Keep => {
                            kept.push(stream);
                            continue;
                        }
                    });
                }
            }));
        }
        let mut stack = Stack { runtime, platform, queues, connections };
        stack.work();
        stack
    }
}

/// The server's address, which nobody else claims.
#[cfg(feature = "ipv6")]
fn ipv6() -> Option<mirage_rt::net::ipv6::Ipv6Config> {
    let address = mirage_rt::keys::Cidr6::new(mirage_bench_wire::SERVER_IPV6, 64).ok()?;
    let mut config = mirage_rt::net::ipv6::Ipv6Config::fixed(address, None);
    config.duplicate_probes = 0;
    Some(config)
}

impl Server for Stack {
    fn deliver(&mut self, frame: &[u8]) {
        self.queues.deliver(frame);
    }

    fn work(&mut self) {
        while self.runtime.turn().busy {}
        if self.connections.serve() {
            while self.runtime.turn().busy {}
        }
    }

    fn sent(&mut self, see: &mut dyn FnMut(&[u8])) {
        self.queues.sent(see);
    }

    fn pass(&mut self, microseconds: u64) {
        self.platform.advance(Duration::from_micros(microseconds));
    }
}

async fn echo(stream: TcpStream) {
    let mut buffer = [0; ROOM];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Reads from the buffer.
async fn sink(stream: TcpStream) {
    while let Ok(length @ 1..) = stream.peek(<[u8]>::len).await {
        stream.consume(length);
    }
}

async fn source(stream: TcpStream) {
    let bytes = vec![0x5a; LARGE_ROOM.next_multiple_of(SEGMENT)];
    while stream.write_all(&bytes).await.is_ok() {}
}

async fn taker(stream: TcpStream) {
    let mut pages = VecDeque::new();
    while let Ok(1..) = stream.take_all(&mut pages).await {
        for bytes in pages.drain(..) {
            std::hint::black_box(bytes.bytes());
        }
    }
}

/// As a server gives a file.
async fn giver(network: Network, stream: TcpStream) {
    let page = || {
        let mut page = network.page().expect("the pool is large enough");
        page.fill(0x5a);
        Rc::new(page)
    };
    let file: Vec<Rc<Page>> = (0..FILE / PAGE_SIZE).map(|_| page()).collect();
    let all = |page: &Rc<Page>| Fragment::shared(Rc::clone(page), 0..PAGE_SIZE).expect("all of the page");
    let mut pages = VecDeque::new();
    loop {
        for part in file.chunks(AT_ONCE) {
            pages.extend(part.iter().map(all));
            if stream.give_all(&mut pages).await.is_err() {
                return;
            }
        }
    }
}
