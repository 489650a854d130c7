//! A network device in memory: frames in, frames out, and no more than that.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use mirage_bench_wire::{MTU, SERVER_MAC, Setting};
use mirage_rt::packet::{Checksum, PacketMut};
use mirage_rt::page::PagePool;
use mirage_rt::types::network::{NetworkDevice, NetworkError, NetworkInfo, TransmitError};

/// Frames that the device takes at once.
const ROOM: usize = 256;

/// The frames of a device on their way.
pub struct Queues {
    pool: Rc<dyn PagePool>,
    checksum: Checksum,
    receive: RefCell<VecDeque<PacketMut>>,
    transmit: RefCell<VecDeque<PacketMut>>,
    receiver: Cell<Option<Waker>>,
}

impl Queues {
    /// Empty ones. With `offload` the device says that it has found all checksums right.
    pub fn new(pool: Rc<dyn PagePool>, offload: bool) -> Queues {
        Queues {
            pool,
            checksum: if offload { Checksum::Verified } else { Checksum::None },
            receive: RefCell::default(),
            transmit: RefCell::default(),
            receiver: Cell::new(None),
        }
    }

    /// A frame comes in.
    pub fn deliver(&self, frame: &[u8]) {
        let mut packet = PacketMut::copy_of(&self.pool, frame).expect("the pool is large enough");
        packet.set_checksum(self.checksum);
        self.receive.borrow_mut().push_back(packet);
        if let Some(waker) = self.receiver.take() {
            waker.wake();
        }
    }

    /// Takes out what was sent.
    pub fn sent(&self, see: &mut dyn FnMut(&[u8])) {
        for frame in self.transmit.borrow_mut().drain(..) {
            if frame.fragments().is_empty() {
                see(frame.head());
            } else {
                see(&frame.parts().collect::<Vec<_>>().concat());
            }
        }
    }
}

/// The device.
pub struct Device {
    queues: Rc<Queues>,
    info: NetworkInfo,
}

impl Device {
    /// A device on these queues.
    pub fn new(queues: Rc<Queues>, setting: &Setting) -> Device {
        let mut info = NetworkInfo::new(SERVER_MAC, MTU as u16);
        info.checksum_ipv4 = setting.offload;
        info.gso_ipv4 = setting.cut as u32;
        info.checksum_ipv6 = setting.offload;
        info.gso_ipv6 = setting.cut as u32;
        Device { queues, info }
    }
}

impl NetworkDevice for Device {
    fn info(&self) -> NetworkInfo {
        self.info
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<PacketMut, NetworkError>> {
        match self.queues.receive.borrow_mut().pop_front() {
            Some(packet) => Poll::Ready(Ok(packet)),
            None => {
                self.queues.receiver.set(Some(context.waker().clone()));
                Poll::Pending
            }
        }
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
        // The client takes frames away only when the server waits, so there is no need for a waker.
        match ROOM.saturating_sub(self.queues.transmit.borrow().len()) {
            0 => Poll::Pending,
            room => Poll::Ready(Ok(room)),
        }
    }

    fn transmit(&mut self, packet: PacketMut) -> Result<(), TransmitError> {
        self.queues.transmit.borrow_mut().push_back(packet);
        Ok(())
    }

    fn flush(&mut self) {}
}
