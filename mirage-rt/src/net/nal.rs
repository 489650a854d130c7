//! The traits of `edge-nal`: libraries written to them run on a [`Tcp`], a [`Udp`] and a [`Resolver`].

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use edge_nal::{
    AddrType, Close, Dns, MulticastV4, MulticastV6, Readable, TcpAccept, TcpBind, TcpConnect, TcpShutdown, TcpSplit,
    UdpBind, UdpReceive, UdpSend, UdpSplit, UdpSplitMulticast,
};
use embedded_io_async::{ErrorKind, ErrorType};

use super::io::SocketError;
use super::names::{Family, LookupError, Resolver};
use super::tcp::{Tcp, TcpListener, TcpStream};
use super::udp::{Udp, UdpSocket};

impl TcpBind for Tcp {
    type Error = SocketError;
    type Accept<'a> = TcpListener;

    async fn bind(&self, local: SocketAddr) -> Result<TcpListener, SocketError> {
        Ok(Tcp::bind(self, local).await?)
    }
}

impl TcpConnect for Tcp {
    type Error = SocketError;
    type Socket<'a> = TcpStream;

    async fn connect(&self, remote: SocketAddr) -> Result<TcpStream, SocketError> {
        Ok(Tcp::connect(self, remote).await?)
    }
}

impl TcpAccept for TcpListener {
    type Error = SocketError;
    type Socket<'a> = TcpStream;

    async fn accept(&self) -> Result<(SocketAddr, TcpStream), SocketError> {
        let (stream, peer) = core::future::poll_fn(|context| self.poll_accept(context)).await?;
        Ok((peer, stream))
    }
}

impl Readable for TcpStream {
    async fn readable(&mut self) -> Result<(), SocketError> {
        Ok(TcpStream::readable(self).await?)
    }
}

impl TcpSplit for TcpStream {
    type Read<'a> = TcpStream;
    type Write<'a> = TcpStream;

    fn split(&mut self) -> (TcpStream, TcpStream) {
        (self.clone(), self.clone())
    }
}

impl TcpShutdown for TcpStream {
    /// Closing the write half waits until the peer has acknowledged everything. Closing the read half reads, and drops,
    /// what comes until the peer closes its side.
    async fn close(&mut self, what: Close) -> Result<(), SocketError> {
        if what != Close::Read {
            self.shutdown()?;
            self.acknowledged().await?;
        }
        if what != Close::Write {
            let mut buffer = [0; 64];
            while TcpStream::read(self, &mut buffer).await? > 0 {}
        }
        Ok(())
    }

    async fn abort(&mut self) -> Result<(), SocketError> {
        TcpStream::abort(self);
        Ok(())
    }
}

impl UdpBind for Udp {
    type Error = SocketError;
    type Socket<'a> = UdpSocket;

    async fn bind(&self, local: SocketAddr) -> Result<UdpSocket, SocketError> {
        Ok(Udp::bind(self, local).await?)
    }
}

impl ErrorType for UdpSocket {
    type Error = SocketError;
}

impl UdpReceive for UdpSocket {
    async fn receive(&mut self, buffer: &mut [u8]) -> Result<(usize, SocketAddr), SocketError> {
        Ok(self.receive_from(buffer).await?)
    }
}

impl UdpSend for UdpSocket {
    async fn send(&mut self, remote: SocketAddr, data: &[u8]) -> Result<(), SocketError> {
        Ok(self.send_to(data, remote).await?)
    }
}

impl Readable for UdpSocket {
    async fn readable(&mut self) -> Result<(), SocketError> {
        UdpSocket::readable(self).await;
        Ok(())
    }
}

/// The interface is the network's, whatever address is given for it.
impl MulticastV4 for UdpSocket {
    async fn join_v4(&mut self, group: Ipv4Addr, _: Ipv4Addr) -> Result<(), SocketError> {
        Ok(self.join(group)?)
    }

    async fn leave_v4(&mut self, group: Ipv4Addr, _: Ipv4Addr) -> Result<(), SocketError> {
        Ok(self.leave(group)?)
    }
}

/// The interface is the network's, whatever number is given for it.
impl MulticastV6 for UdpSocket {
    async fn join_v6(&mut self, group: Ipv6Addr, _: u32) -> Result<(), SocketError> {
        Ok(self.join(group)?)
    }

    async fn leave_v6(&mut self, group: Ipv6Addr, _: u32) -> Result<(), SocketError> {
        Ok(self.leave(group)?)
    }
}

impl UdpSplit for UdpSocket {
    type Receive<'a> = UdpSocket;
    type Send<'a> = UdpSocket;

    fn split(&mut self) -> (UdpSocket, UdpSocket) {
        (self.clone(), self.clone())
    }
}

impl UdpSplitMulticast for UdpSocket {
    type MulticastV4<'a> = UdpSocket;
    type MulticastV6<'a> = UdpSocket;

    fn split_multicast(&mut self) -> (UdpSocket, UdpSocket, UdpSocket, UdpSocket) {
        (self.clone(), self.clone(), self.clone(), self.clone())
    }
}

impl edge_nal::io::Error for LookupError {
    fn kind(&self) -> ErrorKind {
        match self {
            LookupError::Name { .. } => ErrorKind::InvalidInput,
            LookupError::NoSuchName(_) | LookupError::NoAddress(_) => ErrorKind::NotFound,
            LookupError::NoAnswer { .. } => ErrorKind::TimedOut,
            LookupError::Unsupported(_) => ErrorKind::Unsupported,
            _ => ErrorKind::Other,
        }
    }
}

