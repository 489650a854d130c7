//! netfront against the model of its backend.

mod absence;
mod connecting;
mod frames;
mod nonsense;
mod rings;

use std::cell::Cell;
use std::future::poll_fn;
use std::string::ToString;
use std::sync::atomic::Ordering;
use std::vec::Vec;

use proptest::prelude::*;

use mirage_rt::packet::{Checksum, Fragment, Gso, PacketMut};
use mirage_rt::page::Page;
use mirage_rt::runtime::{spawn, yield_now};
use mirage_rt::time::sleep;

use super::*;
use crate::hypervisor::Resumed;
use crate::model::{Features, Frame, Machine, Mischief, Netback};

/// A frame of `length` bytes that is for one station.
fn bytes(length: usize, seed: usize) -> Vec<u8> {
    let byte = |index: usize| (index * 31 + seed * 7 + index / 251) as u8;
    (0..length).map(|index| if index == 0 { byte(index) & !1 } else { byte(index) }).collect()
}

/// An Ethernet frame of `length` bytes that says it is IPv4 and TCP.
fn tcp_frame(length: usize) -> Vec<u8> {
    let mut frame = bytes(length, 3);
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[20..22].copy_from_slice(&[0x40, 0]);
    frame[23] = 6;
    frame
}

fn plain(bytes: Vec<u8>) -> Frame {
    Frame { bytes, ..Frame::default() }
}

fn all_of(packet: &PacketMut) -> Vec<u8> {
    packet.parts().collect::<Vec<_>>().concat()
}

async fn connect(machine: &Machine, options: Options) -> Netfront {
    Netfront::connect(&machine.attachment, 0, machine.pool(), options).await.expect("the backend is honest")
}

async fn receive(device: &mut Netfront) -> Result<PacketMut, NetworkError> {
    poll_fn(|context| device.poll_receive(context)).await
}

async fn ready(device: &mut Netfront) -> Result<usize, NetworkError> {
    poll_fn(|context| device.poll_ready(context)).await
}

async fn ready_now(device: &mut Netfront) -> bool {
    poll_fn(|context| Poll::Ready(device.poll_ready(context).is_ready())).await
}

async fn send(device: &mut Netfront, packet: PacketMut) {
    ready(device).await.expect("connected");
    device.transmit(packet).expect("there is room");
    device.flush();
}

/// A round trip through xenstore: both sides have done what they could.
async fn settle(machine: &Machine) {
    for _ in 0..4 {
        machine.attachment.xenstore().read("device").await.expect("xenstore is honest");
        yield_now().await;
    }
}

fn machine(features: Features) -> (Machine, Netback) {
    let machine = Machine::new(1);
    let netback = Netback::attach(&machine.world, &machine.store, 0, features);
    (machine, netback)
}
