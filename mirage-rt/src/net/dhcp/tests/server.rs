//! A server for tests.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::poll_fn;
use core::net::{Ipv4Addr, SocketAddrV4};

use crate::net::dhcp::frames;
use crate::net::dhcp::message::{Kind, Request};
use crate::net::dhcp::{CLIENT_PORT, SERVER_PORT};
use crate::net::direct::ethernet::{self, ARP_LENGTH, Arp, EtherType};
use crate::net::switch::Switch;
use crate::packet::PacketMut;
use crate::runtime::{now, spawn};
use crate::time::Instant;
use crate::types::network::NetworkDevice;

/// A client's message, read without what the client is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub request: Request,
}

impl Asked {
    pub fn read(message: &[u8]) -> Option<Asked> {
        let four = |at: usize| -> Option<[u8; 4]> { message.get(at..at + 4)?.try_into().ok() };
        if message.first() != Some(&1) || four(236) != Some([0x63, 0x82, 0x53, 0x63]) {
            return None;
        }
        let mut request = Request {
            wants: false,
            id: u32::from_be_bytes(four(4)?),
            seconds: u16::from_be_bytes([message[8], message[9]]),
            mac: message.get(28..34)?.try_into().ok()?,
            client: four(12)?.into(),
            requested: None,
            server: None,
        };
        let mut options = &message[240..];
        while let [kind, length, rest @ ..] = options
            && *kind != 255
        {
            let (data, behind) = rest.split_at_checked(usize::from(*length))?;
            let address = || <[u8; 4]>::try_from(data).ok().map(Ipv4Addr::from);
            match kind {
                50 => request.requested = address(),
                53 => request.wants = data == [3],
                54 => request.server = address(),
                _ => {}
            }
            options = behind;
        }
        Some(Asked { request })
    }
}

/// A server's message.
#[derive(Clone)]
pub struct Answer(Vec<u8>);

impl Answer {
    pub fn new(kind: Kind, id: u32, mac: [u8; 6], yours: Ipv4Addr, server: Ipv4Addr) -> Answer {
        let mut bytes = Vec::from([2, 1, 6, 0]);
        bytes.extend(id.to_be_bytes());
        bytes.resize(16, 0);
        bytes.extend(yours.octets());
        bytes.resize(28, 0);
        bytes.extend(mac);
        bytes.resize(236, 0);
        bytes.extend([0x63, 0x82, 0x53, 0x63]);
        let kind = match kind {
            Kind::Offer => 2,
            Kind::Ack => 5,
            Kind::Nak => 6,
        };
        Answer(bytes).option(53, &[kind]).option(54, &server.octets())
    }

    pub fn option(mut self, kind: u8, data: &[u8]) -> Answer {
        self.0.extend([kind, data.len() as u8]);
        self.0.extend(data);
        self
    }

    /// With a network of 24 bits, the router 10.0.0.1, and a lease of so many seconds.
    pub fn usual(self, lease: u32) -> Answer {
        self.option(1, &[255, 255, 255, 0]).option(3, &[10, 0, 0, 1]).option(51, &lease.to_be_bytes())
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.push(255);
        bytes
    }
}

/// What a server was asked: when, from which address and to which, and what.
pub type Log = Rc<RefCell<Vec<(Instant, Ipv4Addr, Ipv4Addr, Request)>>>;

/// A server at 10.0.0.1 on a new port of `switch`, which also answers to ARP. `answers` gives what is sent back.
pub fn serve(switch: &Switch, answers: impl Fn(&Request) -> Option<Answer> + 'static) -> Log {
    let log = Log::default();
    let (kept, pool, mut port) = (Rc::clone(&log), switch.pool(), switch.port());
    let mac = port.info().mac;
    let own = Ipv4Addr::new(10, 0, 0, 1);
    drop(spawn(async move {
        loop {
            let received = poll_fn(|context| port.poll_receive(context)).await;
            let Ok(frame) = received else { break };
            let mut bytes = alloc::vec![0; frame.len()];
            frame.copy_to(&mut bytes);
            let answer = arp(&bytes, mac, own).or_else(|| {
                let ([(from, source), (_, to)], message) = frames::parse(&bytes, true)?;
                let asked = (to.port() == SERVER_PORT).then(|| Asked::read(message)).flatten()?.request;
                kept.borrow_mut().push((now(), *source.ip(), *to.ip(), asked));
                let answer = answers(&asked)?;
                // Section 4.1: to everybody when the client has no address, and says that it hears only that.
                let unheard = asked.client.is_unspecified() && message[10] == 0x80;
                let (to, client) =
                    if unheard { (ethernet::BROADCAST, Ipv4Addr::BROADCAST) } else { (from, *source.ip()) };
                let ends = [(mac, SocketAddrV4::new(own, SERVER_PORT)), (to, SocketAddrV4::new(client, CLIENT_PORT))];
                Some(frames::emit(ends, &answer.bytes()))
            });
            if let Some(answer) = answer {
                let packet = PacketMut::copy_of(&pool, &answer).expect("there are pages");
                port.transmit(packet).expect("there is room");
                port.flush();
            }
        }
    }));
    log
}

fn arp(frame: &[u8], mac: [u8; 6], own: Ipv4Addr) -> Option<Vec<u8>> {
    let (_, from, EtherType::Arp) = ethernet::parse(frame)? else { return None };
    let asked = Arp::parse(&frame[ethernet::HEADER..]).filter(|arp| arp.request && arp.target == own)?;
    let mut answer = alloc::vec![0; ethernet::HEADER + ARP_LENGTH];
    let (header, body) = answer.split_first_chunk_mut::<{ ethernet::HEADER }>()?;
    ethernet::emit(header, from, mac, EtherType::Arp);
    let reply = Arp { request: false, source_mac: mac, source: own, target_mac: from, target: asked.source };
    reply.emit(body.first_chunk_mut()?);
    Some(answer)
}
