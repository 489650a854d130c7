//! Says which addresses its network has, each time that they change, and connects to a host by its name with the first of them. Port
//! 7 sends back what it is sent.

#![no_std]
#![cfg_attr(not(test), no_main)]

extern crate alloc;

use mirage_rt::net::{Network, TcpStream};
use mirage_rt::{println, spawn};

mirage_rt::unikernel!();

#[mirage_rt::main]
async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result {
    let network = devices.service;
    let mut listener = network.tcp().bind(7).await?;
    drop(spawn(tell(network.clone())));
    if !keys.target.is_empty() {
        connect(&network, &keys.target).await?;
    }
    loop {
        let (stream, _) = listener.accept().await?;
        drop(spawn(echo(stream)));
    }
}

/// Prints the addresses, now and whenever they change.
async fn tell(network: Network) {
    let mut addresses = network.addresses();
    loop {
        println!("addresses {addresses:?}");
        addresses = network.addresses_changed(&addresses).await;
    }
}

/// Prints what the host behind the name says.
async fn connect(network: &Network, target: &str) -> mirage_rt::Result {
    let stream = network.tcp().connect_to(target).await?;
    let mut buffer = [0; 100];
    let length = stream.read(&mut buffer).await?;
    let text = alloc::string::String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
    println!("{} at {} says: {}", target, stream.peer_addr().ip(), text.trim());
    Ok(())
}

async fn echo(stream: TcpStream) {
    let mut buffer = [0; 1000];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(buffer.get(..length).unwrap_or_default()).await.is_err() {
            break;
        }
    }
}
