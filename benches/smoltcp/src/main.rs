//! What callgrind counts of a plain smoltcp interface; see `mirage_bench_wire::program` for the words.
//!
//! It is used in the cheapest way: frames are taken in, the application looks at the sockets that have something to do (it
//! is told which can, so that this costs nothing), then answers leave. All sockets stand in one set, as smoltcp's documentation
//! has it.

#![forbid(unsafe_code)]

mod memory;

use memory::Memory;
use mirage_bench_wire::{Application, PORT, SERVER, SERVER_MAC, Server, Setting};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpCidr};

fn main() {
    mirage_bench_wire::program(Plain::new);
}

/// An interface with its sockets.
struct Plain {
    setting: Setting,
    device: Memory,
    interface: Interface,
    sockets: SocketSet<'static>,
    /// Those with something to do.
    active: Vec<SocketHandle>,
    /// Where the next connection is opened: opening ten thousand in the set of all would take minutes.
    opening: SocketSet<'static>,
    opened: usize,
    microseconds: i64,
}

impl Plain {
    fn new(setting: Setting) -> Plain {
        let mut device = Memory::new(setting.offload);
        let config = Config::new(EthernetAddress(SERVER_MAC).into());
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(SERVER.into(), 16)).expect("there is room for one");
        });
        let mut plain = Plain {
            setting,
            device,
            interface,
            sockets: SocketSet::new(Vec::new()),
            active: Vec::new(),
            opening: SocketSet::new(Vec::new()),
            opened: 0,
            microseconds: 1_000_000,
        };
        plain.listen();
        plain
    }

    fn listen(&mut self) {
        let (receive, send) = match self.setting.application {
            Application::Echo | Application::Loop | Application::Keep => (512, 512),
            Application::Sink | Application::Taker => (256 << 10, 2048),
            Application::Source | Application::Giver => (2048, 256 << 10),
        };
        let buffer = |size| tcp::SocketBuffer::new(vec![0; size]);
        let mut socket = tcp::Socket::new(buffer(receive), buffer(send));
        socket.set_nagle_enabled(false);
        socket.listen(PORT).expect("a new socket can listen");
        self.opening.add(socket);
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.microseconds)
    }

    /// Opens connections, one after the other.
    fn open(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.device, &mut self.opening);
        let done = |socket: &smoltcp::socket::Socket<'_>| {
            let smoltcp::socket::Socket::Tcp(socket) = socket;
            socket.state() == tcp::State::Established
        };
        let done = self.opening.iter().find(|(_, socket)| done(socket)).map(|(handle, _)| handle);
        if let Some(handle) = done {
            let smoltcp::socket::Socket::Tcp(socket) = self.opening.remove(handle);
            let handle = self.sockets.add(socket);
            if self.setting.is_active(self.opened) {
                self.active.push(handle);
            }
            self.opened += 1;
            self.listen();
        }
    }

    /// What the application does with the sockets that are ready.
    fn serve(&mut self) {
        for handle in &self.active {
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(*handle);
            match self.setting.application {
                Application::Echo | Application::Loop if socket.can_recv() => {
                    let mut buffer = [0; 64];
                    let length = socket.recv_slice(&mut buffer).expect("it can be read");
                    socket.send_slice(&buffer[..length]).expect("it can be written");
                }
                Application::Sink | Application::Taker => {
                    while socket.can_recv() {
                        socket.recv(|bytes| (bytes.len(), ())).expect("it can be read");
                    }
                }
                Application::Source | Application::Giver => {
                    while socket.can_send() {
                        socket.send(|room| (room.len(), ())).expect("it can be written");
                    }
                }
                Application::Echo | Application::Loop | Application::Keep => {}
            }
        }
    }
}

impl Server for Plain {
    fn deliver(&mut self, frame: &[u8]) {
        self.device.deliver(frame);
    }

    fn work(&mut self) {
        if self.opened < self.setting.connections {
            return self.open();
        }
        let now = self.now();
        while self.interface.poll_ingress_single(now, &mut self.device, &mut self.sockets)
            != PollIngressSingleResult::None
        {}
        self.serve();
        self.interface.poll_egress(now, &mut self.device, &mut self.sockets);
    }

    fn sent(&mut self, see: &mut dyn FnMut(&[u8])) {
        self.device.sent(see);
    }

    fn pass(&mut self, microseconds: u64) {
        self.microseconds += microseconds as i64;
    }
}
