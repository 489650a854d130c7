//! Floods beside a connection: of datagrams, echo requests and errors. The connection goes on, a new client is served, and what
//! the flood takes stays within its bounds.

use smoltcp::wire::IpProtocol;

use super::raw::{Raw, stack};
use super::*;
use crate::net::direct::counters::ReceiveDrop;
use crate::net::direct::{Direct, header};
use crate::runtime::now;
use crate::time::{Duration, sleep};

/// Packets of a flood, sent in bursts of so many each millisecond.
const PACKETS: usize = 2000;
const BURST: usize = 40;

/// An IP packet from the stranger, host 3, with this behind its header.
fn packet(protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; header::length(at(1, 0).ip()) + payload.len()];
    let body = header::emit(&mut packet, at(3, 0).ip(), at(1, 0).ip(), protocol).expect("of one family");
    body.copy_from_slice(payload);
    packet
}

fn datagram(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for half in [from, to, 8 + payload.len() as u16, 0] {
        bytes.extend_from_slice(&half.to_be_bytes());
    }
    bytes.extend_from_slice(payload);
    let mut packet = packet(IpProtocol::Udp, &bytes);
    header::fill_transport(&mut packet, false);
    packet
}

fn icmp(message: &[u8]) -> Vec<u8> {
    let protocol = if is_ipv6() { IpProtocol::Icmpv6 } else { IpProtocol::Icmp };
    let mut packet = packet(protocol, message);
    let body = header::length(at(1, 0).ip());
    packet[body + 2..body + 4].fill(0);
    let sum = !smoltcp::wire::checksum::data(&packet[body..]);
    packet[body + 2..body + 4].copy_from_slice(&sum.to_be_bytes());
    #[cfg(feature = "ipv6")]
    if is_ipv6() {
        header::fill_icmp(&mut packet);
    }
    packet
}

/// Errors that the stack has sent and those that it has not, as there were too many.
fn errors(direct: &Direct) -> (u64, u64) {
    let interface = direct.snapshot().interface;
    (interface.icmp_sent[1], interface.icmp_limited)
}

/// Runs a flood of what `make` makes of the client's port and a number, beside a connection that transfers data, and another one that
/// is made meanwhile; for how many seconds it went, begun ones too.
async fn flood(
    switch: &Switch,
    direct: &Direct,
    server: &Network,
    make: impl Fn(u16, usize) -> Vec<u8> + 'static,
) -> u64 {
    let _echoing = echo_server(server, 80).await;
    let client = host(switch, 2);
    let before = client.tcp().connect(at(1, 80)).await.expect("the server listens");
    exchange(client.tcp().connect(at(1, 80)).await.expect("the server listens"), pattern(1, 3000)).await;
    sleep(Duration::from_secs(5)).await;
    let port = before.local_addr().port();
    let (pages, memory) = (switch.pool().available(), direct.shared.stack.borrow().tcp.memory());
    let start = now();
    let mut raw = Raw::new(switch, 3);
    // Whoever asks for its Ethernet address gets it.
    raw.send_ip(&make(port, 0));
    raw.packets().await;
    let pool = switch.pool();
    let flooding = spawn(async move {
        let mut least = usize::MAX;
        for number in 0..PACKETS / BURST {
            for packet in 0..BURST {
                raw.send_ip(&make(port, number * BURST + packet));
            }
            sleep(Duration::from_millis(1)).await;
            least = least.min(pool.available());
            raw.packets().await;
        }
        least
    });
    sleep(Duration::from_millis(20)).await;
    let transfer = spawn(exchange(before, pattern(2, 50_000)));
    let after = client.tcp().connect(at(1, 80)).await.expect("new clients are served");
    exchange(after, pattern(3, 5000)).await;
    transfer.await.expect("the transfer ends");
    let took = now() - start;
    assert!(took < Duration::from_secs(1), "{took:?}");
    let least = flooding.await.expect("the flood ends");
    // A burst that has come and its answers, the frames of the transfers, and no more.
    assert!(pages - least < 1000, "{} pages at worst", pages - least);
    let seconds = (now() - start).as_secs() + 1;
    sleep(Duration::from_secs(90)).await;
    assert_eq!(switch.missed(0), 0, "no burst is too much for the port");
    assert!(switch.pool().available() + 20 >= pages, "{} of {pages} pages are back", switch.pool().available());
    let after = direct.shared.stack.borrow().tcp.memory();
    assert!(after <= memory, "{after:?} bytes of connections, and {memory:?} before");
    seconds
}

