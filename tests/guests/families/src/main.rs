//! Serves over both families of addresses: sends back what streams and datagrams bring, at one port, and prints the addresses
//! by which it is reached whenever they change.

#![no_std]
#![cfg_attr(not(test), no_main)]
#![forbid(unsafe_code)]

use mirage_rt::net::{Network, TcpListener, TcpStream, UdpSocket};
use mirage_rt::{println, spawn};

mirage_rt::unikernel!();

#[mirage_rt::main]
async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result {
    let service = devices.service;
    let listener = service.tcp().bind(keys.port).await?;
    let socket = service.udp().bind(keys.port).await?;
    drop(spawn(tell(service)));
    drop(spawn(echo_datagrams(socket)));
    serve(listener).await
}

/// Prints the addresses, now and when there are others.
async fn tell(service: Network) {
    let mut addresses = service.addresses();
    loop {
        println!("reached by {addresses:?}");
        addresses = service.addresses_changed(&addresses).await;
    }
}

async fn serve(mut listener: TcpListener) -> mirage_rt::Result {
    loop {
        let (stream, peer) = listener.accept().await?;
        println!("a connection from {peer}");
        drop(spawn(echo(stream)));
    }
}

async fn echo(stream: TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
}

async fn echo_datagrams(socket: UdpSocket) {
    let mut buffer = [0; 2048];
    while let Ok((length, peer)) = socket.receive_from(&mut buffer).await {
        // As every datagram, an answer may be lost.
        if let Some(bytes) = buffer.get(..length) {
            let _ = socket.send_to(bytes, peer).await;
        }
    }
}
