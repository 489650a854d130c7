//! `smoltcp-tap INTERFACE ADDRESS CONNECTIONS http|sink|source`: a plain smoltcp interface on a tap device, with all its sockets
//! in one set and a loop over them, as its examples have it.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use mirage_bench_peers::http::{END, fixed_answer};
use mirage_bench_peers::{PIECE, Result, address, word};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Medium, TunTapInterface, wait};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};

/// Bytes of a socket's buffers: small with many connections, and as in smoltcp's benchmark with one.
const SMALL: usize = 4096;
const LARGE: usize = 65535;

fn main() -> Result {
    let (name, address, connections): (_, _, usize) = (word(0)?, address(1)?, word(2)?.parse()?);
    let SocketAddr::V4(v4) = address else { return Err("an IPv4 address is needed".into()) };
    let mut device = TunTapInterface::new(&name, Medium::Ethernet)?;
    let mut config = Config::new(EthernetAddress([0x02, 0, 0, 0, 0, 0x01]).into());
    config.random_seed = 1;
    let mut interface = Interface::new(config, &mut device, Instant::now());
    let mut full = false;
    interface.update_ip_addrs(|addresses| full = addresses.push(IpCidr::new(IpAddress::Ipv4(*v4.ip()), 24)).is_err());
    if full {
        return Err("there is no room for an address".into());
    }
    let mut sockets = SocketSet::new(Vec::new());
    let room = if connections > 1 { SMALL } else { LARGE };
    let handles: Vec<SocketHandle> = (0..connections)
        .map(|_| {
            let buffer = || SocketBuffer::new(vec![0; room]);
            let mut socket = Socket::new(buffer(), buffer());
            socket.set_nagle_enabled(false);
            sockets.add(socket)
        })
        .collect();
    let (serve, mut bytes): (fn(&mut Socket<'_>, &mut [u8]), _) = match word(3)?.as_str() {
        "http" => (http, fixed_answer()),
        "sink" => (sink, vec![0; PIECE]),
        "source" => (source, vec![0x6d; PIECE]),
        other => return Err(format!("{other} is no mode: http, sink or source").into()),
    };
    println!("serving");
    loop {
        interface.poll(Instant::now(), &mut device, &mut sockets);
        for handle in &handles {
            let socket = sockets.get_mut::<Socket>(*handle);
            if !socket.is_open() {
                socket.listen(v4.port()).map_err(|error| format!("it can't listen: {error}"))?;
            } else if socket.may_send() && !socket.may_recv() && socket.recv_queue() == 0 {
                socket.close();
            } else {
                serve(socket, &mut bytes);
            }
        }
        let now = Instant::now();
        let delay = interface.poll_delay(now, &sockets);
        wait(device.as_raw_fd(), delay)?;
    }
}

/// Answers the request that is there.
fn http(socket: &mut Socket<'_>, answer: &mut [u8]) {
    let mut request = [0; SMALL];
    // The clients of the benchmarks send one request at a time, in one piece.
    if let Ok(length @ 1..) = socket.recv_slice(&mut request)
        && request[..length].ends_with(END)
    {
        // There is room: the answer to the last request was acknowledged before the next one came.
        let _ = socket.send_slice(answer);
    }
}

/// Takes what is there into a buffer of its own, as the other sinks do.
fn sink(socket: &mut Socket<'_>, piece: &mut [u8]) {
    while socket.can_recv() {
        let _ = socket.recv_slice(piece);
    }
}

fn source(socket: &mut Socket<'_>, piece: &mut [u8]) {
    if socket.can_send() {
        let _ = socket.send_slice(piece);
    }
}
