//! A hub in memory: two devices and a stranger.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use mirage_rt::packet::{Checksum, PacketMut};
use mirage_rt::page::PagePool;
use mirage_rt::types::network::{NetworkDevice, NetworkError, NetworkInfo, TransmitError};

use super::check;

/// Numbers of the devices.
pub const SERVER: usize = 0;
pub const CLIENT: usize = 1;
/// Ethernet addresses of the devices and the stranger.
pub const MACS: [[u8; 6]; 3] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 3]];
/// What a device takes.
pub const MTU: u16 = 1500;

#[derive(Default)]
struct Inbox {
    frames: VecDeque<PacketMut>,
    waker: Option<Waker>,
}

/// Clones are handles to the same one.
#[derive(Clone)]
pub struct Hub {
    /// The devices complete checksums.
    completes: bool,
    pool: Rc<dyn PagePool>,
    inboxes: Rc<[RefCell<Inbox>; 2]>,
    to_stranger: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Hub {
    /// Frames that arrive are of pages of `pool`. With `completes` the devices complete checksums over IPv4.
    pub fn new(pool: Rc<dyn PagePool>, completes: bool) -> Hub {
        Hub { completes, pool, inboxes: Rc::default(), to_stranger: Rc::default() }
    }

    /// The device with this number.
    pub fn device(&self, number: usize) -> Device {
        Device { hub: self.clone(), number }
    }

    /// A frame arrives at a device.
    pub fn deliver(&self, number: usize, frame: PacketMut) {
        let mut inbox = self.inboxes[number].borrow_mut();
        inbox.frames.push_back(frame);
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
    }

    /// Whether nobody has a device any more.
    pub fn is_quiet(&self) -> bool {
        self.inboxes.iter().for_each(|inbox| drop(inbox.take()));
        // The stranger has gone as well.
        Rc::strong_count(&self.inboxes) == 1
    }

    /// What the stack has sent to the stranger and everybody.
    pub fn take_sent(&self) -> Vec<Vec<u8>> {
        self.to_stranger.take()
    }

    /// A device sends: to the other one, the stranger, or both.
    fn send(&self, from: usize, frame: &PacketMut) {
        let mut bytes: Vec<u8> = frame.parts().flatten().copied().collect();
        if let Checksum::Partial { start, offset } = frame.checksum() {
            assert!(self.completes, "the device has not offered it");
            check::complete(&mut bytes, start.into(), offset.into());
        }
        let (is_group, other) = (bytes[0] & 1 == 1, 1 - from);
        if from == SERVER {
            check::assert_sound(&bytes);
            if is_group || bytes[..6] != MACS[CLIENT] {
                self.to_stranger.borrow_mut().push(bytes.clone());
            }
        }
        if is_group || bytes[..6] == MACS[other] {
            self.deliver(other, PacketMut::copy_of(&self.pool, &bytes).expect("pages are left"));
        }
    }
}

/// A device that cuts nothing.
pub struct Device {
    hub: Hub,
    number: usize,
}

impl NetworkDevice for Device {
    fn info(&self) -> NetworkInfo {
        let mut info = NetworkInfo::new(MACS[self.number], MTU);
        info.checksum_ipv4 = self.hub.completes;
        info
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<PacketMut, NetworkError>> {
        let mut inbox = self.hub.inboxes[self.number].borrow_mut();
        match inbox.frames.pop_front() {
            Some(frame) => Poll::Ready(Ok(frame)),
            None => {
                inbox.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<usize, NetworkError>> {
        Poll::Ready(Ok(256))
    }

    fn transmit(&mut self, packet: PacketMut) -> Result<(), TransmitError> {
        self.hub.send(self.number, &packet);
        Ok(())
    }

    fn flush(&mut self) {}
}
