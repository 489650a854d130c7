//! Uses whatever comes while it runs, and says what happens.
//!
//! - A disk gets a pattern on its first 256 KiB, which is read again. Its handle is kept until the disk is detached, and is tried
//!   once more then.
//! - A network gets the address of the key `address`, and sends back what it receives on UDP port 7.

#![no_std]
#![cfg_attr(not(test), no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::vec;

use mirage_rt::block::{Block, BlockError};
use mirage_rt::hotplug::{Attached, DeviceEvent, DeviceId, DeviceKind};
use mirage_rt::keys::Cidr;
use mirage_rt::net::{Config, Network};
use mirage_rt::{println, spawn};

mirage_rt::unikernel!();

/// Bytes of the pattern.
const LENGTH: usize = 256 * 1024;

#[mirage_rt::main]
async fn main(devices: Devices, keys: Keys) -> mirage_rt::Result {
    let mut events = devices.plugged;
    let (mut disks, mut networks) = (BTreeMap::new(), BTreeMap::new());
    println!("waiting for devices");
    loop {
        match events.next().await {
            DeviceEvent::Attached(device) => {
                let id = device.id();
                println!("{id} is attached");
                let opened = match id.kind {
                    DeviceKind::Block => open_disk(&device).await.map(|disk| drop(disks.insert(id, disk))),
                    _ => open_network(&device, keys.address).await.map(|network| drop(networks.insert(id, network))),
                };
                if let Err(error) = opened {
                    println!("{id}: {error}");
                }
            }
            DeviceEvent::Detached(id) => {
                println!("{id} is detached");
                if let Some(disk) = disks.remove(&id) {
                    println!("{id}: {:?}", disk.flush().await);
                }
                networks.remove(&id);
            }
            other => println!("{other:?}"),
        }
    }
}

async fn open_disk(device: &Attached) -> mirage_rt::Result<Block> {
    let disk = device.open_block().await?;
    let (before, pattern) = (content(&disk).await?, pattern(device.id()));
    let what = if before == pattern { "held the pattern" } else { "held something else" };
    disk.write_bytes(0, &pattern).await?;
    disk.flush().await?;
    let after = if content(&disk).await? == pattern { "holds it now" } else { "does not hold it" };
    println!("{}: {} sectors, {what}, {after}", device.id(), disk.info().sectors);
    Ok(disk)
}

async fn content(disk: &Block) -> Result<vec::Vec<u8>, BlockError> {
    let mut content = vec![0; LENGTH];
    disk.read_bytes(0, &mut content).await?;
    Ok(content)
}

/// Bytes that tell their place, and the disk.
fn pattern(id: DeviceId) -> vec::Vec<u8> {
    (0..LENGTH as u32).map(|index| (index ^ (index >> 8) ^ (index >> 16) ^ id.number) as u8).collect()
}

async fn open_network(device: &Attached, address: Cidr) -> mirage_rt::Result<Network> {
    let network = device.open_network(Config::from_keys(Some(address), None)).await?;
    let socket = network.udp().bind(7).await?;
    let id = device.id();
    drop(spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.receive_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..length], peer).await;
        }
        println!("{id}: nothing is received any more");
    }));
    println!("{id}: serving on {}", address.address());
    Ok(network)
}
