//! Names of hosts, by a name server on the server's side.

use mirage_rt::net::names::{LookupError, NamedConnectError, Options, Resolver};
use mirage_rt::net::{TcpListener, UdpSocket};
use mirage_rt::{JoinHandle, spawn};

use super::*;

/// The kinds of records with addresses.
const A: u16 = 1;
const AAAA: u16 = 28;

/// The answer to a question: the server's address to names that begin with an `s`, what fits no datagram to those with an `l`, and that
/// there is no such name otherwise.
fn answer(question: &[u8], address: IpAddr, by_stream: bool) -> Vec<u8> {
    // A header, a name, its kind and class, and more that does not matter here.
    let end = 12 + question[12..].iter().position(|byte| *byte == 0).expect("a name ends") + 5;
    let kind = u16::from_be_bytes([question[end - 4], question[end - 3]]);
    let (is_known, is_long) = (matches!(question[13], b's' | b'l'), question[13] == b'l');
    let data = match address {
        IpAddr::V4(address) if kind == A => address.octets().to_vec(),
        IpAddr::V6(address) if kind == AAAA => address.octets().to_vec(),
        _ => Vec::new(),
    };
    let is_there = is_known && !data.is_empty() && (by_stream || !is_long);
    let flags: u16 = 0x8180 | if is_known { 0 } else { 3 } | if is_long && !by_stream { 0x0200 } else { 0 };
    let counts = [1, u16::from(is_there), 0, 0];
    let mut message = question[..2].to_vec();
    message.extend(flags.to_be_bytes());
    message.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    message.extend(&question[12..end]);
    if is_there {
        // The question's name; a minute.
        message.extend([0xc0, 12, kind.to_be_bytes()[0], kind.to_be_bytes()[1], 0, 1, 0, 0, 0, 60, 0]);
        message.push(data.len() as u8);
        message.extend(data);
    }
    message
}

async fn serve_datagrams(socket: UdpSocket, address: IpAddr) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.receive_from(&mut buffer).await {
        socket.send_to(&answer(&buffer[..length], address, false), from).await.expect("there is a way back");
    }
}

async fn serve_streams(mut listener: TcpListener, address: IpAddr) {
    while let Ok((stream, _)) = listener.accept().await {
        let length = read_exactly(&stream, 2).await;
        let question = read_exactly(&stream, usize::from(u16::from_be_bytes([length[0], length[1]]))).await;
        let answer = answer(&question, address, true);
        stream.write_all(&(answer.len() as u16).to_be_bytes()).await.expect("the client reads");
        stream.write_all(&answer).await.expect("the client reads");
    }
}

/// Starts a name server; its tasks, and who asks it.
async fn start(server: &Side) -> ([JoinHandle<()>; 2], Options) {
    // A port that is free for both.
    let (socket, listener) = loop {
        let socket = server.network.udp().bind(0).await.expect("a port is free");
        if let Ok(listener) = server.network.tcp().bind(socket.local_addr().port()).await {
            break (socket, listener);
        }
    };
    let mut options = Options::new([server.address]);
    options.servers[0].set_port(listener.local_addr().port());
    // None of these ways is so long; and one case waits until nobody has answered.
    options.wait = Duration::from_millis(300);
    let tasks = [spawn(serve_datagrams(socket, server.address)), spawn(serve_streams(listener, server.address))];
    (tasks, options)
}

pub async fn names_have_addresses(pair: Pair) {
    let (tasks, options) = start(&pair.server).await;
    let resolver = Resolver::new(&pair.client.network, options);
    // By a datagram, by a stream, and what was known already.
    for name in ["server.example", "long.example", "server.example."] {
        let addresses = resolver.lookup(name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(addresses, [pair.server.address], "{name}");
    }
    let error = resolver.lookup("nobody.example").await.expect_err("there is no such name");
    assert!(matches!(error, LookupError::NoSuchName(_)), "{error:?}");
    // An address is its own name.
    let itself = alloc::format!("{}", pair.server.address);
    assert_eq!(resolver.lookup(&itself).await.expect("an address"), [pair.server.address]);
    tasks.into_iter().for_each(JoinHandle::abort);
    let error = resolver.lookup("silent.example").await.expect_err("the server is gone");
    assert!(!matches!(error, LookupError::NoSuchName(_)), "{error:?}");
    assert_eq!(resolver.lookup("server.example").await.expect("it is remembered"), [pair.server.address]);
}

pub async fn hosts_are_reached_by_name(pair: Pair) {
    let (tasks, options) = start(&pair.server).await;
    pair.client.network.set_names(options);
    let mut listener = pair.server.network.tcp().bind(0).await.expect("a port is free");
    let port = listener.local_addr().port();
    for name in ["server.example", "long.example"] {
        let client = pair.client.network.tcp().connect_to(&alloc::format!("{name}:{port}")).await;
        let client = client.unwrap_or_else(|error| panic!("{name}: {error}"));
        let (server, _) = listener.accept().await.expect("the client has come");
        assert_eq!(client.peer_addr(), pair.server.at(port));
        client.write_all(b"by name").await.expect("it is open");
        assert_eq!(read_exactly(&server, 7).await, b"by name");
    }
    drop(listener);
    let tcp = pair.client.network.tcp();
    let error = tcp.connect_to(&alloc::format!("server.example:{port}")).await.expect_err("nothing listens there");
    assert!(matches!(error, NamedConnectError::Connect(_)), "{error:?}");
    let error = tcp.connect_to("nobody.example:80").await.expect_err("there is no such name");
    assert!(matches!(error, NamedConnectError::Lookup(LookupError::NoSuchName(_))), "{error:?}");
    tasks.into_iter().for_each(JoinHandle::abort);
}
