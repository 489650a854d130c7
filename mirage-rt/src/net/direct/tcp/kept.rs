//! What stands in for the layer below a TCP machine in its tests.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::net::direct::ip::{Blocked, IpOut, Route, TxMeta, Usual};
use crate::packet::{Gso, PacketMut};
use crate::page::{HeapPool, PagePool};

/// Keeps what is sent.
pub struct Kept {
    pub pool: Rc<dyn PagePool>,
    pub packets: Vec<PacketMut>,
    pub blocked: Option<Blocked>,
}

impl Kept {
    /// With a pool of so many pages.
    pub fn new(pages: usize) -> Kept {
        Kept { pool: HeapPool::with_pages(pages), packets: Vec::new(), blocked: None }
    }
}

impl IpOut for Kept {
    fn route(&self, destination: IpAddr) -> Option<Route> {
        Some(Route { source: IpAddr::from([10, 0, 0, 1]), next_hop: destination, mtu: 1500, offload: false })
    }

    fn ready(&mut self, _: &Route) -> Result<(), Blocked> {
        self.blocked.map_or(Ok(()), Err)
    }

    fn may_send_from(&self, _: IpAddr) -> bool {
        true
    }

    fn has_room(&self) -> bool {
        true
    }

    fn alloc(&mut self) -> Option<PacketMut> {
        PacketMut::new(&self.pool)
    }

    fn has_pages(&self) -> bool {
        self.pool.available() > 18
    }

    fn append(&mut self, packet: &mut PacketMut, bytes: &[u8]) -> Option<()> {
        packet.append(&self.pool, bytes)
    }

    fn send(&mut self, _: &Route, mut packet: PacketMut, meta: TxMeta) {
        packet.set_gso(meta.segment.map_or(Gso::None, |mss| Gso::Ipv4 { mss: mss.get() }));
        self.packets.push(packet);
    }

    fn send_usual(&mut self, _: &Route, packet: PacketMut, _: Usual) {
        self.packets.push(packet);
    }
}
