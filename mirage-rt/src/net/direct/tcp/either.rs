//! Either machine: tests run the same stack with both.

extern crate std;

use alloc::boxed::Box;
use core::cell::Cell;
use core::net::IpAddr;
use core::ops::Range;

use super::machine::{ConnId, Expected, Handshake, News, OutOfMemory, Progress, Readiness, State, TcpMachine, Wanted};
use super::own::OwnTcp;
use super::segment::{FourTuple, Segment, Seq};
use super::smol::SmolSets;
use super::timestamps::Stamps;
use crate::net::direct::ip::{IpOut, Paths};
use crate::net::direct::train::Following;
use crate::net::{OptionError, TcpInfo, TcpOption};
use crate::packet::Fragment;
use crate::time::Instant;

std::thread_local! {
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Whether stacks that this thread makes from now on have our own machine.
pub fn choose_own(own: bool) {
    OWN.set(own);
}

pub fn is_own_chosen() -> bool {
    OWN.get()
}

/// One of the two.
pub enum Either {
    Smol(Box<SmolSets>),
    Own(Box<OwnTcp>),
}

impl Either {
    fn get(&self) -> &dyn TcpMachine {
        match self {
            Either::Smol(machine) => &**machine,
            Either::Own(machine) => &**machine,
        }
    }

    fn get_mut(&mut self) -> &mut dyn TcpMachine {
        match self {
            Either::Smol(machine) => &mut **machine,
            Either::Own(machine) => &mut **machine,
        }
    }
}

impl super::Tcp<Either> {
    /// Bytes that the connections of our own machine have.
    pub fn memory(&self) -> Option<usize> {
        match &self.machine {
            Either::Own(machine) => Some(machine.memory()),
            Either::Smol(_) => None,
        }
    }
}

impl TcpMachine for Either {
    fn window_shift(&self) -> u8 {
        self.get().window_shift()
    }

    fn initial_window(&self) -> u16 {
        self.get().initial_window()
    }

    fn clock(&self, tuple: &FourTuple) -> Option<u32> {
        self.get().clock(tuple)
    }

    fn ecn(&self) -> bool {
        self.get().ecn()
    }

    fn set_device(&mut self, paths: Paths) {
        self.get_mut().set_device(paths);
    }

    fn set_address(&mut self, address: IpAddr, prefix: u8) {
        self.get_mut().set_address(address, prefix);
    }

    fn has_room(&self) -> bool {
        self.get().has_room()
    }

    fn establish(&mut self, now: Instant, id: ConnId, handshake: &Handshake) -> Result<(), OutOfMemory> {
        self.get_mut().establish(now, id, handshake)
    }

    fn connect(&mut self, now: Instant, id: ConnId, tuple: &FourTuple, isn: Seq) -> Result<(), OutOfMemory> {
        self.get_mut().connect(now, id, tuple, isn)
    }

    fn on_segment(&mut self, now: Instant, id: ConnId, packet: &[u8], segment: &Segment, out: &mut dyn IpOut) {
        self.get_mut().on_segment(now, id, packet, segment, out);
    }

    fn predict(&mut self, now: Instant, id: ConnId, packet: &[u8], segment: &Segment) -> Option<News> {
        self.get_mut().predict(now, id, packet, segment)
    }

    fn follow(&mut self, now: Instant, id: ConnId, following: &Following<'_>) -> Option<bool> {
        self.get_mut().follow(now, id, following)
    }

    fn on_too_big(&mut self, now: Instant, id: ConnId, seq: Seq, mtu: usize) -> bool {
        self.get_mut().on_too_big(now, id, seq, mtu)
    }

    fn run(&mut self, now: Instant, id: ConnId, out: &mut dyn IpOut) -> Progress {
        self.get_mut().run(now, id, out)
    }

    fn state(&self, id: ConnId) -> State {
        self.get().state(id)
    }

    fn readiness(&self, id: ConnId) -> Readiness {
        self.get().readiness(id)
    }

    fn expected(&self, id: ConnId) -> Expected {
        self.get().expected(id)
    }

    fn stamps(&self, id: ConnId) -> Option<Stamps> {
        self.get().stamps(id)
    }

    fn peek(&mut self, id: ConnId) -> &[u8] {
        self.get_mut().peek(id)
    }

    fn consume(&mut self, id: ConnId, length: usize) {
        self.get_mut().consume(id, length);
    }

    fn read(&mut self, id: ConnId, buffer: &mut [u8]) -> usize {
        self.get_mut().read(id, buffer)
    }

    fn wants_pages(&self) -> bool {
        self.get().wants_pages()
    }

    fn offer_pages(&mut self, bytes: Range<usize>, pages: usize) {
        self.get_mut().offer_pages(bytes, pages);
    }

    fn end_offer(&mut self) -> Option<Wanted> {
        self.get_mut().end_offer()
    }

    fn keep_page(&mut self, id: ConnId, fragment: Fragment) {
        self.get_mut().keep_page(id, fragment);
    }

    fn take_page(&mut self, id: ConnId) -> Option<Fragment> {
        self.get_mut().take_page(id)
    }

    fn write(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        self.get_mut().write(id, bytes)
    }

    fn give_page(&mut self, id: ConnId, fragment: &mut Option<Fragment>) -> bool {
        self.get_mut().give_page(id, fragment)
    }

    fn shutdown(&mut self, id: ConnId) {
        self.get_mut().shutdown(id);
    }

    fn set(&mut self, now: Instant, id: ConnId, option: TcpOption) -> Result<(), OptionError> {
        self.get_mut().set(now, id, option)
    }

    fn linger(&mut self, now: Instant, id: ConnId) -> Instant {
        self.get_mut().linger(now, id)
    }

    fn free(&mut self, id: ConnId) {
        self.get_mut().free(id);
    }

    fn info(&self, now: Instant, id: ConnId) -> TcpInfo {
        self.get().info(now, id)
    }

    fn retransmitted(&self) -> u64 {
        self.get().retransmitted()
    }
}