impl Dns for Resolver {
    type Error = LookupError;

    async fn get_host_by_name(&self, host: &str, kind: AddrType) -> Result<IpAddr, LookupError> {
        let addresses = match kind {
            AddrType::IPv4 => self.lookup_family(host, Family::V4).await?,
            AddrType::IPv6 => self.lookup_family(host, Family::V6).await?,
            AddrType::Either => self.lookup(host).await?,
        };
        // There always is one.
        addresses.first().copied().ok_or_else(|| LookupError::NoAddress(host.into()))
    }

    /// Not supported: every call is an error.
    async fn get_host_by_address(&self, _: IpAddr, _: &mut [u8]) -> Result<usize, LookupError> {
        Err(LookupError::Unsupported("names of addresses"))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;
    use core::net::{IpAddr, Ipv4Addr};

    use edge_nal::io::{Error, ErrorKind, Read, Write};
    use edge_nal::{
        AddrType, Close, Dns, Readable, TcpAccept, TcpBind, TcpConnect, TcpShutdown, TcpSplit, UdpBind, UdpReceive,
        UdpSend,
    };

    use crate::keys::Cidr;
    use crate::net::names::{Options, Resolver};
    use crate::net::switch::{Impairments, Switch};
    use crate::net::{Config, Network};
    use crate::{spawn, testing};

    /// Serves one connection: what a library written to the traits would do.
    async fn echo_once<T: TcpBind>(stack: &T, local: core::net::SocketAddr) {
        let acceptor = stack.bind(local).await.expect("the port is free");
        let (_, mut socket) = acceptor.accept().await.expect("a client comes");
        let mut buffer = [0; 32];
        loop {
            socket.readable().await.expect("the client lives");
            let length = socket.read(&mut buffer).await.expect("the client lives");
            if length == 0 {
                break;
            }
            socket.write_all(&buffer[..length]).await.expect("the client lives");
        }
        socket.close(Close::Both).await.expect("the client lives");
    }

    async fn ask<T: TcpConnect>(stack: &T, remote: core::net::SocketAddr) -> [u8; 5] {
        let mut socket = stack.connect(remote).await.expect("the server listens");
        let mut answer = [0; 5];
        {
            let (mut reader, mut writer) = socket.split();
            writer.write_all(b"hello").await.expect("the server lives");
            writer.flush().await.expect("the server lives");
            reader.read_exact(&mut answer).await.expect("the server answers");
        }
        socket.close(Close::Both).await.expect("the server closes too");
        answer
    }

    async fn datagram<T: UdpBind>(from: &T, to: &T, local: core::net::SocketAddr) {
        let mut receiver = to.bind(local).await.expect("the port is free");
        let mut sender = from.bind("0.0.0.0:0".parse().expect("an address")).await.expect("a port is free");
        sender.send(local, b"datagram").await.expect("there is room");
        receiver.readable().await.expect("it comes");
        let mut buffer = [0; 32];
        let (length, _) = receiver.receive(&mut buffer).await.expect("it comes");
        assert_eq!(&buffer[..length], b"datagram");
    }

    #[test]
    fn generic_code_runs_on_a_network() {
        testing::run(1, async {
            let switch = Switch::new(1, Impairments::NONE);
            let host = |number| {
                let ipv4 = Cidr::new(Ipv4Addr::new(10, 0, 0, number), 24).ok();
                Network::direct(switch.port(), switch.pool(), Config { ipv4, ..Config::new() }).expect("a good address")
            };
            let (server, client) = (host(1), host(2));
            let at = |port| core::net::SocketAddr::from(([10, 0, 0, 1], port));
            let tcp = server.tcp();
            let serving = spawn(async move { echo_once(&tcp, at(80)).await });
            crate::yield_now().await;
            assert_eq!(&ask(&client.tcp(), at(80)).await, b"hello");
            serving.await.expect("the server ends");
            datagram(&client.udp(), &server.udp(), at(9)).await;
        });
    }

    async fn find<D: Dns>(stack: &D, host: &str) -> Result<IpAddr, D::Error> {
        stack.get_host_by_name(host, AddrType::Either).await
    }

    #[test]
    fn generic_code_finds_hosts() {
        testing::run(1, async {
            let switch = Switch::new(1, Impairments::NONE);
            let ipv4 = Cidr::new(Ipv4Addr::new(10, 0, 0, 1), 24).ok();
            let config = Config { ipv4, ..Config::new() };
            let network = Network::direct(switch.port(), switch.pool(), config).expect("a good address");
            let resolver = Resolver::new(&network, Options::new(Vec::<IpAddr>::new()));
            assert_eq!(find(&resolver, "10.0.0.7").await.ok(), Some(IpAddr::from([10, 0, 0, 7])));
            let none = find(&resolver, "host.example").await.expect_err("there is nobody to ask");
            assert_eq!(none.kind(), ErrorKind::Other);
            let name = resolver.get_host_by_address(IpAddr::from([10, 0, 0, 7]), &mut []).await;
            assert_eq!(name.expect_err("that is not done").kind(), ErrorKind::Unsupported);
        });
    }
}
