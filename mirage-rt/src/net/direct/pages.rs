//! Frames whose pages connections may keep.

use super::counters::ReceiveDrop;
use super::ip::PAGE_RESERVE;
use super::stack::Stack;
use crate::packet::PacketMut;
use crate::time::Instant;

impl Stack {
    /// From now on connections may keep the pages of what they receive.
    pub(super) fn keep_pages(&mut self) {
        self.receive_in_pages = Some(Stack::receive_in_pages);
    }

    /// A frame came in. As long as the device has enough pages, connections that ask for them may keep those of this one.
    fn receive_in_pages(&mut self, now: Instant, mut frame: PacketMut) {
        if !frame.fragments().is_empty() {
            return self.receive_in_several(now, frame);
        }
        self.offer(&frame, frame.head());
        let echo = self.receive_bytes(now, frame.head(), frame.checksum());
        if let Some(wanted) = self.tcp.end_offer() {
            let (mut bytes, _) = frame.into_parts();
            bytes.truncate(wanted.bytes.end);
            bytes.pull_front(wanted.bytes.start);
            self.tcp.keep_page(wanted.id, bytes);
        } else if let Some(echo) = echo
            && frame.pull_front(echo.skip)
        {
            self.answer_echo(&echo, frame);
        }
    }

    /// A frame in several pages, of which a copy in one piece is looked at.
    fn receive_in_several(&mut self, now: Instant, frame: PacketMut) {
        let mut copy = core::mem::take(&mut self.scratch);
        copy.clear();
        if copy.try_reserve(frame.len()).is_err() {
            self.scratch = copy;
            return self.ip.counters.drop_received(ReceiveDrop::Memory);
        }
        frame.parts().for_each(|part| copy.extend_from_slice(part));
        self.offer(&frame, &copy);
        let echo = self.receive_bytes(now, &copy, frame.checksum());
        if let Some(wanted) = self.tcp.end_offer() {
            let (head, fragments) = frame.into_parts();
            let mut start = 0;
            for mut fragment in core::iter::once(head).chain(fragments) {
                let end = start + fragment.len();
                fragment.truncate(wanted.bytes.end.saturating_sub(start));
                if fragment.pull_front(wanted.bytes.start.saturating_sub(start)) && !fragment.is_empty() {
                    self.tcp.keep_page(wanted.id, fragment);
                }
                start = end;
            }
        } else if let Some(echo) = echo {
            self.answer_echo_in(&echo, &copy);
        }
        self.scratch = copy;
    }

    /// Offers the pages of a frame, all of which `bytes` has.
    fn offer(&mut self, frame: &PacketMut, bytes: &[u8]) {
        if self.tcp.wants_pages() && frame.head_fragment().page().left() > PAGE_RESERVE {
            let start = bytes.as_ptr().addr();
            self.tcp.offer_pages(start..start + bytes.len(), 1 + frame.fragments().len());
        }
    }
}
