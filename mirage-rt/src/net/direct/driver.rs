//! The task between a device and its stack.

use alloc::rc::Rc;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};

use super::Shared;
use super::counters::TransmitDrop;
use crate::net::log_targets;
use crate::runtime::{Runtime, now};
use crate::time::{Instant, Sleep, sleep_until};
use crate::types::network::{NetworkDevice, NetworkError, TransmitErrorKind};

/// Frames taken in before anything is sent, and how often that is done before other tasks have their turn.
const BURST: usize = 64;
const ROUNDS: usize = 4;

/// Serves `device` until it is given up, or nobody holds the stack any more and all connections are closed.
pub async fn drive<D: NetworkDevice>(mut device: D, shared: Rc<Shared>) {
    let mut timer = pin!(Timer { sleep: sleep_until(Instant::ZERO), armed: None });
    // As after an absence: the first time that the device works, the network is told of us.
    let mut away = true;
    poll_fn(|context| {
        shared.stack.borrow_mut().register_driver(context.waker());
        for _ in 0..ROUNDS {
            match turn(&mut device, &shared, &mut away, context) {
                Turn::Again => {}
                Turn::Wait(deadline) => {
                    if Rc::strong_count(&shared) == 1 && !shared.stack.borrow().tcp.is_busy() {
                        return Poll::Ready(());
                    }
                    if timer.as_mut().arm(deadline, context) {
                        return Poll::Pending;
                    }
                }
                Turn::Broken => return Poll::Ready(()),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

enum Turn {
    /// There may be more to do at once.
    Again,
    /// Wait for the device, a kick, or this time.
    Wait(Option<Instant>),
    /// The device was given up.
    Broken,
}

// Not generic, as all that the stack does is in it: it is to be made once, and as fast as this crate's level has it.
/// Takes in a burst, lets the stack work, sends what it made, with one notification.
fn turn(device: &mut dyn NetworkDevice, shared: &Shared, away: &mut bool, context: &mut Context<'_>) -> Turn {
    let mut stack = shared.stack.borrow_mut();
    let stack = &mut *stack;
    let now = now();
    let mut received = 0;
    while received < BURST {
        match device.poll_receive(context) {
            Poll::Ready(Ok(frame)) => {
                received += 1;
                stack.receive(now, frame);
            }
            Poll::Ready(Err(NetworkError::Disconnected)) => {
                *away = true;
                stack.link.set_down();
                break;
            }
            Poll::Ready(Err(_)) => return give_up(stack),
            Poll::Pending => break,
        }
    }
    let room = match device.poll_ready(context) {
        Poll::Ready(Ok(room)) => {
            stack.ip.set_room(room);
            if core::mem::take(away) {
                stack.set_device(&device.info());
                stack.ip.announce();
            }
            room
        }
        Poll::Ready(Err(NetworkError::Disconnected)) => {
            *away = true;
            stack.link.set_down();
            // The network may lose packets; connections repeat what matters when the device is back.
            stack.ip.drop_frames();
            0
        }
        Poll::Ready(Err(_)) => return give_up(stack),
        Poll::Pending => 0,
    };
    stack.ip.set_room(room);
    let more = stack.run(now);
    #[cfg(any(feature = "ipv6", feature = "datagrams"))]
    join(device, stack);
    let sent = transmit(device, stack);
    stack.ip.set_room(room.saturating_sub(sent));
    if room > sent {
        stack.udp.on_room();
    }
    if received == BURST || (more && room > 0) { Turn::Again } else { Turn::Wait(stack.deadline()) }
}

/// Has the device hand on the frames of groups that the stack needs.
#[cfg(any(feature = "ipv6", feature = "datagrams"))]
fn join(device: &mut dyn NetworkDevice, stack: &mut super::stack::Stack) {
    #[cfg(feature = "ipv6")]
    while let Some(group) = stack.ip.pop_join() {
        if let Err(error) = device.join(group) {
            log::error!(target: log_targets::DEVICE, "neighbours may not find an IPv6 address of this network: {error}");
        }
    }
    #[cfg(feature = "datagrams")]
    while let Some((group, is_joined)) = stack.groups.pop_device() {
        if !is_joined {
            device.leave(group);
        } else if let Err(error) = device.join(group) {
            log::error!(target: log_targets::DEVICE, "what is sent to a group may not be heard: {error}");
        }
    }
}

fn give_up(stack: &mut super::stack::Stack) -> Turn {
    log::error!(target: log_targets::DEVICE, "the network device was given up; its connections are closed");
    stack.down();
    Turn::Broken
}

/// Hands frames to the device while it takes them; how many.
fn transmit(device: &mut dyn NetworkDevice, stack: &mut super::stack::Stack) -> usize {
    let mut sent = 0;
    while let Some(frame) = stack.ip.pop_frame() {
        let length = frame.len();
        match device.transmit(frame) {
            Ok(()) => {
                stack.ip.counters.sent.count(length);
                sent += 1;
            }
            Err(error) if error.kind == TransmitErrorKind::Full => {
                stack.ip.push_back(error.packet);
                break;
            }
            // Whatever else is wrong with it will not be better the next time.
            Err(_) => stack.ip.counters.drop_sent(TransmitDrop::Refused),
        }
    }
    if sent > 0 {
        device.flush();
    }
    sent
}

/// A timer that is touched only when it has to be.
struct Timer {
    sleep: Sleep,
    armed: Option<Instant>,
}

impl Timer {
    /// Waits for `deadline`; `false` when it has come.
    fn arm(mut self: core::pin::Pin<&mut Self>, deadline: Option<Instant>, context: &mut Context<'_>) -> bool {
        let Some(deadline) = deadline else {
            // An earlier deadline that is still set costs one needless turn at most.
            return true;
        };
        if self.armed.is_some_and(|armed| armed <= deadline && armed > Runtime::current().recent()) {
            return true;
        }
        self.sleep.reset(deadline);
        self.armed = Some(deadline);
        core::pin::Pin::new(&mut self.sleep).poll(context).is_pending()
    }
}
