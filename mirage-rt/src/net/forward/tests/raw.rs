//! A host that sends what no stack would.

use alloc::vec::Vec;
use core::future::poll_fn;
use core::net::Ipv4Addr;

use crate::net::direct::ipv4;
use crate::net::switch::{Port, Switch};
use crate::packet::PacketMut;
use crate::types::network::NetworkDevice;

pub struct Raw {
    port: Port,
    switch: Switch,
    /// Whom frames go to.
    pub to: [u8; 6],
}

/// A datagram from port 9 to port 9, without a checksum over IPv4.
pub fn datagram(from: Ipv4Addr, to: Ipv4Addr, hops: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (28 + payload.len()) as u16;
    let [high, low] = length.to_be_bytes();
    let mut packet = Vec::from([0x45, 0, high, low, 0, 7, flags, 0, hops, 17, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    ipv4::fill_checksum(&mut packet);
    packet.extend([0, 9, 0, 9]);
    packet.extend((length - 20).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    packet
}

impl Raw {
    /// On a new port of `switch`; frames go to `to`.
    pub fn new(switch: &Switch, to: [u8; 6]) -> Raw {
        Raw { port: switch.port(), switch: switch.clone(), to }
    }

    pub fn send(&mut self, ethertype: u16, packet: &[u8]) {
        let frame = [&self.to[..], &self.port.info().mac, &ethertype.to_be_bytes(), packet].concat();
        let frame = PacketMut::copy_of(&self.switch.pool(), &frame).expect("pages are left");
        self.port.transmit(frame).expect("the port takes it");
        self.port.flush();
    }

    pub fn send_datagram(&mut self, from: Ipv4Addr, to: Ipv4Addr, hops: u8, flags: u8, payload: &[u8]) {
        self.send(0x0800, &datagram(from, to, hops, flags, payload));
    }

    /// A datagram with IP options, whose length is a multiple of four.
    pub fn send_options(&mut self, from: Ipv4Addr, to: Ipv4Addr, options: &[u8]) {
        let mut packet = datagram(from, to, 64, 0, b"payload");
        packet.splice(20..20, options.iter().copied());
        packet[0] = 0x45 + (options.len() / 4) as u8;
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        ipv4::fill_checksum(&mut packet);
        self.send(0x0800, &packet);
    }

    async fn receive(&mut self) -> Vec<u8> {
        let frame = poll_fn(|context| self.port.poll_receive(context)).await.expect("the port works");
        frame.parts().flatten().copied().collect()
    }

    /// The next message of ICMP; who asks for the Ethernet address of its destination is answered.
    pub async fn receive_icmp(&mut self) -> Vec<u8> {
        loop {
            let frame = self.receive().await;
            match frame[12..14] {
                [8, 6] if frame[21] == 1 => {
                    let mut answer = frame[14..42].to_vec();
                    answer[7] = 2;
                    answer[18..28].copy_from_slice(&frame[22..32]);
                    answer[8..14].copy_from_slice(&self.port.info().mac);
                    answer[14..18].copy_from_slice(&frame[38..42]);
                    self.send(0x0806, &answer);
                }
                [8, 0] if frame[23] == 1 => {
                    assert_eq!(smoltcp::wire::checksum::data(&frame[34..]), !0);
                    return frame[34..].to_vec();
                }
                _ => {}
            }
        }
    }
}

#[cfg(feature = "ipv6")]
mod ipv6 {
    use core::net::Ipv6Addr;

    use super::*;
    use crate::net::direct::header;
    use crate::net::ipv6::ndp;
    use crate::net::ipv6::packet::{HEADER, emit_header};

    impl Raw {
        pub fn send_datagram6(&mut self, from: Ipv6Addr, to: Ipv6Addr, hops: u8, payload: &[u8]) {
            let mut head = [0; HEADER];
            emit_header(&mut head, from, to, 17, 8 + payload.len(), hops);
            let length = (8 + payload.len()) as u16;
            let mut packet = [&head[..], &[0, 9, 0, 9], &length.to_be_bytes(), &[0, 0], payload].concat();
            header::fill_transport(&mut packet, false);
            self.send(0x86dd, &packet);
        }

        /// The next message of ICMP to `own`, whose Ethernet address is told to who asks.
        pub async fn receive_icmp6(&mut self, own: Ipv6Addr) -> Vec<u8> {
            loop {
                let frame = self.receive().await;
                if frame[12..14] != [0x86, 0xdd] || frame[20] != 58 {
                    continue;
                }
                let source = Ipv6Addr::from(<[u8; 16]>::try_from(&frame[22..38]).expect("16 bytes"));
                if frame[54] == 135 && frame[62..78] == own.octets() {
                    let message = ndp::advertisement(own, self.port.info().mac, true, true);
                    let mut packet = [0; HEADER].to_vec();
                    packet.extend(&message);
                    let head = packet.first_chunk_mut::<HEADER>().expect("it is longer");
                    emit_header(head, own, source, 58, message.len(), 255);
                    header::fill_icmp(&mut packet);
                    self.send(0x86dd, &packet);
                } else if frame[38..54] == own.octets() && frame[54] < 128 {
                    return frame[54..].to_vec();
                }
            }
        }
    }
}
