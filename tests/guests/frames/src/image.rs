//! The program on Xen: the frontend's frames in, answers out.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::future::poll_fn;
use core::net::Ipv4Addr;
use core::task::{Context, Poll};

use mirage_rt::boot::{AddressFrom, Boot, Connecting, Connectors, NetworkConnector, NetworkSpec};
use mirage_rt::keys::{Cidr, Values};
use mirage_rt::net::Network;
use mirage_rt::packet::PacketMut;
use mirage_rt::types::network::{NetworkDevice, NetworkError};
use mirage_xen::attachment::Attachment;
use mirage_xen::memory::machine::Memory;
use mirage_xen::netfront::{Netfront, Options};

use crate::frame::{self, Family, Kind, Own};
use crate::tcp::Ports;

mirage_xen_image::entry!(@define &crate::UNIKERNEL, start, &[networks]);

/// Packets taken before anything is sent.
const BURST: usize = 64;

async fn start(boot: Boot) -> mirage_rt::Result {
    // Connecting it is the whole program.
    boot.network("service").await.map(drop)
}

fn networks(attachment: &Attachment, connectors: &mut Connectors) {
    connectors.networks = Some(Rc::new(Frames { attachment: attachment.clone() }));
}

struct Frames {
    attachment: Attachment,
}

impl NetworkConnector for Frames {
    fn network<'a>(
        &'a self,
        spec: &'static NetworkSpec,
        values: &'a Values,
        _: AddressFrom,
    ) -> Connecting<'a, Network> {
        let address = spec.key::<Cidr>(values, "ipv4").map(Cidr::address);
        Box::pin(async move {
            let address = address.ok_or_else(|| mirage_rt::Error::message("give --ipv4 ADDRESS/PREFIX"))?;
            Err(self.serve(address).await)
        })
    }
}

impl Frames {
    async fn serve(&self, ipv4: Ipv4Addr) -> mirage_rt::Error {
        let Some(memory) = Memory::machine() else { return mirage_rt::Error::message("only an image has memory") };
        let pool = memory.io_pool(1024);
        let options = Options { receive_gso: true, ..Options::default() };
        let mut device = match Netfront::connect(&self.attachment, 0, Rc::clone(&pool), options).await {
            Ok(device) => device,
            Err(error) => return error.into(),
        };
        let own = Own { mac: device.info().mac, ipv4 };
        if let Err(error) = device.join(own.solicited()) {
            return error.into();
        }
        mirage_rt::println!("serving frames on {ipv4} and {}", own.ipv6());
        let mut server = Server { own, ports: Ports::new(pool) };
        poll_fn(|context| server.poll(&mut device, context)).await.into()
    }
}

struct Server {
    own: Own,
    ports: Ports,
}

impl Server {
    /// Takes what has come and sends what is due, until there is neither; ready with the error that ends it.
    fn poll(&mut self, device: &mut Netfront, context: &mut Context<'_>) -> Poll<NetworkError> {
        loop {
            let mut busy = false;
            for _ in 0..BURST {
                match device.poll_receive(context) {
                    Poll::Ready(Ok(packet)) => self.receive(device, packet),
                    // It comes back.
                    Poll::Ready(Err(NetworkError::Disconnected)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(error),
                    Poll::Pending => break,
                }
                busy = true;
            }
            let mut room = match device.poll_ready(context) {
                Poll::Ready(Ok(room)) => room,
                Poll::Ready(Err(NetworkError::Disconnected)) | Poll::Pending => 0,
                Poll::Ready(Err(error)) => return Poll::Ready(error),
            };
            while room > 0
                && let Some(packet) = self.ports.next()
            {
                transmit(device, packet);
                busy = true;
                room -= 1;
            }
            // One notification for all of it.
            device.flush();
            if !busy {
                return Poll::Pending;
            }
        }
    }

    fn receive(&mut self, device: &mut Netfront, mut packet: PacketMut) {
        let answered = match frame::classify(&packet, &self.own) {
            Kind::Arp => frame::answer_arp(&mut packet, &self.own),
            Kind::Solicitation => frame::answer_solicitation(&mut packet, &self.own),
            Kind::Echo(family) => frame::answer_echo(&mut packet, family),
            Kind::Udp(family) => frame::answer_udp(&mut packet, family),
            Kind::Tcp(family) => {
                let control = device.control();
                self.ports.take(&packet, family, &|| control.statistics());
                false
            }
            Kind::Groups(family) => match frame::group(&packet, family) {
                Some((b'+', group)) => {
                    match device.join(group) {
                        Ok(()) => mirage_rt::println!("joined {group:x?}"),
                        Err(error) => mirage_rt::println!("not joined: {error}"),
                    }
                    false
                }
                Some((b'-', group)) => {
                    device.leave(group);
                    mirage_rt::println!("left {group:x?}");
                    false
                }
                Some((b'>', group)) if family == Family::V4 => {
                    frame::pass_on(&mut packet, &self.own, group);
                    true
                }
                _ => false,
            },
            Kind::Heard(_) => {
                mirage_rt::println!("heard {:x?}", &packet.head()[..6]);
                false
            }
            Kind::Other => false,
        };
        if answered {
            transmit(device, packet);
        }
    }
}

fn transmit(device: &mut Netfront, packet: PacketMut) {
    if let Err(error) = device.transmit(packet) {
        mirage_rt::println!("not sent: {error}");
    }
}
