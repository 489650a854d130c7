//! Frames whose pages connections may keep.

use alloc::vec::Vec;
use core::ops::Range;

use super::counters::ReceiveDrop;
use super::ip::PAGE_RESERVE;
use super::stack::Stack;
use crate::packet::{Fragment, PacketMut};
use crate::time::Instant;

impl Stack {
    /// From now on connections may keep the pages of what they receive.
    pub(super) fn keep_pages(&mut self) {
        self.receive_in_pages = Some(Stack::receive_in_pages);
    }

    /// A frame came in. As long as the device has enough pages, connections that ask for them may keep those of this one.
    fn receive_in_pages(&mut self, now: Instant, mut frame: PacketMut) {
        let mut copy = core::mem::take(&mut self.scratch);
        let Some(bytes) = whole(&frame, &mut copy) else {
            self.scratch = copy;
            return self.ip.counters.drop_received(ReceiveDrop::Memory);
        };
        if self.tcp.wants_pages() && frame.head_fragment().page().left() > PAGE_RESERVE {
            let start = bytes.as_ptr().addr();
            self.tcp.offer_pages(start..start + bytes.len(), 1 + frame.fragments().len());
        }
        let echo = self.receive_bytes(now, bytes, frame.checksum());
        if let Some(wanted) = self.tcp.end_offer() {
            let (head, fragments) = frame.into_parts();
            let mut start = 0;
            for mut fragment in core::iter::once(head).chain(fragments) {
                let end = start + fragment.len();
                if cut(&mut fragment, start, &wanted.bytes) {
                    self.tcp.keep_page(wanted.id, fragment);
                }
                start = end;
            }
        } else if let Some(echo) = echo {
            if !frame.fragments().is_empty() {
                self.answer_echo_in(&echo, &copy);
            } else if frame.pull_front(echo.skip) {
                self.answer_echo(&echo, frame);
            }
        }
        self.scratch = copy;
    }
}

/// All bytes of a frame side by side: those of its page, or a copy of several; `None` without memory for that.
fn whole<'a>(frame: &'a PacketMut, copy: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    if frame.fragments().is_empty() {
        return Some(frame.head());
    }
    copy.clear();
    copy.try_reserve(frame.len()).ok()?;
    frame.parts().for_each(|part| copy.extend_from_slice(part));
    Some(copy)
}

/// Leaves of a fragment whose first byte is the `start`th of a frame what lies in `wanted`; whether that is anything.
fn cut(fragment: &mut Fragment, start: usize, wanted: &Range<usize>) -> bool {
    fragment.truncate(wanted.end.saturating_sub(start));
    fragment.pull_front(wanted.start.saturating_sub(start)) && !fragment.is_empty()
}
