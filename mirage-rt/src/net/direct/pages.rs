//! Frames whose pages connections may keep.

use super::ip::PAGE_RESERVE;
use super::stack::Stack;
use crate::packet::PacketMut;
use crate::time::Instant;

impl Stack {
    /// A frame in one page came in, while some connection keeps pages. As long as the device has enough of them, it may keep
    /// this one.
    pub(super) fn receive_page(&mut self, now: Instant, mut frame: PacketMut) {
        let head = frame.head_fragment();
        if head.page().left() > PAGE_RESERVE {
            let start = head.bytes().as_ptr().addr();
            self.tcp.offer_page(start..start + head.len());
        }
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
}