fn datagrams_to_an_open_port() {
    testing::run(160, async {
        let switch = Switch::new(160, Impairments::NONE);
        let (direct, server) = stack(&switch);
        let socket = server.udp().bind(53).await.expect("the port is free");
        flood(&switch, &direct, &server, |_, number| datagram(number as u16 + 1, 53, &[7; 400])).await;
        let udp = direct.snapshot().udp;
        assert_eq!(udp.received.packets + udp.queue_drops, PACKETS as u64 + 1);
        // 64 KiB of datagrams wait, with what it takes to keep them.
        assert_eq!(udp.received.packets, (64 * 1024 + 64) / (400 + 64));
        let mut buffer = [0; 500];
        for _ in 0..udp.received.packets {
            assert_eq!(socket.receive_from(&mut buffer).await.expect("they wait").0, 400);
        }
        assert!(crate::time::timeout(Duration::from_secs(1), socket.receive_from(&mut buffer)).await.is_err());
    });
}

fn datagrams_to_closed_ports() {
    testing::run(161, async {
        let switch = Switch::new(161, Impairments::NONE);
        let (direct, server) = stack(&switch);
        let seconds = flood(&switch, &direct, &server, |_, number| datagram(9, number as u16 + 100, &[7; 400])).await;
        let (sent, limited) = errors(&direct);
        assert_eq!(sent + limited, PACKETS as u64 + 1);
        assert!(sent > 0 && sent <= 150 * seconds, "{sent} errors in {seconds} seconds");
        assert_eq!(direct.snapshot().udp.port_drops, PACKETS as u64 + 1);
    });
}

fn echo_requests() {
    testing::run(162, async {
        let switch = Switch::new(162, Impairments::NONE);
        let (direct, server) = stack(&switch);
        let kind = if is_ipv6() { 128 } else { 8 };
        flood(&switch, &direct, &server, move |_, number| {
            icmp(&[&[kind, 0, 0, 0, 0, 7, (number >> 8) as u8, number as u8], &[7; 1000][..]].concat())
        })
        .await;
        assert_eq!(errors(&direct), (0, 0));
    });
}

/// Errors of all kinds about segments of the connection, by somebody who does not see their positions.
fn errors_of_icmp() {
    testing::run(163, async {
        let switch = Switch::new(163, Impairments::NONE);
        let (direct, server) = stack(&switch);
        flood(&switch, &direct, &server, |port, number| {
            let kinds: [[u8; 2]; 4] =
                if is_ipv6() { [[1, 4], [1, 3], [2, 0], [3, 0]] } else { [[3, 3], [3, 1], [3, 4], [11, 0]] };
            let mut message = Vec::from([kinds[number % 4][0], kinds[number % 4][1], 0, 0, 0, 0, 5, 0]);
            let mut quoted = vec![0; header::length(at(1, 0).ip()) + 1400];
            let segment = header::emit(&mut quoted, at(1, 0).ip(), at(2, 0).ip(), IpProtocol::Tcp);
            let segment = segment.expect("of one family");
            segment[..2].copy_from_slice(&80u16.to_be_bytes());
            segment[2..4].copy_from_slice(&port.to_be_bytes());
            segment[4..8].copy_from_slice(&(number as u32).wrapping_mul(0x9e37_79b9).to_be_bytes());
            quoted.truncate(header::length(at(1, 0).ip()) + 20);
            message.extend_from_slice(&quoted);
            icmp(&message)
        })
        .await;
        assert_eq!(errors(&direct), (0, 0), "errors are not answered");
        assert_eq!(direct.snapshot().tcp.too_big, 0);
        let refused = direct.snapshot().interface.receive_drops[ReceiveDrop::Checksum as usize];
        assert_eq!(refused, 0, "the flood's packets are sound");
    });
}

worlds! {
    datagrams_to_an_open_port,
    datagrams_to_closed_ports,
    echo_requests,
    errors_of_icmp,
}
