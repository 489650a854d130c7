//! The program on Xen: the frontend's frames in, answers out.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::future::poll_fn;
use core::net::Ipv4Addr;

use mirage_rt::boot::{Boot, Connecting, Connectors, NetworkConnector, NetworkSpec};
use mirage_rt::keys::{Cidr, Values};
use mirage_rt::net::Network;
use mirage_rt::packet::PacketMut;
use mirage_rt::types::network::NetworkDevice;
use mirage_xen::attachment::Attachment;
use mirage_xen::memory::machine::Memory;
use mirage_xen::netfront::{Netfront, Options};

use crate::frame::{self, Kind};
use crate::tcp::Ports;

mirage_xen_image::entry!(@define &crate::UNIKERNEL, start, &[networks]);

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
    fn network<'a>(&'a self, spec: &'static NetworkSpec, values: &'a Values) -> Connecting<'a, Network> {
        let address = spec.key::<Cidr>(values, "ipv4").map(Cidr::address);
        Box::pin(async move {
            let address = address.ok_or_else(|| mirage_rt::Error::message("give --ipv4 ADDRESS/PREFIX"))?;
            Err(self.serve(address).await)
        })
    }
}

impl Frames {
    async fn serve(&self, address: Ipv4Addr) -> mirage_rt::Error {
        let Some(memory) = Memory::machine() else { return mirage_rt::Error::message("only an image has memory") };
        let pool = memory.io_pool(1024);
        let options = Options { receive_gso: true, ..Options::default() };
        let mut device = match Netfront::connect(&self.attachment, 0, Rc::clone(&pool), options).await {
            Ok(device) => device,
            Err(error) => return error.into(),
        };
        let mac = device.info().mac;
        let mut ports = Ports::new(pool);
        mirage_rt::println!("serving frames on {address}");
        loop {
            let mut packet = match poll_fn(|context| device.poll_receive(context)).await {
                Ok(packet) => packet,
                Err(error) => return error.into(),
            };
            let answer = match frame::classify(&packet, address) {
                Kind::Arp => frame::answer_arp(&mut packet, mac, address).then_some(packet),
                Kind::Echo => frame::answer_echo(&mut packet).then_some(packet),
                Kind::Udp => frame::answer_udp(&mut packet).then_some(packet),
                Kind::Tcp => ports.answer(&packet),
                Kind::Other => None,
            };
            if let Some(answer) = answer {
                send(&mut device, answer);
            }
        }
    }
}

fn send(device: &mut Netfront, packet: PacketMut) {
    if let Err(error) = device.transmit(packet.freeze()) {
        mirage_rt::println!("not sent: {error}");
    }
    device.flush();
}
